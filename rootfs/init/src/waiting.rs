//! A command that came while everybody stands still for another ([`crate::halt`]): it begins when that is over.

use husk_init::job::{Process, Size};

/// One of them, and what the host wants of it meanwhile.
#[derive(Debug)]
pub struct Waiting {
    /// The number that the host gave its session.
    pub session: u32,
    /// What is to run.
    pub process: Box<Process>,
    /// Signals for it, in their order.
    pub signals: Vec<u8>,
}

impl Waiting {
    /// One that nobody has said anything to.
    pub fn new(session: u32, process: Box<Process>) -> Self {
        Self {
            session,
            process,
            signals: Vec::new(),
        }
    }

    /// Gives its terminal another size.
    pub fn resize(&mut self, size: Size) {
        if let Some(first) = &mut self.process.terminal {
            *first = size;
        }
    }
}
