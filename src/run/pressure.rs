//! Memory of a machine that runs: as much as it booted with, or less. Its process fits a balloon, init announces that, and
//! the guest is waited for; where it cannot give what is asked for, everything is as before.

use std::thread::sleep;
use std::time::{Duration, Instant};

use super::reached::{Guest, REMEDY};
use crate::devices::virtio::balloon::Standing;
use crate::spec::units::show_size;
use crate::sys::lock::lock;
use crate::vmm::{Pressure, Tuning};

const MIB: u64 = 1 << 20;

/// How long a guest may take to find a driver, and to say what it could spare: a busy one on a software KVM, and room.
const ANSWER: Duration = Duration::from_secs(60);

/// How long it may be at a standstill, on its way to a size.
const STANDSTILL: Duration = Duration::from_secs(20);

/// How long it may take in all, and for each MiB besides: a software KVM needs a quarter of that.
const WAY: Duration = Duration::from_secs(60);
const MIB_OF_WAY: Duration = Duration::from_secs(1);

/// How often is looked.
const OFTEN: Duration = Duration::from_millis(20);

impl Guest {
    /// Has so many bytes of memory, and gives back beyond so many; what is not spoken of stays.
    pub(super) fn press(
        &self,
        memory: Option<u64>,
        reservation: Option<u64>,
    ) -> Result<(), String> {
        let before = *lock(&self.bounded);
        if let Some(bytes) = memory.filter(|bytes| *bytes != before) {
            self.bound(bytes, before)
                .inspect_err(|_| self.release(before))?;
            *lock(&self.bounded) = bytes;
        }
        if reservation.is_some() {
            let tuning = Tuning {
                reservation,
                ..Tuning::default()
            };
            self.tell(tuning)
                .and_then(|pressure| self.announce(pressure))
                .map_err(|why| format!("--memory-reservation: {why}"))
                .inspect_err(|_| self.release(before))?;
        }
        Ok(())
    }

    /// Has so many bytes of memory again, without waiting for it: what it is told, it does in its own time.
    fn release(&self, bytes: u64) {
        *lock(&self.bounded) = bytes;
        let tuning = Tuning {
            memory: Some(bytes),
            ..Tuning::default()
        };
        // A machine that is gone needs no memory.
        let _gone = self.tuner.press(tuning);
    }

    fn bound(&self, bytes: u64, before: u64) -> Result<(), String> {
        let tuning = Tuning {
            memory: Some(bytes),
            ..Tuning::default()
        };
        let pressure = self.tell(tuning);
        let pressure = pressure.and_then(|pressure| self.announce(pressure));
        pressure
            .and_then(|pressure| self.follow(pressure, before))
            .map_err(|why| format!("--memory: {why}"))
    }

    /// Waits until the guest has the size that it is told, or cannot have it.
    fn follow(&self, mut pressure: Pressure, before: u64) -> Result<(), String> {
        let begun = Instant::now();
        let (mut least, mut since, mut way) = (u64::MAX, begun, WAY);
        loop {
            match pressure.limit {
                None => return Ok(()),
                Some(Standing::Told { inflated, target }) => {
                    let left = inflated.abs_diff(target);
                    if left == 0 {
                        return Ok(());
                    }
                    if least == u64::MAX {
                        let mib = u32::try_from(left / MIB).unwrap_or(u32::MAX);
                        way = begun.elapsed() + WAY + MIB_OF_WAY.saturating_mul(mib);
                    }
                    if left < least {
                        (least, since) = (left, Instant::now());
                    }
                    if since.elapsed() > STANDSTILL || begun.elapsed() > way {
                        return Err(format!(
                            "its guest did not manage the last {}, and it has {} as before; end something in it, or {REMEDY}",
                            show_size(left.next_multiple_of(MIB)),
                            show_size(before)
                        ));
                    }
                }
                Some(Standing::Short { spare }) => {
                    let least = before.saturating_sub(spare).next_multiple_of(MIB);
                    return Err(format!(
                        "what runs in it needs {} of its {}; end something in it, or {REMEDY}",
                        show_size(least),
                        show_size(before)
                    ));
                }
                Some(Standing::Unheard) if begun.elapsed() > ANSWER => return Err(unheard()),
                Some(Standing::Unheard) => {}
            }
            sleep(OFTEN);
            pressure = self.tell(Tuning::default())?;
        }
    }

    /// Has the guest take the devices that it has not, and waits until it did.
    fn announce(&self, mut pressure: Pressure) -> Result<Pressure, String> {
        let devices = pressure.untaken.iter();
        devices.for_each(|device| self.asker.announce(*device));
        let begun = Instant::now();
        while !pressure.untaken.is_empty() {
            if begun.elapsed() > ANSWER {
                return Err(unheard());
            }
            sleep(OFTEN);
            pressure = self.tell(Tuning::default())?;
        }
        Ok(pressure)
    }

    fn tell(&self, tuning: Tuning) -> Result<Pressure, String> {
        let told = self.tuner.press(tuning);
        told.unwrap_or_else(|error| Err(format!("its machine is not to be told ({error})")))
    }
}

fn unheard() -> String {
    "its guest does not answer: it is busy, or hangs".to_owned()
}
