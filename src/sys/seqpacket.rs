//! Connected sockets that carry messages with open files in them (unix(7), SCM_RIGHTS): in pairs, or
//! by a name in the file system.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::sockopt::socket_peercred;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
    accept_with, bind, connect, listen, recv, recvmsg, send, sendmsg, socket_with, socketpair,
};
use rustix::process::Pid;

/// Most files in one message (SCM_MAX_FD of Linux).
pub const MAX_FILES: usize = 253;

/// Longest message, bytes.
pub const MAX_MESSAGE: usize = 64 << 10;

/// One end of a message socket.
#[derive(Debug)]
pub struct Seqpacket {
    fd: OwnedFd,
}

/// Where others connect to.
#[derive(Debug)]
pub struct Listener {
    fd: OwnedFd,
}

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 64;

impl Listener {
    /// Makes a socket at `path` (107 bytes at most), which must not exist.
    pub fn bind(path: &str) -> io::Result<Self> {
        let fd = unix_socket()?;
        bind(&fd, &SocketAddrUnix::new(path)?)?;
        listen(&fd, BACKLOG)?;
        Ok(Self { fd })
    }

    /// The next connection, if one waits. Nothing that is done to it waits, either: what cannot be done
    /// at once is `WouldBlock`.
    pub fn accept(&self) -> io::Result<Seqpacket> {
        let fd = accept_with(&self.fd, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)?;
        Ok(Seqpacket { fd })
    }
}

impl From<OwnedFd> for Listener {
    /// One that another process made and handed over.
    fn from(fd: OwnedFd) -> Self {
        Self { fd }
    }
}

impl From<Listener> for OwnedFd {
    fn from(listener: Listener) -> Self {
        listener.fd
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn unix_socket() -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(socket_with(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        flags,
        None,
    )?)
}

/// A message and the files that came with it.
#[derive(Debug)]
pub struct Message {
    /// The message itself.
    pub bytes: Vec<u8>,
    /// Open files, in the order the sender gave them; closed on exec.
    pub files: Vec<OwnedFd>,
}

impl Seqpacket {
    /// Two ends of one socket.
    pub fn pair() -> io::Result<(Self, Self)> {
        let (a, b) = socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )?;
        Ok((Self { fd: a }, Self { fd: b }))
    }

    /// Connects to the socket at `path`. Nothing that is done to it waits: what cannot be done at once is
    /// `WouldBlock`.
    pub fn connect(path: &str) -> io::Result<Self> {
        let fd = unix_socket()?;
        connect(&fd, &SocketAddrUnix::new(path)?)?;
        Ok(Self { fd })
    }

    /// The process at the other end: who made the pair, or who listens.
    pub fn peer(&self) -> io::Result<Pid> {
        Ok(socket_peercred(&self.fd)?.pid)
    }

    /// Another handle of this end.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self {
            fd: self.fd.try_clone()?,
        })
    }

    /// Sends one message with copies of `files`.
    pub fn send(&self, bytes: &[u8], files: &[BorrowedFd<'_>]) -> io::Result<()> {
        self.send_with(bytes, files, SendFlags::NOSIGNAL)
    }

    /// The same, if there is room for it now.
    pub fn send_files_now(&self, bytes: &[u8], files: &[BorrowedFd<'_>]) -> io::Result<()> {
        self.send_with(bytes, files, SendFlags::NOSIGNAL | SendFlags::DONTWAIT)
    }

    fn send_with(
        &self,
        bytes: &[u8],
        files: &[BorrowedFd<'_>],
        flags: SendFlags,
    ) -> io::Result<()> {
        if bytes.len() > MAX_MESSAGE || files.len() > MAX_FILES {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FILES))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !files.is_empty() {
            let pushed = control.push(SendAncillaryMessage::ScmRights(files));
            debug_assert!(pushed, "the space is for MAX_FILES");
        }
        sendmsg(&self.fd, &[IoSlice::new(bytes)], &mut control, flags)?;
        Ok(())
    }

    /// Sends one message without files, if there is room for it now.
    pub fn send_now(&self, bytes: &[u8]) -> io::Result<()> {
        if bytes.len() > MAX_MESSAGE {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        send(&self.fd, bytes, SendFlags::NOSIGNAL | SendFlags::DONTWAIT)?;
        Ok(())
    }

    /// Takes one message without its files into `space`, if it is there now; how long it is, or `None` when the other
    /// end is closed. One that is longer than `space` is an error.
    pub fn take(&self, space: &mut [u8]) -> io::Result<Option<usize>> {
        let flags = RecvFlags::DONTWAIT | RecvFlags::TRUNC;
        match recv(&self.fd, &mut *space, flags) {
            Ok((_, 0)) => Ok(None),
            Ok((_, len)) if len > space.len() => Err(io::ErrorKind::InvalidData.into()),
            Ok((_, len)) => Ok(Some(len)),
            Err(rustix::io::Errno::INTR) => Err(io::ErrorKind::WouldBlock.into()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Waits for one message; `None` when the other end is closed.
    pub fn receive(&self) -> io::Result<Option<Message>> {
        match self.await_message()? {
            Some(len) => self.receive_within(len),
            None => Ok(None),
        }
    }

    /// The same, where the socket is a stream: what is there, of 4 KiB at most, with the files that came with it.
    pub fn receive_piece(&self) -> io::Result<Option<Message>> {
        self.receive_within(4096)
    }

    fn receive_within(&self, len: usize) -> io::Result<Option<Message>> {
        let mut bytes = vec![0; len];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FILES))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let received = loop {
            let mut buffers = [IoSliceMut::new(&mut bytes)];
            match recvmsg(
                &self.fd,
                &mut buffers,
                &mut control,
                RecvFlags::CMSG_CLOEXEC,
            ) {
                Err(rustix::io::Errno::INTR) => {}
                other => break other?,
            }
        };
        if received.bytes == 0 {
            return Ok(None);
        }
        if received
            .flags
            .intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC)
        {
            return Err(cut_short());
        }
        bytes.truncate(received.bytes);
        let mut files = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                files.extend(rights);
            }
        }
        Ok(Some(Message { bytes, files }))
    }

    /// Waits for a message and leaves it there; its length, so that no buffer is longer than it: the longest one is
    /// sixteen pages to clear.
    fn await_message(&self) -> io::Result<Option<usize>> {
        loop {
            match recv(
                &self.fd,
                &mut [0; 0][..],
                RecvFlags::PEEK | RecvFlags::TRUNC,
            ) {
                Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
                Ok((_, 0)) => return Ok(None),
                Ok((_, len)) if len > MAX_MESSAGE => return Err(cut_short()),
                Ok((_, len)) => return Ok(Some(len)),
            }
        }
    }
}

fn cut_short() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "a message was cut short")
}

impl AsFd for Seqpacket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl From<OwnedFd> for Seqpacket {
    fn from(fd: OwnedFd) -> Self {
        Self { fd }
    }
}

impl From<Seqpacket> for OwnedFd {
    fn from(socket: Seqpacket) -> Self {
        socket.fd
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{Read, Write};

    use super::*;

    #[test]
    fn messages_keep_their_bounds_and_carry_files() {
        let (a, b) = Seqpacket::pair().unwrap();
        let (mut reader, writer) = std::io::pipe().unwrap();
        a.send(b"one", &[]).unwrap();
        a.send(b"two", &[writer.as_fd()]).unwrap();
        drop((a, writer));
        assert_eq!(b.receive().unwrap().unwrap().bytes, b"one");
        let mut second = b.receive().unwrap().unwrap();
        File::from(second.files.pop().unwrap())
            .write_all(b"through")
            .unwrap();
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(
            (second.bytes.as_slice(), text.as_str()),
            (&b"two"[..], "through")
        );
        assert!(b.receive().unwrap().is_none());
    }

    #[test]
    fn a_name_connects_who_knows_it_and_nothing_waits() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket").display().to_string();
        let refused = Seqpacket::connect(&path).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::NotFound);
        let listener = Listener::bind(&path).unwrap();
        let would_block = |error: io::Error| error.kind() == io::ErrorKind::WouldBlock;
        assert!(listener.accept().is_err_and(would_block));
        let client = Seqpacket::connect(&path).unwrap();
        let server = listener.accept().unwrap();
        assert!(server.receive().is_err_and(would_block));
        client.send(b"hello", &[]).unwrap();
        assert_eq!(server.receive().unwrap().unwrap().bytes, b"hello");
        assert_eq!(client.peer().unwrap(), rustix::process::getpid());
        drop((listener, server));
        let gone = Seqpacket::connect(&path).unwrap_err();
        assert_eq!(gone.kind(), io::ErrorKind::ConnectionRefused);
    }
}
