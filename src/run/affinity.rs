//! On which processors of the host a run is: this process, and whatever it starts.

use std::io;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::run::Error;
use crate::spec::CpuList;

/// Keeps this process, and who comes of it, to the processors of `list`.
pub fn bind(list: &CpuList) -> Result<(), Error> {
    let failed = |errno: rustix::io::Errno| Error::Streams(io::Error::from(errno));
    let ours = sched_getaffinity(None).map_err(failed)?;
    let mut wanted = CpuSet::new();
    for number in list.numbers() {
        if number >= CpuSet::MAX_CPU || !ours.is_set(number) {
            return Err(Error::NoSuchCpu { number });
        }
        wanted.set(number);
    }
    sched_setaffinity(None, &wanted).map_err(failed)
}
