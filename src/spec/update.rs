//! `husk update`: what of a machine may be changed after it was made, whether it runs or not.

use serde::{Deserialize, Serialize};

use super::bounds::{Bounds, check_reservation};
use super::cpu_list::CpuList;
use super::cpus::Cpus;
use super::lifecycle::Restart;
use super::rates::{DeviceRates, RateWords};
use super::request::RunRequest;
use super::run::{DEFAULT_MEMORY, Problems, SpecError};

/// What is to be changed, as typed. What is not spoken of stays.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Update {
    /// `--memory`.
    pub memory: Option<String>,
    /// `--memory-reservation`.
    pub memory_reservation: Option<String>,
    /// `--cpus`.
    pub cpus: Option<String>,
    /// `--cpuset-cpus`.
    pub cpuset_cpus: Option<String>,
    /// `--pids-limit`.
    pub pids_limit: Option<String>,
    /// `--device-read-bps` and its like.
    pub device_rates: RateWords,
    /// `--restart`.
    pub restart: Option<Restart>,
}

/// What it means for a machine that runs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Change {
    /// Memory, bytes.
    pub memory: Option<u64>,
    /// What the host should have to give of it at most, bytes.
    pub reservation: Option<u64>,
    /// CPUs.
    pub cpus: Option<Cpus>,
    /// The host's CPUs that it may use.
    pub cpuset: Option<CpuList>,
    /// Most processes and threads of the workload; `Some(None)` is no bound.
    pub tasks: Option<Option<u32>>,
    /// How fast the disks may be used: all rates, the ones that stay among them.
    pub rates: Option<DeviceRates>,
    /// When it is started again.
    pub restart: Option<Restart>,
}

impl Update {
    /// Whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether it is memory, which a guest that runs takes its time for.
    pub fn is_of_memory(&self) -> bool {
        self.memory.is_some() || self.memory_reservation.is_some()
    }

    /// The request as it is from now on.
    pub fn apply(&self, request: &mut RunRequest) {
        let replace = |old: &mut Option<String>, new: &Option<String>| {
            if new.is_some() {
                old.clone_from(new);
            }
        };
        replace(&mut request.memory, &self.memory);
        replace(&mut request.memory_reservation, &self.memory_reservation);
        replace(&mut request.cpus, &self.cpus);
        replace(&mut request.cpuset_cpus, &self.cpuset_cpus);
        replace(&mut request.pids_limit, &self.pids_limit);
        let (old, new) = (&mut request.device_rates, &self.device_rates);
        replace(&mut old.read_bps, &new.read_bps);
        replace(&mut old.write_bps, &new.write_bps);
        replace(&mut old.read_iops, &new.read_iops);
        replace(&mut old.write_iops, &new.write_iops);
        if let Some(restart) = self.restart {
            request.lifecycle.restart = restart;
        }
    }

    /// Memory, and what is reserved of it, as they are from now on; what was kept is in order.
    fn sizes(&self, request: &RunRequest) -> (u64, Option<u64>) {
        let mut sizes = RunRequest {
            memory: request.memory.clone(),
            memory_reservation: request.memory_reservation.clone(),
            ..RunRequest::default()
        };
        self.apply(&mut sizes);
        let bounds = Bounds::collect(&sizes, &mut Problems::default());
        (bounds.memory.unwrap_or(DEFAULT_MEMORY), bounds.reservation)
    }

    /// What it means for a machine of `request`, or every mistake in it.
    pub fn read(&self, request: &RunRequest) -> Result<Change, SpecError> {
        let mut changed = RunRequest {
            device_rates: request.device_rates.clone(),
            ..RunRequest::default()
        };
        self.apply(&mut changed);
        let mut problems = Problems::default();
        let bounds = Bounds::collect(&changed, &mut problems);
        if bounds.memory.is_some() || bounds.reservation.is_some() {
            let (memory, reservation) = self.sizes(request);
            problems.take(check_reservation(reservation, memory));
        }
        if request.lifecycle.remove && self.restart.is_some_and(|policy| policy != Restart::No) {
            let text =
                "--restart: a machine that removes itself at its end (--rm) is not started again";
            problems.0.push(text.to_owned());
        }
        if !problems.0.is_empty() {
            return Err(SpecError {
                problems: problems.0,
            });
        }
        Ok(Change {
            memory: bounds.memory,
            reservation: bounds.reservation,
            cpus: bounds.cpus,
            cpuset: bounds.cpuset,
            tasks: self.pids_limit.is_some().then_some(bounds.tasks),
            rates: (!self.device_rates.is_empty()).then_some(bounds.rates),
            restart: self.restart,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_spoken_of_stays() {
        let mut request = RunRequest {
            cpus: Some("2".to_owned()),
            pids_limit: Some("9".to_owned()),
            device_rates: RateWords {
                read_bps: Some("1m".to_owned()),
                write_bps: Some("1m".to_owned()),
                ..RateWords::default()
            },
            ..RunRequest::default()
        };
        let update = Update {
            cpus: Some("0.5".to_owned()),
            device_rates: RateWords {
                write_bps: Some("0".to_owned()),
                ..RateWords::default()
            },
            ..Update::default()
        };
        let change = update.read(&request).unwrap();
        assert_eq!(change.cpus.unwrap().to_string(), "0.5");
        assert_eq!((change.tasks, change.memory), (None, None));
        let rates = change.rates.unwrap();
        assert!(rates.read_bps.is_some() && rates.write_bps.is_none());
        update.apply(&mut request);
        assert_eq!(request.pids_limit.as_deref(), Some("9"));
        assert_eq!(request.cpus.as_deref(), Some("0.5"));
        assert_eq!(request.device_rates.read_bps.as_deref(), Some("1m"));
        let nothing = Update::default();
        assert!(nothing.is_empty() && !update.is_empty());
        assert_eq!(nothing.read(&request).unwrap(), Change::default());
    }

    #[test]
    fn no_more_is_reserved_than_there_is_from_now_on() {
        let request = RunRequest {
            memory: Some("256m".to_owned()),
            memory_reservation: Some("200m".to_owned()),
            ..RunRequest::default()
        };
        for (memory, reservation, is_right) in [
            (Some("128m"), None, false),
            (Some("128m"), Some("64m"), true),
            (None, Some("300m"), false),
            (None, Some("256m"), true),
            (Some("1g"), Some("300m"), true),
        ] {
            let update = Update {
                memory: memory.map(str::to_owned),
                memory_reservation: reservation.map(str::to_owned),
                ..Update::default()
            };
            let read = update.read(&request);
            assert_eq!(read.is_ok(), is_right, "{memory:?} {reservation:?}");
        }
    }

    #[test]
    fn no_bound_is_a_change_too() {
        let update = Update {
            pids_limit: Some("-1".to_owned()),
            ..Update::default()
        };
        let change = update.read(&RunRequest::default()).unwrap();
        assert_eq!(change.tasks, Some(None));
    }

    #[test]
    fn every_mistake_is_told_at_once() {
        let update = Update {
            memory: Some("lots".to_owned()),
            cpus: Some("0".to_owned()),
            restart: Some(Restart::Always),
            ..Update::default()
        };
        let mut request = RunRequest::default();
        assert_eq!(update.read(&request).unwrap_err().problems.len(), 2);
        request.lifecycle.remove = true;
        assert_eq!(update.read(&request).unwrap_err().problems.len(), 3);
    }
}
