//! PID 1 of a husk guest.

fn main() {}
