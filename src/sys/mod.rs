//! The words to the host kernel that std lacks, as safe functions.

pub mod linger;
pub mod lock;
pub mod panics;
pub mod seqpacket;
pub mod signals;
