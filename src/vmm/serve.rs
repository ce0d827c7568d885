//! The process of a machine, from the inside: takes one order with its files, builds, runs, and
//! ends with its parent.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;

use rustix::process::{Signal, set_parent_process_death_signal};

use super::error::{Error, sentence};
use super::machine::{Parts, Stopped, build};
use super::uplink::{self, Order, Report};
use crate::devices::virtio::vsock::Connector;
use crate::kvm::Kvm;
use crate::spec::VmSpec;
use crate::sys::seqpacket::Seqpacket;

/// Runs the machine that the parent orders over stdin. Reports go the same way; nobody reads the
/// exit status.
pub fn serve() -> ExitCode {
    match io::stdin().as_fd().try_clone_to_owned() {
        Ok(stdin) => {
            let uplink = Arc::new(Seqpacket::from(stdin));
            let report = run(&uplink);
            // The parent may be gone; then nobody needs to know.
            let _gone = uplink::send(&uplink, &report, &[]);
            ExitCode::SUCCESS
        }
        Err(_) => ExitCode::FAILURE,
    }
}

fn run(uplink: &Arc<Seqpacket>) -> Report {
    let failed = |error: &Error| Report::Failed {
        text: sentence(error),
    };
    let ordered = die_with_parent().and_then(|()| uplink::receive::<Order>(uplink));
    let (spec, files) = match ordered {
        Ok(Some((Order::Build(spec), files))) => (spec, files),
        Ok(None) => {
            return Report::Stopped {
                reason: "no order came".to_owned(),
            };
        }
        Err(error) => return failed(&Error::Process(error)),
    };
    match run_machine(uplink, &spec, files) {
        Ok(Stopped::ByGuest(reason)) => Report::Stopped {
            reason: reason.to_owned(),
        },
        Ok(Stopped::Failed(error)) | Err(error) => failed(&error),
    }
}

fn run_machine(
    uplink: &Arc<Seqpacket>,
    spec: &VmSpec,
    files: Vec<OwnedFd>,
) -> Result<Stopped, Error> {
    let parts = sort_files(spec, files, Box::new(Uplink(Arc::clone(uplink))))?;
    let machine = build(spec, parts)?;
    uplink::send(uplink, &Report::Built, &[]).map_err(Error::Process)?;
    watch(Arc::clone(uplink)).map_err(Error::Process)?;
    machine.start()?.wait()
}

/// The kernel ends us when the parent dies, even before the leash is watched.
fn die_with_parent() -> io::Result<()> {
    Ok(set_parent_process_death_signal(Some(Signal::KILL))?)
}

/// Ends this process when the other end of the leash closes.
fn watch(uplink: Arc<Seqpacket>) -> io::Result<()> {
    thread::Builder::new()
        .name("leash".to_owned())
        .spawn(move || {
            while let Ok(Some(_)) = uplink.receive() {}
            std::process::exit(0);
        })?;
    Ok(())
}

/// The order's files: KVM, console, kernel, and one for each piece of the disk.
fn sort_files(
    spec: &VmSpec,
    files: Vec<OwnedFd>,
    connector: Box<dyn Connector>,
) -> Result<Parts, Error> {
    let mut files = files.into_iter();
    let mut next = || {
        files
            .next()
            .ok_or_else(|| Error::Process(io::ErrorKind::InvalidInput.into()))
    };
    let (kvm, console, kernel) = (next()?, next()?, next()?);
    let disk: Result<Vec<_>, Error> = spec
        .disk
        .iter()
        .map(|piece| Ok((File::from(next()?), piece.len)))
        .collect();
    Ok(Parts {
        kvm: Kvm::adopt(kvm)?,
        console: console.into(),
        kernel: kernel.into(),
        disk: disk?,
        connector,
    })
}

/// Hands the host's end of each connection to the parent.
struct Uplink(Arc<Seqpacket>);

impl Connector for Uplink {
    fn connect(&self, port: u32) -> io::Result<UnixStream> {
        let (ours, theirs) = UnixStream::pair()?;
        uplink::send(&self.0, &Report::Connected { port }, &[theirs.as_fd()])?;
        Ok(ours)
    }
}
