//! What of a frame's work the driver and the kernel behind a TAP interface leave to each other.

use std::os::fd::BorrowedFd;

use super::wire::{
    F_CSUM, F_GUEST_CSUM, F_GUEST_ECN, F_GUEST_TSO4, F_GUEST_TSO6, F_GUEST_USO4, F_GUEST_USO6,
    F_HOST_ECN, F_HOST_TSO4, F_HOST_TSO6, F_HOST_USO, F_MRG_RXBUF,
};
use crate::sys::tun::{self, Offload};

/// What is offered in any case.
const ALWAYS: u64 = F_CSUM
    | F_GUEST_CSUM
    | F_MRG_RXBUF
    | F_GUEST_TSO4
    | F_GUEST_TSO6
    | F_GUEST_ECN
    | F_HOST_TSO4
    | F_HOST_TSO6
    | F_HOST_ECN;

/// What a kernel since 6.2 has, too.
const DATAGRAMS: u64 = F_GUEST_USO4 | F_GUEST_USO6 | F_HOST_USO;

/// Which features the driver of a card behind the interface of `tap` may choose from. Until it has, nothing is left to it.
pub fn offered(tap: BorrowedFd<'_>) -> u64 {
    let datagrams = offload(ALWAYS | DATAGRAMS);
    let has_datagrams = tun::set_offload(tap, datagrams).is_ok();
    let _asked_already = tun::set_offload(tap, Offload::default());
    ALWAYS | if has_datagrams { DATAGRAMS } else { 0 }
}

/// What a driver with these features does with a frame, so that the kernel need not (5.1.3.1 has what needs what).
pub fn offload(features: u64) -> Offload {
    let has = |feature: u64| features & (F_GUEST_CSUM | feature) == F_GUEST_CSUM | feature;
    let (tcp4, tcp6) = (has(F_GUEST_TSO4), has(F_GUEST_TSO6));
    Offload {
        checksums: has(F_GUEST_CSUM),
        tcp4,
        tcp6,
        congestion: has(F_GUEST_ECN) && (tcp4 || tcp6),
        // The kernel knows both versions or none.
        udp: has(F_GUEST_USO4) && has(F_GUEST_USO6),
    }
}
