//! TCP as the guest sees it (RFC 9293): for each of its connections an [`Endpoint`] that is the far end's stand-in,
//! and a socket of the host's that is connected to the far end itself.
//!
//! The cable between the guest and the endpoint is memory: nothing is lost on it but what the guest drops,
//! nothing overtakes, and there is nobody to share it with. So there is no congestion control, what
//! arrives out of order is dropped and asked for again, and timers are there for the worst case only.

mod endpoint;
mod flow;
mod seq;

pub use endpoint::{Limits, MOST_BUFFERED};
pub use flow::{Step, TcpFlow};
