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

/// A cable that is plugged in.
#[derive(Debug)]
pub struct Plugged {
    /// Its other end.
    pub tap: OwnedFd,
    /// Bytes of the longest packet of the network.
    pub mtu: u16,
}

/// What of this host's kernel moves the frames of `link`, where it can and nobody minds; why not, where nobody asked for it.
pub fn find_vhost(link: &HostLink) -> Result<(Option<OwnedFd>, Option<Missing>), Error> {
    if link.vhost == Some(false) {
        return Ok((None, None));
    }
    match vhost::open_net(KERNEL_FEATURES) {
        Ok(file) => Ok((Some(file), None)),
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
            Ok((None, Some(Missing { text, asked: false })))
        }
    }
}

/// Plugs in at `end`. What is made for it is gone when the cable is.
pub fn plug(end: &HostEnd) -> Result<Plugged, Error> {
    match end {
        HostEnd::Tap(name) => plug_into_tap(end, name),
        HostEnd::Bridge(name) => plug_into_bridge(end, name),
    }
}

fn plug_into_tap(end: &HostEnd, name: &str) -> Result<Plugged, Error> {
    // Who may make interfaces would make one here.
    let mut interface = find(end, name)?;
    let tap = tun::open(&c_name(name), HEADER_LEN).map_err(|source| match source.kind() {
        io::ErrorKind::ResourceBusy => Error::Busy(end.clone()),
        io::ErrorKind::PermissionDenied => Error::NotYours(end.clone()),
        io::ErrorKind::InvalidInput => Error::OtherKind(end.clone()),
        _ => refused(end, "open /dev/net/tun")(source),
    })?;
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
    Ok(Plugged { tap, mtu })
}

fn plug_into_bridge(end: &HostEnd, name: &str) -> Result<Plugged, Error> {
    let mut bridge = find(end, name)?;
    let tap = tun::tap(&c_name(OWN_NAME), HEADER_LEN).map_err(|source| match source.kind() {
        io::ErrorKind::PermissionDenied => Error::NotRoot(name.to_owned()),
        _ => refused(end, "make a TAP interface (/dev/net/tun)")(source),
    })?;
    let own = tun::name(tap.as_fd()).map_err(refused(end, "find the new interface"))?;
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
    Ok(Plugged { tap, mtu })
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
        let absent = plug(&HostEnd::Tap("husk-absent".to_owned())).unwrap_err();
        assert!(absent.to_string().contains("no interface of that name"));
        let absent = plug(&HostEnd::Bridge("husk-absent".to_owned())).unwrap_err();
        assert!(absent.to_string().contains("husk network setup bridge="));
    }
}
