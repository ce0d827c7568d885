//! How far long work is, on a terminal: a bar and the time that is left.

use std::io::{self, IsTerminal};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::compare::Progress;

/// A bar on stderr; nothing where that is no terminal.
pub struct Bar {
    bar: ProgressBar,
    what: String,
}

impl Bar {
    /// A bar that shows nothing yet.
    pub fn new() -> Self {
        let target = if io::stderr().is_terminal() {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        Self {
            bar: ProgressBar::with_draw_target(None, target),
            what: String::new(),
        }
    }

    /// Shows how far it is. Work of another kind begins anew, and its time is guessed anew.
    pub fn show(&mut self, progress: &Progress) {
        if self.what != progress.what {
            self.what.clone_from(&progress.what);
            self.bar.reset();
        }
        let template = match progress.all {
            Some(_) => "{msg} [{bar:30}] {pos}/{len}, {eta} left",
            None => "{msg} {pos}, {elapsed}",
        };
        // The templates are ours; one that is wrong shows the plain bar.
        if let Ok(style) = ProgressStyle::with_template(template) {
            self.bar.set_style(style.progress_chars("=> "));
        }
        if let Some(all) = progress.all {
            self.bar.set_length(all as u64);
        }
        self.bar.set_message(progress.what.clone());
        self.bar.set_position(progress.done as u64);
    }

    /// Leaves the terminal as it was.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
