//! What moves frames between the two queues and whatever is at the other end.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use crate::devices::virtio::chain::Chain;
use crate::devices::virtio::device::{Active, Cause};
use crate::kvm::memory::Mem;

/// Receive and transmit (virtio 1.2, 5.1.2).
pub const RECEIVE: usize = 0;
pub const TRANSMIT: usize = 1;

/// Frames moved in one direction before the other has its turn.
pub const TURN: usize = 64;

/// Feature bits (virtio 1.2, 5.1.3): the driver may leave checksums to us; it takes unfinished ones; frames may
/// take several buffers.
pub const F_CSUM: u64 = 1;
pub const F_GUEST_CSUM: u64 = 1 << 1;
pub const F_MRG_RXBUF: u64 = 1 << 15;

/// There is a queue for commands; there are several queues either way.
pub const F_CTRL_VQ: u64 = 1 << 17;
pub const F_MQ: u64 = 1 << 22;

/// Frames that are several packets: of TCP over IPv4 and IPv6, with congestion told, and of UDP; what the driver takes,
/// and what it may send.
pub const F_GUEST_TSO4: u64 = 1 << 7;
pub const F_GUEST_TSO6: u64 = 1 << 8;
pub const F_GUEST_ECN: u64 = 1 << 9;
pub const F_GUEST_USO4: u64 = 1 << 54;
pub const F_GUEST_USO6: u64 = 1 << 55;
pub const F_HOST_TSO4: u64 = 1 << 11;
pub const F_HOST_TSO6: u64 = 1 << 12;
pub const F_HOST_ECN: u64 = 1 << 13;
pub const F_HOST_USO: u64 = 1 << 56;

/// What went one way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moved {
    /// How many frames.
    pub count: usize,
    /// Whether the driver wants to be interrupted for them.
    pub is_awaited: bool,
}

/// What stands between the queues and the other end. It is on the device's thread while the driver is ready.
pub trait Wire: Send + 'static {
    /// Which features the driver may choose from.
    fn features(&self) -> u64;
    /// The driver has chosen; its buffers are in `mem`.
    fn begin(&mut self, features: u64, mem: &Mem) -> io::Result<()>;
    /// Takes one frame that the driver sends. What no network takes is lost, as on any.
    fn send(&mut self, chain: &Chain, active: &Active) -> io::Result<()>;
    /// Gives the driver what the other end has, a [`TURN`] at most.
    fn receive(&mut self, active: &mut Active) -> io::Result<Moved>;
    /// Whether a frame waits for buffers of the driver's.
    fn is_stuck(&self) -> bool;
    /// Puts back what was taken for frames that wait.
    fn put_back(&mut self, active: &mut Active);
    /// Whether the other end is waited for, too, and not the driver alone.
    fn listens(&self) -> bool {
        !self.is_stuck()
    }
    /// Readable when the other end has something.
    fn source(&self) -> BorrowedFd<'_>;
    /// Takes what the other end has, or notes whether that [is readable](Wire::source); never waits.
    fn poll(&mut self, is_readable: bool) -> io::Result<()>;
    /// How long to wait for [`Wire::source`] before [`Wire::poll`] has something to do all the same.
    fn patience(&self) -> Option<Duration> {
        None
    }

    /// Moves frames until neither side has any, or the driver has no buffers. The driver is told of it.
    fn run(&mut self, active: &mut Active) -> io::Result<()> {
        loop {
            let sent = transmit(self, active)?;
            let received = self.receive(active)?;
            // Once for both: an answer is often there by now.
            if sent.is_awaited || received.is_awaited {
                active.irq.signal(Cause::Queue);
            }
            if sent.count < TURN && received.count < TURN && !rearm(self, active)? {
                return Ok(());
            }
        }
    }
}

/// Takes what the driver sends.
fn transmit(wire: &mut (impl Wire + ?Sized), active: &mut Active) -> io::Result<Moved> {
    let mut count = 0;
    while count < TURN
        && let Some(chain) = active.pop(TRANSMIT)?
    {
        count += 1;
        wire.send(&chain, active)?;
        active.give_back(TRANSMIT, chain.head, 0)?;
    }
    let is_awaited = count > 0 && active.is_awaited(TRANSMIT)?;
    Ok(Moved { count, is_awaited })
}

/// Asks to be notified of what is not there; true when it has come meanwhile.
fn rearm(wire: &(impl Wire + ?Sized), active: &mut Active) -> io::Result<bool> {
    let sends = active.rearm(TRANSMIT)?;
    Ok(sends || wire.is_stuck() && active.rearm(RECEIVE)?)
}
