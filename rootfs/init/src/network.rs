//! A workload's place on its network: no DHCP, no router advertisements, nothing to wait for. What it is told is
//! set with one message to the kernel: the guest's, or in a container the host's.

use std::ffi::CStr;
use std::os::fd::OwnedFd;

use crate::exit::{Failure, Stage};
use crate::failure::At;
use crate::job::{Addresses, Interface};
use crate::sys::{Errno, Result, file, netlink};

/// The one interface of a workload.
pub const NAME: &CStr = c"eth0";

/// `struct nlmsghdr`, and what comes behind it: `ifinfomsg`, `ifaddrmsg`, `rtmsg`. An answer has the number of the
/// message that it answers.
const HEADER_LEN: usize = 16;
const NUMBER: std::ops::Range<usize> = 8..12;

/// Bytes of an address of IPv4.
const V4_LEN: usize = 4;

/// The number of a message whose failure is none; all others have 0.
const OPTIONAL: u32 = 1;

/// IN6_ADDR_GEN_MODE_NONE: no link-local address, and so no routers are asked for any.
const NO_GENERATED: u8 = 1;
/// IFLA_INET6_ADDR_GEN_MODE.
const ADDRESS_MODE: u16 = 8;

/// Who may send echo requests without privileges (icmp(7)): groups from one to another.
const PING_GROUPS: &CStr = c"/proc/sys/net/ipv4/ping_group_range";

/// The first port that takes no privilege to listen on (ip(7)).
const FIRST_PORT: &CStr = c"/proc/sys/net/ipv4/ip_unprivileged_port_start";

/// The last group that may be named there.
pub const LAST_GROUP: u32 = i32::MAX.cast_unsigned();

/// Takes the addresses. A kernel without the device's driver has no network; that is a failure where somebody
/// asked for one.
pub fn join(interface: &Interface) -> std::result::Result<(), Failure> {
    match netlink::index(NAME) {
        Err(Errno(libc::ENODEV)) if !interface.required => Ok(()),
        Ok(index) => set_up(index, interface).at(Stage::Network, NAME.to_bytes()),
        Err(error) => Err(error).at(Stage::Network, NAME.to_bytes()),
    }
}

/// Takes more addresses of a machine that runs, or gives some up.
pub fn change(add: bool, addresses: &[Addresses]) -> Result<()> {
    let index = netlink::index(NAME)?;
    let socket = netlink::routes()?;
    for one in addresses {
        let is_v4 = one.own.len() == V4_LEN;
        let family = if is_v4 { libc::AF_INET } else { libc::AF_INET6 };
        let mut messages = Messages::default();
        match add {
            true => messages.add_address(index, family, one),
            false => messages.remove_address(index, family, one),
        }
        let done = netlink::request(&socket, &messages.0).and_then(|()| first_error(&socket));
        // A kernel without IPv6, or told to leave it alone, goes without.
        if is_v4 {
            done?;
        }
    }
    Ok(())
}

/// Lets every user ping and listen on any port, as docker does; `last_group` is the last one that there is. Few
/// programs miss what a kernel does not have, and where its settings are read-only root may all the same.
pub fn open_to_all(last_group: u32) {
    let groups = format!("0 {last_group}");
    for (path, value) in [(PING_GROUPS, groups.as_bytes()), (FIRST_PORT, b"0")] {
        let _without = set(path, value);
    }
}

fn set(path: &CStr, value: &[u8]) -> Result<()> {
    let file = file::open(path, libc::O_WRONLY, 0)?;
    file::write(&file, value).map(drop)
}

fn set_up(index: libc::c_int, interface: &Interface) -> Result<()> {
    let socket = netlink::routes()?;
    let mut messages = Messages::default();
    if interface.v4.is_some() || interface.v6.is_some() {
        messages.generate_no_addresses(index);
    }
    messages.bring_up(index, interface);
    if let Some(v4) = &interface.v4 {
        messages.add_place(index, libc::AF_INET, v4);
    }
    let is_v4 = |addresses: &&Addresses| addresses.own.len() == V4_LEN;
    for addresses in interface.others.iter().filter(is_v4) {
        messages.add_address(index, libc::AF_INET, addresses);
    }
    netlink::request(&socket, &messages.0)?;
    first_error(&socket)?;
    if let Some(v6) = &interface.v6 {
        let mut messages = Messages::default();
        messages.add_place(index, libc::AF_INET6, v6);
        for addresses in interface.others.iter().filter(|others| !is_v4(others)) {
            messages.add_address(index, libc::AF_INET6, addresses);
        }
        // A kernel without IPv6, or told to leave it alone, goes without.
        let _without = netlink::request(&socket, &messages.0);
    }
    Ok(())
}

/// What the kernel did not do: it answers failures only.
fn first_error(socket: &OwnedFd) -> Result<()> {
    let mut answer = [0; 256];
    loop {
        match netlink::answer(socket, &mut answer) {
            Err(Errno(libc::EAGAIN)) => return Ok(()),
            Err(error) => return Err(error),
            Ok(_) if answer[NUMBER] == OPTIONAL.to_ne_bytes() => {}
            Ok(_) => {
                let errno = &answer[HEADER_LEN..HEADER_LEN + 4];
                let errno = i32::from_ne_bytes(errno.try_into().expect("4 bytes"));
                return Err(Errno(errno.saturating_neg()));
            }
        }
    }
}

/// Messages one behind the other, each at a multiple of 4 bytes.
#[derive(Default)]
struct Messages(Vec<u8>);

impl Messages {
    /// RTM_NEWLINK: addresses are those that it is given. A kernel without IPv6 generates none in any case.
    fn generate_no_addresses(&mut self, index: libc::c_int) {
        let start = self.begin(libc::RTM_NEWLINK, 0);
        self.0[start..][NUMBER].copy_from_slice(&OPTIONAL.to_ne_bytes());
        self.interface(index, 0);
        let spec = self.open(libc::IFLA_AF_SPEC);
        let v6 = self.open(u16::try_from(libc::AF_INET6).expect("10"));
        self.attribute(ADDRESS_MODE, &[NO_GENERATED]);
        self.close(v6);
        self.close(spec);
        self.end(start);
    }

    /// RTM_NEWLINK: the card's address, the longest packet, and up.
    fn bring_up(&mut self, index: libc::c_int, interface: &Interface) {
        let start = self.begin(libc::RTM_NEWLINK, 0);
        self.interface(index, libc::IFF_UP);
        self.attribute(libc::IFLA_ADDRESS, &interface.mac);
        self.attribute(libc::IFLA_MTU, &u32::from(interface.mtu).to_ne_bytes());
        self.end(start);
    }

    /// An address, and the way to others if there is one.
    fn add_place(&mut self, index: libc::c_int, family: libc::c_int, addresses: &Addresses) {
        self.add_address(index, family, addresses);
        if !addresses.gateway.is_empty() {
            self.add_route(index, family, addresses);
        }
    }

    /// RTM_NEWADDR: nobody else on the cable has the address, or whoever gave it knows better.
    fn add_address(&mut self, index: libc::c_int, family: libc::c_int, addresses: &Addresses) {
        let start = self.begin(libc::RTM_NEWADDR, libc::NLM_F_CREATE | libc::NLM_F_EXCL);
        self.address(index, family, addresses);
        self.end(start);
    }

    /// RTM_DELADDR.
    fn remove_address(&mut self, index: libc::c_int, family: libc::c_int, addresses: &Addresses) {
        let start = self.begin(libc::RTM_DELADDR, 0);
        self.address(index, family, addresses);
        self.end(start);
    }

    /// `struct ifaddrmsg`, and the address.
    fn address(&mut self, index: libc::c_int, family: libc::c_int, addresses: &Addresses) {
        let family = u8::try_from(family).expect("a small number");
        let flags = u8::try_from(libc::IFA_F_NODAD).expect("2");
        self.0
            .extend([family, addresses.prefix, flags, libc::RT_SCOPE_UNIVERSE]);
        self.0.extend(index.to_ne_bytes());
        self.attribute(libc::IFA_LOCAL, &addresses.own);
        self.attribute(libc::IFA_ADDRESS, &addresses.own);
    }

    /// RTM_NEWROUTE: everything else by the gateway.
    fn add_route(&mut self, index: libc::c_int, family: libc::c_int, addresses: &Addresses) {
        let start = self.begin(libc::RTM_NEWROUTE, libc::NLM_F_CREATE | libc::NLM_F_EXCL);
        let family = u8::try_from(family).expect("a small number");
        let protocol = libc::RTPROT_BOOT;
        self.0
            .extend([family, 0, 0, 0, libc::RT_TABLE_MAIN, protocol]);
        self.0
            .extend([libc::RT_SCOPE_UNIVERSE, libc::RTN_UNICAST, 0, 0, 0, 0]);
        self.attribute(libc::RTA_GATEWAY, &addresses.gateway);
        self.attribute(libc::RTA_OIF, &index.to_ne_bytes());
        self.end(start);
    }

    /// `struct ifinfomsg`.
    fn interface(&mut self, index: libc::c_int, flags: libc::c_int) {
        self.0.extend([0; 4]);
        self.0.extend(index.to_ne_bytes());
        self.0.extend(flags.to_ne_bytes());
        self.0.extend(flags.to_ne_bytes());
    }

    fn begin(&mut self, kind: u16, flags: libc::c_int) -> usize {
        let start = self.0.len();
        let flags = flags | libc::NLM_F_REQUEST;
        self.0.extend([0; 4]);
        self.0.extend(kind.to_ne_bytes());
        self.0
            .extend(u16::try_from(flags).expect("16 bits").to_ne_bytes());
        self.0.extend([0; 8]);
        start
    }

    fn end(&mut self, start: usize) {
        let len = u32::try_from(self.0.len() - start).expect("short");
        self.0[start..start + 4].copy_from_slice(&len.to_ne_bytes());
    }

    fn attribute(&mut self, kind: u16, value: &[u8]) {
        let start = self.open(kind);
        self.0.extend(value);
        self.close(start);
    }

    fn open(&mut self, kind: u16) -> usize {
        let start = self.0.len();
        self.0.extend([0; 2]);
        self.0.extend(kind.to_ne_bytes());
        start
    }

    fn close(&mut self, start: usize) {
        let len = u16::try_from(self.0.len() - start).expect("short");
        self.0[start..start + 2].copy_from_slice(&len.to_ne_bytes());
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_have_their_lengths() {
        let mut messages = Messages::default();
        messages.generate_no_addresses(2);
        assert_eq!(messages.0.len(), 32 + 16);
        assert_eq!(messages.0[..4], 48u32.to_ne_bytes());
        assert_eq!(
            messages.0[32..34],
            16u16.to_ne_bytes(),
            "IFLA_AF_SPEC holds the rest"
        );
        let v4 = Addresses {
            own: vec![10, 0, 0, 2],
            gateway: vec![10, 0, 0, 1],
            prefix: 30,
        };
        messages.add_address(2, libc::AF_INET, &v4);
        assert_eq!(messages.0.len(), 48 + 24 + 8 + 8);
        messages.add_route(2, libc::AF_INET, &v4);
        assert_eq!(messages.0.len(), 88 + 28 + 8 + 8);
        let mut alone = Messages::default();
        alone.add_place(
            2,
            libc::AF_INET,
            &Addresses {
                gateway: Vec::new(),
                ..v4
            },
        );
        assert_eq!(alone.0.len(), 24 + 8 + 8, "no way to others");
    }
}
