//! Linear addresses to physical ones as a processor in long mode does it, permissions included
//! (Intel SDM 3A, 4.5 to 4.7). KVM's own translation does not say what a write may not touch, and
//! a write of the kernel's to a page that it shares must fault and not pass.

use std::sync::atomic::{AtomicU64, Ordering};

use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryMmap, VolatileMemory};

/// Bits of an entry of a page table.
const PRESENT: u64 = 1;
const WRITABLE: u64 = 1 << 1;
const USER: u64 = 1 << 2;
const ACCESSED: u64 = 1 << 5;
const DIRTY: u64 = 1 << 6;
const LARGE: u64 = 1 << 7;
/// The physical address in an entry: bits 51 to 12.
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

/// Bits of #PF's error code.
const CODE_PRESENT: u32 = 1;
const CODE_WRITE: u32 = 2;
const CODE_USER: u32 = 4;

/// #GP and #PF.
const GENERAL_PROTECTION: u8 = 13;
const PAGE_FAULT: u8 = 14;

/// An exception that the guest is to take instead of the instruction's effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// Which one.
    pub vector: u8,
    /// Its error code.
    pub code: u32,
    /// What CR2 becomes.
    pub address: Option<u64>,
}

impl Fault {
    /// #GP(0).
    pub const PROTECTION: Self = Self {
        vector: GENERAL_PROTECTION,
        code: 0,
        address: None,
    };
}

/// What an instruction does at an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// It reads.
    Read,
    /// It writes.
    Write,
}

/// The page tables, and who walks them.
#[derive(Debug, Clone, Copy)]
pub struct Paging {
    /// CR3.
    pub root: u64,
    /// 4, or 5 with CR4.LA57.
    pub levels: u32,
    /// CR0.WP: the kernel, too, respects read-only pages.
    pub write_protect: bool,
    /// Whether a program does it, and not the kernel.
    pub user: bool,
}

impl Paging {
    /// Where `linear` is, or why it must not be touched so.
    pub fn translate(
        &self,
        mem: &GuestMemoryMmap,
        linear: u64,
        access: Access,
    ) -> Result<GuestAddress, Fault> {
        let unused = 64 - (12 + 9 * self.levels);
        if (linear << unused).cast_signed() >> unused != linear.cast_signed() {
            return Err(Fault::PROTECTION);
        }
        let mut table = self.root & ADDRESS;
        let mut allowed = WRITABLE | USER;
        for level in (0..self.levels).rev() {
            let shift = 12 + 9 * level;
            let at = GuestAddress(table + (linear >> shift & 0x1ff) * 8);
            let entry: u64 = mem.read_obj(at).unwrap_or(0);
            if entry & PRESENT == 0 {
                return Err(self.fault(linear, access, 0));
            }
            allowed &= entry;
            if level == 0 || entry & LARGE != 0 && level <= 2 {
                if !self.may(access, allowed) {
                    return Err(self.fault(linear, access, CODE_PRESENT));
                }
                mark(mem, at, entry, access);
                let offset = (1 << shift) - 1;
                return Ok(GuestAddress(entry & ADDRESS & !offset | linear & offset));
            }
            table = entry & ADDRESS;
        }
        Err(self.fault(linear, access, 0))
    }

    fn may(&self, access: Access, allowed: u64) -> bool {
        let writable = allowed & WRITABLE != 0 || !self.user && !self.write_protect;
        (access == Access::Read || writable) && (allowed & USER != 0 || !self.user)
    }

    fn fault(&self, linear: u64, access: Access, code: u32) -> Fault {
        let write = if access == Access::Write {
            CODE_WRITE
        } else {
            0
        };
        let user = if self.user { CODE_USER } else { 0 };
        Fault {
            vector: PAGE_FAULT,
            code: code | write | user,
            address: Some(linear),
        }
    }
}

/// Notes in the last entry that its page was used. Another CPU that changes it at the same time wins.
fn mark(mem: &GuestMemoryMmap, at: GuestAddress, entry: u64, access: Access) {
    let bits = match access {
        Access::Read => ACCESSED,
        Access::Write => ACCESSED | DIRTY,
    };
    let Ok(slice) = mem.get_slice(at, 8) else {
        return;
    };
    if let (true, Ok(word)) = (entry | bits != entry, slice.get_atomic_ref::<AtomicU64>(0)) {
        let _lost = word.compare_exchange(entry, entry | bits, Ordering::SeqCst, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: u64 = 0x1000;
    const LINEAR: u64 = 0x7fff_1234_5678;

    /// Tables for one page at [`LINEAR`], whose last entry is `last`; the others allow everything.
    fn memory(last: u64) -> GuestMemoryMmap {
        let mem = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 0x10000)]).unwrap();
        for level in 0..4u64 {
            let table = ROOT + 0x1000 * (3 - level);
            let index = LINEAR >> (12 + 9 * level) & 0x1ff;
            let entry = if level == 0 {
                last
            } else {
                (table + 0x1000) | 7
            };
            mem.write_obj(entry, GuestAddress(table + index * 8))
                .unwrap();
        }
        mem
    }

    fn kernel() -> Paging {
        Paging {
            root: ROOT,
            levels: 4,
            write_protect: true,
            user: false,
        }
    }

    #[test]
    fn pages_are_found_and_marked() {
        let mem = memory(0x9000 | 3);
        let found = kernel().translate(&mem, LINEAR, Access::Write).unwrap();
        assert_eq!(found, GuestAddress(0x9678));
        let last = 0x4000 + (LINEAR >> 12 & 0x1ff) * 8;
        let entry: u64 = mem.read_obj(GuestAddress(last)).unwrap();
        assert_eq!(entry, 0x9000 | 3 | ACCESSED | DIRTY);
    }

    #[test]
    fn what_may_not_be_touched_faults_as_the_manual_says() {
        let user = Paging {
            user: true,
            ..kernel()
        };
        let free = Paging {
            write_protect: false,
            ..kernel()
        };
        let table = [
            (kernel(), 0, Access::Read, Some(0)),
            (kernel(), 0, Access::Write, Some(2)),
            (kernel(), 0x9000 | 1, Access::Read, None),
            (kernel(), 0x9000 | 1, Access::Write, Some(3)),
            (free, 0x9000 | 1, Access::Write, None),
            (user, 0x9000 | 3, Access::Read, Some(5)),
            (user, 0x9000 | 5, Access::Write, Some(7)),
            (user, 0x9000 | 7, Access::Write, None),
        ];
        for (paging, last, access, code) in table {
            let answer = paging.translate(&memory(last), LINEAR, access);
            let fault = code.map(|code| Fault {
                vector: PAGE_FAULT,
                code,
                address: Some(LINEAR),
            });
            assert_eq!(answer.err(), fault, "{last:#x} {access:?} {paging:?}");
        }
        let far = kernel().translate(&memory(0), 1 << 47, Access::Read);
        assert_eq!(far, Err(Fault::PROTECTION));
    }

    proptest::proptest! {
        #[test]
        fn no_tables_make_it_panic(
            words in proptest::collection::vec(proptest::prelude::any::<u64>(), 512),
            linear: u64,
            root: u64,
            levels in 4u32..6,
        ) {
            let mem = GuestMemoryMmap::<()>::from_ranges(&[(GuestAddress(0), 0x1000)]).unwrap();
            for (at, word) in (0..).step_by(8).zip(words) {
                mem.write_obj(word & 0xfff | 1, GuestAddress(at)).unwrap();
            }
            let paging = Paging { root: root & 0xfff, levels, ..kernel() };
            let _any = paging.translate(&mem, linear, Access::Write);
            let _any = Paging { root, ..paging }.translate(&mem, linear, Access::Read);
        }
    }
}
