//! One image behind several walls: what was measured, what follows from it, and how it is shown.
//!
//! ```text
//!  Request ─compare─▶ Report, kept after every run
//!  Report ─summary─▶ Summary ─render─▶ table, Markdown, HTML
//!    │└──────────────render──────────▶ CSV, every sample
//!    └─check─ baseline Report ───────▶ Verdict
//! ```
//!
//! A [`Report`](report::Report) keeps samples and nothing derived from them, so that a figure can be
//! computed anew, and differently, from any old report.

pub mod check;
mod comparison;
pub mod environment;
mod error;
pub mod figures;
mod footprint;
mod instance;
mod interrupt;
mod journal;
mod launch;
pub mod ordered;
mod overhead;
pub mod parity;
mod peer;
mod random;
pub mod render;
pub mod report;
mod rights;
mod schedule;
mod start;
pub mod statistics;
pub mod summary;
mod surface;
#[cfg(test)]
mod testing;
mod work;

pub use comparison::{Progress, Request, compare};
pub use error::Error;
pub use interrupt::Interrupt;
pub use journal::Journal;
pub use launch::{Desk, Wall, Workload};
pub use parity::SUITE as PARITY;
pub use schedule::{FEWEST, Length};
pub use surface::SUITE as SURFACE;
pub use work::SUITES as PROBE_SUITES;
