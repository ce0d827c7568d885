//! How large the balloon is to be.

/// What is known when it is decided, bytes each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Situation {
    /// Memory of the guest's.
    pub memory: u64,
    /// In the balloon already.
    pub inflated: u64,
    /// What this process holds of the host's memory.
    pub resident: u64,
    /// What it should hold at most.
    pub reservation: u64,
    /// What the guest could use without pain: free, or easily freed.
    pub available: u64,
}

/// The least that a guest keeps for itself, where its memory is small.
const LEAST: u64 = 16 << 20;

/// The part of its memory that a guest keeps for itself, where that is more.
const PART: u64 = 16;

impl Situation {
    /// Bytes for the balloon. The guest is pressed for what this process holds too much, and only as far as it has
    /// something to spare; where it has not, it gets back what it lacks.
    pub fn target(&self) -> u64 {
        let keeps = (self.memory / PART).max(LEAST);
        let most = self.memory.saturating_sub(keeps);
        let target = if self.available < keeps {
            self.inflated.saturating_sub(keeps - self.available)
        } else if self.resident > self.reservation {
            let spare = self.available - keeps;
            let excess = self.resident - self.reservation;
            self.inflated.saturating_add(excess.min(spare))
        } else {
            self.inflated
                .saturating_sub(self.reservation - self.resident)
        };
        target.min(most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn target(inflated: u64, resident: u64, available: u64) -> u64 {
        let situation = Situation {
            memory: 512 * MIB,
            inflated: inflated * MIB,
            resident: resident * MIB,
            reservation: 64 * MIB,
            available: available * MIB,
        };
        situation.target() / MIB
    }

    #[test]
    fn it_is_pressed_for_what_is_held_too_much() {
        assert_eq!(target(0, 164, 400), 100);
        assert_eq!(target(100, 164, 400), 200);
        assert_eq!(target(0, 64, 400), 0);
    }

    #[test]
    fn it_is_pressed_no_further_than_it_can_spare() {
        assert_eq!(target(0, 300, 100), 68);
        assert_eq!(target(68, 300, 32), 68);
        assert_eq!(
            target(470, 500, 500),
            480,
            "it keeps a part whatever it says"
        );
    }

    #[test]
    fn what_it_lacks_it_gets_back() {
        assert_eq!(target(100, 300, 12), 80);
        assert_eq!(target(10, 300, 0), 0);
        assert_eq!(
            target(100, 44, 400),
            80,
            "there is room up to the reservation"
        );
    }

    #[test]
    fn no_number_breaks_it() {
        for number in [0, 1, u64::MAX] {
            for other in [0, 1, u64::MAX] {
                let situation = Situation {
                    memory: number,
                    inflated: other,
                    resident: number,
                    reservation: other,
                    available: u64::MAX,
                };
                assert!(situation.target() <= number);
            }
        }
    }
}
