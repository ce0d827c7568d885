//! What makes this machine different from the next one of the same image: its time, its randomness, its
//! name. A machine that was restored from a template gets them anew.

use husk_init::exit::{Failure, Stage};
use husk_init::failure::At;
use husk_init::job::Job;
use husk_init::sys::{Result, file, process};

/// Takes the job's identity.
pub fn adopt(job: &Job) -> std::result::Result<(), Failure> {
    set_clock(job.realtime_ns).at(Stage::Identity, b"the clock")?;
    seed(&job.seed).at(Stage::Identity, b"the random seed")?;
    if !job.hostname.is_empty() {
        process::set_hostname(&job.hostname).at(Stage::Identity, &job.hostname)?;
    }
    Ok(())
}

fn set_clock(realtime_ns: u64) -> Result<()> {
    const SECOND: u64 = 1_000_000_000;
    let signed = |value| i64::try_from(value).expect("u64 nanoseconds are 585 years");
    process::set_clock(signed(realtime_ns / SECOND), signed(realtime_ns % SECOND))
}

fn seed(seed: &[u8; 32]) -> Result<()> {
    let urandom = file::open(c"/dev/urandom", libc::O_RDONLY, 0)?;
    process::seed(&urandom, seed)
}
