//! Messages that wait for who takes them by a socket that waits for nothing.

use std::collections::VecDeque;
use std::io;

use crate::sys::seqpacket::Seqpacket;

/// What waits, in its order.
#[derive(Debug, Default)]
pub struct Outbox {
    queue: VecDeque<Vec<u8>>,
    waiting: usize,
}

impl Outbox {
    /// Sends a message, or has it wait; false, and it is lost, where more than `most` bytes would wait then.
    pub fn send(&mut self, socket: &Seqpacket, message: &[u8], most: usize) -> bool {
        if self.is_empty() {
            match socket.send_now(message) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // That the other end is gone is heard where it is read.
                _ => return true,
            }
        }
        if self.waiting + message.len() > most {
            return false;
        }
        self.waiting += message.len();
        self.queue.push_back(message.to_vec());
        true
    }

    /// Sends what waits, as far as the other end listens.
    pub fn flush(&mut self, socket: &Seqpacket) {
        while let Some(message) = self.queue.front() {
            match socket.send_now(message) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                _ => {}
            }
            self.waiting -= message.len();
            self.queue.pop_front();
        }
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Bytes that wait.
    pub fn waiting(&self) -> usize {
        self.waiting
    }
}
