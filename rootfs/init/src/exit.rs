//! How a workload ends, or why it never began.

use crate::wire::{Reader, WireError, Writer};

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It returned this status.
    Code(u8),
    /// This signal killed it.
    Signal(u8),
}

impl Exit {
    /// The status a shell would show: the code itself, or 128 + n for signal n.
    pub fn status(self) -> u8 {
        match self {
            Self::Code(code) => code,
            Self::Signal(number) => 128u8.saturating_add(number),
        }
    }

    pub(crate) fn write(self, out: &mut Writer) {
        let (tag, value) = match self {
            Self::Code(code) => (0, code),
            Self::Signal(number) => (1, number),
        };
        out.u8(tag);
        out.u8(value);
    }

    pub(crate) fn read(from: &mut Reader<'_>) -> Result<Self, WireError> {
        match from.u8()? {
            0 => from.u8().map(Self::Code),
            1 => from.u8().map(Self::Signal),
            tag => Err(WireError::UnknownTag(tag)),
        }
    }
}

/// The step of init that failed. The first ten are in the order of the steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Stage {
    /// Mounting the root file system, /dev, /proc, /sys or the cgroup tree.
    Mount = 1,
    /// Setting the clock, the hostname or the random seed.
    Identity = 2,
    /// Writing /etc/hosts, /etc/resolv.conf or /etc/hostname.
    Files = 3,
    /// Mounting a `--tmpfs` or a VOLUME; the detail is its path.
    Volume = 4,
    /// Finding the user or group in the image; the detail is the name.
    User = 5,
    /// Making or entering the working directory; the detail is its path.
    Workdir = 6,
    /// Setting a resource limit; the detail is its name.
    Limit = 7,
    /// Connecting a stream.
    Stream = 8,
    /// Forking the workload.
    Fork = 9,
    /// Finding or executing the command; the detail is the command.
    Exec = 10,
    /// The host sent something that this init does not understand.
    Protocol = 11,
    /// Making the pseudo-terminal.
    Terminal = 12,
    /// Finding room for one more session.
    Sessions = 13,
    /// Setting the network interface up; the detail is its name.
    Network = 14,
}

impl Stage {
    const ALL: [Self; 14] = [
        Self::Mount,
        Self::Identity,
        Self::Files,
        Self::Volume,
        Self::User,
        Self::Workdir,
        Self::Limit,
        Self::Stream,
        Self::Fork,
        Self::Exec,
        Self::Protocol,
        Self::Terminal,
        Self::Sessions,
        Self::Network,
    ];
}

/// A failure before the workload's first instruction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The step that failed.
    pub stage: Stage,
    /// What the kernel said, as an errno; 0 where the kernel was not asked.
    pub errno: i32,
    /// The thing it failed on: a path, a name, a command. Bytes of the image's choosing.
    pub detail: Vec<u8>,
}

impl Failure {
    /// The exit status of `husk run` by Docker's table: 127 for a command that is not there, 126
    /// for one that is but cannot be executed, 125 for everything before that.
    pub fn status(&self) -> u8 {
        match (self.stage, self.errno) {
            (Stage::Exec, libc::ENOENT | libc::ENOTDIR) => 127,
            (Stage::Exec, _) => 126,
            _ => 125,
        }
    }

    pub(crate) fn write(&self, out: &mut Writer) {
        out.u8(self.stage as u8);
        out.u32(self.errno.unsigned_abs());
        out.bytes(&self.detail);
    }

    pub(crate) fn read(from: &mut Reader<'_>) -> Result<Self, WireError> {
        let tag = from.u8()?;
        let stage = Stage::ALL.into_iter().find(|stage| *stage as u8 == tag);
        let stage = stage.ok_or(WireError::UnknownTag(tag))?;
        let errno = i32::try_from(from.u32()?).unwrap_or(i32::MAX);
        Ok(Self {
            stage,
            errno,
            detail: from.bytes()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_follow_dockers_table() {
        let exec = |errno| {
            Failure {
                stage: Stage::Exec,
                errno,
                detail: Vec::new(),
            }
            .status()
        };
        assert_eq!(Exit::Code(3).status(), 3);
        assert_eq!(Exit::Signal(9).status(), 137);
        assert_eq!(exec(libc::ENOENT), 127);
        assert_eq!(exec(libc::EACCES), 126);
        assert_eq!(exec(libc::ENOEXEC), 126);
        let user = Failure {
            stage: Stage::User,
            errno: 0,
            detail: b"nobody".to_vec(),
        };
        assert_eq!(user.status(), 125);
    }
}
