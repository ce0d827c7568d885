//! What husk says when a wish failed: one line, what and where and why, printed once.

use std::fmt;
use std::io::{self, BufRead, Write};

use super::HUSK_FAILED;
use crate::run;
use crate::spec::sentence::sentence;

/// A failure on its way to the user.
#[derive(Debug)]
pub struct Failure {
    lines: Vec<String>,
    status: u8,
}

impl Failure {
    /// A failure of husk's own making, as a sentence.
    pub fn new(text: impl Into<String>) -> Self {
        Self {
            lines: vec![text.into()],
            status: HUSK_FAILED,
        }
    }

    /// The same, with another exit status.
    pub fn with_status(self, status: u8) -> Self {
        Self { status, ..self }
    }

    /// Prints each line as `husk: …`.
    pub fn print(&self) {
        for line in &self.lines {
            // Nobody is left to tell when stderr is gone.
            let _closed = writeln!(io::stderr(), "husk: {line}");
        }
    }

    /// The exit status.
    pub fn status(&self) -> u8 {
        self.status
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.lines.join("; "))
    }
}

impl From<run::Error> for Failure {
    fn from(error: run::Error) -> Self {
        Self {
            lines: error.lines(),
            status: error.status(),
        }
    }
}

impl From<crate::machines::Error> for Failure {
    fn from(error: crate::machines::Error) -> Self {
        Self::new(sentence(&error))
    }
}

impl From<crate::image::Error> for Failure {
    fn from(error: crate::image::Error) -> Self {
        Self::new(sentence(&error))
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::new(error.to_string())
    }
}

/// Asks whether all of `names` are to go, which `what` says; whoever says nothing says no.
pub fn confirm(what: &str, names: &[String]) -> Result<bool, Failure> {
    let list: String = names.iter().map(|name| format!("  {name}\n")).collect();
    say(&format!("{what}:\n{list}Go on? [y/N] "))?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    let agrees = matches!(answer.trim(), "y" | "Y" | "yes");
    if !agrees {
        say("\n")?;
    }
    Ok(agrees)
}

/// Writes `text` to stdout. A reader that is gone, as in `husk images | head`, is no failure.
pub fn say(text: &str) -> Result<(), Failure> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::new(format!("cannot write to stdout: {error}")))
        }
        _ => Ok(()),
    }
}
