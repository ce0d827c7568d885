//! What KVM refuses, and what that means.

use std::io;

use thiserror::Error;

/// Why KVM does not do what a machine needs.
#[derive(Debug, Error)]
pub enum Error {
    /// The host has no KVM.
    #[error(
        "there is no /dev/kvm: load the module (modprobe kvm_amd, or kvm_intel), or enable \
         virtualization in the firmware; in a virtual machine, ask for nested virtualization"
    )]
    Absent,
    /// This user may not use it.
    #[error(
        "no permission on /dev/kvm: add your user to the group that owns it \
         (usermod -aG kvm $USER, then log in again)"
    )]
    Forbidden,
    /// It is there and cannot be opened.
    #[error("cannot open /dev/kvm")]
    Open(#[source] io::Error),
    /// Another API than the only one there ever was.
    #[error("/dev/kvm speaks API {0}, husk speaks API 12: update the host kernel")]
    Api(i32),
    /// More CPUs than this KVM gives.
    #[error("{asked} CPUs are more than this KVM allows: at most --cpus {most}")]
    TooManyCpus {
        /// How many were asked for.
        asked: u32,
        /// How many there can be.
        most: usize,
    },
    /// Guest memory cannot be mapped.
    #[error("cannot map {} MiB of guest memory: ask for less --memory", bytes >> 20)]
    Memory {
        /// How much was asked for.
        bytes: u64,
        /// Why.
        source: io::Error,
    },
    /// An ioctl failed.
    #[error("KVM refuses {what}")]
    Ioctl {
        /// The ioctl and its object.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
    /// KVM gave an instruction back, and the assist does not know it either.
    #[error("the guest executed an instruction that this KVM cannot run: {0}")]
    Instruction(String),
    /// KVM gave up for a reason of its own.
    #[error("KVM stopped the guest: {0}")]
    Stopped(String),
}

/// Turns the error of one ioctl into ours.
pub(super) fn refused(what: &'static str) -> impl FnOnce(kvm_ioctls::Error) -> Error {
    move |error| Error::Ioctl {
        what,
        source: io::Error::from_raw_os_error(error.errno()),
    }
}
