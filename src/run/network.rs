//! The network of a machine, as its host has it: resolvers, names, and who is who.

use std::fs::{self, File};
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;

use husk_init::job::{Addresses, GuestFile, Interface};
use rustix::net::listen;

use super::tap;
use crate::container::{Entered, FarEnd};
use crate::net::{self, GUEST_MAC, MTU, Plan};
use crate::run;
use crate::run::life::Life;
use crate::run::networks::{self, Reserved};
use crate::run::plugs::Plugs;
use crate::spec::sentence::sentence;
use crate::spec::{
    HostLink, MOST_PUBLISHED, Missing, NetLimits, Network, Networking, PREFIX_V6, Published,
    RunRequest, RunSpec, Seat, Transport, VmNetwork, parse_publish,
};
use crate::sys::limits::most_open_files;
use crate::timeline::Timeline;
use crate::vmm::HostCable;

pub(super) const RESOLV_CONF: &str = "/etc/resolv.conf";
const HOSTS: &str = "/etc/hosts";

/// Most bytes of /etc/hosts and of rules that fit into what the machine is told; what of the file is behind them is left
/// out.
const MOST_HOSTS: usize = 24 << 10;

/// Most clients of a port who wait to be let in: what Linux allows who does not change it (listen(2)).
const MOST_KNOCKING: i32 = 4096;

/// Most resolvers (MAXNS of resolv.conf(5)).
const MOST_RESOLVERS: usize = 3;

/// The far end of a machine's network.
#[derive(Debug, Default)]
pub struct Found {
    /// What the machine is told; nothing if it has no network of its own.
    pub network: Option<VmNetwork>,
    /// What the guest is told, if it has any.
    pub interface: Option<Interface>,
    /// Its cables to a network of the host's.
    pub cables: Vec<HostCable>,
    /// What of that this host does not have.
    pub missing: Vec<Missing>,
    /// Sockets of its published ports.
    pub doors: Vec<OwnedFd>,
    /// Where they are.
    pub published: Vec<Published>,
    /// Its places on networks.
    pub seats: Vec<Seat>,
}

/// What of a container's network is the host's: made while this process is in it.
#[derive(Debug)]
pub struct Outside {
    far_end: FarEnd,
    way: Way,
}

/// How a container's network goes on outside of it.
#[derive(Debug)]
enum Way {
    /// By the engine, to which these ports and networks lead.
    User {
        reserved: Reserved,
        doors: Vec<OwnedFd>,
        published: Vec<Published>,
    },
    /// By a place on a network of the host's, whose packets have `mtu` bytes at most.
    Host {
        link: HostLink,
        cable: OwnedFd,
        mtu: u16,
    },
}

/// What of a container's network others ask for.
#[derive(Debug, Default)]
pub struct Joined {
    /// Where its ports are.
    pub published: Vec<Published>,
    /// Its places on networks, for who asks.
    pub seats: Vec<Seat>,
    /// What the workload tries to reach.
    pub attempts: Option<File>,
    /// What changes its networks.
    pub plugs: Plugs,
}

impl Outside {
    /// Opens the ports of `request`, or plugs it in on the host's side, and starts the network's process; nothing where no network is
    /// wanted.
    pub fn prepare(reference: &str, request: &RunRequest) -> Result<Option<Self>, run::Error> {
        let way = match &request.network {
            Some(Network::None) => None,
            // Mistakes are told with all others.
            Some(Network::Host(text)) => HostLink::parse(text).ok().map(Way::plug).transpose()?,
            _ => Some(Way::open(reference, request)?),
        };
        let begin = |way| {
            let far_end = FarEnd::start()?;
            Ok(Self { far_end, way })
        };
        way.map(begin).transpose()
    }

    /// Makes the container of `spec` a part of it, now that this process is in the container's surroundings. What
    /// nobody asked for may be missing.
    pub fn join(
        self,
        entered: &mut Entered,
        spec: &mut RunSpec,
        life: &Life,
        note: impl FnOnce(Missing),
    ) -> Result<Joined, run::Error> {
        if spec.networking.network == Network::None {
            return Ok(Joined::default());
        }
        let (reserved, doors, published) = match self.way {
            Way::User {
                reserved,
                doors,
                published,
            } => (reserved, doors, published),
            Way::Host { link, cable, mtu } => {
                let inner =
                    entered.make_interface(&tap::interface(&link, mtu, life.id().short()))?;
                tap::tell_guest(&mut spec.files, &spec.hostname, &link);
                self.far_end.join(&inner, &cable)?;
                entered.network = Some(self.far_end);
                return Ok(Joined::default());
            }
        };
        let taken = reserved.take(life.id(), &spec.name)?;
        let Some(interface) = interface(&spec.networking, &taken.seats) else {
            return Ok(Joined::default());
        };
        match entered.make_interface(&interface) {
            Ok(tap) => {
                let attempts = life.begin_attempts()?;
                self.far_end.note(&attempts)?;
                self.far_end.plug(&taken.trunks)?;
                let network = describe(spec, &taken.seats);
                self.far_end.begin(&tap, network, &doors)?;
                let way = self.far_end.plugs()?;
                if let Some(missing) = too_many(&spec.networking.limits, false) {
                    note(missing);
                }
                entered.network = Some(self.far_end);
                Ok(Joined {
                    published,
                    seats: taken.seats.clone(),
                    attempts: Some(attempts),
                    plugs: Plugs::new(way, taken, false),
                })
            }
            Err(error) if !spec.networking.asked => {
                spec.networking.network = Network::None;
                note(Missing {
                    text: sentence(&error),
                    asked: false,
                });
                Ok(Joined::default())
            }
            Err(error) => Err(error.into()),
        }
    }
}

impl Way {
    /// With the ports that `request` wants, and its networks.
    fn open(reference: &str, request: &RunRequest) -> Result<Self, run::Error> {
        let wanted: Vec<_> = if request.publish_all {
            // Which ports that are, the image knows: it is looked at twice.
            let found = run::find(reference, request.clone(), "", &mut Timeline::start())?;
            found.2.networking.published
        } else {
            let parsed = request.publish.iter().map(|text| parse_publish(text));
            // Mistakes are told with all others.
            parsed.flatten().flatten().take(MOST_PUBLISHED).collect()
        };
        let opened: Result<Vec<_>, _> = wanted.iter().map(open).collect();
        let (doors, published) = opened?.into_iter().unzip();
        Ok(Self::User {
            reserved: networks::reserve(&request.networks)?,
            doors,
            published,
        })
    }

    /// With a cable to a network of the host's: the network's process moves the frames itself.
    fn plug(link: HostLink) -> Result<Self, run::Error> {
        let one = HostLink {
            vhost: Some(false),
            queues: Some(1),
            ..link.clone()
        };
        let mut plugged = tap::plug(&one, 1)?;
        let (cable, _) = plugged.cables.remove(0);
        Ok(Self::Host {
            link,
            cable,
            mtu: plugged.mtu,
        })
    }
}

/// Finds the network of `spec`, whose files tell the guest of it and of its places, and opens its ports or plugs it in. `id`
/// is the machine's.
pub fn find(spec: &mut RunSpec, seats: Vec<Seat>, id: &str) -> Result<Found, run::Error> {
    if let Some(link) = &spec.networking.link {
        let plugged = tap::plug(link, spec.cpus.count())?;
        tap::tell_guest(&mut spec.files, &spec.hostname, link);
        return Ok(Found {
            interface: Some(tap::interface(link, plugged.mtu, id)),
            cables: plugged.cables,
            missing: plugged.missing,
            ..Found::default()
        });
    }
    if spec.networking.network == Network::None {
        return Ok(Found::default());
    }
    let opened: Result<Vec<_>, _> = spec.networking.published.iter().map(open).collect();
    let (doors, published) = opened?.into_iter().unzip();
    let network = describe(spec, &seats);
    Ok(Found {
        network: Some(network),
        interface: interface(&spec.networking, &seats),
        doors,
        published,
        seats,
        missing: too_many(&spec.networking.limits, !spec.mounts.is_empty())
            .into_iter()
            .collect(),
        ..Found::default()
    })
}

/// What is said where more conversations were asked for than the process has files for that will have them, and perhaps shared
/// folders.
fn too_many(limits: &NetLimits, shares: bool) -> Option<Missing> {
    let asked = limits.connections?;
    let files = most_open_files();
    let most = net::room(files, shares);
    let text = format!(
        "--net-connections {asked}: there will be {most} at one time at most: {}",
        match net::room(usize::MAX, shares) {
            ever if ever == most => "husk keeps no more for one machine".to_owned(),
            _ => format!(
                "a process may have {files} files open here; raise that (ulimit -Hn, LimitNOFILE=)"
            ),
        }
    );
    (asked > most).then_some(Missing { text, asked: true })
}

/// Listens on a port of the host's; where exactly.
fn open(published: &Published) -> Result<(OwnedFd, Published), run::Error> {
    let address = published.host;
    let opened: io::Result<(OwnedFd, SocketAddr)> = match published.transport {
        Transport::Tcp => TcpListener::bind(address).and_then(|socket| {
            // The standard library's queue is short for many who come at once, and who finds it full waits a second.
            listen(&socket, MOST_KNOCKING)?;
            socket.set_nonblocking(true)?;
            let address = socket.local_addr()?;
            Ok((socket.into(), address))
        }),
        Transport::Udp => UdpSocket::bind(address).and_then(|socket| {
            socket.set_nonblocking(true)?;
            let address = socket.local_addr()?;
            Ok((socket.into(), address))
        }),
    };
    let (socket, host) = opened.map_err(|source| run::Error::Publish { address, source })?;
    Ok((socket, Published { host, ..*published }))
}

fn describe(spec: &mut RunSpec, seats: &[Seat]) -> VmNetwork {
    // A host without the file has a resolver on its loopback (resolv.conf(5)).
    let resolv_conf = fs::read_to_string(RESOLV_CONF).unwrap_or_default();
    let plan = Plan::new(seats.to_vec());
    tell_guest(&mut spec.files, &plan, &spec.hostname, &resolv_conf);
    let hosts = fs::read_to_string(HOSTS).unwrap_or_default();
    let egress = spec.networking.egress.clone();
    let told = egress.rules.iter().map(|rule| rule.to_string().len() + 3);
    let told = told.sum::<usize>();
    let published = spec.networking.published.iter();
    VmNetwork {
        resolvers: resolvers(&resolv_conf),
        hosts: shorten(hosts, MOST_HOSTS - told.min(MOST_HOSTS)),
        egress,
        limits: spec.networking.limits,
        doors: published.map(|one| (one.guest, one.transport)).collect(),
        seats: seats.to_vec(),
    }
}

/// As many whole lines of /etc/hosts as a machine is told: `most` bytes.
fn shorten(mut hosts: String, most: usize) -> String {
    if hosts.len() > most {
        let last = hosts.as_bytes()[..most]
            .iter()
            .rposition(|byte| *byte == b'\n');
        hosts.truncate(last.map_or(0, |last| last + 1));
    }
    hosts
}

/// The guest's place on it, or its places.
fn interface(networking: &Networking, seats: &[Seat]) -> Option<Interface> {
    if networking.network != Network::User {
        return None;
    }
    let plan = Plan::new(seats.to_vec());
    let (first, others) = plan.seats().split_first()?;
    let others = others.iter().flat_map(addresses);
    let [v4, v6] = addresses(first);
    Some(Interface {
        required: networking.asked,
        mac: GUEST_MAC,
        mtu: MTU,
        v4: Some(v4),
        v6: Some(v6),
        others: others.collect(),
    })
}

/// What a place is, for init.
pub(super) fn addresses(seat: &Seat) -> [Addresses; 2] {
    let (gateway_v4, gateway_v6) = seat.subnets.gateway();
    [
        Addresses {
            own: seat.v4.octets().to_vec(),
            gateway: gateway_v4.octets().to_vec(),
            prefix: seat.subnets.bits,
        },
        Addresses {
            own: seat.v6.octets().to_vec(),
            gateway: gateway_v6.octets().to_vec(),
            prefix: PREFIX_V6,
        },
    ]
}

/// Names are resolved by the gateway, with the host's own search list and options; the guest's name is its
/// address on the network.
fn tell_guest(files: &mut [GuestFile], plan: &Plan, hostname: &str, resolv_conf: &str) {
    fill_resolv_conf(files, &[plan.gateway_v4().into()], resolv_conf);
    name_guest(files, hostname, plan.guest_v4().into());
}

/// The guest's resolvers are `servers`, its search list and options those of the host's `resolv_conf`.
pub(super) fn fill_resolv_conf(files: &mut [GuestFile], servers: &[IpAddr], resolv_conf: &str) {
    let words = ["search", "domain", "options"];
    let kept = resolv_conf
        .lines()
        .filter(|line| words.iter().any(|word| keyword(line) == *word));
    let kept = kept.map(|line| format!("{line}\n"));
    let servers = servers
        .iter()
        .map(|server| format!("nameserver {server}\n"));
    let text: String = servers.chain(kept).collect();
    rewrite(files, RESOLV_CONF, |_| text.clone());
}

/// The guest's name is its `address`.
pub(super) fn name_guest(files: &mut [GuestFile], hostname: &str, address: IpAddr) {
    let (own, named) = (
        format!("127.0.1.1\t{hostname}"),
        format!("{address}\t{hostname}"),
    );
    rewrite(files, HOSTS, |text| text.replace(&own, &named));
}

fn rewrite(files: &mut [GuestFile], path: &str, change: impl Fn(&str) -> String) {
    for file in files {
        if file.path == path.as_bytes() {
            file.content = change(&String::from_utf8_lossy(&file.content)).into_bytes();
        }
    }
}

fn keyword(line: &str) -> &str {
    line.split_whitespace().next().unwrap_or_default()
}

/// The host's resolvers. One on a link needs to know which, and is left out.
pub(super) fn resolvers(resolv_conf: &str) -> Vec<IpAddr> {
    let servers = resolv_conf
        .lines()
        .filter(|line| keyword(line) == "nameserver");
    let addresses = servers.filter_map(|line| line.split_whitespace().nth(1)?.parse().ok());
    addresses.take(MOST_RESOLVERS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hosts_resolvers_are_found() {
        let text = "# nameserver 9.9.9.9\nnameserver 127.0.0.53\n nameserver\t::1 # here\n\
            nameserver fe80::1%eth0\nnameservers 1.1.1.1\nsearch a.example\n";
        let expected: [IpAddr; 2] = ["127.0.0.53".parse().unwrap(), "::1".parse().unwrap()];
        assert_eq!(resolvers(text), expected);
        assert_eq!(resolvers(""), [] as [IpAddr; 0]);
    }

    #[test]
    fn a_long_hosts_file_is_cut_between_lines() {
        let line = "10.0.0.1 a.b\u{e9}\n";
        assert_eq!(shorten(line.to_owned(), MOST_HOSTS), line);
        let short = shorten(line.repeat(9000), MOST_HOSTS);
        assert!(short.len() <= MOST_HOSTS && short.len() > MOST_HOSTS - line.len());
        assert_eq!(short.len() % line.len(), 0);
    }

    #[test]
    fn the_guest_asks_its_gateway_and_keeps_the_search_list() {
        let file = |path: &str, text: &str| GuestFile {
            path: path.into(),
            mode: 0o644,
            content: text.into(),
        };
        let mut files = [
            file(HOSTS, "127.0.0.1\tlocalhost\n127.0.1.1\tbox\n"),
            file(RESOLV_CONF, "# none"),
        ];
        tell_guest(
            &mut files,
            &Plan::default(),
            "box",
            "nameserver 1.1.1.1\nsearch a b\noptions ndots:2\n",
        );
        let text = |file: &GuestFile| String::from_utf8(file.content.clone()).unwrap();
        assert_eq!(text(&files[0]), "127.0.0.1\tlocalhost\n10.117.107.2\tbox\n");
        let expected = "nameserver 10.117.107.1\nsearch a b\noptions ndots:2\n";
        assert_eq!(text(&files[1]), expected);
    }
}
