//! One run behind the wall of a machine: launch, talk, take down.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};
use std::time::{Duration, Instant};

use husk_init::job::Process;

use super::asker::Asked;
use super::channels::{self, Client, Hall};
use super::error::Error;
use super::launch::Launched;
use super::talk::{Event, Talk, Topic};
use super::uplink::{self, Order, Report};
use crate::sessions::{Stdio, streams_of};
use crate::spec::{Ending, VmSpec};
use crate::sys::seqpacket::Seqpacket;
use crate::timeline::{Phase, Timeline};

/// How long a machine may take to read its counters.
const PATIENCE: Duration = Duration::from_secs(2);

/// Says on the console that the guest kernel panicked (`kernel/panic.c`).
const PANIC: &str = "Kernel panic";

/// Runs `topic`'s job in a machine of `spec`, with `stdio` as its streams, and does what is asked
/// meanwhile. Whatever happens, the machine is gone when this returns.
pub fn run(
    launched: Launched,
    spec: &VmSpec,
    topic: Topic,
    stdio: Stdio,
    asked: Asked,
    timeline: &mut Timeline,
) -> Result<Ending, Error> {
    let Asked {
        sender,
        events,
        on_start,
    } = asked;
    let on_halt = sender.clone();
    let machine = launched.build(spec, move || {
        let _over = on_halt.send(Event::Halted);
    })?;
    timeline.end(Phase::Spec);
    let ending = open_hall(&machine.uplink, stdio, &topic.job.process, sender)
        .map_err(Error::Process)
        .and_then(|parties| {
            Talk::new(topic, parties, timeline)
                .telling(on_start)
                .hold(&events)
        })
        .map(|ending| match spec.count_exits && ending.exits.is_empty() {
            true => Ending {
                exits: ask_for_exits(&machine.uplink, &events),
                ..ending
            },
            false => ending,
        });
    let console = machine.finish();
    timeline.end(Phase::Teardown);
    ending.map_err(|error| with_console(error, console))
}

/// Where the guest of `uplink` is heard from now on, and who uses the streams of its workload.
fn open_hall(
    uplink: &Seqpacket,
    stdio: Stdio,
    process: &Process,
    events: Sender<Event>,
) -> io::Result<(Arc<Hall>, Arc<Client>)> {
    let client = Arc::new(Client::new(stdio, process)?);
    let workload = (Arc::clone(&client), streams_of(process));
    let hall = Arc::new(Hall::new(uplink.try_clone()?, workload, events));
    channels::follow(Arc::clone(&hall))?;
    Ok((hall, client))
}

/// Asks a machine that has not ended how often its guest left its vCPUs; nothing when it does not say.
fn ask_for_exits(uplink: &Seqpacket, events: &Receiver<Event>) -> BTreeMap<String, u64> {
    // A machine that has ended meanwhile said it before.
    let _gone = uplink::send(uplink, &Order::ReportExits, &[]);
    let deadline = Instant::now() + PATIENCE;
    loop {
        match events.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(Event::Report(Report::Exits { counts })) => return counts,
            Ok(Event::Gone) | Err(_) => return BTreeMap::new(),
            Ok(_) => {}
        }
    }
}

/// An end that the console explains is told with its last lines.
fn with_console(error: Error, console: Vec<String>) -> Error {
    match error {
        Error::Vanished { .. } if console.iter().any(|line| line.contains(PANIC)) => {
            Error::Panicked { console }
        }
        Error::Vanished { reason, .. } => Error::Vanished { reason, console },
        Error::Silent { deadline, .. } => Error::Silent { deadline, console },
        other => other,
    }
}
