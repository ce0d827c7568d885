//! What runs, and within which limits: the flags that `husk run` and `husk compare` share.

use std::ffi::OsString;
use std::net::Ipv4Addr;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use super::completion;
use super::env;
use super::output::Failure;
use super::rates::Rates;
use crate::spec::{Cpus, Joining, Network, RunRequest, parse_network};

/// Flags about the workload.
#[derive(Debug, Clone, clap::Args)]
pub struct Workload {
    /// Set an environment variable; KEY alone takes its value from here
    #[arg(short, long = "env", value_name = "KEY[=VALUE]")]
    env: Vec<OsString>,
    /// Read environment variables from a file, one KEY=VALUE per line
    #[arg(long, value_name = "FILE")]
    env_file: Vec<PathBuf>,
    /// Working directory of the workload, made if missing
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<String>,
    /// User of the workload: name|uid[:group|gid]
    #[arg(short, long, value_name = "USER")]
    user: Option<String>,
    /// Replace the image's entry point; empty clears it
    #[arg(long, value_name = "COMMAND")]
    entrypoint: Option<OsString>,
    /// Host name of the workload
    #[arg(long, value_name = "NAME")]
    hostname: Option<String>,
    /// Memory, like 256m or 2g [default: 512m]
    #[arg(short, long, value_name = "SIZE")]
    memory: Option<String>,
    /// What the host should have to give of that at most, like 128m: a machine gives back what it has free, and is pressed
    /// as far as it has something to spare
    #[arg(long, value_name = "SIZE")]
    memory_reservation: Option<String>,
    /// CPUs, and parts of one, like 2 or 0.5 [default: 1]
    #[arg(long, value_name = "N")]
    cpus: Option<String>,
    /// The host's CPUs that it may use, like 0-3,5 [default: all]
    #[arg(long, value_name = "LIST")]
    cpuset_cpus: Option<String>,
    /// Most processes and threads of the workload at once, like 100; -1 is no limit
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pids_limit: Option<String>,
    #[command(flatten)]
    rates: Rates,
    /// Keep what is written to the root file system on a disk of this size, like 10g, not in memory: it is there as
    /// long as the machine, and when that starts again
    #[arg(long, value_name = "SIZE")]
    disk: Option<String>,
    /// The network: user is one of its own, over sockets of this host's; none is none; NAME, also several, one that
    /// `husk network create` made, with the other machines on it; tap=NAME and bridge=NAME are this host's own, by a TAP
    /// interface that is there, or on a bridge, with
    /// [,ip=ADDRESS/BITS][,gw=ADDRESS][,dns=ADDRESS][,mac=MAC][,mtu=BYTES][,queues=N][,vhost=on|off]: `husk network
    /// setup` makes them
    #[arg(long, value_name = "user|none|NAME|tap=…|bridge=…", add = completion::networks())]
    network: Vec<String>,
    /// Be found by this name too by the other machines on its networks
    #[arg(long, value_name = "NAME")]
    network_alias: Vec<String>,
    /// Have this address on the first of its networks
    #[arg(long, value_name = "ADDRESS")]
    ip: Option<Ipv4Addr>,
    /// Whom it may reach: any, public for addresses of the Internet only, none; before that, rules of which the
    /// first that fits holds: allow:WHERE[:PORTS][/tcp|udp|icmp] or deny:…, where WHERE is an address, a network,
    /// [IPv6], a name, *.NAME, public or *. Without a word for the rest, it is none where anything is allowed, and
    /// public where things are only denied. Never the host's loopback, link-local addresses and metadata services
    #[arg(long, value_name = "WHOM,…")]
    egress: Vec<String>,
    /// Most conversations of its network at once, whoever began them
    #[arg(long, value_name = "N")]
    net_connections: Option<String>,
    /// Most bytes a second of its network, each way, like 500k or 10m
    #[arg(long, value_name = "RATE")]
    net_rate: Option<String>,
    /// Most bytes of its network in all, like 2g; when they have flowed, everything is refused
    #[arg(long, value_name = "SIZE")]
    net_bytes: Option<String>,
    /// Refuse writes to the root file system
    #[arg(long)]
    read_only: bool,
    /// Mount an empty file system in memory, like /run:size=64m,mode=1777
    #[arg(long, value_name = "PATH[:OPTIONS]")]
    tmpfs: Vec<String>,
    /// Show files of the host or a named volume: HOST|NAME:PATH[:ro,uid=N,gid=N]; files that root makes
    /// belong to you, yours are root's, or those of uid and gid
    #[arg(short = 'v', long = "volume", value_name = "SOURCE:PATH")]
    volume: Vec<String>,
    /// The same in full: type=bind|volume|tmpfs,source=,target=,readonly
    #[arg(long, value_name = "KEY=VALUE,…")]
    mount: Vec<String>,
    /// Set a resource limit, like nofile=1024:4096
    #[arg(long, value_name = "NAME=SOFT[:HARD]")]
    ulimit: Vec<String>,
}

impl Workload {
    /// The request that these flags make of `command`; what they do not speak of is absent in it.
    pub fn request(&self, command: &[OsString]) -> Result<RunRequest, Failure> {
        let mut env = Vec::new();
        for file in &self.env_file {
            env.extend(env::read_file(file)?);
        }
        for word in &self.env {
            env.push(env::parse_word(word).map_err(Failure::new)?);
        }
        let (network, networks) = self.networks()?;
        Ok(RunRequest {
            command: command.iter().cloned().map(OsString::into_vec).collect(),
            entrypoint: self.entrypoint.clone().map(OsString::into_vec),
            env,
            workdir: self.workdir.clone(),
            user: self.user.clone(),
            hostname: self.hostname.clone(),
            memory: self.memory.clone(),
            memory_reservation: self.memory_reservation.clone(),
            cpus: self.cpus.clone(),
            cpuset_cpus: self.cpuset_cpus.clone(),
            pids_limit: self.pids_limit.clone(),
            device_rates: self.rates.words(),
            disk: self.disk.clone(),
            network,
            networks,
            egress: self.egress.clone(),
            net_connections: self.net_connections.clone(),
            net_rate: self.net_rate.clone(),
            net_bytes: self.net_bytes.clone(),
            read_only: self.read_only,
            tmpfs: self.tmpfs.clone(),
            volumes: self.volume.clone(),
            mounts: self.mount.clone(),
            ulimits: self.ulimit.clone(),
            ..RunRequest::default()
        })
    }

    /// The network of one's own, or none, where somebody says which; and those with other machines.
    fn networks(&self) -> Result<(Option<Network>, Vec<Joining>), Failure> {
        let (mut own, mut named) = (None, Vec::new());
        for text in &self.network {
            match parse_network(text) {
                Some(network) => own = Some(network),
                None => named.push(text),
            }
        }
        if named.is_empty() && (!self.network_alias.is_empty() || self.ip.is_some()) {
            let text = "--network-alias and --ip are for machines on a network: add --network NAME";
            return Err(Failure::new(text));
        }
        if own == Some(Network::User) && !named.is_empty() {
            let text = "--network user is a machine's alone: leave it, or the others, away";
            return Err(Failure::new(text));
        }
        let joinings = named.iter().enumerate().map(|(number, name)| Joining {
            network: (*name).clone(),
            aliases: self.network_alias.clone(),
            ip: self.ip.filter(|_| number == 0),
        });
        Ok((own, joinings.collect()))
    }

    /// The flags that bound what a workload may use, as words again; with `memory`, bytes, and `cpus`
    /// whether they were typed or not.
    pub fn limit_words(&self, memory: u64, cpus: Cpus) -> Vec<OsString> {
        let mut words = Words::default();
        words.value("--memory", Some(memory.to_string()));
        words.value("--memory-reservation", self.memory_reservation.as_ref());
        words.value("--cpus", Some(cpus.to_string()));
        words.value("--cpuset-cpus", self.cpuset_cpus.as_ref());
        words.value("--pids-limit", self.pids_limit.as_ref());
        for (flag, rate) in self.rates.words().flags() {
            words.value(flag, rate);
        }
        words.values("--tmpfs", &self.tmpfs);
        words.values("--ulimit", &self.ulimit);
        words.value("--disk", self.disk.as_ref());
        if self.read_only {
            words.0.push("--read-only".into());
        }
        words.0
    }

    /// The other flags as words again; the host name whether it was typed or not.
    pub fn other_words(&self, hostname: &str) -> Vec<OsString> {
        let mut words = Words::default();
        words.values("--env", &self.env);
        words.values("--env-file", &self.env_file);
        words.values("--network", &self.network);
        words.values("--network-alias", &self.network_alias);
        words.value("--ip", self.ip.map(|ip| ip.to_string()));
        words.values("--egress", &self.egress);
        words.value("--net-connections", self.net_connections.as_ref());
        words.value("--net-rate", self.net_rate.as_ref());
        words.value("--net-bytes", self.net_bytes.as_ref());
        words.values("--volume", &self.volume);
        words.values("--mount", &self.mount);
        words.value("--workdir", self.workdir.as_ref());
        words.value("--user", self.user.as_ref());
        words.value("--entrypoint", self.entrypoint.as_ref());
        words.value(
            "--hostname",
            Some(self.hostname.as_deref().unwrap_or(hostname)),
        );
        words.0
    }
}

/// A command line that is written.
#[derive(Default)]
struct Words(Vec<OsString>);

impl Words {
    /// `--flag=value`, so that no value is taken for a flag.
    fn value(&mut self, flag: &str, value: Option<impl Into<OsString>>) {
        if let Some(value) = value {
            let mut word = OsString::from(flag);
            word.push("=");
            word.push(value.into());
            self.0.push(word);
        }
    }

    fn values<'a, T: 'a + Clone + Into<OsString>>(&mut self, flag: &str, values: &'a [T]) {
        values
            .iter()
            .for_each(|value| self.value(flag, Some(value.clone())));
    }
}
