//! `/dev/kvm` as the host gives it.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};

use kvm_ioctls::Cap;

use super::error::Error;

/// Where it is.
const PATH: &str = "/dev/kvm";

/// The stable API (Documentation/virt/kvm/api.rst, KVM_GET_API_VERSION).
const API_VERSION: i32 = 12;

/// The host's KVM.
pub struct Kvm {
    pub(super) inner: kvm_ioctls::Kvm,
}

/// Something that a machine needs of KVM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capability {
    /// Its name in the API.
    pub name: &'static str,
    /// Whether this KVM has it.
    pub present: bool,
}

impl Kvm {
    /// Opens `/dev/kvm`.
    pub fn open() -> Result<Self, Error> {
        let file = OpenOptions::new().read(true).write(true).open(PATH);
        let file = file.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Error::Absent,
            io::ErrorKind::PermissionDenied => Error::Forbidden,
            // A device node without a driver behind it.
            _ if error.raw_os_error() == Some(libc::ENODEV) => Error::Absent,
            _ => Error::Open(error),
        })?;
        Self::adopt(file.into())
    }

    /// Takes a descriptor that somebody else opened.
    pub fn adopt(fd: OwnedFd) -> Result<Self, Error> {
        // SAFETY: the descriptor is owned, and given away here; the new owner closes it.
        let inner = unsafe { kvm_ioctls::Kvm::from_raw_fd(fd.into_raw_fd()) };
        match inner.get_api_version() {
            API_VERSION => Ok(Self { inner }),
            other => Err(Error::Api(other)),
        }
    }

    /// Most vCPUs of one machine.
    pub fn max_vcpus(&self) -> usize {
        self.inner.get_max_vcpus()
    }

    /// What a machine needs, and whether it is there.
    pub fn capabilities(&self) -> Vec<Capability> {
        let needed = [
            ("KVM_CAP_IRQCHIP", Cap::Irqchip),
            ("KVM_CAP_USER_MEMORY", Cap::UserMemory),
            ("KVM_CAP_IRQFD", Cap::Irqfd),
            ("KVM_CAP_IOEVENTFD", Cap::Ioeventfd),
            ("KVM_CAP_IMMEDIATE_EXIT", Cap::ImmediateExit),
            ("KVM_CAP_VCPU_EVENTS", Cap::VcpuEvents),
        ];
        let ask = |(name, cap)| Capability {
            name,
            present: self.inner.check_extension(cap),
        };
        needed.map(ask).into()
    }
}

impl AsFd for Kvm {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the descriptor is open as long as `self.inner`, which the result borrows.
        unsafe { BorrowedFd::borrow_raw(self.inner.as_raw_fd()) }
    }
}

impl std::fmt::Debug for Kvm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Kvm").field(&self.inner.as_raw_fd()).finish()
    }
}
