//! A machine's place on a network of the host's: the cable of its interface, and what the guest is told.

use std::ffi::CString;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};

use husk_init::job::{Addresses, GuestFile, Interface};
use thiserror::Error;

use super::network::{RESOLV_CONF, fill_resolv_conf, name_guest, resolvers};
use crate::devices::virtio::net::KERNEL_FEATURES;
use crate::devices::virtio::net::header::HEADER_LEN;
use crate::kvm::vhost;
use crate::spec::{HostEnd, HostLink, HostPlace, Missing};
use crate::sys::interfaces;
use crate::sys::tun;
use crate::vmm::HostCable;

/// What TAP interfaces are called that husk makes: the kernel puts a number there.
const OWN_NAME: &str = "husk%d";

/// The longest packet of a TAP interface, bytes: no frame has more than 16 bits of them.
const MOST_MTU: u16 = u16::MAX - 14;

/// Why there is no cable.
#[derive(Debug, Error)]
pub enum Error {
    /// No interface is called so.
    #[error(
        "--network {0}: this host has no interface of that name; `husk network setup {0}` says how to make it"
    )]
    Absent(HostEnd),
    /// It is another kind of interface.
    #[error("--network {0}: that interface is none; `husk network setup {0}` says how to make one")]
    OtherKind(HostEnd),
    /// A TAP interface has one cable.
    #[error(
        "--network {0}: another program holds this interface; each machine needs one of its own"
    )]
    Busy(HostEnd),
    /// A TAP interface of somebody else's.
    #[error(
        "--network {0}: it is not yours to use; `husk network setup {0}` says how it becomes so"
    )]
    NotYours(HostEnd),
    /// Only administrators make interfaces.
    #[error(
        "--network bridge={0}: only root may put a machine on a bridge; for others root makes a TAP interface on it: `husk network setup tap=NAME --bridge {0}`"
    )]
    NotRoot(String),
    /// It is down, and not ours to bring up.
    #[error("--network {end}: the interface is down; as root: ip link set {name} up")]
    Down {
        /// Which.
        end: HostEnd,
        /// Its name.
        name: String,
    },
    /// It was made for a machine with one queue.
    #[error(
        "--network {end},queues={queues}: that interface has one queue; take it away (ip link delete {name}), and `husk network setup {end},queues={queues}` says how to make one with more"
    )]
    OneQueue {
        /// Which.
        end: HostEnd,
        /// Its name.
        name: String,
        /// How many were asked for.
        queues: u16,
    },
    /// It does not move frames itself, or not for this user.
    #[error(
        "--network {end},vhost=on: cannot use {}: load the module (modprobe vhost_net), or let your user open it",
        vhost::NET_PATH
    )]
    NoVhost {
        /// Which.
        end: HostEnd,
        /// Why not.
        source: io::Error,
    },
    /// The kernel has another reason.
    #[error("--network {end}: cannot {what}")]
    Refused {
        /// Which.
        end: HostEnd,
        /// What was tried.
        what: &'static str,
        /// Why not.
        source: io::Error,
    },
}

/// A cable for each queue of a card, plugged in.
#[derive(Debug)]
pub struct Plugged {
    /// Their other ends, and what of this host's kernel moves the frames of each, if anything does.
    pub cables: Vec<HostCable>,
    /// Bytes of the longest packet of the network.
    pub mtu: u16,
    /// What this host does not have of what nobody asked for.
    pub missing: Vec<Missing>,
}

/// Plugs a machine of so many CPUs in where `link` says. What is made for it is gone when the cables are.
pub fn plug(link: &HostLink, cpus: u32) -> Result<Plugged, Error> {
    let (mut movers, mut missing) = (Vec::new(), Vec::new());
    let queues = link.queues_for(cpus);
    let first = find_vhost(link, &mut missing)?;
    let (taps, mtu) = match &link.end {
        HostEnd::Tap(name) => plug_into_tap(link, name, queues, &mut missing)?,
        HostEnd::Bridge(name) => plug_into_bridge(&link.end, name, queues)?,
    };
    // One descriptor of vhost's serves two queues.
    if first.is_some() {
        let others = (1..taps.len()).map(|_| vhost::open_net(KERNEL_FEATURES));
        let others: io::Result<Vec<_>> = others.collect();
        movers = others.map_err(refused(&link.end, "open vhost-net once for each queue"))?;
    }
    let movers = first.into_iter().chain(movers).map(Some);
    let movers = movers.chain(std::iter::repeat_with(|| None));
    Ok(Plugged {
        cables: taps.into_iter().zip(movers).collect(),
        mtu,
        missing,
    })
}

/// What of this host's kernel moves the frames of `link`, where it can and nobody minds; why not, where nobody asked for it.
fn find_vhost(link: &HostLink, missing: &mut Vec<Missing>) -> Result<Option<OwnedFd>, Error> {
    if link.vhost == Some(false) {
        return Ok(None);
    }
    match vhost::open_net(KERNEL_FEATURES) {
        Ok(file) => Ok(Some(file)),
        Err(source) if link.vhost == Some(true) => Err(Error::NoVhost {
            end: link.end.clone(),
            source,
        }),
        Err(source) => {
            let text = format!(
                "--network {}: frames are moved by the machine's process, not by this host's kernel: cannot use {}: {source}",
                link.end,
                vhost::NET_PATH,
            );
            missing.push(Missing { text, asked: false });
            Ok(None)
        }
    }
}

fn plug_into_tap(
    link: &HostLink,
    name: &str,
    queues: u16,
    missing: &mut Vec<Missing>,
) -> Result<(Vec<OwnedFd>, u16), Error> {
    let end = &link.end;
    // Who may make interfaces would make one here.
    let mut interface = find(end, name)?;
    // One with several queues takes as many programs; who is there first has it.
    let is_held = interface.has_carrier().is_ok_and(|held| held);
    let taps = open_tap(link, name, queues, missing)?;
    if is_held {
        return Err(Error::Busy(end.clone()));
    }
    let reading = refused(end, "read the interface's settings");
    let (is_up, mtu) = interface
        .is_up()
        .and_then(|is_up| Ok((is_up, interface.mtu()?)))
        .map_err(reading)?;
    if !is_up {
        interface.bring_up().map_err(|_| Error::Down {
            end: end.clone(),
            name: name.to_owned(),
        })?;
    }
    Ok((taps, mtu))
}

/// The cables of an interface that is there: `queues` of them, if it was made for several or somebody asked for them.
fn open_tap(
    link: &HostLink,
    name: &str,
    queues: u16,
    missing: &mut Vec<Missing>,
) -> Result<Vec<OwnedFd>, Error> {
    let end = &link.end;
    let said = |source: io::Error| match source.kind() {
        io::ErrorKind::ResourceBusy => Error::Busy(end.clone()),
        io::ErrorKind::PermissionDenied => Error::NotYours(end.clone()),
        io::ErrorKind::InvalidInput => Error::OtherKind(end.clone()),
        _ => refused(end, "open /dev/net/tun")(source),
    };
    let own = c_name(name);
    if queues > 1 {
        match tun::open_many(&own, queues.into(), HEADER_LEN) {
            Err(source) if source.kind() == io::ErrorKind::InvalidInput => {}
            opened => return opened.map_err(said),
        }
    }
    let one = tun::open(&own, HEADER_LEN).map_err(said)?;
    if queues > 1 && link.queues.is_some() {
        return Err(Error::OneQueue {
            end: end.clone(),
            name: name.to_owned(),
            queues,
        });
    }
    if queues > 1 {
        let text = format!(
            "--network {end}: the card has one queue, not one for each CPU: the interface was not made for more (multi_queue)"
        );
        missing.push(Missing { text, asked: false });
    }
    Ok(vec![one])
}

fn plug_into_bridge(end: &HostEnd, name: &str, queues: u16) -> Result<(Vec<OwnedFd>, u16), Error> {
    let mut bridge = find(end, name)?;
    let made = match queues {
        1 => tun::tap(&c_name(OWN_NAME), HEADER_LEN).map(|tap| vec![tap]),
        _ => tun::taps(&c_name(OWN_NAME), queues.into(), HEADER_LEN),
    };
    let taps = made.map_err(|source| match source.kind() {
        io::ErrorKind::PermissionDenied => Error::NotRoot(name.to_owned()),
        _ => refused(end, "make a TAP interface (/dev/net/tun)")(source),
    })?;
    let own = tun::name(taps[0].as_fd()).map_err(refused(end, "find the new interface"))?;
    let mut own = find(end, &own)?;
    let mtu = bridge.mtu();
    let mtu = mtu.map_err(refused(end, "read the bridge's settings"))?;
    let mtu = mtu.min(MOST_MTU);
    let set = own.set_mtu(mtu);
    set.map_err(refused(end, "set the new interface's longest packet"))?;
    bridge
        .join(&own)
        .map_err(|source| match source.raw_os_error() {
            Some(libc::EOPNOTSUPP | libc::EINVAL) => Error::OtherKind(end.clone()),
            Some(libc::EPERM) => Error::NotRoot(name.to_owned()),
            _ => refused(end, "join the bridge")(source),
        })?;
    let up = own.bring_up();
    up.map_err(refused(end, "bring the new interface up"))?;
    Ok((taps, mtu))
}

fn find(end: &HostEnd, name: &str) -> Result<interfaces::Interface, Error> {
    interfaces::Interface::find(&c_name(name)).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => Error::Absent(end.clone()),
        _ => refused(end, "look the interface up")(source),
    })
}

fn refused(end: &HostEnd, what: &'static str) -> impl FnOnce(io::Error) -> Error {
    let end = end.clone();
    move |source| Error::Refused { end, what, source }
}

fn c_name(name: &str) -> CString {
    CString::new(name).expect("names of interfaces are checked")
}

/// The guest's place on the network of `link`, whose longest packet has `mtu` bytes; its card is called by `id`, twelve
/// hexadecimal digits, where nobody said how.
pub fn interface(link: &HostLink, mtu: u16, id: &str) -> Interface {
    Interface {
        required: true,
        mac: link.mac.unwrap_or_else(|| card(id)),
        mtu: link.mtu.unwrap_or(mtu),
        v4: link.v4.map(addresses),
        v6: link.v6.map(addresses),
        others: Vec::new(),
    }
}

/// An address of a card that is locally administered, and the same each time that the machine starts.
fn card(id: &str) -> [u8; 6] {
    let digits = u32::from_str_radix(id.get(..8).unwrap_or_default(), 16).unwrap_or(0);
    let [a, b, c, d] = digits.to_be_bytes();
    [0x6a, b'h', a, b, c, d]
}

fn addresses(place: HostPlace) -> Addresses {
    let bytes = |address| match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    };
    Addresses {
        own: bytes(place.own),
        gateway: place.gateway.map(bytes).unwrap_or_default(),
        prefix: place.prefix,
    }
}

/// Who resolves names for the guest, and what it is called there.
pub fn tell_guest(files: &mut [GuestFile], hostname: &str, link: &HostLink) {
    let host = fs::read_to_string(RESOLV_CONF).unwrap_or_default();
    fill_resolv_conf(files, &servers(link, &host), &host);
    if let Some(place) = link.v4.or(link.v6) {
        name_guest(files, hostname, place.own);
    }
}

/// Those that were named, or the host's; but what is at the host's loopback is not at the guest's.
fn servers(link: &HostLink, resolv_conf: &str) -> Vec<IpAddr> {
    if !link.resolvers.is_empty() {
        return link.resolvers.clone();
    }
    let mut found = resolvers(resolv_conf);
    found.retain(|server| !server.is_loopback());
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_is_told_its_place() {
        let link = HostLink::parse("tap=vm0,ip=10.0.0.2/24,gw=10.0.0.1,ip=fd00::2/64").unwrap();
        let told = interface(&link, 1500, "0123456789ab");
        assert_eq!(told.mac, [0x6a, b'h', 0x01, 0x23, 0x45, 0x67]);
        assert_eq!((told.mtu, told.required), (1500, true));
        let v4 = told.v4.unwrap();
        assert_eq!((v4.own, v4.gateway), (vec![10, 0, 0, 2], vec![10, 0, 0, 1]));
        let v6 = told.v6.unwrap();
        assert_eq!((v6.own.len(), v6.gateway.len(), v6.prefix), (16, 0, 64));
    }

    #[test]
    fn names_are_resolved_by_who_was_named_or_by_the_hosts_resolvers_that_are_reached() {
        let host = "nameserver 127.0.0.53\nnameserver 192.0.2.1\n";
        let link = HostLink::parse("tap=vm0").unwrap();
        let expected: [IpAddr; 1] = ["192.0.2.1".parse().unwrap()];
        assert_eq!(servers(&link, host), expected);
        let named = HostLink::parse("tap=vm0,dns=10.0.0.1").unwrap();
        let expected: [IpAddr; 1] = ["10.0.0.1".parse().unwrap()];
        assert_eq!(servers(&named, host), expected);
    }

    #[test]
    fn what_cannot_be_plugged_in_is_one_line() {
        let plug = |text| plug(&HostLink::parse(text).unwrap(), 1);
        let absent = plug("tap=husk-absent").unwrap_err();
        assert!(absent.to_string().contains("no interface of that name"));
        let absent = plug("bridge=husk-absent").unwrap_err();
        assert!(absent.to_string().contains("husk network setup bridge="));
    }
}
