//! A machine from a spec, and the talk with what runs in it.
//!
//! `husk run` is the parent: it opens files, starts one process per machine ([`launch`]), and talks
//! to init through it ([`talk`]). The machine's process ([`serve`]) builds the machine from open
//! files alone and runs it; it holds no path, and dies with its parent.

mod asker;
mod balloons;
mod build;
mod channels;
mod console;
mod error;
mod freezer;
mod launch;
mod machine;
mod parts;
mod serve;
mod sessions;
mod slots;
mod talk;
mod throttle;
mod tuning;
mod uplink;
mod vcpu_thread;
mod wall;

pub use asker::{Asked, Asker, prepare};
pub use balloons::Pressure;
pub use error::Error;
pub use freezer::Freezer;
pub use launch::{Launched, MACHINE_NAME, MACHINE_VERB, launch};
pub use parts::HostCable;
pub use serve::serve;
pub use talk::Topic;
pub use tuning::{Tuner, Tuning};
pub use wall::run;
