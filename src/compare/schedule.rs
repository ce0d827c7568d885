//! The order of runs: walls take turns, and each turn begins with another wall, so that what drifts (a
//! processor that warms up, a neighbour that wakes) meets all of them alike.

use std::time::{Duration, Instant};

/// How long a comparison goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Length {
    /// This many rounds, each with a run behind every wall.
    Rounds(u32),
    /// Rounds until this much time has passed, but at least as many as [`FEWEST`].
    Time(Duration),
}

/// Rounds below which nothing can be said.
pub const FEWEST: u32 = 5;

/// Rounds under way.
#[derive(Debug)]
pub struct Schedule {
    walls: usize,
    length: Length,
    begun: Instant,
    done: u32,
}

impl Schedule {
    /// A schedule for so many walls, that begins now.
    pub fn begin(walls: usize, length: Length) -> Self {
        Self {
            walls,
            length,
            begun: Instant::now(),
            done: 0,
        }
    }

    /// The walls of the next round, in their order, by number; nothing when the time is over.
    pub fn next_round(&mut self) -> Option<Vec<usize>> {
        let more = match self.length {
            Length::Rounds(rounds) => self.done < rounds,
            Length::Time(time) => self.done < FEWEST || self.begun.elapsed() < time,
        };
        let first = self.done as usize;
        self.done += u32::from(more);
        more.then(|| {
            (0..self.walls)
                .map(|wall| (wall + first) % self.walls)
                .collect()
        })
    }

    /// Rounds begun.
    pub fn rounds(&self) -> u32 {
        self.done
    }

    /// Rounds in all, if that is known.
    pub fn planned(&self) -> Option<u32> {
        match self.length {
            Length::Rounds(rounds) => Some(rounds),
            Length::Time(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn walls_take_turns_and_each_begins_as_often() {
        let mut schedule = Schedule::begin(3, Length::Rounds(6));
        let rounds: Vec<_> = std::iter::from_fn(|| schedule.next_round()).collect();
        assert_eq!(rounds.len(), 6);
        assert_eq!(rounds[..3], [vec![0, 1, 2], vec![1, 2, 0], vec![2, 0, 1]]);
        for wall in 0..3 {
            assert_eq!(rounds.iter().filter(|round| round[0] == wall).count(), 2);
        }
    }

    #[test]
    fn little_time_is_enough_for_the_fewest() {
        let mut schedule = Schedule::begin(2, Length::Time(Duration::ZERO));
        while schedule.next_round().is_some() {}
        assert_eq!(schedule.rounds(), FEWEST);
    }
}
