//! husk from the outside: the binary, real images, the host's own /dev/kvm or the lab's.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod background;
mod bad_input;
mod changes;
mod compare;
mod container;
mod crowds;
mod disk;
mod egress;
mod exec;
mod exit_codes;
mod files;
mod foreign_kernel;
mod hostile;
mod husk;
mod image_config;
mod inside;
mod layers;
mod machines;
mod members;
mod memory;
mod network;
mod parity;
mod probe;
mod programs;
mod rates;
mod signals;
mod store;
mod streams;
mod surface;
mod tap;
mod terminal;
mod together;
mod update;
mod users;
mod volumes;
mod watched;
mod words;
