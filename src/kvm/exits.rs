//! How often guests leave their vCPUs, and why: counted when somebody asked, free otherwise.
//!
//! Two sources. Exits that come back to this process are counted by [`Vcpu::run`]. All the others stay in
//! the kernel, which counts them itself and shows its counters in a file (Documentation/virt/kvm/api.rst,
//! KVM_GET_STATS_FD, since Linux 5.14); a KVM without it leaves the first source alone.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use kvm_ioctls::VcpuExit;
use vmm_sys_util::ioctl::ioctl;

use super::vcpu::Vcpu;
use super::vm::Vm;

/// `KVM_GET_STATS_FD`: `_IO(KVMIO, 0xce)`.
const GET_STATS_FD: libc::c_ulong = 0xaece;

/// Largest descriptor table that is read, bytes: some 60 counters take 4 KiB.
const MAX_DESCRIPTORS: usize = 64 << 10;

/// Bytes of `struct kvm_stats_desc` before the name.
const DESCRIPTOR: usize = 16;

/// What `flags` of a descriptor says of a counter that only grows, and counts things: type cumulative,
/// unit none (the low two digits).
const KIND: u32 = 0xff;

/// Exits that come back to this process, in the order of [`place`].
const NAMES: [&str; 9] = [
    "userspace_io_out",
    "userspace_io_in",
    "userspace_mmio_write",
    "userspace_mmio_read",
    "userspace_internal_error",
    "userspace_hlt",
    "userspace_irq_window",
    "userspace_interrupted",
    "userspace_other",
];

/// The counters of this process.
pub(super) type Userspace = [AtomicU64; NAMES.len()];

/// Counts one exit.
pub(super) fn count(counters: &Userspace, exit: &Result<VcpuExit<'_>, kvm_ioctls::Error>) {
    counters[place(exit)].fetch_add(1, Ordering::Relaxed);
}

fn place(exit: &Result<VcpuExit<'_>, kvm_ioctls::Error>) -> usize {
    match exit {
        Ok(VcpuExit::IoOut(..)) => 0,
        Ok(VcpuExit::IoIn(..)) => 1,
        Ok(VcpuExit::MmioWrite(..)) => 2,
        Ok(VcpuExit::MmioRead(..)) => 3,
        Ok(VcpuExit::InternalError) => 4,
        Ok(VcpuExit::Hlt) => 5,
        Ok(VcpuExit::IrqWindowOpen) => 6,
        Ok(VcpuExit::Intr) | Err(_) => 7,
        Ok(_) => 8,
    }
}

/// The counters of one machine.
#[derive(Debug)]
pub struct Exits {
    userspace: Arc<Userspace>,
    /// The kernel's, of the VM and of each vCPU.
    kernel: Vec<File>,
}

impl Exits {
    /// Counts the exits of these vCPUs from now on, as long as they exist.
    pub fn follow<'a>(vm: &Vm, vcpus: impl Iterator<Item = &'a mut Vcpu>) -> Self {
        let userspace = Arc::<Userspace>::default();
        let mut kernel = Vec::from_iter(open_counters(vm.fd()));
        for vcpu in vcpus {
            vcpu.count_exits(Arc::clone(&userspace));
            kernel.extend(open_counters(vcpu.fd()));
        }
        Self { userspace, kernel }
    }

    /// Every counter that is not zero, as it is now, while the guest may run on, by name: those of the kernel by its own names, summed over the
    /// vCPUs; those of this process as `userspace_…`.
    pub fn read(&self) -> BTreeMap<String, u64> {
        let mut sums = BTreeMap::new();
        for file in &self.kernel {
            // A file that cannot be read says nothing, like a KVM that has none.
            for (name, value) in read_counters(file).unwrap_or_default() {
                *sums.entry(name).or_default() += value;
            }
        }
        for (name, counter) in NAMES.iter().zip(self.userspace.iter()) {
            sums.insert((*name).to_owned(), counter.load(Ordering::Relaxed));
        }
        sums.retain(|_, value| *value > 0);
        sums
    }
}

fn open_counters(owner: &impl AsRawFd) -> Option<File> {
    // SAFETY: the request has no argument.
    let fd = unsafe { ioctl(owner, GET_STATS_FD) };
    // SAFETY: the kernel has just made the descriptor for us.
    (fd >= 0).then(|| unsafe { File::from_raw_fd(fd) })
}

/// Reads `struct kvm_stats_header`, the descriptors that it points to, and their values.
fn read_counters(file: &File) -> io::Result<Vec<(String, u64)>> {
    let mut header = [0; 24];
    file.read_exact_at(&mut header, 0)?;
    let [_flags, name_size, count, _id, descriptors, values] =
        std::array::from_fn(|index| word(&header, index * 4));
    let size = DESCRIPTOR + index(name_size);
    let mut table = vec![0; size.saturating_mul(index(count)).min(MAX_DESCRIPTORS)];
    file.read_exact_at(&mut table, descriptors.into())?;
    let mut counters = Vec::new();
    for descriptor in table.chunks_exact(size) {
        // Flags; then exponent and number of values, 16 bits each; then the place of the first.
        let is_counter = word(descriptor, 0) & KIND == 0 && word(descriptor, 4) == 1 << 16;
        if is_counter {
            let mut value = [0; 8];
            let place = u64::from(values) + u64::from(word(descriptor, 8));
            file.read_exact_at(&mut value, place)?;
            let name = descriptor[DESCRIPTOR..].split(|byte| *byte == 0).next();
            let name = String::from_utf8_lossy(name.unwrap_or_default()).into_owned();
            counters.push((name, u64::from_ne_bytes(value)));
        }
    }
    Ok(counters)
}

fn word(bytes: &[u8], at: usize) -> u32 {
    bytes[at..]
        .first_chunk()
        .map_or(0, |word| u32::from_ne_bytes(*word))
}

fn index(value: u32) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    /// A file as KVM would make one: each counter with its flags and how many values it has.
    fn counters(of: &[(&str, u32, u16, u64)]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        let count = u32::try_from(of.len()).unwrap();
        let values = 24 + count * 24;
        let mut bytes = Vec::new();
        for word in [0, 8, count, 24, 24, values] {
            bytes.extend(u32::to_ne_bytes(word));
        }
        for (place, (name, flags, many, _)) in (0_u32..).zip(of) {
            bytes.extend(flags.to_ne_bytes());
            bytes.extend([0, 0]);
            bytes.extend(many.to_ne_bytes());
            bytes.extend((place * 8).to_ne_bytes());
            bytes.extend([0; 4]);
            bytes.extend(format!("{name:\0<8}").into_bytes());
        }
        bytes.extend(of.iter().flat_map(|(.., value)| value.to_ne_bytes()));
        file.write_all(&bytes).unwrap();
        file
    }

    #[test]
    fn counters_are_summed_and_what_is_no_counter_is_left_out() {
        let first = [
            ("exits", 0, 1, 5),
            ("instant", 1, 1, 7),
            ("hist", 4, 2, 1),
            ("ns", 0x20, 1, 9),
            ("none", 0, 1, 0),
        ];
        let exits = Exits {
            userspace: Arc::default(),
            kernel: vec![counters(&first), counters(&[("exits", 0, 1, 2)])],
        };
        count(&exits.userspace, &Ok(VcpuExit::Hlt));
        let expected = [("exits".to_owned(), 7), ("userspace_hlt".to_owned(), 1)];
        assert_eq!(exits.read(), expected.into());
    }

    #[test]
    fn a_file_that_is_no_counters_is_not_believed() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&[0xff; 24]).unwrap();
        assert!(read_counters(&file).is_err());
    }
}
