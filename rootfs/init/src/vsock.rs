//! Connections to the host. Each begins without waiting, so that its round trip passes while init
//! does something else, and says with its first frame what it is for.

use std::os::fd::OwnedFd;

use husk_init::frame::{Frame, HOST_CID, PORT};
use husk_init::sys::wait::{entry, poll};
use husk_init::sys::{Errno, Result, socket};

/// Begins a connection, non-blocking for good.
pub fn begin() -> Result<OwnedFd> {
    socket::connect_vsock(HOST_CID, PORT)
}

/// Sends the first frame, waiting for the connection if it is not there yet.
pub fn introduce(connection: &OwnedFd, frame: &Frame) -> Result<()> {
    let bytes = frame.encode();
    let sent = match socket::send(connection, &bytes) {
        Err(Errno(libc::ENOTCONN | libc::EAGAIN)) => {
            poll(&mut [entry(connection, libc::POLLOUT)], -1)?;
            socket::send(connection, &bytes).map_err(|error| match error {
                Errno(libc::ENOTCONN | libc::EAGAIN) => socket::pending_error(connection),
                error => error,
            })?
        }
        answer => answer?,
    };
    // A new connection has room for a whole frame of a dozen bytes.
    if sent == bytes.len() {
        Ok(())
    } else {
        Err(Errno(libc::EPIPE))
    }
}
