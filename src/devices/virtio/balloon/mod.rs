//! The balloon (virtio 1.2, 5.5): memory that the guest does not need is the host's again.
//!
//! ```text
//!  reporting: the guest's kernel says which of its pages are free ──▶ given back at once
//!  statistics, a second apart ──▶ what the guest could spare ─┐
//!  what this process holds, and should hold ──────────────────┴─▶ target ──▶ the guest inflates or deflates
//! ```
//!
//! A bound of the guest's memory is another device ([`Limit`]): out of that one nothing comes by itself.
//!
//! A page in a balloon, or reported, reads as zeros, or as what the kernel's file has there, until it is written
//! again: the guest's kernel expects nothing of it.

mod device;
mod limit;
mod pages;
mod statistics;
mod target;

pub use device::{Balloon, Sizes};
pub use limit::{Dial, Limit, Standing};
