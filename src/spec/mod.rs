//! What to run, as plain data: built once, validated once, then never changed.
//!
//! [`RunRequest`] is what the user typed, [`ImageConfig`] what the image says; [`RunSpec`] is the
//! two made one, with every rule of precedence applied and every mistake found. [`VmSpec`] is the
//! machine that carries it, [`ContainerSpec`] the container.

mod attempts;
mod bounds;
mod config;
mod container;
mod cpu_list;
mod cpus;
mod detach;
mod egress;
mod ending;
mod environment;
mod exec;
mod health;
mod host_link;
mod lifecycle;
mod limits;
mod machine;
mod mounts;
mod near;
mod network;
mod networking;
mod networks;
mod places;
mod rates;
mod request;
mod run;
pub mod sentence;
mod signal;
mod size;
pub mod time;
pub mod units;
mod update;
mod words;

pub use attempts::{Attempt, SLOT, Verdict, Why};
pub use config::ImageConfig;
pub use container::{Asked, ContainerSpec, Missing, OciRuntime, Wall};
pub use cpu_list::CpuList;
pub use cpus::Cpus;
pub use detach::{DETACH_KEYS, DetachKeys};
pub use egress::{Carrier, Egress, EgressPolicy, Place, Rule};
pub use ending::Ending;
pub use environment::{merge as merge_environment, name_terminal};
pub use exec::Exec;
pub use health::{HealthCheck, HealthRequest, ImageHealth};
pub use host_link::{HostEnd, HostLink, HostPlace, MOST_QUEUES};
pub use lifecycle::{Backoff, Lifecycle, Restart, STOP_TIMEOUT};
pub use limits::{limit_name, parse_tasks};
pub use machine::{Piece, Share, VmNetwork, VmSpec, Written};
pub use mounts::{Mount, Origin, Owner, anchor_mount, anchor_volume, check_volume_name};
pub use near::nearest;
pub use network::{
    MOST_PUBLISHED, NetLimits, Network, Published, Transport, parse_network, parse_publish,
};
pub use networking::Networking;
pub use networks::{
    Joining, MOST_NETWORKS, PREFIX_V6, Seat, Subnets, check_joinings, check_network_name,
    parse_subnet,
};
pub use rates::{DeviceRate, DeviceRates, RateWords};
pub use request::{EnvWord, Probe, RunRequest};
pub use run::{RunSpec, SpecError, check_name};
pub use signal::{FORWARDED, PATIENCE, Signal};
pub use update::{Change, Update};
