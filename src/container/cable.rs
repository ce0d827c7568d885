//! Between the container's interface and the engine: frames are moved, one at a time. What the virtio device is
//! for a machine.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, read, writev};

use crate::devices::virtio::net::header::{self, HEADER_LEN};
use crate::net::{FRAME_LEN, Frame, Peer};

/// Frames moved in one direction before the other has its turn.
const TURN: usize = 64;

/// What stands between.
pub struct Cable {
    tap: OwnedFd,
    peer: Box<dyn Peer>,
    bytes: Vec<u8>,
    frame: Frame,
}

impl Cable {
    /// From the interface behind `tap` to `peer`.
    pub fn new(tap: OwnedFd, peer: Box<dyn Peer>) -> Self {
        Self {
            tap,
            peer,
            // A tag of a virtual LAN may be there, too.
            bytes: vec![0; HEADER_LEN + FRAME_LEN + 4],
            frame: Frame::default(),
        }
    }

    /// Moves frames until `end` is readable or closed, or the interface is gone; whether it is there.
    pub fn run(&mut self, end: BorrowedFd<'_>) -> io::Result<bool> {
        loop {
            match self.move_frames() {
                // Its namespace ended before whoever made it.
                Err(Errno::BADFD) => return Ok(false),
                moved => moved?,
            }
            if self.wait(end)? {
                return Ok(true);
            }
            self.peer.poll()?;
        }
    }

    /// Has the peer look at what it was told meanwhile.
    pub fn attend(&mut self) -> io::Result<()> {
        self.peer.poll()
    }

    /// Moves what is there, on either side.
    fn move_frames(&mut self) -> Result<(), Errno> {
        loop {
            let (taken, given) = (self.take()?, self.give()?);
            if taken < TURN && given < TURN {
                return Ok(());
            }
        }
    }

    /// Gives the peer what the container sends; how many frames. What is cut off at the buffer's end is no frame.
    fn take(&mut self) -> Result<usize, Errno> {
        for count in 0..TURN {
            let len = match read(&self.tap, &mut self.bytes) {
                Ok(len) => len,
                Err(Errno::AGAIN | Errno::INTR) => return Ok(count),
                Err(errno) => return Err(errno),
            };
            if let Some((header, frame)) = self.bytes[..len].split_first_chunk()
                && header::is_plain(header)
            {
                self.peer.take(frame, header::unsummed(header));
            }
        }
        Ok(TURN)
    }

    /// Gives the container what the peer has; how many frames. One that the kernel does not take is lost.
    fn give(&mut self) -> Result<usize, Errno> {
        for count in 0..TURN {
            if !self.peer.give(&mut self.frame) {
                return Ok(count);
            }
            let header = header::encode(self.frame.unsummed, 1);
            let parts = [IoSlice::new(&header), IoSlice::new(&self.frame.bytes)];
            if let Err(Errno::BADFD) = writev(&self.tap, &parts) {
                return Err(Errno::BADFD);
            }
        }
        Ok(TURN)
    }

    /// Waits for the container, for the peer, or for the end; whether it came.
    fn wait(&self, end: BorrowedFd<'_>) -> io::Result<bool> {
        let patience = self.peer.patience();
        let patience = patience.and_then(|patience| Timespec::try_from(patience).ok());
        let mut entries = [
            PollFd::from_borrowed_fd(end, PollFlags::IN),
            PollFd::from_borrowed_fd(self.tap.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(self.peer.source(), PollFlags::IN),
        ];
        match poll(&mut entries, patience.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        Ok(!entries[0].revents().is_empty())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::os::unix::net::{UnixDatagram, UnixStream};
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use super::*;
    use crate::net::Unsummed;

    /// A frame, and where its checksum is not finished.
    type Took = (Vec<u8>, Option<(u16, u16)>);

    /// A peer that gives what it has, and shows what it took.
    struct Station {
        gives: VecDeque<Frame>,
        took: Arc<Mutex<Vec<Took>>>,
        silent: UnixDatagram,
    }

    impl Peer for Station {
        fn take(&mut self, frame: &[u8], unsummed: Option<Unsummed>) {
            let unsummed = unsummed.map(|left| (left.start, left.offset));
            self.took.lock().unwrap().push((frame.to_vec(), unsummed));
        }

        fn give(&mut self, frame: &mut Frame) -> bool {
            let given = self.gives.pop_front();
            let has = given.is_some();
            *frame = given.unwrap_or_default();
            has
        }

        fn source(&self) -> BorrowedFd<'_> {
            self.silent.as_fd()
        }

        fn poll(&mut self) -> io::Result<()> {
            Ok(())
        }

        fn patience(&self) -> Option<Duration> {
            None
        }
    }

    #[test]
    fn frames_cross_with_their_headers_and_what_is_no_frame_does_not() {
        let (interface, tap) = UnixDatagram::pair().unwrap();
        let (leash, end) = UnixStream::pair().unwrap();
        let (silent, _open) = UnixDatagram::pair().unwrap();
        tap.set_nonblocking(true).unwrap();
        let took = Arc::new(Mutex::new(Vec::new()));
        let unsummed = Frame {
            bytes: b"to the container".to_vec(),
            unsummed: Some(Unsummed {
                start: 0x0122,
                offset: 0x10,
            }),
        };
        let station = Station {
            gives: vec![unsummed; 3].into(),
            took: Arc::clone(&took),
            silent,
        };
        let plain = |text: &[u8]| [&[0; HEADER_LEN], text].concat();
        interface.send(&plain(b"from it")).unwrap();
        let mut large = plain(b"a segment of several");
        large[1] = 1;
        interface.send(&large).unwrap();
        interface.send(b"short").unwrap();
        let mut more = plain(b"more");
        more[..10].copy_from_slice(&[1, 0, 0, 0, 0, 0, 0x22, 0, 0x10, 0]);
        interface.send(&more).unwrap();
        drop(leash);
        let mut cable = Cable::new(tap.into(), Box::new(station));
        assert!(cable.run(end.as_fd()).unwrap());
        assert_eq!(
            *took.lock().unwrap(),
            [
                (b"from it".to_vec(), None),
                (b"more".to_vec(), Some((0x22, 0x10)))
            ]
        );
        let mut bytes = [0; 64];
        for _ in 0..3 {
            let len = interface.recv(&mut bytes).unwrap();
            let header = [1, 0, 0, 0, 0, 0, 0x22, 0x01, 0x10, 0, 1, 0];
            assert_eq!(bytes[..len], [&header, &b"to the container"[..]].concat());
        }
    }
}
