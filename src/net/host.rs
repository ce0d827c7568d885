//! Sockets of the host's, which wait for nothing.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::sockopt::set_tcp_nodelay;
use rustix::net::{
    AddressFamily, Protocol, SocketFlags, SocketType, connect, ipproto, socket_with,
};

const FLAGS: SocketFlags = SocketFlags::CLOEXEC.union(SocketFlags::NONBLOCK);

fn family(address: IpAddr) -> AddressFamily {
    match address {
        IpAddr::V4(_) => AddressFamily::INET,
        IpAddr::V6(_) => AddressFamily::INET6,
    }
}

/// A socket that connects to `to`: writable when it has, or has failed.
pub fn connect_tcp(to: SocketAddr) -> io::Result<OwnedFd> {
    let socket = socket_with(family(to.ip()), SocketType::STREAM, FLAGS, None)?;
    // Who sends decides how much at once, and that is the guest.
    set_tcp_nodelay(&socket, true)?;
    match connect(&socket, &to) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
        Err(errno) => Err(errno.into()),
    }
}

/// A socket for datagrams to and from `to`.
pub fn connect_udp(to: SocketAddr) -> io::Result<OwnedFd> {
    let socket = socket_with(family(to.ip()), SocketType::DGRAM, FLAGS, None)?;
    connect(&socket, &to)?;
    Ok(socket)
}

/// A socket for echo requests and their replies.
#[derive(Debug)]
pub enum Echo {
    /// The kernel chooses the identifier, and keeps everything else away.
    Plain(OwnedFd),
    /// Whole packets of all of ICMP.
    Raw(OwnedFd),
}

/// A socket for echo requests to `to`. Which users may have one the host says (`net.ipv4.ping_group_range`);
/// where that is nobody, root may still have a raw one.
pub fn connect_echo(to: IpAddr) -> io::Result<Echo> {
    let protocol: Protocol = match to {
        IpAddr::V4(_) => ipproto::ICMP,
        IpAddr::V6(_) => ipproto::ICMPV6,
    };
    let open = |kind| {
        let socket = socket_with(family(to), kind, FLAGS, Some(protocol))?;
        connect(&socket, &SocketAddr::new(to, 0))?;
        Ok(socket)
    };
    match open(SocketType::DGRAM) {
        Err(Errno::ACCESS | Errno::PERM) => Ok(Echo::Raw(open(SocketType::RAW)?)),
        Err(errno) => Err(errno.into()),
        Ok(socket) => Ok(Echo::Plain(socket)),
    }
}
