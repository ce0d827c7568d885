//! husk from the outside: the binary, real images, the host's own /dev/kvm.

mod bad_input;
mod exit_codes;
mod husk;
mod image_config;
mod inside;
mod signals;
mod store;
mod streams;
