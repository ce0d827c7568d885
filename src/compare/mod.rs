//! One image behind several walls: what was measured, what follows from it, and how it is shown.
//!
//! ```text
//!  Report ─summary─▶ Summary ─render─▶ table, Markdown, HTML
//!    │└──────────────render──────────▶ CSV, every sample
//!    └─check─ baseline Report ───────▶ Verdict
//! ```
//!
//! A [`Report`](report::Report) keeps samples and nothing derived from them, so that a figure can be
//! computed anew, and differently, from any old report.

pub mod check;
pub mod figures;
pub mod ordered;
mod random;
pub mod render;
pub mod report;
pub mod statistics;
pub mod summary;
#[cfg(test)]
mod testing;
