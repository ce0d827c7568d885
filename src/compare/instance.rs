//! Idle instances: husk's probe, waiting, in the subject's image behind a wall.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Stdio};
use std::thread;

use super::comparison::Bench;
use super::error::Error;
use super::launch::{Wall, Workload, ask_to_end, command, last_line};

/// Instances, ended when dropped.
#[derive(Default)]
pub struct Fleet {
    instances: Vec<Child>,
}

impl Drop for Fleet {
    fn drop(&mut self) {
        thread::scope(|scope| {
            for child in &mut self.instances {
                scope.spawn(|| ask_to_end(child));
            }
        });
    }
}

impl Fleet {
    /// How many are up.
    pub fn len(&self) -> usize {
        self.instances.len()
    }

    /// The processes that husk was started as.
    pub fn processes(&self) -> impl Iterator<Item = u32> {
        self.instances.iter().map(Child::id)
    }

    /// Starts one more, and waits until it says that it is up.
    pub fn start(&mut self, bench: &Bench<'_>, wall: &Wall) -> Result<(), Error> {
        let waiting = Workload {
            command: vec!["--wait".into()],
            ..bench.request.workload.for_probe()
        };
        let mut command = command(wall, &waiting, &[OsStr::new("--probe")]);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().map_err(Error::Harness)?;
        let stdout = child.stdout.take();
        let number = self.instances.len() + 1;
        self.instances.push(child);
        let mut line = String::new();
        let is_up = stdout.is_some_and(|stdout| {
            let read = BufReader::new(stdout).read_line(&mut line);
            read.is_ok() && line == "ready\n"
        });
        if bench.interrupt.is_requested() {
            return Err(Error::Interrupted);
        }
        if is_up {
            return Ok(());
        }
        let failed = self.instances.pop();
        Err(Error::Instance {
            wall: wall.name.clone(),
            number,
            message: failed.map(last_words).unwrap_or_default(),
        })
    }
}

fn last_words(mut child: Child) -> String {
    /// More than this is no last word.
    const MOST: u64 = 4096;
    ask_to_end(&mut child);
    let mut text = Vec::new();
    let stderr = child.stderr.take();
    // What cannot be read is not told.
    let _unread = stderr.map(|stderr| stderr.take(MOST).read_to_end(&mut text));
    last_line(&text)
}
