//! What this process's network namespace says of its interfaces, and lets be done to them (netdevice(7)).

use std::ffi::{CStr, c_int, c_ulong};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

use super::check;

/// Makes an interface a port of a bridge (linux/sockios.h).
const SIOCBRADDIF: c_ulong = 0x89a2;

/// Asks an interface's driver (linux/sockios.h), and what: whether there is a link (linux/ethtool.h).
const SIOCETHTOOL: c_ulong = 0x8946;
const GET_LINK: u32 = 0x0a;

/// `struct ethtool_value`.
#[repr(C)]
struct Link {
    command: u32,
    data: u32,
}

/// One of them, by its name.
#[derive(Debug)]
pub struct Interface {
    socket: OwnedFd,
    request: libc::ifreq,
    /// Its number.
    index: c_int,
}

impl Interface {
    /// The one called `name`; an error of kind `NotFound` where there is none.
    pub fn find(name: &CStr) -> io::Result<Self> {
        let (domain, kind) = (AddressFamily::INET, SocketType::DGRAM);
        let socket = socket_with(domain, kind, SocketFlags::CLOEXEC, None)?;
        // SAFETY: every field of the request is an integer or a union of them: zero is a value.
        let mut request: libc::ifreq = unsafe { MaybeUninit::zeroed().assume_init() };
        set_name(&mut request, name)?;
        let mut found = Self {
            socket,
            request,
            index: 0,
        };
        match found.ask(libc::SIOCGIFINDEX) {
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => {
                return Err(io::ErrorKind::NotFound.into());
            }
            asked => asked?,
        }
        // SAFETY: the kernel has filled this member of the union.
        found.index = unsafe { found.request.ifr_ifru.ifru_ifindex };
        Ok(found)
    }

    /// Bytes of its longest packet.
    pub fn mtu(&mut self) -> io::Result<u16> {
        self.ask(libc::SIOCGIFMTU)?;
        // SAFETY: the kernel has filled this member of the union.
        let mtu = unsafe { self.request.ifr_ifru.ifru_mtu };
        // No packet of IPv4 is longer than 16 bits can say.
        Ok(u16::try_from(mtu).unwrap_or(u16::MAX))
    }

    /// Makes it that many.
    pub fn set_mtu(&mut self, mtu: u16) -> io::Result<()> {
        self.request.ifr_ifru.ifru_mtu = c_int::from(mtu);
        self.ask(libc::SIOCSIFMTU)
    }

    /// Whether it is up.
    pub fn is_up(&mut self) -> io::Result<bool> {
        Ok(c_int::from(self.flags()?) & libc::IFF_UP != 0)
    }

    /// Brings it up.
    pub fn bring_up(&mut self) -> io::Result<()> {
        let flags = c_int::from(self.flags()?) | libc::IFF_UP;
        let flags = u16::try_from(flags & 0xffff).expect("16 bits");
        self.request.ifr_ifru.ifru_flags = flags.cast_signed();
        self.ask(libc::SIOCSIFFLAGS)
    }

    /// Makes `member` a port of this bridge.
    pub fn join(&mut self, member: &Self) -> io::Result<()> {
        self.request.ifr_ifru.ifru_ifindex = member.index;
        self.ask(SIOCBRADDIF)
    }

    /// Whether it is up, and somebody is at the other end of its cable.
    pub fn has_carrier(&mut self) -> io::Result<bool> {
        let mut link = Link {
            command: GET_LINK,
            data: 0,
        };
        self.request.ifr_ifru.ifru_data = (&raw mut link).cast();
        self.ask(SIOCETHTOOL)?;
        Ok(link.data != 0)
    }

    fn flags(&mut self) -> io::Result<libc::c_short> {
        self.ask(libc::SIOCGIFFLAGS)?;
        // SAFETY: the kernel has filled this member of the union.
        Ok(unsafe { self.request.ifr_ifru.ifru_flags })
    }

    fn ask(&mut self, what: c_ulong) -> io::Result<()> {
        let fd = self.socket.as_raw_fd();
        // SAFETY: each of these requests reads and writes one ifreq, which outlives the call; and the one by which a driver
        // is asked, what that points at, which its caller keeps.
        check(unsafe { libc::ioctl(fd, what, &raw mut self.request) })
    }
}

/// Whose a request is; an error where no interface can be called so.
pub(super) fn set_name(request: &mut libc::ifreq, name: &CStr) -> io::Result<()> {
    let bytes = name.to_bytes();
    if bytes.len() >= request.ifr_name.len() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (to, from) in request.ifr_name.iter_mut().zip(bytes) {
        *to = libc::c_char::from_ne_bytes([*from]);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_is_found_and_nobody_else_is() {
        let mut loopback = Interface::find(c"lo").unwrap();
        assert!(loopback.index > 0);
        assert!(loopback.mtu().unwrap() > 1280);
        let is_up = loopback.is_up().unwrap();
        assert_eq!(loopback.has_carrier().unwrap(), is_up);
        let absent = Interface::find(c"husk-absent").unwrap_err();
        assert_eq!(absent.kind(), io::ErrorKind::NotFound);
        let long = Interface::find(c"0123456789abcdef").unwrap_err();
        assert_eq!(long.kind(), io::ErrorKind::InvalidInput);
        // The loopback is no bridge.
        let itself = Interface::find(c"lo").unwrap();
        assert!(loopback.join(&itself).is_err());
    }
}
