//! A machine's places on networks: asked for before anything of it is made, taken when it has its name, and given up by
//! the end of its process, which has the connections.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use husk_init::archive::program::Order;
use husk_init::job::Addresses;

use super::files::Archiver;
use super::network::addresses;
use super::{Error, switch};
use crate::image::Store;
use crate::machines::{Id, Machine};
use crate::net::switch::message::{LONGEST, Message, decode};
use crate::net::switch::{Join, Member, Word};
use crate::networks::{Networks, Record};
use crate::spec::{Joining, Network, Seat, SpecError, check_joinings};
use crate::sys::seqpacket::Seqpacket;

/// How long a switch may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Connections to the switches of networks, on which there is no place yet.
#[derive(Debug, Default)]
pub struct Reserved(Vec<(Record, Joining, Seqpacket)>);

/// Places on networks.
#[derive(Debug, Default)]
pub struct Taken {
    /// Where.
    pub seats: Vec<Seat>,
    /// The connections that hold them, in the same order.
    pub trunks: Vec<OwnedFd>,
}

/// The networks of this user.
pub fn networks() -> Result<Networks, Error> {
    Ok(Networks::of(&Store::default_path()?))
}

/// Writes down that `action` happened to a network.
pub fn note(record: &Record, action: &str) {
    // It is for who is curious: nothing depends on it.
    if let Ok(machines) = super::machines() {
        machines.note_network((&record.id, &record.name), action, None);
    }
}

/// Sees that there are such networks.
pub fn check(joinings: &[Joining]) -> Result<(), Error> {
    if joinings.is_empty() {
        return Ok(());
    }
    let networks = networks()?;
    joinings.iter().try_for_each(|joining| {
        networks.find(&joining.network)?;
        Ok(())
    })
}

/// Connects to the switch of each network that is asked for, which is started if it is not there.
pub fn reserve(joinings: &[Joining]) -> Result<Reserved, Error> {
    let mut reserved = Reserved::default();
    if joinings.is_empty() {
        return Ok(reserved);
    }
    let networks = networks()?;
    for joining in joinings {
        let door = networks.enter(&joining.network)?;
        let socket = switch::reach(&door).map_err(|source| Error::Switch {
            network: joining.network.clone(),
            source,
        })?;
        reserved.0.push((door.record, joining.clone(), socket));
    }
    Ok(reserved)
}

impl Reserved {
    /// Takes the places, for the machine `id` called `name`.
    pub fn take(self, id: &Id, name: &str) -> Result<Taken, Error> {
        let mut taken = Taken::default();
        for (record, joining, socket) in self.0 {
            let broken = |source| Error::Switch {
                network: record.name.clone(),
                source,
            };
            let join = Word::Join(Join {
                id: id.long().to_owned(),
                name: name.to_owned(),
                aliases: joining.aliases.clone(),
                ip: joining.ip,
            });
            socket.send_now(&join.encode()).map_err(broken)?;
            let (v4, v6) = match hear(&socket).map_err(broken)? {
                Word::Seated { v4, v6 } => (v4, v6),
                Word::Refused { why } => {
                    return Err(Error::NoSeat {
                        network: record.name,
                        machine: name.to_owned(),
                        why,
                    });
                }
                _ => return Err(broken(io::ErrorKind::InvalidData.into())),
            };
            taken.seats.push(Seat {
                network: record.name,
                id: record.id,
                subnets: record.subnets,
                v4,
                v6,
                internal: record.internal,
                aliases: joining.aliases,
            });
            taken.trunks.push(socket.into());
        }
        Ok(taken)
    }
}

/// A place for a machine that has lost its own, on the switch that is there now; or on another one, if this process `starts` it.
pub fn rejoin(
    id: &Id,
    name: &str,
    joining: Joining,
    starts: bool,
) -> Result<(Seat, OwnedFd), Error> {
    let door = networks()?.enter(&joining.network)?;
    let broken = |source| Error::Switch {
        network: joining.network.clone(),
        source,
    };
    let socket = match starts {
        true => Some(switch::reach(&door)),
        false => switch::connect(&door).transpose(),
    };
    let socket = socket.unwrap_or_else(|| Err(io::ErrorKind::NotFound.into()));
    let socket = socket.map_err(broken)?;
    let record = door.record.clone();
    drop(door);
    let taken = Reserved(vec![(record, joining.clone(), socket)]).take(id, name)?;
    let mut places = taken.seats.into_iter().zip(taken.trunks);
    places
        .next()
        .ok_or_else(|| broken(io::ErrorKind::NotFound.into()))
}

/// Has a machine be on one more network, now if it runs, and from each start on.
pub fn connect(machine: &mut Machine, joining: Joining) -> Result<(), Error> {
    let record = networks()?.find(&joining.network)?;
    let joining = Joining {
        network: record.name,
        ..joining
    };
    let (name, mut wanted) = (
        &machine.record.name,
        machine.record.request.networks.clone(),
    );
    let (network, machine_name) = (joining.network.clone(), name.clone());
    let refused = |why: &str| Error::NoSeat {
        network: network.clone(),
        machine: machine_name.clone(),
        why: why.to_owned(),
    };
    if wanted.iter().any(|other| other.network == network) {
        return Err(refused("is on it already"));
    }
    if machine.record.request.network == Some(Network::None) {
        return Err(refused("has no network at all, by --network none"));
    }
    wanted.push(joining.clone());
    let problems = check_joinings(&wanted);
    if !problems.is_empty() {
        return Err(SpecError { problems }.into());
    }
    if machine.kept {
        join_now(machine, joining)?;
    }
    Ok(super::machines()?.set_networks(machine, wanted)?)
}

/// Has a machine that runs be on a network; all of it, or nothing.
fn join_now(machine: &mut Machine, joining: Joining) -> Result<(), Error> {
    let (id, name) = (machine.record.id.clone(), machine.record.name.clone());
    let taken = reserve(&[joining])?.take(&id, &name)?;
    for (seat, trunk) in taken.seats.into_iter().zip(taken.trunks) {
        let addresses = addresses(&seat).into();
        let network = seat.network.clone();
        machine.join(seat, trunk.as_fd())?;
        drop(trunk);
        if let Err(error) = address(machine, true, addresses) {
            // The machine may have ended; then it has left.
            let _left = machine.leave(&network);
            return Err(error);
        }
    }
    Ok(())
}

/// Has a machine be on a network no more, now if it runs, and from each start on.
pub fn disconnect(machine: &mut Machine, network: &str, force: bool) -> Result<(), Error> {
    let network = match networks()?.find(network) {
        Ok(record) => record.name,
        Err(_) if force => network.to_owned(),
        Err(error) => return Err(error.into()),
    };
    let mut wanted = machine.record.request.networks.clone();
    let before = wanted.len();
    wanted.retain(|other| other.network != network);
    if wanted.len() == before && !force {
        return Err(Error::NotThere {
            network,
            machine: machine.record.name.clone(),
        });
    }
    let seats = machine.state.seats.iter();
    let seat = seats.clone().find(|seat| seat.network == network).cloned();
    if let (true, Some(seat)) = (machine.kept, seat) {
        let left = address(machine, false, addresses(&seat).into());
        left.or_else(|error| if force { Ok(()) } else { Err(error) })?;
        machine.leave(&network)?;
    }
    Ok(super::machines()?.set_networks(machine, wanted)?)
}

/// Has a machine that runs take addresses, or give them up.
pub fn address(machine: &mut Machine, add: bool, addresses: Vec<Addresses>) -> Result<(), Error> {
    let (_nobody, nothing) = io::pipe()?;
    let order = Order::Addresses { add, addresses };
    let archiver = Archiver::begin(machine, &order, None, nothing.into())?;
    Ok(archiver.end()?)
}

/// Gives a machine another name; if it runs, the others on its networks find it by that, and by the old one no more.
pub fn rename(machine: &Machine, name: &str) -> Result<(), Error> {
    super::machines()?.rename(machine, name)?;
    if !machine.kept {
        return Ok(());
    }
    let id = machine.record.id.long();
    for joining in &machine.record.request.networks {
        let word = Word::Rename {
            id: id.to_owned(),
            name: name.to_owned(),
        };
        let mut refusal = None;
        ask(&joining.network, &word, |answer| {
            if let Word::Refused { why } = answer {
                refusal = Some(why);
            }
        })?;
        if let Some(why) = refusal {
            return Err(Error::NoSeat {
                network: joining.network.clone(),
                machine: name.to_owned(),
                why,
            });
        }
    }
    Ok(())
}

/// Who is on a network now.
pub fn members(name: &str) -> Result<Vec<Member>, Error> {
    let mut members = Vec::new();
    ask(name, &Word::List, |answer| {
        if let Word::Came(member) = answer {
            members.push(member);
        }
    })?;
    members.sort_by_key(|member| member.v4);
    Ok(members)
}

/// Asks the switch of a network, if there is one, and takes the answer's words to its last.
fn ask(network: &str, word: &Word, mut take: impl FnMut(Word)) -> Result<(), Error> {
    let door = networks()?.enter(network)?;
    let broken = |source| Error::Switch {
        network: network.to_owned(),
        source,
    };
    let Some(socket) = switch::connect(&door).map_err(broken)? else {
        return Ok(());
    };
    drop(door);
    let asked = socket.send_now(&word.encode());
    loop {
        match asked
            .as_ref()
            .map_or_else(|error| Err(error.kind().into()), |()| hear(&socket))
        {
            Ok(Word::All) => return Ok(()),
            Ok(word @ Word::Came(_)) => take(word),
            Ok(word) => {
                take(word);
                return Ok(());
            }
            // Its last member has left at this moment.
            Err(error) if is_end(&error) => return Ok(()),
            Err(error) => return Err(broken(error)),
        }
    }
}

fn is_end(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionReset | UnexpectedEof)
}

/// The next word of a switch.
fn hear(socket: &Seqpacket) -> io::Result<Word> {
    let mut space = vec![0; LONGEST];
    let deadline = Instant::now() + PATIENCE;
    loop {
        match socket.take(&mut space) {
            Ok(Some(len)) => match decode(&space[..len]) {
                Some(Message::Word(word)) => return Ok(word),
                _ => return Err(io::ErrorKind::InvalidData.into()),
            },
            Ok(None) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let limit = Timespec::try_from(left).ok();
        // Interrupted or not: it is looked at again.
        let _ready = poll(
            &mut [PollFd::from_borrowed_fd(socket.as_fd(), PollFlags::IN)],
            limit.as_ref(),
        );
    }
}
