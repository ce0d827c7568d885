//! The story on one page: an image reference becomes a root file system, the request and the
//! image's configuration become a spec, the spec becomes a machine, the machine runs the job.

mod embedded;

use std::time::Duration;

use husk_init::exit::Exit;
use husk_init::job::Job;
use thiserror::Error;

use crate::image::{self, Store};
use crate::kvm::{Flavour, Kvm};
use crate::spec::{RunRequest, RunSpec, SpecError, VmSpec};
use crate::timeline::{Phase, Timeline};
use crate::vmm::{self, Stdio, Topic};

/// How a run ended.
#[derive(Debug)]
pub struct Outcome {
    /// The machine's name.
    pub name: String,
    /// The workload's end.
    pub exit: Exit,
    /// Whether `--timeout` killed it.
    pub timed_out: bool,
    /// Its phases.
    pub timeline: Timeline,
}

/// Why a run did not come to the workload's own end.
#[derive(Debug, Error)]
pub enum Error {
    /// The request is wrong.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// A reference to an archive that does not say which image to run.
    #[error("`{0}` has several images: `husk load` them, and run one by its name")]
    SeveralImages(String),
    /// The image is not there, or broken.
    #[error(transparent)]
    Image(#[from] image::Error),
    /// The machine failed, or the guest did.
    #[error(transparent)]
    Machine(#[from] vmm::Error),
    /// The host has no randomness to give.
    #[error("cannot get random bytes from the kernel: {0}")]
    Random(getrandom::Error),
}

impl Error {
    /// The exit status by Docker's table.
    pub fn status(&self) -> u8 {
        match self {
            Self::Machine(error) => error.status(),
            _ => 125,
        }
    }
}

/// Runs `reference` as `request` says, with `stdio` as the workload's streams.
pub fn run(reference: &str, request: RunRequest, stdio: Stdio) -> Result<Outcome, Error> {
    let mut timeline = Timeline::start();
    let flavour = Kvm::open()
        .and_then(|kvm| Flavour::measure(&kvm))
        .map_err(vmm::Error::from)?;
    let store = Store::open(&Store::default_path()?)?;
    let image = embedded::resolve(&store, reference)?;
    let spec = RunSpec::new(request, &image.config, &random_id()?)?;
    let rootfs = store.rootfs(&image, embedded::INIT)?;
    let boot_deadline = spec.boot_deadline.unwrap_or(default_deadline(flavour));
    let machine = VmSpec {
        name: spec.name.clone(),
        cpus: spec.cpus,
        memory: spec.memory.unwrap_or(default_memory(flavour)),
        kernel: match &spec.kernel {
            Some(kernel) => kernel.clone(),
            None => store.kernel(embedded::KERNEL)?,
        },
        initrd: spec.initrd.clone(),
        // The embedded kernel would not read it.
        acpi: spec.kernel.is_some(),
        disk: rootfs.disk,
        kernel_args: spec.kernel_args.clone(),
        software_kvm: flavour == Flavour::Software,
        verbose_console: spec.verbose_console,
    };
    let topic = Topic {
        boot_deadline,
        timeout: spec.timeout,
        job: build_job(&spec)?,
    };
    timeline.end(Phase::Image);
    let ending = vmm::run(&machine, topic, stdio, &mut timeline)?;
    Ok(Outcome {
        name: spec.name,
        exit: ending.exit,
        timed_out: ending.timed_out,
        timeline,
    })
}

/// Memory of a machine for which nobody asked for any, bytes. Where guest kernels are interpreted
/// every page of it costs boot time, 10 s per GiB.
fn default_memory(flavour: Flavour) -> u64 {
    match flavour {
        Flavour::Hardware => 512 << 20,
        Flavour::Software => 128 << 20,
    }
}

/// How long a guest may take to report when nobody said: a thousand times what one takes on
/// hardware, and on a busy host with a software KVM thirty times.
fn default_deadline(flavour: Flavour) -> Duration {
    match flavour {
        Flavour::Hardware => Duration::from_secs(60),
        Flavour::Software => Duration::from_secs(300),
    }
}

fn build_job(spec: &RunSpec) -> Result<Job, Error> {
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
