//! husk runs every container image in its own micro-VM on KVM.
//!
//! The rooms, by floor; a room imports only from lower floors (`tests/house.rs` enforces it):
//!
//! ```text
//! 7  cli                 arguments, one file per verb, exit codes
//! 6  compare             one image behind several walls: samples, statistics, reports
//! 5  run                 the story on one page: read it first
//! 4  vmm                 a machine from a spec; the host's end of the talk with init
//!    container           the namespace wall: the same, behind the host's own kernel
//! 3  boot, devices       the kernel in memory; virtio
//! 2  image, kvm          references to root file systems; KVM itself
//!    volumes             folders that outlive the runs that see them
//!    networks            what is known of networks on which machines reach one another
//!    net                 the user-mode network: frames of a guest's on one side, sockets on the other; and switches
//!    sessions            a command beside the workload, as both walls know it
//!    machines            the machines of this host: their files, names, output, and how to reach them
//! 1  spec                what to run, as plain data
//! 0  sys, timeline       the host kernel's words; phases    (and the package husk-init)
//!    bucket              so much a second
//!    shelf               a folder of named things
//! ```

pub mod boot;
mod bucket;
pub mod cli;
pub mod compare;
pub mod container;
pub mod devices;
pub mod image;
pub mod kvm;
pub mod machines;
pub mod net;
pub mod networks;
pub mod run;
pub mod sessions;
mod shelf;
pub mod spec;
pub mod sys;
pub mod timeline;
pub mod vmm;
pub mod volumes;
