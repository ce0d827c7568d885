//! What changes the networks of a machine that runs, behind either wall, and the connections that hold its places there.

use std::io::{self, PipeReader, PipeWriter, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use rustix::net::{Shutdown, shutdown};

use super::networks::Taken;
use crate::net;
use crate::spec::{Backoff, Seat};
use crate::sys::lock::lock;

/// A way to it, for any thread; none where the machine has no network.
#[derive(Debug, Default, Clone)]
pub struct Plugs(Option<Arc<Wired>>);

#[derive(Debug)]
struct Wired {
    way: net::Plugs,
    ties: Mutex<Vec<Tie>>,
    /// Wakes who watches them, if somebody does.
    waker: OnceLock<PipeWriter>,
    /// Whether its keeper may start a switch where there is none.
    starts: bool,
}

/// A place on a network.
#[derive(Debug)]
struct Tie {
    seat: Seat,
    /// The connection that holds it, which the network has too; none while it is lost.
    trunk: Option<Arc<OwnedFd>>,
    since: Instant,
    backoff: Backoff,
    /// When it is tried next.
    due: Instant,
}

/// The longest wait before a lost place is asked for again: somebody may have started a switch meanwhile.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

impl Plugs {
    /// By `way`, of a machine with these places, whose keeper `starts` a switch where there is none: not one that is in a
    /// container's namespaces, which would last as long as the switch.
    pub fn new(way: net::Plugs, taken: Taken, starts: bool) -> Self {
        let places = taken.seats.into_iter().zip(taken.trunks);
        let ties = places.map(|(seat, trunk)| Tie::new(seat, trunk)).collect();
        Self(Some(Arc::new(Wired {
            way,
            ties: Mutex::new(ties),
            waker: OnceLock::new(),
            starts,
        })))
    }

    /// Whether it has a place anywhere.
    pub fn is_tied(&self) -> bool {
        let wired = self.0.as_ref();
        wired.is_some_and(|wired| !lock(&wired.ties).is_empty())
    }

    /// Whether its keeper may start a switch.
    pub fn starts_switches(&self) -> bool {
        self.0.as_ref().is_some_and(|wired| wired.starts)
    }

    /// It has this place, by `trunk`, from now on; why it cannot, as the rest of a sentence about who keeps it.
    pub fn join(&self, seat: Seat, trunk: OwnedFd) -> Result<(), String> {
        self.change(|wired| {
            wired.way.join(seat.clone(), &trunk)?;
            wired.hold(Tie::new(seat, trunk));
            Ok(())
        })
    }

    /// It has none on `network` any more.
    pub fn leave(&self, network: &str) -> Result<(), String> {
        self.change(|wired| {
            wired.let_go(network);
            wired.way.leave(network)
        })
    }

    /// It has none anywhere: its end is near.
    pub fn leave_all(&self) {
        let Some(wired) = &self.0 else { return };
        for tie in lock(&wired.ties).drain(..) {
            tie.end();
        }
    }

    /// It has this place by another connection, in place of a lost one on the same network. Nobody may have left it meanwhile.
    pub fn rejoin(&self, seat: Seat, trunk: OwnedFd) -> Result<(), String> {
        self.change(|wired| {
            let mut ties = lock(&wired.ties);
            let mut all = ties.iter_mut();
            let Some(tie) = all.find(|tie| tie.is_lost_on(&seat.network)) else {
                return Err(io::ErrorKind::NotFound.into());
            };
            wired.way.leave(&seat.network)?;
            wired.way.join(seat.clone(), &trunk)?;
            (tie.seat, tie.trunk) = (seat, Some(Arc::new(trunk)));
            tie.since = Instant::now();
            Ok(())
        })
    }

    /// What wakes its watcher from now on; none where there is one already.
    pub fn watched(&self) -> io::Result<Option<PipeReader>> {
        let Some(wired) = &self.0 else {
            return Ok(None);
        };
        let (reader, writer) = io::pipe()?;
        Ok(wired.waker.set(writer).is_ok().then_some(reader))
    }

    /// The connections that hold places, and when a lost one is tried next.
    pub fn trunks(&self) -> (Vec<Arc<OwnedFd>>, Option<Instant>) {
        let Some(wired) = &self.0 else {
            return Default::default();
        };
        let ties = lock(&wired.ties);
        let trunks = ties.iter().filter_map(|tie| tie.trunk.clone());
        let lost = ties.iter().filter(|tie| tie.trunk.is_none());
        (trunks.collect(), lost.map(|tie| tie.due).min())
    }

    /// The connection has ended: which place it held, if nobody has left that meanwhile.
    pub fn lose(&self, trunk: &Arc<OwnedFd>) -> Option<Seat> {
        let wired = self.0.as_ref()?;
        let mut ties = lock(&wired.ties);
        let holds = |tie: &&mut Tie| {
            let held = tie.trunk.as_ref();
            held.is_some_and(|held| Arc::ptr_eq(held, trunk))
        };
        let tie = ties.iter_mut().find(holds)?;
        tie.lose(tie.since.elapsed() >= Backoff::STEADY);
        Some(tie.seat.clone())
    }

    /// The lost places that are to be tried now.
    pub fn due(&self) -> Vec<Seat> {
        let Some(wired) = &self.0 else {
            return Vec::new();
        };
        let (mut ties, now) = (lock(&wired.ties), Instant::now());
        let lost = ties.iter_mut().filter(|tie| tie.trunk.is_none());
        let due = lost.filter(|tie| tie.due <= now);
        // Where nothing comes of it, it is tried again.
        due.map(|tie| {
            tie.lose(false);
            tie.seat.clone()
        })
        .collect()
    }

    fn change(&self, order: impl FnOnce(&Wired) -> io::Result<()>) -> Result<(), String> {
        match &self.0 {
            None => Err("keeps a machine without a network".to_owned()),
            Some(wired) => {
                order(wired).map_err(|error| format!("cannot reach its network ({error})"))
            }
        }
    }
}

impl Wired {
    fn hold(&self, tie: Tie) {
        lock(&self.ties).push(tie);
        self.wake();
    }

    fn let_go(&self, network: &str) {
        let is_on = |tie: &mut Tie| tie.seat.network == network;
        let left = lock(&self.ties).extract_if(.., is_on).collect::<Vec<_>>();
        left.into_iter().for_each(Tie::end);
        self.wake();
    }

    fn wake(&self) {
        if let Some(mut waker) = self.waker.get() {
            // Whoever is gone needs no waking.
            let _gone = waker.write_all(&[0]);
        }
    }
}

impl Tie {
    fn new(seat: Seat, trunk: OwnedFd) -> Self {
        Self {
            seat,
            trunk: Some(Arc::new(trunk)),
            since: Instant::now(),
            backoff: Backoff::default(),
            due: Instant::now(),
        }
    }

    fn is_lost_on(&self, network: &str) -> bool {
        self.trunk.is_none() && self.seat.network == network
    }

    /// It has no connection; whether it had been steady.
    fn lose(&mut self, was_steady: bool) {
        self.trunk = None;
        let lasted = match was_steady {
            true => Backoff::STEADY,
            false => Duration::ZERO,
        };
        self.due = Instant::now() + self.backoff.next(lasted).min(LONGEST_WAIT);
    }

    /// It is given up at once, whoever has the connection.
    fn end(self) {
        if let Some(trunk) = self.trunk {
            // It may be gone.
            let _gone = shutdown(trunk.as_fd(), Shutdown::Both);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::spec::Subnets;
    use crate::sys::seqpacket::Seqpacket;

    fn seat() -> Seat {
        let v4 = Ipv4Addr::new(10, 5, 0, 2);
        Seat {
            network: "back".to_owned(),
            id: String::new(),
            subnets: Subnets {
                v4: Ipv4Addr::new(10, 5, 0, 0),
                bits: 24,
                v6: v4.to_ipv6_mapped(),
            },
            v4,
            v6: v4.to_ipv6_mapped(),
            internal: false,
            aliases: Vec::new(),
        }
    }

    #[test]
    fn a_lost_place_is_asked_for_again_and_again_and_never_long_after() {
        let (near, _far) = Seqpacket::pair().unwrap();
        let (trunk, _switch) = Seqpacket::pair().unwrap();
        let taken = Taken {
            seats: vec![seat()],
            trunks: vec![trunk.into()],
        };
        let way = net::Plugs::over(near, |rewiring| serde_json::to_vec(&rewiring));
        let plugs = Plugs::new(way, taken, false);
        let (trunks, due) = plugs.trunks();
        assert_eq!((trunks.len(), due), (1, None));
        assert_eq!(plugs.lose(&trunks[0]), Some(seat()));
        assert!(plugs.lose(&trunks[0]).is_none(), "it is lost once");
        for _ in 0..100 {
            let wired = plugs.0.as_ref().unwrap();
            lock(&wired.ties)[0].due = Instant::now();
            assert_eq!(plugs.due(), [seat()]);
            let (none, due) = plugs.trunks();
            assert!(none.is_empty());
            assert!(due.unwrap() <= Instant::now() + LONGEST_WAIT);
        }
        plugs.leave("back").unwrap();
        assert!(plugs.due().is_empty(), "who has left is not brought back");
    }
}
