//! A report for readers: in a terminal, in a document, in a browser, and as lines for a spreadsheet.
//!
//! What the first three say is decided once (`content.rs`); how they say it, in a file each.

mod content;
mod csv;
mod html;
mod markdown;
mod table;
mod words;

pub use csv::csv;
pub use html::html;
pub use markdown::markdown;
pub use table::table;
