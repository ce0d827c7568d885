//! What a run may use of its host: memory, disk, processors, processes.

use super::cpu_list::CpuList;
use super::cpus::Cpus;
use super::rates::DeviceRates;
use super::request::RunRequest;
use super::run::Problems;
use super::{limits, units};

/// Least and most bytes of a disk: a blank one has that many, and ext4's blocks of 4 KiB have numbers of
/// 32 bits on kernels and tools that people have.
const MIN_DISK: u64 = 64 << 20;
const MAX_DISK: u64 = 16 << 40;

/// Bytes of a block.
const BLOCK: u64 = 4096;

/// What a run may use, as far as somebody says so.
pub(super) struct Bounds {
    pub(super) memory: Option<u64>,
    pub(super) reservation: Option<u64>,
    pub(super) disk: Option<u64>,
    pub(super) cpus: Option<Cpus>,
    pub(super) cpuset: Option<CpuList>,
    pub(super) tasks: Option<u32>,
    pub(super) rates: DeviceRates,
}

impl Bounds {
    pub(super) fn collect(request: &RunRequest, problems: &mut Problems) -> Self {
        let memory = request.memory.as_deref().map(units::parse_size);
        let reservation = request.memory_reservation.as_deref().map(parse_reservation);
        let disk = request.disk.as_deref().map(parse_disk);
        let cpus = request.cpus.as_deref().map(Cpus::parse);
        let cpuset = request.cpuset_cpus.as_deref().map(CpuList::parse);
        let tasks = request.pids_limit.as_deref().map(limits::parse_tasks);
        let rates = request.device_rates.parse().unwrap_or_else(|mistakes| {
            problems.0.extend(mistakes);
            DeviceRates::default()
        });
        Self {
            rates,
            memory: problems.take(memory.transpose()).flatten(),
            reservation: problems.take(reservation.transpose()).flatten(),
            disk: problems.take(disk.transpose()).flatten(),
            cpus: problems.take(cpus.transpose()).flatten(),
            cpuset: problems.take(cpuset.transpose()).flatten(),
            tasks: problems.take(tasks.transpose()).flatten().flatten(),
        }
    }
}

/// `--memory-reservation`: a size.
fn parse_reservation(text: &str) -> Result<u64, String> {
    units::parse_size(text).map_err(|problem| format!("--memory-reservation: {problem}"))
}

/// What is said where more is reserved than there is.
pub(super) fn check_reservation(reservation: Option<u64>, memory: u64) -> Result<(), String> {
    match reservation {
        Some(reservation) if reservation > memory => Err(format!(
            "--memory-reservation: more than the {} of --memory; write less, or raise that",
            units::show_size(memory)
        )),
        _ => Ok(()),
    }
}

/// Bytes of the disk of `--disk`: whole blocks.
fn parse_disk(text: &str) -> Result<u64, String> {
    let len = units::parse_size(text).map_err(|problem| format!("--disk: {problem}"))?;
    if len < MIN_DISK {
        return Err(format!("--disk {text}: a disk has 64m at least"));
    }
    if len > MAX_DISK {
        return Err(format!("--disk {text}: a disk has 16t at most"));
    }
    Ok(len.next_multiple_of(BLOCK))
}
