//! The serial port: a 16550 that only listens, for the kernel's messages.

use std::convert::Infallible;
use std::fmt;
use std::io::Write;

use vm_superio::serial::NoEvents;
use vm_superio::{Serial as Uart, Trigger};

use crate::kvm::bus::BusDevice;
use crate::kvm::line::Line;

/// COM1: first port, number of ports, interrupt line.
pub const PORT: u64 = 0x3f8;
/// Ports it takes.
pub const PORTS: u64 = 8;
/// Its interrupt line.
pub const GSI: u32 = 4;

/// Raises the port's interrupt.
#[derive(Debug)]
pub struct Interrupt(Box<dyn Line>);

impl Trigger for Interrupt {
    type E = Infallible;

    fn trigger(&self) -> Result<(), Self::E> {
        self.0.pulse();
        Ok(())
    }
}

/// A serial port that writes to `W`.
pub struct Serial<W: Write> {
    uart: Uart<Interrupt, NoEvents, W>,
}

impl<W: Write> Serial<W> {
    /// Writes what the guest says to `out`, and interrupts it by `line`.
    pub fn new(line: Box<dyn Line>, out: W) -> Self {
        Self {
            uart: Uart::new(Interrupt(line), out),
        }
    }
}

impl<W: Write + Send> BusDevice for Serial<W> {
    fn read(&mut self, offset: u64, data: &mut [u8]) {
        data.fill(0);
        if let (Some(first), Ok(offset)) = (data.first_mut(), u8::try_from(offset)) {
            *first = self.uart.read(offset);
        }
    }

    fn write(&mut self, offset: u64, data: &[u8]) {
        if let ([value], Ok(offset)) = (data, u8::try_from(offset)) {
            // A console that nobody reads any more loses messages, and that is all.
            let _lost = self.uart.write(offset, *value);
        }
    }
}

impl<W: Write> fmt::Debug for Serial<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Serial").finish_non_exhaustive()
    }
}
