//! The story on one page: an image reference becomes a root file system, the request and the
//! image's configuration become a spec, the spec becomes a machine or a container, and that runs the
//! job. Both walls get the same job.

mod affinity;
mod callers;
pub mod changes;
mod embedded;
mod error;
pub mod files;
mod health;
mod heir;
mod keeper;
mod life;
mod mounts;
mod network;
pub mod networks;
mod outcome;
mod plugs;
mod pressure;
mod reached;
mod rejoin;
mod screen;
pub mod setup;
mod switch;
mod tap;

pub use embedded::GUEST_KERNEL;
pub use error::Error;
pub use heir::{HEIR_VERB, inherit, update};
pub use keeper::{KEEPER_VERB, create, keep, machines, start};
pub use outcome::Outcome;
pub use switch::{SWITCH_VERB, serve as serve_switch};

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use husk_init::job::{Interface, Job, PROBE_PATH};

use life::{Life, Watch};
use networks::Taken;
use plugs::Plugs;
use reached::{Guest, Reached};
use screen::Screen;

use crate::container;
use crate::image::{self, Beside, Image, Store};
use crate::sessions::Stdio;
use crate::spec::{
    ContainerSpec, CpuList, Cpus, FORWARDED, Missing, OciRuntime, RunRequest, RunSpec, Signal,
    VmSpec, Wall,
};
use crate::sys::signals;
use crate::timeline::{Phase, Timeline};
use crate::vmm::{self, Asker, Topic};

/// Runs `reference` as `request` says, behind the wall that it names, with this process's own
/// streams. What the host does not give is told before the workload begins.
pub fn run(
    reference: &str,
    request: RunRequest,
    tell: impl FnMut(&Missing),
) -> Result<Outcome, Error> {
    let mut life = Life::begin(machines()?)?;
    let result = run_once(reference, request, &mut life, tell);
    life.end(&result);
    result
}

/// One run of the machine of `life`.
fn run_once(
    reference: &str,
    request: RunRequest,
    life: &mut Life,
    tell: impl FnMut(&Missing),
) -> Result<Outcome, Error> {
    networks::check(&request.networks)?;
    // Before anything is started that is to be there too. A list that is none is told with all other mistakes.
    let cpuset = request.cpuset_cpus.as_deref().map(CpuList::parse);
    cpuset
        .into_iter()
        .flatten()
        .try_for_each(|list| affinity::bind(&list))?;
    match request.wall.clone() {
        Wall::Vm => run_machine(reference, request, life, tell),
        Wall::Container(runtime) => run_container(reference, request, runtime, life, tell),
    }
}

fn run_machine(
    reference: &str,
    request: RunRequest,
    life: &mut Life,
    tell: impl FnMut(&Missing),
) -> Result<Outcome, Error> {
    let mut timeline = Timeline::start();
    // KVM takes its time to make a VM: the image is found meanwhile.
    let launched = vmm::launch()?;
    timeline.end(Phase::Kvm);
    let (store, image, mut spec) = enroll(reference, request, life, &mut timeline)?;
    let found = mounts::find(&spec.mounts, &store, &image)?;
    let probe = spec.probe.then_some(Beside {
        name: PROBE_PATH.trim_start_matches('/'),
        file: embedded::PROBE,
    });
    let rootfs = store.rootfs(&image, embedded::INIT, probe)?;
    let kernel = find_kernel(&spec, &store)?;
    let written = spec.disk.map(|len| life.disk(len)).transpose()?;
    timeline.end(Phase::Image);
    let (net, taken, attempts) = connect(&launched, &mut spec, life)?;
    net.missing.iter().for_each(tell);
    let machine = VmSpec {
        name: spec.name.clone(),
        cpus: spec.cpus,
        memory: spec.memory,
        reservation: spec.reservation,
        kernel,
        kernel_is_foreign: spec.kernel.is_some(),
        initrd: spec.initrd.clone(),
        disk: rootfs.disk,
        written,
        rates: spec.rates.clone(),
        shares: found.shares.clone(),
        network: net.network,
        kernel_args: spec.kernel_args.clone(),
        verbose_console: spec.verbose_console,
        count_exits: spec.count_exits,
    };
    let topic = Topic {
        boot_deadline: spec.boot_deadline,
        timeout: spec.timeout,
        job: build_job(&spec, net.interface)?,
    };
    let (stdio, watch) = life.open(&spec)?;
    let way = machine.network.as_ref().map(|_| launched.plugs());
    let way = way.transpose()?;
    let plugs = way.map_or_else(Plugs::default, |way| Plugs::new(way, taken, true));
    watch.publish(net.published, net.seats);
    let started = watch.clone();
    let (asker, asked) = vmm::prepare(move || started.start());
    let on_terminal = spec.process.terminal.is_some();
    pass_signals_on(asker.clone(), on_terminal)?;
    let reached = reach(&launched, asker.clone(), &spec)?;
    greet(&watch, reached, plugs, &spec)?;
    let screen = on_terminal.then(|| Screen::lend(asker, spec.process.stdin));
    let screen = screen.transpose()?;
    let stdio = Stdio::from(stdio);
    let ending = vmm::run(launched, &machine, topic, stdio, asked, &mut timeline);
    drop(screen);
    let missing = net.missing.into_iter().map(|lacks| lacks.text).collect();
    let outcome = Outcome::new(spec.name, ending?, missing, timeline);
    outcome.tell_attempts(attempts.as_ref(), spec.networking.egress)
}

/// A way to what will run.
fn reach(launched: &vmm::Launched, asker: Asker, spec: &RunSpec) -> Result<Reached, Error> {
    Ok(Reached::Machine(Guest {
        asker,
        freezer: launched.freezer()?,
        tuner: launched.tuner()?,
        limits: spec.process.limits.clone(),
        cpus: spec.cpus.count(),
        memory: spec.memory,
        bounded: Mutex::new(spec.memory),
        takes_devices: spec.kernel.is_none(),
        has_balloon: spec.reservation.is_some(),
    }))
}

/// Hands over the network of `spec`, and the file for what the workload tries to reach.
fn connect(
    launched: &vmm::Launched,
    spec: &mut RunSpec,
    life: &Life,
) -> Result<(network::Found, Taken, Option<File>), Error> {
    let taken = networks::reserve(&spec.networking.joinings)?.take(life.id(), &spec.name)?;
    launched.plug(&taken.trunks)?;
    let net = network::find(spec, taken.seats.clone(), life.id().short())?;
    launched.listen(&net.doors)?;
    let mut cables = net.cables.iter();
    cables.try_for_each(|cable| launched.wire(cable))?;
    let attempts = net.network.as_ref().map(|_| life.begin_attempts());
    let attempts = attempts.transpose()?;
    attempts.iter().try_for_each(|file| launched.note(file))?;
    Ok((net, taken, attempts))
}

/// The one that was asked for, or husk's own.
fn find_kernel(spec: &RunSpec, store: &Store) -> Result<PathBuf, Error> {
    match &spec.kernel {
        Some(kernel) => Ok(kernel.clone()),
        None => Ok(store.kernel(embedded::KERNEL)?),
    }
}

/// The signals that a user sends to this process are for the workload. What tells it of a new size of
/// our terminal is the size of its own, if it has one.
fn pass_signals_on(asker: Asker, on_terminal: bool) -> io::Result<()> {
    signals::deliver(&FORWARDED, move |number| {
        if on_terminal && Signal::WINCH.number() == number {
            screen::resize(&asker);
        } else if let Some(signal) = Signal::from_number(number) {
            asker.signal(signal);
        }
    })
}

fn run_container(
    reference: &str,
    request: RunRequest,
    runtime: OciRuntime,
    life: &mut Life,
    mut tell: impl FnMut(&Missing),
) -> Result<Outcome, Error> {
    let mut timeline = Timeline::start();
    let outside = network::Outside::prepare(reference, &request)?;
    // First, while there is one thread; an ordinary user needs it to unpack the image, too.
    let mut entered = container::enter()?;
    timeline.end(Phase::Create);
    let (store, image, mut spec) = enroll(reference, request, life, &mut timeline)?;
    let mut missing = Vec::new();
    let mut note = |lacks: Missing| {
        tell(&lacks);
        missing.push(lacks.text);
    };
    // In use until the container is gone: nobody prunes it.
    let unpacked = store.tree(&image)?;
    timeline.end(Phase::Image);
    let found = mounts::find(&spec.mounts, &store, &image)?;
    let joined = outside.map(|outside| outside.join(&mut entered, &mut spec, life, &mut note));
    let joined = joined.transpose()?.unwrap_or_default();
    let written = (!entered.overlays_in_memory)
        .then(|| store.scratch())
        .transpose()?;
    let wanted = ContainerSpec {
        id: random_id()?,
        runtime,
        tree: unpacked.path.clone(),
        shares: found.shares.clone(),
        probe: spec
            .probe
            .then(|| store.carried(embedded::PROBE))
            .transpose()?,
        workspace: store.workspace(),
        written: written.as_ref().map(|written| written.path().to_owned()),
        memory: spec.memory,
        cpus: spec.cpus,
        reservation: spec.reservation,
        cpuset: spec.cpuset.clone(),
        rates: spec.rates.clone(),
        asked: spec.asked,
        job: build_job(&spec, None)?,
        timeout: spec.timeout,
    };
    let unkept = unpacked.shortfall.sentences();
    unkept.for_each(|text| note(Missing { text, asked: false }));
    let (stdio, watch) = life.open(&spec)?;
    watch.publish(joined.published, joined.seats);
    // From here on there may be more threads than one.
    let on_start = |reach| {
        watch.start();
        // One that cannot listen runs all the same.
        let _unreachable = greet(&watch, Reached::Container(reach), joined.plugs, &spec);
    };
    let ending = container::run(entered, &wanted, stdio, &mut timeline, note, on_start)?;
    let outcome = Outcome::new(spec.name, ending, missing, timeline);
    outcome.tell_attempts(joined.attempts.as_ref(), spec.networking.egress)
}

/// Lets others reach what runs, and looks after its health.
fn greet(watch: &Watch, reached: Reached, plugs: Plugs, spec: &RunSpec) -> io::Result<()> {
    let reached = Arc::new(reached);
    watch.listen(Arc::clone(&reached), plugs.clone())?;
    rejoin::look_after(&plugs, watch)?;
    match spec.health.clone() {
        Some(check) => health::watch(check, &spec.process, reached, watch.clone()),
        None => Ok(()),
    }
}

/// What a request makes of an image, without running it.
#[derive(Debug)]
pub struct Described {
    /// A reference that finds the image in the store.
    pub reference: String,
    /// The digest of its configuration.
    pub digest: String,
    /// What runs.
    pub command: Vec<String>,
    /// Memory, bytes.
    pub memory: u64,
    /// CPUs.
    pub cpus: Cpus,
}

/// Finds the image, loading it where `reference` is an archive, and says what would run of it.
pub fn describe(reference: &str, request: RunRequest) -> Result<Described, Error> {
    let id = random_id()?;
    let (_, image, spec) = find(reference, request, &id, &mut Timeline::start())?;
    let digest = image.id.to_string();
    let words = spec.process.argv.iter();
    Ok(Described {
        // An archive is not loaded again for every run.
        reference: if image::Source::of_transport(reference)?.is_some() {
            digest.clone()
        } else {
            reference.to_owned()
        },
        digest,
        command: words
            .map(|word| String::from_utf8_lossy(word).into_owned())
            .collect(),
        memory: spec.memory,
        cpus: spec.cpus,
    })
}

/// What both walls begin with: the image, what will run of it, and the machine's place among the others.
fn enroll(
    reference: &str,
    request: RunRequest,
    life: &mut Life,
    timeline: &mut Timeline,
) -> Result<(Store, Image, RunSpec), Error> {
    let mut kept = request.clone();
    keeper::make_absolute(&mut kept)?;
    let (store, image, mut spec) = find(reference, request, life.id().short(), timeline)?;
    life.enroll(reference, kept, &image, &mut spec)?;
    timeline.end(Phase::Spec);
    Ok((store, image, spec))
}

/// The image, and what will run of it; `id` is what nobody named is called.
fn find(
    reference: &str,
    request: RunRequest,
    id: &str,
    timeline: &mut Timeline,
) -> Result<(Store, Image, RunSpec), Error> {
    let store = Store::open(&Store::default_path()?)?;
    let image = embedded::resolve(&store, reference)?;
    timeline.end(Phase::Image);
    let spec = RunSpec::new(request, &image.config, id)?;
    timeline.end(Phase::Spec);
    Ok((store, image, spec))
}

fn build_job(spec: &RunSpec, network: Option<Interface>) -> Result<Job, Error> {
    Ok(Job {
        realtime_ns: 0,
        seed: random()?,
        hostname: spec.hostname.clone().into(),
        files: spec.files.clone(),
        read_only: spec.read_only,
        tmpfs: spec.tmpfs.clone(),
        volumes: spec
            .volumes
            .iter()
            .map(|path| path.clone().into_bytes())
            .collect(),
        shares: mounts::places(&spec.mounts),
        most_tasks: spec.tasks,
        probe: spec.probe,
        network,
        process: spec.process.clone(),
    })
}

/// Twelve hexadecimal digits, as docker names what nobody named.
fn random_id() -> Result<String, Error> {
    Ok(random::<6>()?
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect())
}

fn random<const N: usize>() -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(Error::Random)?;
    Ok(bytes)
}
