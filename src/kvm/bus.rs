//! The bus: which device answers at which guest address.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

/// Something that answers reads and writes of its own address range.
///
/// A guest may ask for anything: an offset or a length that the device does not have reads as zeros
/// and writes to nowhere.
pub trait BusDevice: Send {
    /// Fills `data` from `offset` within the device's range.
    fn read(&mut self, offset: u64, data: &mut [u8]);
    /// Takes `data` at `offset` within the device's range.
    fn write(&mut self, offset: u64, data: &[u8]);
}

/// A device as the bus holds it.
pub type Shared = Arc<Mutex<dyn BusDevice>>;

/// An address range and the device in it.
struct Slot {
    len: u64,
    device: Shared,
}

/// Address ranges of one space (MMIO or ports), none overlapping.
#[derive(Default)]
pub struct Bus {
    slots: Slots,
    /// Devices that came while vCPUs ran; looked at last, so that nobody else waits for this lock.
    late: RwLock<Slots>,
}

type Slots = BTreeMap<u64, Slot>;

impl Bus {
    /// Puts `device` at `base..base + len`. The layout is husk's own, so an overlap is a mistake
    /// in husk.
    pub fn insert(&mut self, base: u64, len: u64, device: Shared) {
        insert(&mut self.slots, base, len, device);
    }

    /// Puts `device` there while vCPUs run. What is there from the beginning is found before it.
    pub fn insert_late(&self, base: u64, len: u64, device: Shared) {
        let mut late = self.late.write().unwrap_or_else(PoisonError::into_inner);
        insert(&mut late, base, len, device);
    }

    /// Reads from the device at `address`; all ones when there is none, as on a real bus.
    pub fn read(&self, address: u64, data: &mut [u8]) {
        match find(&self.slots, address) {
            Some((offset, device)) => lock(device).read(offset, data),
            None => match self.find_late(address) {
                Some((offset, device)) => lock(&device).read(offset, data),
                None => data.fill(0xff),
            },
        }
    }

    /// Writes to the device at `address`; to nowhere when there is none.
    pub fn write(&self, address: u64, data: &[u8]) {
        if let Some((offset, device)) = find(&self.slots, address) {
            lock(device).write(offset, data);
        } else if let Some((offset, device)) = self.find_late(address) {
            lock(&device).write(offset, data);
        }
    }

    #[cold]
    fn find_late(&self, address: u64) -> Option<(u64, Shared)> {
        let late = self.late.read().unwrap_or_else(PoisonError::into_inner);
        let (offset, device) = find(&late, address)?;
        Some((offset, Arc::clone(device)))
    }
}

fn insert(slots: &mut Slots, base: u64, len: u64, device: Shared) {
    let overlaps = slots.range(..base + len).next_back();
    let free = overlaps.is_none_or(|(other, slot)| other + slot.len <= base);
    assert!(free, "two devices at bus address {base:#x}");
    slots.insert(base, Slot { len, device });
}

fn find(slots: &Slots, address: u64) -> Option<(u64, &Shared)> {
    let (base, slot) = slots.range(..=address).next_back()?;
    let offset = address - base;
    (offset < slot.len).then_some((offset, &slot.device))
}

impl fmt::Debug for Bus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let late = self.late.read().unwrap_or_else(PoisonError::into_inner);
        let all = self.slots.iter().chain(late.iter());
        let ranges = all.map(|(base, slot)| (*base, base + slot.len));
        f.debug_map().entries(ranges).finish()
    }
}

/// A device whose thread panicked is still the guest's device: go on with what it has.
fn lock(device: &Shared) -> std::sync::MutexGuard<'_, dyn BusDevice + 'static> {
    device.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Ram([u8; 4]);

    impl BusDevice for Ram {
        fn read(&mut self, offset: u64, data: &mut [u8]) {
            data.fill(self.0[usize::try_from(offset).unwrap()]);
        }
        fn write(&mut self, offset: u64, data: &[u8]) {
            self.0[usize::try_from(offset).unwrap()] = data[0];
        }
    }

    #[test]
    fn addresses_find_their_device_and_gaps_read_as_ones() {
        let mut bus = Bus::default();
        bus.insert(0x1000, 4, Arc::new(Mutex::new(Ram([0; 4]))));
        bus.insert(0x1004, 4, Arc::new(Mutex::new(Ram([9; 4]))));
        bus.write(0x1002, &[5]);
        let reads = |expected: &[(u64, u8)]| {
            for (address, expected) in expected {
                let mut data = [0];
                bus.read(*address, &mut data);
                assert_eq!(data[0], *expected, "at {address:#x}");
            }
        };
        reads(&[(0x1002, 5), (0x1004, 9), (0x1008, 0xff), (0xfff, 0xff)]);
        bus.insert_late(0x1008, 4, Arc::new(Mutex::new(Ram([7; 4]))));
        bus.write(0x1009, &[3]);
        reads(&[
            (0x1002, 5),
            (0x1004, 9),
            (0x1008, 7),
            (0x1009, 3),
            (0x100c, 0xff),
        ]);
    }
}
