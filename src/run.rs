//! The story on one page: an image reference becomes a root file system, the request and the
//! image's configuration become a spec, the spec becomes a machine, the machine runs the job.

mod embedded;

use husk_init::exit::Exit;
use husk_init::job::Job;
use thiserror::Error;

use crate::image::{self, Store};
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
    // KVM takes its time to make a VM: the image is found meanwhile.
    let launched = vmm::launch()?;
    timeline.end(Phase::Kvm);
    let store = Store::open(&Store::default_path()?)?;
    let image = embedded::resolve(&store, reference)?;
    timeline.end(Phase::Image);
    let spec = RunSpec::new(request, &image.config, &random_id()?)?;
    timeline.end(Phase::Spec);
    let rootfs = store.rootfs(&image, embedded::INIT)?;
    let kernel = match &spec.kernel {
        Some(kernel) => kernel.clone(),
        None => store.kernel(embedded::KERNEL)?,
    };
    timeline.end(Phase::Image);
    let machine = VmSpec {
        name: spec.name.clone(),
        cpus: spec.cpus,
        memory: spec.memory,
        kernel,
        kernel_is_foreign: spec.kernel.is_some(),
        initrd: spec.initrd.clone(),
        disk: rootfs.disk,
        kernel_args: spec.kernel_args.clone(),
        verbose_console: spec.verbose_console,
    };
    let topic = Topic {
        boot_deadline: spec.boot_deadline,
        timeout: spec.timeout,
        job: build_job(&spec)?,
    };
    let ending = vmm::run(launched, &machine, topic, stdio, &mut timeline)?;
    Ok(Outcome {
        name: spec.name,
        exit: ending.exit,
        timed_out: ending.timed_out,
        timeline,
    })
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
