//! The user's wish to end a comparison early, which ends it in order: what was measured is kept.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::sys::signals;

/// HUP, INT and TERM (signal(7)).
const SIGNALS: [u8; 3] = [1, 2, 15];

/// Whether somebody asked for the end.
#[derive(Debug, Clone, Default)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Takes the signals that ask for it from now on.
    pub fn listen() -> io::Result<Self> {
        let interrupt = Self::default();
        let flag = Arc::clone(&interrupt.0);
        signals::deliver(&SIGNALS, move |_| flag.store(true, Ordering::SeqCst))?;
        Ok(interrupt)
    }

    /// Whether somebody asked.
    pub fn is_requested(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

#[cfg(test)]
impl Interrupt {
    /// Somebody asked already.
    pub(super) fn requested() -> Self {
        Self(Arc::new(AtomicBool::new(true)))
    }
}
