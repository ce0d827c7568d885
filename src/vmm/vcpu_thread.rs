//! The thread of a vCPU.
//!
//! KVM remembers which thread runs a vCPU, and waits for a grace period of RCU, some 10 ms, when
//! another one takes it over. So the thread is there from the beginning, and whatever has to be done
//! on it is handed to it.

use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

type Job = Box<dyn FnOnce() + Send>;

/// A thread that will run a vCPU, and until then does what it is given.
#[derive(Debug)]
pub struct VcpuThread {
    jobs: Sender<Job>,
}

impl VcpuThread {
    /// Starts the thread of vCPU number `id`.
    pub fn spawn(id: u8) -> io::Result<Self> {
        let (jobs, given) = channel::<Job>();
        thread::Builder::new()
            .name(format!("vcpu{id}"))
            .spawn(move || given.into_iter().for_each(|job| job()))?;
        Ok(Self { jobs })
    }

    /// Gives it a job, to do after those before. What it makes will be there to receive; nothing will
    /// when the thread is gone.
    pub fn start<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Receiver<T> {
        let (made, result) = channel();
        let job = Box::new(move || {
            // Nobody may want to know.
            let _unwanted = made.send(job());
        });
        // A thread that is gone has panicked, and that ends the process.
        let _gone = self.jobs.send(job);
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_jobs_are_done_by_one_thread_and_in_order() {
        let thread = VcpuThread::spawn(7).unwrap();
        let name = || thread::current().name().map(str::to_owned);
        let (first, second) = (thread.start(name), thread.start(|| thread::current().id()));
        let third = thread.start(|| thread::current().id());
        assert_eq!(first.recv().unwrap().as_deref(), Some("vcpu7"));
        assert_eq!(second.recv().unwrap(), third.recv().unwrap());
    }
}
