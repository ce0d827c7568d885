//! A process on its way into a container, to become a command beside the workload. It is husk's binary once
//! more, a child of who keeps the container, and it ends with the command.
//!
//! ```text
//!  the keeper                    the tenant
//!    ├── Order, files, Exec ────────▶ ├─ enters every namespace of the container
//!    │                                ├─ finds the user, makes the terminal: in the container's own files
//!    │                                ├─ forks ─▶ its control groups, user, capabilities, filter; exec
//!    │ ◀── Started, process ──────────┤
//!    │ ◀── Exited ────────────────────┤
//! ```
//!
//! What it says are init's frames, and why it cannot begin where init has no word for that. Until the exec
//! nobody in the container may look into it: it is not dumpable, and its program is behind a mount without
//! writes ([`super::binary`]). It has no directory open, and sees no process of its own in /proc when it looks
//! up a path, so that no link leads out.

use std::fs::File;
use std::io::{self, Seek};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitCode, Stdio};

use husk_init::exit::{Failure, Stage};
use husk_init::failure::{At, not_spawned};
use husk_init::files::make_directory;
use husk_init::frame::Frame;
use husk_init::job::{Process, Size};
use husk_init::sys::spawn::{self, Confine, Plan};
use husk_init::sys::{self, Errno, mount, terminal};
use husk_init::user::{self, User};
use husk_init::workload;
use rustix::fs::{MemfdFlags, Mode, fstatfs, memfd_create};
use rustix::process::{DumpableBehavior, set_dumpable_behavior, umask};
use rustix::thread::{
    CapabilitySet, CapabilitySets, ThreadNameSpaceType, clear_ambient_capability_set,
    move_into_thread_name_spaces, remove_capability_from_bounding_set, set_capabilities,
    set_no_new_privs,
};
use serde::{Deserialize, Serialize};

use super::error::Error;
use super::hired;
use super::program::Program;
use super::running::Init;
use super::seccomp;
use super::streams::give;
use crate::spec::sentence::sentence;
use crate::sys::seqpacket::{Message, Seqpacket};
use crate::sys::signals;

/// The verb by which the binary becomes one. Not for people.
pub const TENANT_VERB: &str = "tenant";

/// What it calls itself (`argv[0]`).
const NAME: &str = "husk-tenant";

/// The file system of terminals (linux/magic.h).
const DEVPTS_MAGIC: i64 = 0x1cd1;

/// The last capability that a number could name (linux/capability.h): sets are 64 bits long.
const CAPABILITIES: u32 = 64;

/// On what terms a container has tenants: those of its first process.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Terms {
    /// The capabilities that a process in it can have, and its root has.
    pub capabilities: u64,
    /// How many ids there are in it.
    pub ids: u32,
}

impl Terms {
    /// Whether there is this user.
    pub fn allow(self, user: &User) -> Result<(), Error> {
        let mut ids = [user.uid, user.gid].into_iter();
        ids.find(|id| *id >= self.ids)
            .map_or(Ok(()), |id| Err(Error::NoSuchId { id }))
    }
}

/// The way into a container.
#[derive(Debug)]
pub struct Door {
    /// Its first process.
    pub init: Init,
    /// husk's program, as it may be seen there.
    pub program: OwnedFd,
    /// How it is entered.
    pub way: Way,
    /// What holds there.
    pub terms: Terms,
}

/// How a command gets into a container.
#[derive(Debug)]
pub enum Way {
    /// Through its namespaces, into these control groups (their `cgroup.procs`).
    Namespaces(Vec<OwnedFd>),
    /// By the runtime that made it ([`super::hired`]).
    Runtime(Program),
}

/// The first message; the files with it are the container's first process, what is to run as a frame, the
/// control groups, and the streams of a process without a terminal.
#[derive(Debug, Serialize, Deserialize)]
struct Order {
    terms: Terms,
    cgroups: usize,
    made: Option<Program>,
}

/// What a tenant says.
#[derive(Debug)]
pub enum Word {
    /// As init would.
    Frame(Frame),
    /// It cannot begin, as a sentence.
    Refused(String),
}

/// What comes first in a message.
const FRAME: u8 = b'F';
const REFUSED: u8 = b'R';

/// A tenant that has its order.
#[derive(Debug)]
pub struct Tenant {
    child: Child,
    line: Seqpacket,
}

impl Door {
    /// Sends one in, to become `process`, which has `streams` if it has no terminal.
    pub fn send_in(&self, process: Process, streams: Vec<OwnedFd>) -> io::Result<Tenant> {
        let (line, theirs) = Seqpacket::pair()?;
        let child = Command::new(format!("/proc/self/fd/{}", self.program.as_raw_fd()))
            .arg0(NAME)
            .arg(TENANT_VERB)
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // The terminal's Ctrl-C is for the workload.
            .process_group(0)
            .spawn()?;
        let tenant = Tenant { child, line };
        tenant.order(self, process, &streams)?;
        Ok(tenant)
    }
}

impl Tenant {
    fn order(&self, door: &Door, process: Process, streams: &[OwnedFd]) -> io::Result<()> {
        let exec = Frame::Exec {
            session: 0,
            process: Box::new(process),
        };
        // In a file: it may be longer than a message.
        let mut paper = File::from(memfd_create("exec", MemfdFlags::CLOEXEC)?);
        exec.send(&mut paper)?;
        paper.rewind()?;
        let (cgroups, made) = match &door.way {
            Way::Namespaces(cgroups) => (&cgroups[..], None),
            Way::Runtime(made) => (&[][..], Some(made.clone())),
        };
        let order = Order {
            terms: door.terms,
            cgroups: cgroups.len(),
            made,
        };
        let files: Vec<_> = [door.init.pidfd.as_fd(), paper.as_fd()]
            .into_iter()
            .chain(cgroups.iter().map(AsFd::as_fd))
            .chain(streams.iter().map(AsFd::as_fd))
            .collect();
        self.line.send(&serde_json::to_vec(&order)?, &files)
    }

    /// Waits for its next word, and the files with it; none when it is gone.
    pub fn hear(&self) -> Option<(Word, Vec<OwnedFd>)> {
        let Message { bytes, files } = self.line.receive().ok()??;
        let word = match bytes.split_first()? {
            (&FRAME, mut frame) => Word::Frame(Frame::receive(&mut frame).ok()??),
            (_, text) => Word::Refused(String::from_utf8_lossy(text).into_owned()),
        };
        Some((word, files))
    }

    /// Buries it; it has said its last word, or gets none.
    pub fn bury(mut self) {
        drop(self.line);
        // It is our child, and cannot be gone before.
        let _buried = self.child.wait();
    }
}

/// Is one: takes its order, and carries it out.
pub fn serve() -> ExitCode {
    let Ok(line) = io::stdin().as_fd().try_clone_to_owned() else {
        return ExitCode::FAILURE;
    };
    let line = Seqpacket::from(line);
    match live(&line) {
        Ok(()) => return ExitCode::SUCCESS,
        Err(Ending::Failed(failure)) => say(&line, &failed(failure), &[]),
        Err(Ending::Refused(text)) => say(&line, &Word::Refused(text), &[]),
    }
    ExitCode::FAILURE
}

/// Why it does not begin.
pub enum Ending {
    Failed(Failure),
    Refused(String),
}

impl From<Failure> for Ending {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl From<Error> for Ending {
    fn from(error: Error) -> Self {
        Self::Refused(sentence(&error))
    }
}

impl From<io::Error> for Ending {
    fn from(error: io::Error) -> Self {
        Self::Refused(format!("the container cannot be entered: {error}"))
    }
}

impl From<rustix::io::Errno> for Ending {
    fn from(errno: rustix::io::Errno) -> Self {
        io::Error::from(errno).into()
    }
}

fn failed(failure: Failure) -> Word {
    Word::Frame(Frame::Failed {
        session: 0,
        failure,
    })
}

fn say(line: &Seqpacket, word: &Word, files: &[BorrowedFd<'_>]) {
    let bytes = match word {
        Word::Frame(frame) => [&[FRAME][..], &frame.encode()].concat(),
        Word::Refused(text) => [&[REFUSED][..], text.as_bytes()].concat(),
    };
    // A keeper that is gone takes the container with it.
    let _gone = line.send(&bytes, files);
}

/// What came with the order.
pub struct Ordered {
    /// On what terms.
    pub terms: Terms,
    /// What is to run.
    pub process: Process,
    /// The container's first process.
    pub init: OwnedFd,
    made: Option<Program>,
    cgroups: Vec<OwnedFd>,
    /// The streams of a process without a terminal.
    pub streams: Vec<OwnedFd>,
}

fn take_order(line: &Seqpacket) -> io::Result<Ordered> {
    let short = || io::Error::other("it came without its files");
    let message = line.receive()?.ok_or(io::ErrorKind::UnexpectedEof)?;
    let order: Order = serde_json::from_slice(&message.bytes)?;
    let mut files = message.files.into_iter();
    let init = files.next().ok_or_else(short)?;
    let mut paper = File::from(files.next().ok_or_else(short)?);
    let cgroups = files.by_ref().take(order.cgroups).collect();
    let Some(Frame::Exec { process, .. }) = Frame::receive(&mut paper)? else {
        return Err(io::ErrorKind::InvalidData.into());
    };
    Ok(Ordered {
        terms: order.terms,
        process: *process,
        init,
        made: order.made,
        cgroups,
        streams: files.collect(),
    })
}

fn live(line: &Seqpacket) -> Result<(), Ending> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    let mut ordered = take_order(line)?;
    if let Some(made) = ordered.made.take() {
        return hired::live(line, made, ordered);
    }
    let Ordered {
        terms,
        process,
        init,
        cgroups,
        streams,
        ..
    } = ordered;
    enter(init)?;
    let (user, program) = find(&process, terms)?;
    let (master, streams) = connect(&process, &user, streams)?;
    let groups: Vec<_> = user
        .groups
        .iter()
        .copied()
        .filter(|gid| *gid < terms.ids)
        .collect();
    let confinement = Confinement::prepare(terms, &user)?;
    let plan = Plan {
        program: &program,
        cwd: c".",
        uid: user.uid,
        gid: user.gid,
        // Who has one id may not name groups at all (user_namespaces(7), "setgroups").
        groups: (terms.ids > 1).then_some(&groups),
        limits: &process.limits,
        streams: &streams,
        on_terminal: process.terminal.is_some(),
        cgroups: &cgroups,
        confine: Some(&confinement),
    };
    let pid = spawn::spawn(&plan).map_err(|failed| not_spawned(failed, &process))?;
    // Where it ends shall be seen at the other ends.
    drop((streams, cgroups));
    let command = Init::of(pid)?;
    announce(line, &command, master);
    wait_for_end(line, &command)
}

/// Who is to run it, and what, in its directory: by the files where this process is.
pub fn find(process: &Process, terms: Terms) -> Result<(User, workload::Program), Ending> {
    let user = user::resolve(&process.user)?;
    terms.allow(&user)?;
    let program = workload::Program::new(process, &user)?;
    make_directory(&process.cwd).at(Stage::Workdir, &process.cwd)?;
    let cwd = sys::string(&process.cwd).and_then(|cwd| mount::chdir(&cwd));
    cwd.at(Stage::Workdir, &process.cwd)?;
    Ok((user, program))
}

/// Says that it has started, and whose terminal it shows.
pub fn announce(line: &Seqpacket, command: &Init, master: Option<OwnedFd>) {
    let started = Word::Frame(Frame::Started { session: 0 });
    let files: Vec<_> = [
        Some(command.pidfd.as_fd()),
        master.as_ref().map(AsFd::as_fd),
    ]
    .into_iter()
    .flatten()
    .collect();
    say(line, &started, &files);
}

/// Waits for its end, and says how it was.
pub fn wait_for_end(line: &Seqpacket, command: &Init) -> Result<(), Ending> {
    let exit = command.bury()?;
    say(line, &Word::Frame(Frame::Exited { session: 0, exit }), &[]);
    Ok(())
}

/// Enters the namespaces of the process `init`. Network and users are the keeper's own, and so its child's.
fn enter(init: OwnedFd) -> Result<(), Ending> {
    let spaces = ThreadNameSpaceType::MOUNT
        | ThreadNameSpaceType::PROCESS_ID
        | ThreadNameSpaceType::INTER_PROCESS_COMMUNICATION
        | ThreadNameSpaceType::HOST_NAME_AND_NIS_DOMAIN_NAME
        | ThreadNameSpaceType::CONTROL_GROUP;
    // This is the only thread, so that root and working directory are nobody else's.
    move_into_thread_name_spaces(init.as_fd(), spaces)?;
    umask(Mode::empty());
    Ok(())
}

/// The process's streams, and the master of its terminal if it has one.
fn connect(
    process: &Process,
    user: &User,
    streams: Vec<OwnedFd>,
) -> Result<(Option<OwnedFd>, [OwnedFd; 3]), Ending> {
    if let Some(size) = process.terminal {
        let made = make_terminal(size, user.uid).at(Stage::Terminal, b"/dev/pts")?;
        return Ok((Some(made.0), made.1));
    }
    let streams = <[OwnedFd; 3]>::try_from(streams)
        .map_err(|_| io::Error::other("it came without its streams"))?;
    streams.iter().for_each(|stream| give(stream, user.uid));
    Ok((None, streams))
}

/// A terminal of the container's. Its root could have put anything where /dev/ptmx is; but nothing into the
/// file system of terminals, and nothing in its place.
fn make_terminal(size: Size, uid: u32) -> sys::Result<(OwnedFd, [OwnedFd; 3])> {
    let master = terminal::open_master(c"/dev/pts/ptmx")?;
    let is_terminal = fstatfs(&master).is_ok_and(|stat| stat.f_type == DEVPTS_MAGIC);
    if !is_terminal {
        return Err(Errno(libc::ENODEV));
    }
    terminal::resize(&master, size)?;
    let slave = terminal::open_slave(&master)?;
    sys::file::give_to(&slave, uid)?;
    let copy = || {
        slave
            .try_clone()
            .map_err(|error| Errno(error.raw_os_error().unwrap_or(libc::EIO)))
    };
    let ends = [copy()?, copy()?, slave];
    Ok((master, ends))
}

/// What holds the command back besides its user: as the container's first process.
#[derive(Debug)]
struct Confinement {
    capabilities: CapabilitySet,
    filter: seccomp::Program,
}

impl Confinement {
    /// Does what only the mighty can.
    fn prepare(terms: Terms, user: &User) -> Result<Self, Ending> {
        let bounding = CapabilitySet::from_bits_retain(terms.capabilities);
        for number in 0..CAPABILITIES {
            let one = CapabilitySet::from_bits_retain(1 << number);
            if bounding.contains(one) {
                continue;
            }
            match remove_capability_from_bounding_set(one) {
                // This kernel knows no more of them.
                Err(rustix::io::Errno::INVAL) => break,
                removed => removed?,
            }
        }
        Ok(Self {
            // Only root has any at once; everybody else could gain them, as far as the file system lets them.
            capabilities: match user.uid {
                0 => bounding,
                _ => CapabilitySet::empty(),
            },
            filter: seccomp::compile(),
        })
    }

    fn apply(&self) -> io::Result<()> {
        // To become somebody else may have undone it.
        set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
        clear_ambient_capability_set()?;
        set_capabilities(
            None,
            CapabilitySets {
                effective: self.capabilities,
                permitted: self.capabilities,
                inheritable: CapabilitySet::empty(),
            },
        )?;
        set_no_new_privs(true)?;
        signals::heed_all()?;
        seccomp::apply(&self.filter)
    }
}

impl Confine for Confinement {
    fn confine(&self) -> sys::Result<()> {
        let applied = self.apply();
        applied.map_err(|error| Errno(error.raw_os_error().unwrap_or(libc::EIO)))
    }
}
