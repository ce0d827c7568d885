//! Limits of a container that runs, changed by its control groups.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::cgroups::{self, Kind, ROOT};
use super::disks::{self, Bounds, Disk};
use crate::spec::sentence::sentence;
use crate::spec::{Asked, Change, Cpus, DeviceRates};

/// A period of the scheduler, microseconds: the one that the container was made with.
pub const PERIOD: u64 = 100_000;

/// Files of the first version of control groups, for what [`Bounds`] has, in its order.
const THROTTLES: [&str; 4] = [
    "blkio.throttle.read_bps_device",
    "blkio.throttle.write_bps_device",
    "blkio.throttle.read_iops_device",
    "blkio.throttle.write_iops_device",
];

/// The words of the second version for the same.
const WORDS: [&str; 4] = ["rbps", "wbps", "riops", "wiops"];

/// What changes the limits of one container.
#[derive(Debug)]
pub struct Limits {
    id: String,
    kind: Kind,
    /// Where its images are: on the disk that is meant where nobody names one.
    images: PathBuf,
}

impl Limits {
    /// Those of the container `id`.
    pub(super) fn of(id: &str, kind: Kind, images: &Path) -> Self {
        Self {
            id: id.to_owned(),
            kind,
            images: images.to_owned(),
        }
    }

    /// Has them as `change` says; else why not, as a sentence. The processors are where the
    /// container's processes are not kept to them by the caller, too.
    pub fn set(&self, change: &Change) -> Result<(), String> {
        if self.kind == Kind::Unified {
            // What nobody asked for when it was made was not handed down.
            cgroups::hand_down(Asked {
                cpuset: change.cpuset.is_some(),
                tasks: change.tasks.is_some(),
                rates: change.rates.is_some(),
                ..Asked::default()
            });
        }
        let tell = |flag: &'static str| move |error: io::Error| refuse(flag, &error);
        if let Some(memory) = change.memory {
            self.set_memory(memory).map_err(tell("--memory"))?;
        }
        if let Some(reservation) = change.reservation {
            self.set_reservation(reservation)
                .map_err(tell("--memory-reservation"))?;
        }
        if let Some(cpus) = change.cpus {
            self.set_cpus(cpus).map_err(tell("--cpus"))?;
        }
        if let Some(list) = &change.cpuset {
            // Without the controller its processes are moved all the same, one by one.
            match self.write("cpuset", "cpuset.cpus", &list.to_string()) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                set => set.map_err(tell("--cpuset-cpus")),
            }?;
        }
        if let Some(most) = change.tasks {
            let most = most.map_or_else(|| "max".to_owned(), |most| most.to_string());
            self.write("pids", "pids.max", &most)
                .map_err(tell("--pids-limit"))?;
        }
        match &change.rates {
            Some(rates) => self.set_rates(rates),
            None => Ok(()),
        }
    }

    fn set_memory(&self, bytes: u64) -> io::Result<()> {
        let bytes = bytes.to_string();
        if self.kind == Kind::Unified {
            return self.write("memory", "memory.max", &bytes);
        }
        let memory = || self.write("memory", "memory.limit_in_bytes", &bytes);
        let both = || match self.write("memory", "memory.memsw.limit_in_bytes", &bytes) {
            // Swap is not counted here.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            set => set,
        };
        // Memory alone is never more than memory and swap: which is first depends on the way.
        match memory() {
            Ok(()) => both(),
            Err(_) => both().and_then(|()| memory()),
        }
    }

    fn set_reservation(&self, bytes: u64) -> io::Result<()> {
        let file = match self.kind {
            Kind::Unified => "memory.low",
            _ => "memory.soft_limit_in_bytes",
        };
        self.write("memory", file, &bytes.to_string())
    }

    fn set_cpus(&self, cpus: Cpus) -> io::Result<()> {
        let quota = cpus.of_all(PERIOD);
        match self.kind {
            Kind::Unified => self.write("cpu", "cpu.max", &format!("{quota} {PERIOD}")),
            _ => self.write("cpu", "cpu.cfs_quota_us", &quota.to_string()),
        }
    }

    fn set_rates(&self, rates: &DeviceRates) -> Result<(), String> {
        let bounds = disks::find(rates, &self.images).map_err(|error| sentence(&error))?;
        let bounds = bounds.ok_or_else(|| disks::NO_DISK.to_owned())?;
        let set = match self.kind {
            Kind::Unified => self.set_unified(bounds),
            _ => self.set_throttles(bounds),
        };
        set.map_err(|error| refuse("--device-…", &error))
    }

    /// Every bound that stands there is lifted, and the new one set.
    fn set_throttles(&self, bounds: Bounds) -> io::Result<()> {
        for (file, bound) in THROTTLES.into_iter().zip(bounds.0) {
            for disk in self.known("blkio", file)? {
                self.write("blkio", file, &format!("{disk} 0"))?;
            }
            if let Some((disk, rate)) = bound {
                self.write("blkio", file, &format!("{disk} {rate}"))?;
            }
        }
        Ok(())
    }

    fn set_unified(&self, bounds: Bounds) -> io::Result<()> {
        for disk in self.known("io", "io.max")? {
            let none = WORDS.map(|word| format!("{word}=max")).join(" ");
            self.write("io", "io.max", &format!("{disk} {none}"))?;
        }
        for (word, bound) in WORDS.into_iter().zip(bounds.0) {
            if let Some((disk, rate)) = bound {
                self.write("io", "io.max", &format!("{disk} {word}={rate}"))?;
            }
        }
        Ok(())
    }

    /// The disks that a file has lines for.
    fn known(&self, controller: &str, file: &str) -> io::Result<Vec<Disk>> {
        let text = fs::read_to_string(self.path(controller, file))?;
        let first = |line: &str| Disk::parse(line.split_whitespace().next()?);
        Ok(text.lines().filter_map(first).collect())
    }

    fn write(&self, controller: &str, file: &str, text: &str) -> io::Result<()> {
        let path = self.path(controller, file);
        if self.kind == Kind::Absent || !path.exists() {
            return Err(io::ErrorKind::NotFound.into());
        }
        fs::write(path, text)
    }

    fn path(&self, controller: &str, file: &str) -> PathBuf {
        let tree = match self.kind {
            Kind::PerController => controller,
            Kind::Unified | Kind::Absent => "",
        };
        let group = Path::new(ROOT).join(tree);
        group.join(&cgroups::path(&self.id)[1..]).join(file)
    }
}

fn refuse(flag: &str, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => {
            format!("{flag}: its container has no control group for that on this host")
        }
        io::ErrorKind::ResourceBusy if flag == "--memory" => {
            format!("{flag}: it uses more than that; give it more, or end some of it first")
        }
        _ => format!("{flag}: the kernel does not take it ({error})"),
    }
}
