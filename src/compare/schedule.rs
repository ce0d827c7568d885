//! The order of runs: walls take turns, and each round begins with another wall, so that what drifts (a
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

/// Turns, one after another.
#[derive(Debug)]
pub struct Schedule {
    walls: usize,
    length: Length,
    begun: Instant,
    done: usize,
}

/// One run to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turn {
    /// The wall, by number.
    pub wall: usize,
    /// Its round, from 1.
    pub round: u32,
    /// Turns before it.
    pub done: usize,
    /// Turns in all, if that is known.
    pub all: Option<usize>,
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

    /// Whether another round begins after so many.
    fn goes_on(&self, rounds: usize) -> bool {
        match self.length {
            Length::Rounds(planned) => rounds < planned as usize,
            Length::Time(time) => rounds < FEWEST as usize || self.begun.elapsed() < time,
        }
    }
}

impl Iterator for Schedule {
    type Item = Turn;

    fn next(&mut self) -> Option<Turn> {
        let rounds = self.done.checked_div(self.walls)?;
        let place = self.done % self.walls;
        if place == 0 && !self.goes_on(rounds) {
            return None;
        }
        let turn = Turn {
            wall: (place + rounds) % self.walls,
            round: u32::try_from(rounds).ok()?.checked_add(1)?,
            done: self.done,
            all: match self.length {
                Length::Rounds(planned) => Some(planned as usize * self.walls),
                Length::Time(_) => None,
            },
        };
        self.done += 1;
        Some(turn)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn walls_take_turns_and_each_begins_as_often() {
        let turns: Vec<_> = Schedule::begin(3, Length::Rounds(6)).collect();
        let walls: Vec<_> = turns.iter().map(|turn| turn.wall).collect();
        let rounds: Vec<_> = walls.chunks(3).collect();
        assert_eq!(rounds.len(), 6);
        assert_eq!(rounds[..3], [[0, 1, 2], [1, 2, 0], [2, 0, 1]]);
        for wall in 0..3 {
            assert_eq!(rounds.iter().filter(|round| round[0] == wall).count(), 2);
        }
        let last = turns.last().unwrap();
        assert_eq!((last.round, last.done, last.all), (6, 17, Some(18)));
    }

    #[test]
    fn little_time_is_enough_for_the_fewest() {
        let turns: Vec<_> = Schedule::begin(2, Length::Time(Duration::ZERO)).collect();
        assert_eq!(turns.len(), 2 * FEWEST as usize);
        assert_eq!(turns.last().unwrap().round, FEWEST);
        assert_eq!(turns[0].all, None);
    }
}
