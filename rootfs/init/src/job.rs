//! The job: everything init needs to know to run one workload.
//!
//! Strings are bytes: file names, arguments and environments on Linux are not UTF-8.

use crate::wire::{Reader, WireError, Writer};

/// Where the probe is, behind either wall; on the disk of a machine too, beside init.
pub const PROBE_PATH: &str = "/.husk-probe";

/// What the guest is to become, and the process it is to run.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Job {
    /// Nanoseconds since the Unix epoch when the job was sent: the guest has no clock of its own.
    pub realtime_ns: u64,
    /// Fresh randomness for the guest's generator.
    pub seed: [u8; 32],
    /// The host name.
    pub hostname: Vec<u8>,
    /// Files that the host writes for the guest: /etc/hosts, /etc/resolv.conf, /etc/hostname.
    pub files: Vec<GuestFile>,
    /// Whether the root file system refuses writes.
    pub read_only: bool,
    /// `--tmpfs` mounts, in the order given.
    pub tmpfs: Vec<Tmpfs>,
    /// The image's VOLUME paths: created if missing, writable even when the root is not.
    pub volumes: Vec<Vec<u8>>,
    /// The host's files, by their places: number N is number N of the machine's file system device.
    pub shares: Vec<Share>,
    /// Most processes and threads that the workload may be at once, if that is bounded.
    pub most_tasks: Option<u32>,
    /// Whether the disk has the probe, which is to be at [`PROBE_PATH`] of the image too, read-only.
    pub probe: bool,
    /// The machine's place on its network, if it has one.
    pub network: Option<Interface>,
    /// The workload.
    pub process: Process,
}

/// How the machine's one network interface is set up.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Interface {
    /// Whether a kernel without a driver for it is a failure.
    pub required: bool,
    /// The card's address: to read it from the card costs the guest an exit for each byte.
    pub mac: [u8; 6],
    /// Longest packet, bytes.
    pub mtu: u16,
    /// In IPv4. With no addresses at all it has those that its kernel gives it.
    pub v4: Option<Addresses>,
    /// In IPv6.
    pub v6: Option<Addresses>,
    /// More of the machine's, whose networks are reached without a gateway.
    pub others: Vec<Addresses>,
}

/// Addresses of one version of IP: 4 or 16 bytes each, as packets have them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Addresses {
    /// The machine's.
    pub own: Vec<u8>,
    /// Who takes what is for others; empty where nobody does.
    pub gateway: Vec<u8>,
    /// Bits of the network's part.
    pub prefix: u8,
}

/// A file that the host provides, owned by root, replacing what the image has at its path.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GuestFile {
    /// Absolute path in the guest.
    pub path: Vec<u8>,
    /// Permission bits.
    pub mode: u32,
    /// Content.
    pub content: Vec<u8>,
}

/// A `--tmpfs` mount.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tmpfs {
    /// Absolute path in the guest, created if missing.
    pub path: Vec<u8>,
    /// Mount options as `mount(8)` writes them (`rw,size=64m,mode=1777,noexec`), maybe empty.
    pub options: Vec<u8>,
}

/// Files of the host that the workload sees.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Share {
    /// Absolute path in the guest, created if missing.
    pub path: Vec<u8>,
    /// Whether it refuses writes.
    pub read_only: bool,
}

/// A process to run.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Process {
    /// The command and its arguments; the command is searched in the PATH of `env` when it has no
    /// slash.
    pub argv: Vec<Vec<u8>>,
    /// `KEY=VALUE` each. Init adds HOME from the user's passwd entry when it is absent.
    pub env: Vec<Vec<u8>>,
    /// Working directory, absolute; created if missing.
    pub cwd: Vec<u8>,
    /// `name|uid[:group|gid]`, resolved with the image's own /etc/passwd and /etc/group; empty is
    /// root.
    pub user: Vec<u8>,
    /// Resource limits.
    pub limits: Vec<Limit>,
    /// Whether the host will send a stdin stream; otherwise stdin is /dev/null.
    pub stdin: bool,
    /// The first size of a pseudo-terminal, which is then stdin, stdout and stderr, whatever `stdin`
    /// says; without one they are pipes.
    pub terminal: Option<Size>,
    /// Whether this is a program of init's own, by the name in `argv` ([`crate::archive::program`]), and not
    /// the image's.
    pub own: bool,
}

/// The size of a terminal, in characters; zero where nobody knows it (tty_ioctl(4), "winsize").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Size {
    /// Lines.
    pub rows: u16,
    /// Characters in a line.
    pub columns: u16,
}

/// One resource limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// RLIMIT_* number of Linux x86_64.
    pub resource: u32,
    /// Soft limit; `u64::MAX` is unlimited.
    pub soft: u64,
    /// Hard limit; `u64::MAX` is unlimited.
    pub hard: u64,
}

impl Job {
    pub(crate) fn write(&self, out: &mut Writer) {
        out.u64(self.realtime_ns);
        for byte in self.seed {
            out.u8(byte);
        }
        out.bytes(&self.hostname);
        out.list(&self.files, |out, file| {
            out.bytes(&file.path);
            out.u32(file.mode);
            out.bytes(&file.content);
        });
        out.bool(self.read_only);
        out.list(&self.tmpfs, |out, mount| {
            out.bytes(&mount.path);
            out.bytes(&mount.options);
        });
        out.list(&self.volumes, |out, path| out.bytes(path));
        out.list(&self.shares, |out, share| {
            out.bytes(&share.path);
            out.bool(share.read_only);
        });
        // None at all is no number that anybody could mean.
        out.u32(self.most_tasks.unwrap_or(0));
        out.bool(self.probe);
        out.bool(self.network.is_some());
        if let Some(interface) = &self.network {
            interface.write(out);
        }
        self.process.write(out);
    }

    pub(crate) fn read(from: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(Self {
            realtime_ns: from.u64()?,
            seed: from.fixed()?,
            hostname: from.bytes()?,
            files: from.list(|from| {
                Ok(GuestFile {
                    path: from.bytes()?,
                    mode: from.u32()?,
                    content: from.bytes()?,
                })
            })?,
            read_only: from.bool()?,
            tmpfs: from.list(|from| {
                Ok(Tmpfs {
                    path: from.bytes()?,
                    options: from.bytes()?,
                })
            })?,
            volumes: from.list(Reader::bytes)?,
            shares: from.list(|from| {
                Ok(Share {
                    path: from.bytes()?,
                    read_only: from.bool()?,
                })
            })?,
            most_tasks: Some(from.u32()?).filter(|most| *most > 0),
            probe: from.bool()?,
            network: match from.bool()? {
                true => Some(Interface::read(from)?),
                false => None,
            },
            process: Process::read(from)?,
        })
    }
}

impl Interface {
    fn write(&self, out: &mut Writer) {
        out.bool(self.required);
        self.mac.iter().for_each(|byte| out.u8(*byte));
        out.u16(self.mtu);
        for addresses in [&self.v4, &self.v6] {
            out.bool(addresses.is_some());
            if let Some(addresses) = addresses {
                addresses.write(out);
            }
        }
        out.list(&self.others, |out, addresses| addresses.write(out));
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(Self {
            required: from.bool()?,
            mac: from.fixed()?,
            mtu: from.u16()?,
            v4: Addresses::read_some(from)?,
            v6: Addresses::read_some(from)?,
            others: from.list(Addresses::read)?,
        })
    }
}

impl Addresses {
    fn write(&self, out: &mut Writer) {
        out.bytes(&self.own);
        out.bytes(&self.gateway);
        out.u8(self.prefix);
    }

    fn read_some(from: &mut Reader<'_>) -> Result<Option<Self>, WireError> {
        Ok(match from.bool()? {
            true => Some(Self::read(from)?),
            false => None,
        })
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(Self {
            own: from.bytes()?,
            gateway: from.bytes()?,
            prefix: from.u8()?,
        })
    }
}

impl Size {
    pub(crate) fn write(self, out: &mut Writer) {
        out.u16(self.rows);
        out.u16(self.columns);
    }

    pub(crate) fn read(from: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(Self {
            rows: from.u16()?,
            columns: from.u16()?,
        })
    }
}

impl Process {
    pub(crate) fn write(&self, out: &mut Writer) {
        out.list(&self.argv, |out, arg| out.bytes(arg));
        out.list(&self.env, |out, pair| out.bytes(pair));
        out.bytes(&self.cwd);
        out.bytes(&self.user);
        out.list(&self.limits, |out, limit| {
            out.u32(limit.resource);
            out.u64(limit.soft);
            out.u64(limit.hard);
        });
        out.bool(self.stdin);
        out.bool(self.terminal.is_some());
        if let Some(size) = self.terminal {
            size.write(out);
        }
        out.bool(self.own);
    }

    pub(crate) fn read(from: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(Self {
            argv: from.list(Reader::bytes)?,
            env: from.list(Reader::bytes)?,
            cwd: from.bytes()?,
            user: from.bytes()?,
            limits: from.list(|from| {
                Ok(Limit {
                    resource: from.u32()?,
                    soft: from.u64()?,
                    hard: from.u64()?,
                })
            })?,
            stdin: from.bool()?,
            terminal: match from.bool()? {
                true => Some(Size::read(from)?),
                false => None,
            },
            own: from.bool()?,
        })
    }
}
