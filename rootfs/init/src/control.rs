//! The control channel, seen from the guest.

use std::io::{self, Read};
use std::os::fd::OwnedFd;

use husk_init::exit::{Failure, Stage};
use husk_init::frame::Frame;
use husk_init::job::Job;

use crate::vsock;
use husk_init::failure::refused;
use husk_init::sys::{self, file, socket};

/// Why the story ends before its end.
#[derive(Debug)]
pub enum Stop {
    /// Something failed, and the host should hear what.
    Failure(Failure),
    /// Nobody is left to tell.
    HostGone,
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

/// Bytes taken from the channel at once: a usual job in one system call, on one page.
const READ_AHEAD: usize = 4096;

/// The channel to the host.
pub struct Control {
    channel: OwnedFd,
    ahead: [u8; READ_AHEAD],
    /// The part of `ahead` that is not taken yet.
    start: usize,
    end: usize,
}

impl Control {
    /// Begins to connect.
    pub fn begin() -> sys::Result<Self> {
        vsock::begin().map(Self::over)
    }

    /// Over a channel that is there already.
    pub fn over(channel: OwnedFd) -> Self {
        Self {
            channel,
            ahead: [0; READ_AHEAD],
            start: 0,
            end: 0,
        }
    }

    /// Tells the host that init is up; from here on the channel waits for its peer.
    pub fn greet(&self) -> sys::Result<()> {
        vsock::introduce(&self.channel, &Frame::Hello)?;
        file::set_blocking(&self.channel, true)
    }

    /// The descriptor, to wait on.
    pub fn channel(&self) -> &OwnedFd {
        &self.channel
    }

    /// Whether a frame may be waiting in memory, where poll does not see it.
    pub fn is_ahead(&self) -> bool {
        self.start < self.end
    }

    /// Sends a frame.
    pub fn send(&self, frame: &Frame) -> Result<(), Stop> {
        let mut rest = frame.encode();
        while !rest.is_empty() {
            let sent = socket::send(&self.channel, &rest).map_err(|_| Stop::HostGone)?;
            rest.drain(..sent);
        }
        Ok(())
    }

    /// The next frame.
    pub fn receive(&mut self) -> Result<Frame, Stop> {
        match Frame::receive(self) {
            Ok(Some(frame)) => Ok(frame),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                Err(refused(Stage::Protocol, error.to_string().as_bytes()).into())
            }
            Ok(None) | Err(_) => Err(Stop::HostGone),
        }
    }

    /// The job, which is the host's first frame.
    pub fn job(&mut self) -> Result<Job, Stop> {
        match self.receive()? {
            Frame::Job(job) => Ok(*job),
            _ => Err(refused(Stage::Protocol, b"the first frame is not a job").into()),
        }
    }

    /// Waits until the host closes the channel, whatever it still says.
    pub fn wait_for_close(&mut self) {
        while !matches!(file::read(&self.channel, &mut self.ahead), Ok(0) | Err(_)) {}
    }
}

impl Read for Control {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.start == self.end {
            if buffer.len() >= READ_AHEAD {
                return Ok(file::read(&self.channel, buffer)?);
            }
            self.end = file::read(&self.channel, &mut self.ahead)?;
            self.start = 0;
        }
        let waiting = &self.ahead[self.start..self.end];
        let taken = waiting.len().min(buffer.len());
        buffer[..taken].copy_from_slice(&waiting[..taken]);
        self.start += taken;
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    fn pair() -> (Control, UnixStream) {
        let (guest, host) = UnixStream::pair().unwrap();
        (Control::over(guest.into()), host)
    }

    #[test]
    fn frames_that_arrive_together_are_taken_one_by_one() {
        let (mut control, mut host) = pair();
        let signal = |number| Frame::Signal { session: 0, number };
        host.write_all(&[signal(1).encode(), signal(2).encode()].concat())
            .unwrap();
        assert!(matches!(control.receive(), Ok(frame) if frame == signal(1)));
        assert!(control.is_ahead());
        assert!(matches!(control.receive(), Ok(frame) if frame == signal(2)));
        assert!(!control.is_ahead());
    }

    #[test]
    fn a_job_longer_than_the_read_ahead_arrives_whole() {
        let (mut control, mut host) = pair();
        let mut job = Job::default();
        job.process.env = vec![vec![b'x'; 100_000]];
        let bytes = Frame::Job(Box::new(job.clone())).encode();
        let sender = std::thread::spawn(move || host.write_all(&bytes));
        assert_eq!(control.job().unwrap(), job);
        sender.join().unwrap().unwrap();
    }

    #[test]
    fn a_broken_frame_is_a_protocol_failure_and_silence_is_a_gone_host() {
        let (mut control, mut host) = pair();
        host.write_all(&[0, 0, 0, 0, 99, husk_init::frame::VERSION])
            .unwrap();
        let answer = control.receive();
        assert!(matches!(answer, Err(Stop::Failure(f)) if f.stage == Stage::Protocol));
        drop(host);
        assert!(matches!(control.receive(), Err(Stop::HostGone)));
    }

    #[test]
    fn a_job_is_the_first_frame_or_the_protocol_is_broken() {
        let (mut control, mut host) = pair();
        Frame::Finished.send(&mut host).unwrap();
        assert!(matches!(control.job(), Err(Stop::Failure(f)) if f.stage == Stage::Protocol));
    }
}
