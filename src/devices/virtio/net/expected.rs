//! What a TAP interface is expected to have, by what it had before: a call that finds nothing costs as much as one that does. Who
//! expects wrong is not told of frames later than who waits for them.

/// How many frames are read when there are some: as many as there were at once when that was last found out, so that the
/// kernel is not asked each time for one that it does not have. Whatever is left is readable still.
#[derive(Debug, Default)]
pub struct Pace {
    /// As many as come at once; none where that is not known.
    usual: usize,
    /// How many came this time, if that is being found out.
    now: Option<usize>,
    /// Times since it was found out.
    times: u8,
}

impl Pace {
    /// How often it is found out anew: each so many times.
    const OFTEN: u8 = 8;

    /// How many to read, now that there are some.
    pub fn begin(&mut self) -> usize {
        self.times += 1;
        if self.usual > 0 && self.times < Self::OFTEN {
            return self.usual;
        }
        (self.times, self.now) = (0, Some(0));
        usize::MAX
    }

    /// One more came.
    pub fn count(&mut self) {
        self.now = self.now.map(|now| now + 1);
    }

    /// There are no more.
    pub fn end(&mut self) {
        self.usual = self.now.take().unwrap_or(self.usual);
    }
}

/// Whether what is sent is answered before the call returns that sends it, as by the host itself with acknowledgements: then
/// both are told to the driver by one interrupt, and nobody waits between them.
#[derive(Debug, Default)]
pub struct Answers {
    are_there: bool,
    /// Whether that is being found out.
    is_asked: bool,
    /// Frames sent since.
    frames: u8,
}

impl Answers {
    /// How often it is found out anew where they were not there: each so many frames.
    const OFTEN: u8 = 8;

    /// Whether to look for one, now that a frame was sent.
    pub fn are_expected(&mut self) -> bool {
        self.frames = (self.frames + 1) % Self::OFTEN;
        self.is_asked = self.are_there || self.frames == 0;
        self.is_asked
    }

    /// The kernel had a frame, or none.
    pub fn note(&mut self, had_one: bool) {
        if std::mem::take(&mut self.is_asked) {
            self.are_there = had_one;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many are read at once, in so many times, of an interface that has `there` each time; and how often for nothing.
    fn read(pace: &mut Pace, there: usize, times: usize) -> (Vec<usize>, usize) {
        let mut in_vain = 0;
        let mut once = |_| {
            let most = pace.begin();
            let count = most.min(there);
            (0..count).for_each(|_| pace.count());
            if count < most {
                in_vain += 1;
                pace.end();
            }
            count
        };
        ((0..times).map(&mut once).collect(), in_vain)
    }

    #[test]
    fn as_many_are_read_as_came_at_once_and_that_is_found_out_now_and_then() {
        let mut pace = Pace::default();
        assert_eq!(read(&mut pace, 1, 80), (vec![1; 80], 10));
        let (counts, _) = read(&mut pace, 5, 17);
        assert!(counts[8..].iter().all(|count| *count == 5));
        let (counts, in_vain) = read(&mut pace, 1, 17);
        assert!(counts.iter().all(|count| *count == 1) && in_vain < 17);
        // Where there was none, the next time finds out.
        pace = Pace::default();
        assert_eq!(read(&mut pace, 0, 1), (vec![0], 1));
        assert_eq!(pace.begin(), usize::MAX);
    }

    #[test]
    fn answers_are_looked_for_where_they_were_and_now_and_then_elsewhere() {
        let mut answers = Answers::default();
        let mut looks = |are_there: bool| {
            let looks = answers.are_expected();
            answers.note(are_there);
            looks
        };
        assert_eq!((0..80).filter(|_| looks(false)).count(), 10);
        assert_eq!((0..80).filter(|_| looks(true)).count(), 73);
        assert!(looks(false));
        assert_eq!((0..80).filter(|_| looks(false)).count(), 10);
    }
}
