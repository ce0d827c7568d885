//! This process's own terminal, lent to a workload that runs on one in its machine.

use std::io;
use std::sync::mpsc::{Receiver, channel};
use std::thread::{self, JoinHandle};

use crate::sessions::{Answer, SessionId};
use crate::sys::terminal::{self, Raw};
use crate::vmm::Asker;

/// Our terminal, given back at the latest when this is dropped.
#[derive(Debug)]
pub struct Screen(Option<JoinHandle<()>>);

impl Screen {
    /// Lends it as soon as the workload runs: before, what is typed is for husk, and Ctrl-C ends a boot.
    /// It is raw if the workload takes what is typed.
    pub fn lend(asker: Asker, types: bool) -> io::Result<Self> {
        let (sender, answers) = channel();
        asker.attend(sender);
        let thread = thread::Builder::new().name("screen".to_owned());
        let lent = thread.spawn(move || show(&asker, types, &answers))?;
        Ok(Self(Some(lent)))
    }
}

impl Drop for Screen {
    /// The conversation is over, so the last answer has come.
    fn drop(&mut self) {
        if let Some(lent) = self.0.take() {
            // A panic there has been told already.
            let _told = lent.join();
        }
    }
}

fn show(asker: &Asker, types: bool, answers: &Receiver<Answer>) {
    if !matches!(answers.recv(), Ok(Answer::Started)) {
        return;
    }
    // A terminal that is gone need not be raw.
    let raw = types.then(|| Raw::enter(&io::stdin()));
    // It may have another size by now than the one that the workload began with.
    resize(asker);
    while answers.recv().is_ok() {}
    drop(raw);
}

/// Tells the workload's terminal the size of ours.
pub fn resize(asker: &Asker) {
    if let Some(size) = terminal::size() {
        asker.resize(SessionId::WORKLOAD, size);
    }
}
