//! The process of a machine, from its parent's side: one per machine, started from our own binary,
//! given open files and no path, and killed when the parent dies.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use super::console::Console;
use super::error::Error;
use super::uplink::{self, Order};
use crate::kvm::Kvm;
use crate::spec::VmSpec;
use crate::sys::seqpacket::Seqpacket;

/// The verb by which the binary becomes a machine. Not for people.
pub const MACHINE_VERB: &str = "machine";

/// A machine's process.
#[derive(Debug)]
pub struct Launched {
    process: Child,
    /// The leash.
    pub uplink: Seqpacket,
    /// What its kernel says.
    pub console: Console,
}

/// Opens what the machine needs and starts its process. `halted` is told when the guest halts.
pub fn launch(spec: &VmSpec, halted: impl Fn() + Send + 'static) -> Result<Launched, Error> {
    let kvm = Kvm::open()?;
    let kernel = open(&spec.kernel)?;
    let initrd = spec.initrd.as_deref().map(open).transpose()?;
    let disk = spec
        .disk
        .iter()
        .map(|piece| open(&piece.file))
        .collect::<Result<Vec<_>, _>>()?;
    let (console, console_writer) = io::pipe().map_err(Error::Process)?;
    let (uplink, theirs) = Seqpacket::pair().map_err(Error::Process)?;
    let process = spawn(theirs.into()).map_err(Error::Process)?;
    let mut files = vec![kvm.as_fd(), console_writer.as_fd(), kernel.as_fd()];
    files.extend(initrd.iter().map(AsFd::as_fd));
    files.extend(disk.iter().map(AsFd::as_fd));
    let console = Console::follow(console, spec.verbose_console, halted).map_err(Error::Process)?;
    let launched = Launched {
        process,
        uplink,
        console,
    };
    uplink::send(&launched.uplink, &Order::Build(spec.clone()), &files).map_err(Error::Process)?;
    Ok(launched)
}

fn open(path: &std::path::Path) -> Result<File, Error> {
    File::open(path).map_err(|source| Error::Open {
        path: path.to_owned(),
        source,
    })
}

fn spawn(uplink: OwnedFd) -> io::Result<Child> {
    Command::new("/proc/self/exe")
        .arg0("husk-machine")
        .arg(MACHINE_VERB)
        .env_clear()
        .stdin(Stdio::from(uplink))
        .stdout(Stdio::null())
        // A machine that was taken over writes nothing to the user's terminal.
        .stderr(Stdio::null())
        // The terminal's Ctrl-C is for the workload, not for the machine.
        .process_group(0)
        .spawn()
}

impl Launched {
    /// Ends the machine, whatever it is doing, and gives back its console's last lines.
    pub fn finish(mut self) -> Vec<String> {
        // Already dead is what we want.
        let _dead = self.process.kill();
        let _reaped = self.process.wait();
        self.console.finish()
    }
}
