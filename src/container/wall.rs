//! One run behind the wall of namespaces: root, create, leash, start, wait.

use std::fs::File;
use std::io;
use std::mem;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};

use husk_init::job::Limit;
use husk_init::workload::limits;
use rustix::thread::{CapabilitySet, CapabilitySets, capabilities};

use super::adjust::Limits;
use super::cgroups::{self, Cgroups, Kind};
use super::config::{self, Surroundings};
use super::console::{Console, Socket};
use super::create::{Bundle, Created};
use super::disks;
use super::enter::Entered;
use super::error::{Error, root as failed};
use super::far_end::FarEnd;
use super::freezer::Freezer;
use super::leash::Leash;
use super::reach::Reach;
use super::root::{self, Prepared, Root};
use super::running::{Init, Leads, Signals, follow};
use super::seccomp;
use super::sessions::Sessions;
use super::streams::{Relay, Streams, carry};
use super::tenant::{Door, Terms, Way};
use crate::spec::{ContainerSpec, Ending, Missing, OciRuntime, limit_name};
use crate::sys::limits::hard_limit;
use crate::timeline::{Phase, Timeline};

/// Runs `spec`'s job in a container, with `stdio` as husk's end of its streams. Whatever happens, the
/// container is gone when this returns. What the host does not give is told before the workload begins;
/// `on_start` gets a way to reach the container, once the workload has started.
pub fn run(
    entered: Entered,
    spec: &ContainerSpec,
    stdio: [OwnedFd; 3],
    timeline: &mut Timeline,
    tell: impl FnMut(Missing),
    on_start: impl FnOnce(Reach),
) -> Result<Ending, Error> {
    let signals = Signals::hold().map_err(Error::Process)?;
    let around = Surroundings {
        rootless: entered.rootless,
        ids: entered.ids,
        cgroups: Cgroups::find(entered.rootless, spec.asked),
    };
    let mut missing = entered.missing;
    missing.extend(around.cgroups.missing(spec.asked));
    let disks = disks::find(&spec.rates, &spec.tree)?;
    if disks.is_none() {
        missing.push(Missing {
            text: disks::NO_DISK.to_owned(),
            asked: true,
        });
    }
    let root = Root::mount(spec, around.rootless, &mut missing)?;
    let prepared = root.prepare(spec)?;
    if around.cgroups.devices {
        root.allow_devices()?;
    }
    let terms = around.terms();
    terms.allow(&prepared.user)?;
    let asked = &spec.job.process.limits;
    let limits = grant(&limits(asked), asked, around.rootless, &mut missing);
    missing.into_iter().for_each(tell);
    let mut config = config::build(spec, &root.place("root"), &prepared, &limits, around);
    if let (true, Some(bounds)) = (around.cgroups.rates, disks) {
        config["linux"]["resources"]["blockIO"] = bounds.to_oci();
    }
    if spec.runtime != OciRuntime::Embedded {
        config::is_text(&spec.job.process).map_err(Error::NotText)?;
        config["linux"]["seccomp"] = seccomp::to_oci();
    }
    config::write(&root.place("bundle"), &config).map_err(failed("bundle"))?;
    make(spec, stdio, &root, &prepared, around.cgroups.kind)
        .inspect_err(|_| cgroups::remove(&spec.id))?
        .live(entered.network, &signals, timeline, |made| {
            let sessions = made.sessions(entered.program, terms, limits)?;
            on_start(made.reach(sessions.clone())?);
            Ok(sessions)
        })
}

/// A container, on its leash, until it is dropped: then it is gone.
struct Leashed<'a> {
    spec: &'a ContainerSpec,
    created: Created,
    kind: Kind,
    init: Init,
    relays: Vec<Relay>,
    console: Option<Console>,
    _leash: Leash,
}

impl Drop for Leashed<'_> {
    fn drop(&mut self) {
        self.init.kill();
        // Buried already, if it came to an end of its own.
        let _buried = self.init.bury();
        self.created.delete();
        cgroups::remove(&self.spec.id);
        // Before the leash is let go of, which would do the same at the same time.
        root::discard(self.spec.written.as_deref());
    }
}

fn make<'a>(
    spec: &'a ContainerSpec,
    stdio: [OwnedFd; 3],
    root: &Root,
    prepared: &Prepared,
    kind: Kind,
) -> Result<Leashed<'a>, Error> {
    let process = &spec.job.process;
    // What a program says on stderr is not the workload's.
    let apart = spec.runtime != OciRuntime::Embedded;
    if !apart && kind == Kind::Unified {
        cgroups::make(&spec.id);
    }
    let uid = prepared.user.uid;
    let socket = process
        .terminal
        .map(|_| Socket::listen(&root.place("console")));
    let socket = socket.transpose().map_err(failed("console"))?;
    let [typed, shown, told] = stdio.each_ref().map(OwnedFd::try_clone);
    let own = typed.and_then(|typed| Ok([typed, shown?, told?]));
    let streams = match socket {
        Some(_) => Streams::none(),
        None => own.and_then(|own| Streams::open(own, process.stdin, apart, uid)),
    };
    let mut streams = streams.map_err(Error::Process)?;
    let bundle = Bundle {
        id: &spec.id,
        path: &root.place("bundle"),
        state: &root.place("state"),
        console: socket.as_ref().map(|socket| socket.path.as_path()),
        program: &prepared.program,
        command: process.argv.first().map_or(&b""[..], Vec::as_slice),
    };
    let leash = Leash::put(&spec.id, spec.written.as_deref())?;
    let created = Created::create(&spec.runtime, &bundle, streams.workload)?;
    let init = Init::of(created.pid()).map_err(Error::Process)?;
    leash.tie(&init.pidfd).inspect_err(|_| init.kill())?;
    let console = socket.zip(process.terminal).map(|(socket, size)| {
        let console = socket.take(size, process.stdin, uid)?;
        streams.relays = console.relays(&stdio)?;
        Ok(console)
    });
    let console = console.transpose().map_err(Error::Process);
    let console = console.inspect_err(|_| init.kill())?;
    Ok(Leashed {
        console,
        spec,
        created,
        kind,
        init,
        relays: streams.relays,
        _leash: leash,
    })
}

impl Leashed<'_> {
    /// The commands beside the workload. In husk's own container they need husk's `program` as it may be seen there: none where
    /// there is no such thing.
    fn sessions(
        &self,
        program: Option<OwnedFd>,
        terms: Terms,
        limits: Vec<Limit>,
    ) -> io::Result<Option<Arc<Sessions>>> {
        let (program, way) = match (&self.created, program) {
            // What another runtime made may be more, or less, than namespaces; husk's program is not seen there.
            (Created::Program(made), _) => {
                let program = File::open("/proc/self/exe")?.into();
                (program, Way::Runtime(made.clone()))
            }
            (Created::Embedded(_), Some(program)) => {
                (program, Way::Namespaces(cgroups::doors(&self.spec.id)?))
            }
            (Created::Embedded(_), None) => return Ok(None),
        };
        let door = Door {
            init: self.init.try_clone()?,
            program,
            way,
            terms,
        };
        Ok(Some(Arc::new(Sessions::new(door, limits))))
    }

    fn reach(&self, sessions: Option<Arc<Sessions>>) -> io::Result<Reach> {
        let console = self.console.as_ref().map(Console::try_clone);
        Ok(Reach {
            init: self.init.try_clone()?,
            sessions,
            workspace: self.spec.workspace.clone(),
            freezer: Freezer::of(&self.spec.id, self.kind),
            halts: Mutex::default(),
            limits: Limits::of(&self.spec.id, self.kind, &self.spec.tree),
            console: console.transpose()?,
        })
    }

    /// From the order to start to the end.
    fn live(
        mut self,
        network: Option<FarEnd>,
        signals: &Signals,
        timeline: &mut Timeline,
        on_start: impl FnOnce(&Self) -> io::Result<Option<Arc<Sessions>>>,
    ) -> Result<Ending, Error> {
        timeline.end(Phase::Create);
        network.as_ref().map_or(Ok(()), FarEnd::await_ready)?;
        self.created.start()?;
        timeline.end(Phase::Init);
        let lent = self.console.as_ref().and_then(Console::lend);
        let sessions = on_start(&self).map_err(Error::Process)?;
        let outputs = carry(mem::take(&mut self.relays)).map_err(Error::Process)?;
        let console = self.console.as_ref();
        console.into_iter().for_each(Console::follow_size);
        let leads = Leads {
            signals,
            console,
            network: network.as_ref(),
        };
        let ending = follow(&self.init, &leads, self.spec.timeout).map_err(Error::Process);
        let ending = network.as_ref().map_or(Ok(()), FarEnd::check).and(ending);
        timeline.end(Phase::Workload);
        sessions.iter().for_each(|sessions| sessions.finish());
        outputs.finish();
        drop(lent);
        drop(self);
        // Ports are nobody's before the end is told.
        drop(network);
        timeline.end(Phase::Teardown);
        ending
    }
}

/// The limits that this host grants: only the mighty raise one beyond their own.
fn grant(
    wanted: &[Limit],
    asked: &[Limit],
    rootless: bool,
    missing: &mut Vec<Missing>,
) -> Vec<Limit> {
    // That of a user namespace of one's own raises nothing.
    let mighty = |set: CapabilitySets| set.effective.contains(CapabilitySet::SYS_RESOURCE);
    let may_raise = !rootless && capabilities(None).is_ok_and(mighty);
    let granted = wanted.iter().map(|limit| {
        let most = hard_limit(limit.resource);
        if may_raise || limit.hard <= most {
            return *limit;
        }
        missing.push(Missing {
            text: format!(
                "this host lets us raise no limit: --ulimit {} is cut to {most}",
                limit_name(limit.resource)
            ),
            asked: asked.contains(limit),
        });
        Limit {
            soft: limit.soft.min(most),
            hard: most,
            ..*limit
        }
    });
    granted.collect()
}
