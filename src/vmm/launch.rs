//! The process of a machine, from its parent's side: one per machine, started from our own binary,
//! given open files and no path, and killed when the parent dies.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::console::Console;
use super::error::Error;
use super::freezer::Freezer;
use super::parts::HostCable;
use super::tuning::Tuner;
use super::uplink::{self, Order};
use crate::kvm::Kvm;
use crate::net::Plugs;
use crate::spec::{Share, VmSpec, Written};
use crate::sys::seqpacket::{MAX_FILES, Seqpacket};

/// The verb by which the binary becomes a machine. Not for people.
pub const MACHINE_VERB: &str = "machine";

/// What the process of a machine calls itself (`argv[0]`).
pub const MACHINE_NAME: &str = "husk-machine";

/// A machine's process that has been told to make a VM, and waits to be told what will run in it.
#[derive(Debug)]
pub struct Launched {
    process: Process,
    uplink: Seqpacket,
}

/// A machine's process that was ordered to build its machine, and runs it.
#[derive(Debug)]
pub struct Ordered {
    process: Process,
    /// The leash.
    pub uplink: Seqpacket,
    /// What its kernel says.
    console: Console,
}

/// A process that ends when it is let go of.
#[derive(Debug)]
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // Already dead is what we want.
        let _dead = self.0.kill();
        let _reaped = self.0.wait();
    }
}

/// Opens KVM, and starts the process of a machine.
pub fn launch() -> Result<Launched, Error> {
    let kvm = Kvm::open()?;
    let (uplink, theirs) = Seqpacket::pair().map_err(Error::Process)?;
    let process = Process(spawn(theirs.into()).map_err(Error::Process)?);
    uplink::send(&uplink, &Order::Create, &[kvm.as_fd()]).map_err(Error::Process)?;
    Ok(Launched { process, uplink })
}

impl Launched {
    /// What halts the machine, while it runs.
    pub fn freezer(&self) -> io::Result<Freezer> {
        let pidfd = pidfd_open(Pid::from_child(&self.process.0), PidfdFlags::empty())?;
        Ok(Freezer::of(pidfd))
    }

    /// What changes the machine, while it runs.
    pub fn tuner(&self) -> io::Result<Tuner> {
        self.uplink.try_clone().map(Tuner::over)
    }

    /// What changes its networks, while it runs.
    pub fn plugs(&self) -> io::Result<Plugs> {
        let uplink = self.uplink.try_clone()?;
        Ok(Plugs::over(uplink, |rewiring| {
            serde_json::to_vec(&Order::Rewire(rewiring))
        }))
    }

    /// Hands over the sockets of published ports, in the order of the spec's.
    pub fn listen(&self, doors: &[OwnedFd]) -> Result<(), Error> {
        for doors in doors.chunks(MAX_FILES) {
            let files: Vec<_> = doors.iter().map(AsFd::as_fd).collect();
            self.order(&Order::Listen, &files)?;
        }
        Ok(())
    }

    /// Hands over a cable to a network of the host's, the next one of the machine's.
    pub fn wire(&self, (tap, vhost): &HostCable) -> Result<(), Error> {
        let files = [Some(tap), vhost.as_ref()].into_iter().flatten();
        let files: Vec<_> = files.map(AsFd::as_fd).collect();
        self.order(&Order::Wire, &files)
    }

    /// Hands over the file for what the guest tries to reach.
    pub fn note(&self, attempts: &File) -> Result<(), Error> {
        self.order(&Order::Note, &[attempts.as_fd()])
    }

    /// Hands over the connections to the switches of its networks, in the order of the spec's.
    pub fn plug(&self, trunks: &[OwnedFd]) -> Result<(), Error> {
        if trunks.is_empty() {
            return Ok(());
        }
        let files: Vec<_> = trunks.iter().map(AsFd::as_fd).collect();
        self.order(&Order::Plug, &files)
    }

    /// Opens what the machine of `spec` needs, and has it built. `halted` is told when the guest halts.
    pub fn build(
        self,
        spec: &VmSpec,
        halted: impl Fn() + Send + 'static,
    ) -> Result<Ordered, Error> {
        let kernel = open(&spec.kernel)?;
        let initrd = spec.initrd.as_deref().map(open).transpose()?;
        let disk = spec
            .disk
            .iter()
            .map(|piece| open(&piece.file))
            .collect::<Result<Vec<_>, _>>()?;
        let written = spec.written.as_ref().map(open_writable).transpose()?;
        let (console, console_writer) = io::pipe().map_err(Error::Process)?;
        let console =
            Console::follow(console, spec.verbose_console, halted).map_err(Error::Process)?;
        self.send_shares(spec)?;
        let mut files = vec![console_writer.as_fd(), kernel.as_fd()];
        files.extend(initrd.iter().map(AsFd::as_fd));
        files.extend(disk.iter().map(AsFd::as_fd));
        files.extend(written.iter().map(AsFd::as_fd));
        self.order(&Order::Build(Box::new(spec.clone())), &files)?;
        Ok(Ordered {
            process: self.process,
            uplink: self.uplink,
            console,
        })
    }

    /// Opens the folders and files that the guest will see, by name only, and hands them over.
    fn send_shares(&self, spec: &VmSpec) -> Result<(), Error> {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        for shares in spec.shares.chunks(MAX_FILES) {
            let open = |share: &Share| openat(CWD, &share.path, flags, Mode::empty());
            let files = shares.iter().map(|share| {
                open(share).map_err(|errno| Error::Open {
                    path: share.path.clone(),
                    source: errno.into(),
                })
            });
            let files = files.collect::<Result<Vec<_>, _>>()?;
            let files: Vec<_> = files.iter().map(AsFd::as_fd).collect();
            self.order(&Order::Share, &files)?;
        }
        Ok(())
    }

    fn order(&self, order: &Order, files: &[BorrowedFd<'_>]) -> Result<(), Error> {
        match uplink::send(&self.uplink, order, files) {
            // It has failed already: its report is on the way, and says why.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            sent => sent.map_err(Error::Process),
        }
    }
}

impl Ordered {
    /// Ends it, whatever it is doing, and gives back its console's last lines.
    pub fn finish(self) -> Vec<String> {
        drop(self.process);
        self.console.finish()
    }
}

fn open(path: &std::path::Path) -> Result<File, Error> {
    File::open(path).map_err(|source| Error::Open {
        path: path.to_owned(),
        source,
    })
}

fn open_writable(disk: &Written) -> Result<File, Error> {
    let opened = File::options().read(true).write(true).open(&disk.file);
    opened.map_err(|source| Error::Open {
        path: disk.file.clone(),
        source,
    })
}

fn spawn(uplink: OwnedFd) -> io::Result<Child> {
    Command::new("/proc/self/exe")
        .arg0(MACHINE_NAME)
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
