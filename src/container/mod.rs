//! The namespace wall: the same image, the same job, behind namespaces of the host's own kernel.
//!
//! ```text
//! husk run ── enter ─▶ own mounts, network; users too where it is nobody special
//!     │                    the image's tree ── overlay in memory ─▶ root, prepared as init does in a guest
//!     │                    an interface ─ its cable ─▶ the far end, a process of the host's network
//!     ├── leash ─────▶ kills the container when husk dies, and whoever is making it
//!     ├── create ────▶ the OCI runtime: PID, IPC, UTS, cgroup, mount namespaces, masks, limits
//!     ├── start ─────▶ capabilities dropped, system calls filtered, exec
//!     ├── sessions ──▶ more commands, each sent in by a tenant, or by the runtime: the same namespaces, filter, limits
//!     └── wait ──────▶ signals, --timeout, Exit
//! ```
//!
//! Whatever is mounted, is mounted where only this process and the container see it, and is gone with them.

mod adjust;
mod binary;
mod cable;
mod cgroups;
mod config;
mod confine;
mod console;
mod create;
mod disks;
mod embedded;
mod enter;
mod error;
mod far_end;
mod freezer;
mod hired;
mod inside;
mod interface;
mod joint;
mod leash;
mod pipe;
mod program;
mod reach;
mod root;
mod running;
pub mod seccomp;
mod sessions;
mod shares;
mod streams;
pub mod syscalls;
mod tenant;
mod wall;

pub use confine::confine_switch;
pub use enter::{Entered, enter};
pub use error::Error;
pub use far_end::{FAR_END_VERB, FarEnd, serve as serve_far_end};
pub use inside::{ARCHIVER_VERB, serve as serve_archiver};
pub use program::find as find_runtime;
pub use reach::Reach;
pub use tenant::{TENANT_VERB, serve as serve_tenant};
pub use wall::run;
