//! The whole story of PID 1: become the image's root, take the job, run it, report, end.
//!
//! The order matters. The connection to the host begins first and its round trip passes while the
//! root is mounted; the host hears of a failure only after the greeting, so a root that cannot be
//! mounted is reported in the job's place.

use std::os::fd::OwnedFd;

use husk_init::exit::Failure;
use husk_init::frame::Frame;

use crate::control::{Control, Stop};
use crate::kmsg::Kmsg;
use crate::session::WORKLOAD;
use crate::sessions::Sessions;
use crate::{identity, mounts, probe, root, shares, tasks};
use husk_init::sys::{self, mount, process};
use husk_init::{files, network};

/// Lives the machine's life, then resets it. Returns only if the kernel refuses.
pub fn run() -> libc::c_int {
    let kmsg = Kmsg::open();
    process::clear_umask();
    if let Err(why) = meet_host() {
        kmsg.say("cannot reach the host", why);
    }
    process::restart();
    1
}

fn meet_host() -> sys::Result<()> {
    let mut control = Control::begin()?;
    let prepared = root::enter().and_then(|upper| mounts::populate().map(|()| upper));
    control.greet()?;
    let last_word = match live(&mut control, prepared) {
        Ok(()) => Frame::Finished,
        Err(Stop::Failure(failure)) => Frame::Failed {
            session: WORKLOAD,
            failure,
        },
        Err(Stop::HostGone) => return Ok(()),
    };
    // The host hangs up once it has every byte; a reset before that could lose some.
    if control.send(&last_word).is_ok() {
        control.wait_for_close();
    }
    Ok(())
}

/// Whether `user[:group]` is root: who needs no leave for anything, and the first look at a kernel's settings is a good
/// part of what its network costs.
fn is_root(user: &[u8]) -> bool {
    let name = user.split(|byte| *byte == b':').next();
    matches!(name, None | Some(b"" | b"0" | b"root"))
}

fn live(control: &mut Control, prepared: Result<OwnedFd, Failure>) -> Result<(), Stop> {
    let job = control.job()?;
    let upper = prepared?;
    identity::adopt(&job)?;
    files::write(&job.files)?;
    if let Some(interface) = &job.network {
        network::join(interface)?;
        if !is_root(&job.process.user) {
            network::open_to_all(network::LAST_GROUP);
        }
    }
    if let Some(most) = job.most_tasks {
        tasks::bound(most)?;
    }
    shares::make_places(&job)?;
    if job.probe {
        probe::show()?;
    }
    if job.read_only {
        root::seal()?;
    }
    let mut sessions = Sessions::begin(upper)?;
    sessions.start(WORKLOAD, &job.process)?;
    control.send(&Frame::Started { session: WORKLOAD })?;
    let exit = sessions.follow(control)?;
    control.send(&Frame::Exited {
        session: WORKLOAD,
        exit,
    })?;
    sessions.end(control)?;
    sessions.drain(control)?;
    mount::sync();
    Ok(())
}
