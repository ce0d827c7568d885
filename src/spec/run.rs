//! The request and the image made one.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use husk_init::job::{GuestFile, PROBE_PATH, Process};

use super::bounds::{Bounds, check_reservation};
use super::config::ImageConfig;
use super::container::{Asked, Wall};
use super::cpu_list::CpuList;
use super::cpus::Cpus;
use super::health::HealthCheck;
use super::lifecycle::{Lifecycle, Restart};
use super::mounts::{self, Mount, Owner};
use super::networking::Networking;
use super::places::Places;
use super::rates::DeviceRates;
use super::request::{Probe, RunRequest};
use super::signal::Signal;
use super::{environment, limits};

/// Longest host name that Linux takes (`__NEW_UTS_LEN`).
const MAX_HOSTNAME: usize = 64;

/// Memory of a machine for which nobody asked for any, bytes. A guest takes what it touches of it.
pub(super) const DEFAULT_MEMORY: u64 = 512 << 20;

/// Everything about one run but the disk and the clock.
#[derive(Debug, Clone)]
pub struct RunSpec {
    /// The machine's name.
    pub name: String,
    /// The guest's host name.
    pub hostname: String,
    /// The workload.
    pub process: Process,
    /// Files that the host writes into the guest.
    pub files: Vec<GuestFile>,
    /// Whether the root refuses writes.
    pub read_only: bool,
    /// Mounts of `--tmpfs`.
    pub tmpfs: Vec<husk_init::job::Tmpfs>,
    /// The image's volumes, and the user's that have no name.
    pub volumes: Vec<String>,
    /// Files of the host.
    pub mounts: Vec<Mount>,
    /// Whether the workload is the probe, or under it: it has to be put beside the image.
    pub probe: bool,
    /// Guest memory, bytes.
    pub memory: u64,
    /// What the host should have to give of it at most, bytes; `None` where nobody cares.
    pub reservation: Option<u64>,
    /// Bytes of the disk that takes what is written to the root file system; without one, memory does.
    pub disk: Option<u64>,
    /// CPUs.
    pub cpus: Cpus,
    /// The host's CPUs that it may use; `None` for all.
    pub cpuset: Option<CpuList>,
    /// Most processes and threads of the workload at once; `None` for as many as there is room for.
    pub tasks: Option<u32>,
    /// How fast the disks may be used.
    pub rates: DeviceRates,
    /// Which of these were asked for.
    pub asked: Asked,
    /// What it sees of the world.
    pub networking: Networking,
    /// Another kernel than the embedded one.
    pub kernel: Option<PathBuf>,
    /// An initial RAM disk for it.
    pub initrd: Option<PathBuf>,
    /// Words added to the kernel's command line.
    pub kernel_args: Vec<String>,
    /// Kills the workload after this long.
    pub timeout: Option<Duration>,
    /// How long the guest may take to report; `None` where nobody said.
    pub boot_deadline: Option<Duration>,
    /// What asks the workload to stop.
    pub stop_signal: Signal,
    /// How to find out whether the workload is well.
    pub health: Option<HealthCheck>,
    /// Let the kernel speak on its console.
    pub verbose_console: bool,
    /// Count the guest's exits.
    pub count_exits: bool,
}

/// Every mistake in a request, one line each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpecError {
    /// The lines.
    pub problems: Vec<String>,
}

impl fmt::Display for SpecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.problems.join("; "))
    }
}

impl std::error::Error for SpecError {}

/// Collects mistakes and goes on, so that the user sees all of them at once.
#[derive(Default)]
pub(super) struct Problems(pub(super) Vec<String>);

impl Problems {
    pub(super) fn take<T>(&mut self, result: Result<T, String>) -> Option<T> {
        result.map_err(|problem| self.0.push(problem)).ok()
    }
}

impl RunSpec {
    /// Applies docker's rules of precedence to `request` and `image`. `id` names the machine and
    /// its host when the user does not: twelve hexadecimal digits.
    pub fn new(request: RunRequest, image: &ImageConfig, id: &str) -> Result<Self, SpecError> {
        let mut problems = Problems::default();
        let hostname = request.hostname.clone().unwrap_or_else(|| id.to_owned());
        problems.take(check_hostname(&hostname));
        let name = request.name.clone().unwrap_or_else(|| id.to_owned());
        problems.take(check_name(&name));
        let bounds = Bounds::collect(&request, &mut problems);
        let memory = bounds.memory.unwrap_or(DEFAULT_MEMORY);
        problems.take(check_reservation(bounds.reservation, memory));
        if request.initrd.is_some() && request.kernel.is_none() {
            let needs = "--initrd needs --kernel: the embedded kernel takes no initial RAM disk";
            problems.0.push(needs.to_owned());
        }
        if request.wall != Wall::Vm {
            problems.0.extend(machine_only(&request));
        }
        let networking = Networking::collect(&request, image, &mut problems);
        let places = collect_places(&request, image, &mut problems);
        let stop_signal = problems.take(stop_signal(&request.lifecycle, image));
        let health = problems.take(HealthCheck::new(&request.health, &image.health));
        let process = build_process(&request, image, &hostname, &mut problems);
        if !problems.0.is_empty() {
            return Err(SpecError {
                problems: problems.0,
            });
        }
        Ok(Self {
            asked: Asked {
                memory: request.memory.is_some(),
                cpus: request.cpus.is_some(),
                cpuset: bounds.cpuset.is_some(),
                tasks: bounds.tasks.is_some(),
                rates: !bounds.rates.is_empty(),
            },
            name,
            files: guest_files(&hostname),
            hostname,
            process,
            read_only: request.read_only,
            tmpfs: places.tmpfs,
            volumes: places.volumes,
            mounts: places.mounts,
            probe: request.probe.is_some(),
            memory,
            reservation: bounds.reservation,
            disk: bounds.disk,
            cpus: bounds.cpus.unwrap_or_default(),
            cpuset: bounds.cpuset,
            tasks: bounds.tasks,
            rates: bounds.rates,
            networking,
            kernel: request.kernel,
            initrd: request.initrd,
            kernel_args: request.kernel_args,
            timeout: request.timeout,
            boot_deadline: request.boot_timeout,
            stop_signal: stop_signal.unwrap_or(Signal::TERM),
            health: health.flatten(),
            verbose_console: request.verbose_console,
            count_exits: request.count_exits,
        })
    }
}

/// What is mounted in the root, and where.
fn collect_places(request: &RunRequest, image: &ImageConfig, problems: &mut Problems) -> Places {
    let tmpfs = request.tmpfs.iter();
    let tmpfs = tmpfs.filter_map(|t| problems.take(limits::parse_tmpfs(t)));
    let mut places = Places::new(tmpfs.collect(), &image.volumes);
    let volumes = request.volumes.iter().map(|v| mounts::parse_volume(v));
    for wanted in volumes.chain(request.mounts.iter().map(|m| mounts::parse_mount(m))) {
        problems.take(wanted.and_then(|wanted| places.add(wanted)));
    }
    let has_owner = |mount: &Mount| mount.owner != Owner::default();
    if request.wall != Wall::Vm && places.mounts.iter().any(has_owner) {
        let needs = "uid= and gid=: a container's ids are the host's own; leave them away";
        problems.0.push(needs.to_owned());
    }
    places
}

/// What asks the workload to stop; and docker's word on what contradicts itself.
fn stop_signal(lifecycle: &Lifecycle, image: &ImageConfig) -> Result<Signal, String> {
    if lifecycle.remove && lifecycle.restart != Restart::No {
        return Err("--rm and --restart exclude each other: leave one of them away".to_owned());
    }
    let own = image.stop_signal.as_str();
    match lifecycle.stop_signal.as_deref().unwrap_or(own) {
        "" => Ok(Signal::TERM),
        text => Signal::parse(text),
    }
}

fn build_process(
    request: &RunRequest,
    image: &ImageConfig,
    hostname: &str,
    problems: &mut Problems,
) -> Process {
    let argv = command(request, image);
    if argv.is_empty() {
        problems
            .0
            .push("no command given, and the image names none: add one".to_owned());
    }
    let argv = match &request.probe {
        Some(Probe::Changes(token)) => {
            problems.take(check_token(token));
            let words: [&[u8]; 4] = [PROBE_PATH.as_bytes(), b"--changes", token.as_bytes(), b"--"];
            words.into_iter().map(<[u8]>::to_vec).chain(argv).collect()
        }
        _ => argv,
    };
    let measures = request.probe == Some(Probe::Measure);
    let typed = request.workdir.as_deref();
    let own = (!measures && !image.workdir.is_empty()).then_some(image.workdir.as_str());
    let cwd = typed.or(own).unwrap_or("/");
    // An image may say `app` and mean `/app`; a person who types `app` may mean the host's.
    if typed.is_some() && !cwd.starts_with('/') {
        problems
            .0
            .push(format!("--workdir `{cwd}`: write an absolute path"));
    }
    let cwd = if cwd.starts_with('/') {
        cwd.to_owned()
    } else {
        format!("/{cwd}")
    };
    // Empty is root.
    let own = if measures { "" } else { &image.user };
    let user = request.user.as_deref().unwrap_or(own);
    let parsed = request
        .ulimits
        .iter()
        .filter_map(|l| problems.take(limits::parse_limit(l)));
    let limits = parsed.collect();
    let mut env = environment::merge(&image.env, hostname, &request.env);
    if request.terminal.is_some() {
        environment::name_terminal(&mut env);
    }
    Process {
        argv,
        env,
        cwd: cwd.into(),
        user: user.into(),
        limits,
        stdin: request.stdin,
        terminal: request.terminal,
        own: false,
    }
}

/// Docker's rule: a typed entry point drops the image's CMD too; a typed command replaces CMD.
/// A probe that measures needs nothing of the image.
fn command(request: &RunRequest, image: &ImageConfig) -> Vec<Vec<u8>> {
    if request.probe == Some(Probe::Measure) {
        let probe = [PROBE_PATH.into()];
        return probe.into_iter().chain(request.command.clone()).collect();
    }
    let bytes = |words: &[String]| {
        words
            .iter()
            .map(|w| w.clone().into_bytes())
            .collect::<Vec<_>>()
    };
    let mut argv = match &request.entrypoint {
        Some(entrypoint) if entrypoint.is_empty() => Vec::new(),
        Some(entrypoint) => vec![entrypoint.clone()],
        None => bytes(&image.entrypoint),
    };
    if !request.command.is_empty() {
        argv.extend(request.command.iter().cloned());
    } else if request.entrypoint.is_none() {
        argv.extend(bytes(&image.cmd));
    }
    argv
}

/// What only a machine has.
fn machine_only(request: &RunRequest) -> Vec<String> {
    let flags = [
        ("--kernel", request.kernel.is_some()),
        ("--initrd", request.initrd.is_some()),
        ("--kernel-arg", !request.kernel_args.is_empty()),
        ("--boot-timeout", request.boot_timeout.is_some()),
        ("--disk", request.disk.is_some()),
    ];
    let given = flags.iter().filter(|(_, given)| *given);
    given
        .map(|(flag, _)| format!("{flag}: a container has the host's kernel; leave --wall away"))
        .collect()
}

fn check_hostname(name: &str) -> Result<(), String> {
    let label = |part: &str| {
        let legal = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        !part.is_empty() && part.chars().all(legal) && !part.starts_with('-')
    };
    if name.len() <= MAX_HOSTNAME && name.split('.').all(label) {
        return Ok(());
    }
    Err(format!(
        "--hostname `{name}`: write letters, digits, - and dots, {MAX_HOSTNAME} at most"
    ))
}

/// A word that no line of a list can be taken for.
fn check_token(token: &str) -> Result<(), String> {
    if !token.is_empty() && token.chars().all(|c| c.is_ascii_alphanumeric()) {
        return Ok(());
    }
    Err(format!("--changes `{token}`: write letters and digits"))
}

/// Docker's rule for names.
pub fn check_name(name: &str) -> Result<(), String> {
    let legal = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    if name.len() > 1
        && name.len() <= 128
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.chars().all(legal)
    {
        return Ok(());
    }
    Err(format!(
        "--name `{name}`: write two or more letters, digits, _ . and -, beginning with a letter"
    ))
}

/// The files that a container engine writes for a container without a network.
fn guest_files(hostname: &str) -> Vec<GuestFile> {
    let hosts = format!(
        "127.0.0.1\tlocalhost\n\
         ::1\tlocalhost ip6-localhost ip6-loopback\n\
         fe00::0\tip6-localnet\n\
         ff00::0\tip6-mcastprefix\n\
         ff02::1\tip6-allnodes\n\
         ff02::2\tip6-allrouters\n\
         127.0.1.1\t{hostname}\n"
    );
    let files = [
        ("/etc/hosts", hosts),
        ("/etc/hostname", format!("{hostname}\n")),
        (
            "/etc/resolv.conf",
            "# This machine has no network.\n".to_owned(),
        ),
    ];
    files
        .map(|(path, text)| GuestFile {
            path: path.into(),
            mode: 0o644,
            content: text.into(),
        })
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image() -> ImageConfig {
        ImageConfig {
            entrypoint: vec!["/entry".to_owned()],
            cmd: vec!["default".to_owned()],
            ..ImageConfig::default()
        }
    }

    fn argv(request: RunRequest) -> Vec<String> {
        let spec = RunSpec::new(request, &image(), "0123456789ab").unwrap();
        spec.process
            .argv
            .into_iter()
            .map(|word| String::from_utf8(word).unwrap())
            .collect()
    }

    #[test]
    fn entrypoint_and_command_follow_dockers_rules() {
        let command = vec![b"x".to_vec()];
        let none = RunRequest::default();
        let typed = RunRequest {
            command: command.clone(),
            ..RunRequest::default()
        };
        let other = RunRequest {
            entrypoint: Some(b"sh".to_vec()),
            ..RunRequest::default()
        };
        let cleared = RunRequest {
            entrypoint: Some(Vec::new()),
            command,
            ..RunRequest::default()
        };
        assert_eq!(argv(none), ["/entry", "default"]);
        assert_eq!(argv(typed), ["/entry", "x"]);
        assert_eq!(argv(other), ["sh"]);
        assert_eq!(argv(cleared), ["x"]);
    }

    #[test]
    fn the_probe_is_nothing_of_the_images() {
        let image = ImageConfig {
            user: "app".to_owned(),
            workdir: "/srv".to_owned(),
            ..image()
        };
        let request = RunRequest {
            probe: Some(Probe::Measure),
            command: vec![b"--suite".to_vec(), b"cpu".to_vec()],
            ..RunRequest::default()
        };
        let spec = RunSpec::new(request, &image, "0123456789ab").unwrap();
        let words: [&[u8]; 3] = [b"/.husk-probe", b"--suite", b"cpu"];
        assert!(spec.probe);
        assert_eq!(spec.process.argv, words);
        assert_eq!(spec.process.cwd, b"/");
        assert!(spec.process.user.is_empty());
    }

    #[test]
    fn changes_are_looked_for_around_the_images_own_command() {
        let image = ImageConfig {
            user: "app".to_owned(),
            workdir: "/srv".to_owned(),
            ..image()
        };
        let request = |token: &str| RunRequest {
            probe: Some(Probe::Changes(token.to_owned())),
            ..RunRequest::default()
        };
        let spec = RunSpec::new(request("a1"), &image, "0123456789ab").unwrap();
        let words = ["/.husk-probe", "--changes", "a1", "--", "/entry", "default"];
        assert!(spec.probe);
        assert_eq!(spec.process.argv, words.map(|w| w.as_bytes().to_vec()));
        assert_eq!(spec.process.cwd, b"/srv");
        assert_eq!(spec.process.user, b"app");
        for token in ["", "a b", "a\n"] {
            let refused = RunSpec::new(request(token), &image, "0123456789ab");
            assert!(refused.unwrap_err().problems[0].starts_with("--changes"));
        }
        let nothing = RunSpec::new(request("a1"), &ImageConfig::default(), "0123456789ab");
        assert!(nothing.unwrap_err().problems[0].starts_with("no command"));
    }

    #[test]
    fn every_mistake_is_told_at_once() {
        let request = RunRequest {
            memory: Some("lots".to_owned()),
            cpus: Some("0".to_owned()),
            hostname: Some("a b".to_owned()),
            workdir: Some("rel".to_owned()),
            ulimits: vec!["files=3".to_owned()],
            tmpfs: vec!["tmp".to_owned()],
            name: Some("-".to_owned()),
            initrd: Some("initrd".into()),
            ..RunRequest::default()
        };
        let error = RunSpec::new(request, &ImageConfig::default(), "0123456789ab").unwrap_err();
        assert_eq!(error.problems.len(), 9, "{error}");
    }
}
