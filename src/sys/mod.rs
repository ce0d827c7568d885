//! The words to the host kernel that std lacks, as safe functions.

pub mod cpu_timer;
pub mod fork;
pub mod heap;
pub mod identity;
pub mod interfaces;
pub mod ioctls;
pub mod limits;
pub mod linger;
pub mod lock;
pub mod mounts;
pub mod namespaces;
pub mod panics;
pub mod processes;
mod ptrace;
pub mod seqpacket;
pub mod signals;
pub mod terminal;
pub mod trace;
pub mod tun;
