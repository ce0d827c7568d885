//! A machine whose switch is gone is on its network again by itself.
//!
//! The switch is started again by its caretaker ([`super::switch`]); here it is noticed, by the end of the connection, of which the
//! keeper has a copy, and the place is asked for again. The same address is, so that nothing changes in the machine; where
//! somebody was faster, the machine gets another one. The wait between doubles, up to a few seconds, and nobody gives up.
//!
//! Where the caretaker is gone too, the keeper of a virtual machine starts another switch. That of a container is in the
//! container's own namespaces, and waits until somebody else does: another machine's keeper, or who starts or connects one.

use std::io::{self, PipeReader, Read};
use std::os::fd::AsFd;
use std::thread;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::Error;
use super::life::Watch;
use super::network::addresses;
use super::networks::{address, rejoin};
use super::plugs::Plugs;
use crate::spec::{Joining, Seat};

/// Looks after the places of a machine that has any, on a thread of its own, as long as this process lives.
pub fn look_after(plugs: &Plugs, watch: &Watch) -> io::Result<()> {
    let Some(waker) = plugs
        .is_tied()
        .then(|| plugs.watched())
        .transpose()?
        .flatten()
    else {
        return Ok(());
    };
    let (plugs, watch) = (plugs.clone(), watch.clone());
    let looks = thread::Builder::new().name("rejoin".to_owned());
    looks.spawn(move || while wait(&plugs, &waker, &watch).is_ok() {})?;
    Ok(())
}

/// Waits for the end of a connection, or until a lost place is to be asked for, and sees to it.
fn wait(plugs: &Plugs, mut waker: &PipeReader, watch: &Watch) -> io::Result<()> {
    let (trunks, due) = plugs.trunks();
    let left = due.map(|due| due.saturating_duration_since(Instant::now()));
    let left = left.and_then(|left| Timespec::try_from(left).ok());
    // Of a connection only its end: what comes over it is for the network.
    let ends = trunks
        .iter()
        .map(|trunk| PollFd::from_borrowed_fd(trunk.as_fd(), PollFlags::empty()));
    let woken = PollFd::from_borrowed_fd(waker.as_fd(), PollFlags::IN);
    let mut entries: Vec<_> = ends.chain([woken]).collect();
    match poll(&mut entries, left.as_ref()) {
        Ok(_) | Err(Errno::INTR) => {}
        Err(errno) => return Err(errno.into()),
    }
    let mut came = entries.iter().map(|entry| !entry.revents().is_empty());
    let ended: Vec<_> = trunks
        .iter()
        .filter(|_| came.next() == Some(true))
        .collect();
    if came.next() == Some(true) {
        // How often it was woken meanwhile says nothing.
        let _count = waker.read(&mut [0; 64])?;
    }
    for seat in ended.into_iter().filter_map(|trunk| plugs.lose(trunk)) {
        watch.note_network("disconnect", &seat);
    }
    for seat in plugs.due() {
        // It is tried again.
        let _not_now = return_to(&seat, plugs, watch);
    }
    Ok(())
}

/// Asks for a lost place.
fn return_to(lost: &Seat, plugs: &Plugs, watch: &Watch) -> Result<(), Error> {
    let mut machine = watch.machine()?;
    let (id, name) = (machine.record.id.clone(), machine.record.name.clone());
    let keeper = |what: String| Error::Rejoin {
        network: lost.network.clone(),
        what,
    };
    let mut wanted = machine.record.request.networks.iter();
    let Some(asked) = wanted.find(|other| other.network == lost.network).cloned() else {
        // It was told to leave, from its next start on.
        return plugs.leave(&lost.network).map_err(keeper);
    };
    let same = Joining {
        ip: Some(lost.v4),
        ..asked.clone()
    };
    let starts = plugs.starts_switches();
    let (seat, trunk) = match rejoin(&id, &name, same, starts) {
        Err(Error::NoSeat { .. }) => rejoin(&id, &name, asked, starts)?,
        joined => joined?,
    };
    let is_same = (seat.v4, seat.v6) == (lost.v4, lost.v6);
    if !is_same {
        address(&mut machine, false, addresses(lost).into())?;
    }
    plugs.rejoin(seat.clone(), trunk).map_err(keeper)?;
    watch.note_return(seat.clone());
    match is_same {
        true => Ok(()),
        false => address(&mut machine, true, addresses(&seat).into()),
    }
}
