//! The process of a machine, from the inside: takes its orders with their files, builds, runs, and
//! ends with its parent.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use husk_init::frame;
use rustix::process::{Signal, set_parent_process_death_signal};

use super::balloons::Balloons;
use super::build::{build, panicked};
use super::error::Error;
use super::machine::{Patch, Stopped};
use super::parts::{misordered, next_order, take_parts};
use super::tuning::{Governor, press};
use super::uplink::{self, MAX_CONNECTIONS, Order, Report};
use super::vcpu_thread::VcpuThread;
use crate::devices::virtio::vsock::Connector;
use crate::kvm::{Exits, Kvm, Vm};
use crate::net::Change;
use crate::spec::sentence::sentence;
use crate::sys::panics;
use crate::sys::seqpacket::Seqpacket;

/// Runs the machine that the parent orders over stdin. Reports go the same way; nobody reads the
/// exit status.
pub fn serve() -> ExitCode {
    match io::stdin().as_fd().try_clone_to_owned() {
        Ok(stdin) => {
            let uplink = Arc::new(Seqpacket::from(stdin));
            report_panics(Arc::clone(&uplink));
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
    match run_machine(uplink) {
        Ok(Stopped::ByGuest(reason)) => Report::Stopped {
            reason: reason.to_owned(),
        },
        Ok(Stopped::Failed(error)) | Err(error) => failed(&error),
    }
}

fn run_machine(uplink: &Arc<Seqpacket>) -> Result<Stopped, Error> {
    die_with_parent().map_err(Error::Process)?;
    let (Order::Create, files) = next_order(uplink)? else {
        return Err(misordered());
    };
    let kvm = Kvm::adopt(files.into_iter().next().ok_or_else(misordered)?)?;
    // KVM computes little for a VM, and waits for some 10 ms: the thread that will be vCPU 0 takes the
    // order meanwhile, and loads the kernel. Not the other way round: where there is one CPU, a new
    // thread has it when this one waits, and not before.
    let first = VcpuThread::spawn(0).map_err(Error::Process)?;
    let orders = Arc::clone(uplink);
    let parts = first.start(move || take_parts(&orders));
    let vm = Vm::new(&kvm)?;
    let tell = |report| uplink::send(uplink, &report, &[]).map_err(Error::Process);
    tell(Report::Created)?;
    let parts = parts.recv().map_err(panicked)??;
    let connector = Uplink::new(Arc::clone(uplink));
    let left = Arc::clone(&connector.left);
    let machine = build((kvm, vm, first), parts, Box::new(connector), tell)?;
    let exits = machine.exits.clone();
    let changed = Changed {
        governor: Arc::clone(&machine.governor),
        balloons: Arc::clone(&machine.balloons),
        patch: machine.patch.clone(),
    };
    watch(Arc::clone(uplink), left, exits.clone(), changed).map_err(Error::Process)?;
    let stopped = machine.start()?.wait();
    report_exits(uplink, exits.as_deref());
    stopped
}

/// A thread that panics has its last words told by the parent, and takes the machine with it.
fn report_panics(uplink: Arc<Seqpacket>) {
    panics::end_with(move |text| {
        let text = text.to_owned();
        // The parent may be gone; then nobody needs to know.
        let _gone = uplink::send(&uplink, &Report::Failed { text }, &[]);
    });
}

/// The kernel ends us when the parent dies, even before the leash is watched.
fn die_with_parent() -> io::Result<()> {
    Ok(set_parent_process_death_signal(Some(Signal::KILL))?)
}

/// What of a machine is changed while it runs.
struct Changed {
    governor: Arc<Governor>,
    balloons: Arc<Balloons>,
    patch: Option<Patch>,
}

/// Ends this process when the other end of the leash closes, or says what it must not. Until then it
/// may ask for counts and changes, admit connections to those that are `left`, and change the networks that the guest is on.
fn watch(
    uplink: Arc<Seqpacket>,
    left: Arc<AtomicUsize>,
    exits: Option<Arc<Exits>>,
    changed: Changed,
) -> io::Result<()> {
    thread::Builder::new()
        .name("leash".to_owned())
        .spawn(move || {
            while let Ok(Some((order, files))) = uplink::receive(&uplink) {
                match order {
                    Order::Rewire(rewiring) => {
                        tell(&changed.patch, rewiring.with(files.into_iter().next()));
                    }
                    Order::ReportExits => report_exits(&uplink, exits.as_deref()),
                    Order::Tune(tuning) => {
                        changed.governor.tune(&tuning);
                        press(&changed.balloons, &tuning, files.into_iter().next());
                    }
                    Order::Admit {
                        connections,
                        session,
                    } => {
                        left.fetch_add(connections, Ordering::SeqCst);
                        // The parent may be gone; then nobody needs to know.
                        let _gone = uplink::send(&uplink, &Report::Admitted { session }, &[]);
                    }
                    Order::Create
                    | Order::Share
                    | Order::Listen
                    | Order::Note
                    | Order::Plug
                    | Order::Wire
                    | Order::Build(_) => break,
                }
            }
            std::process::exit(0);
        })?;
    Ok(())
}

/// Tells the guest's network of a change.
fn tell(patch: &Option<Patch>, change: Option<Change>) {
    if let (Some((changes, waker)), Some(change)) = (patch, change) {
        changes.put(change);
        waker.wake();
    }
}

/// Says how often the guest left its vCPUs, where that is counted.
fn report_exits(uplink: &Seqpacket, exits: Option<&Exits>) {
    if let Some(exits) = exits {
        let counts = exits.read();
        // The parent may be gone; then nobody needs to know.
        let _gone = uplink::send(uplink, &Report::Exits { counts }, &[]);
    }
}

/// Hands the host's end of each connection to the parent.
struct Uplink {
    socket: Arc<Seqpacket>,
    /// Connections that the guest may still open.
    left: Arc<AtomicUsize>,
}

impl Uplink {
    fn new(socket: Arc<Seqpacket>) -> Self {
        let left = Arc::new(AtomicUsize::new(MAX_CONNECTIONS));
        Self { socket, left }
    }
}

impl Connector for Uplink {
    fn connect(&self, port: u32) -> io::Result<UnixStream> {
        if port != frame::PORT {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        let one_less = |left: usize| left.checked_sub(1);
        let order = Ordering::SeqCst;
        let counted = self.left.fetch_update(order, order, one_less);
        counted.map_err(|_| io::ErrorKind::QuotaExceeded)?;
        let (ours, theirs) = UnixStream::pair()?;
        uplink::send(&self.socket, &Report::Connected { port }, &[theirs.as_fd()])?;
        Ok(ours)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_that_connects_for_ever_is_refused_here() {
        let (ours, theirs) = Seqpacket::pair().unwrap();
        let uplink = Uplink::new(Arc::new(ours));
        assert!(uplink.connect(22).is_err());
        let connected = |_: &i32| uplink.connect(frame::PORT).is_ok();
        assert_eq!((0..1000).filter(connected).count(), MAX_CONNECTIONS);
        uplink.left.fetch_add(3, Ordering::SeqCst);
        assert_eq!((0..1000).filter(connected).count(), 3);
        drop(uplink);
        let reports = std::iter::from_fn(|| theirs.receive().unwrap());
        assert_eq!(reports.count(), MAX_CONNECTIONS + 3);
    }
}
