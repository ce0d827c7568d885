//! The network of one run: what its flags make, if they agree.

use super::config::ImageConfig;
use super::container::Wall;
use super::egress::EgressPolicy;
use super::host_link::HostLink;
use super::network::{
    MOST_PUBLISHED, NetLimits, Network, Published, parse_bytes, parse_connections, parse_exposed,
    parse_publish, parse_rate,
};
use super::networks::{Joining, check_joinings};
use super::request::RunRequest;
use super::run::Problems;

/// The network of one run.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Networking {
    /// Which one.
    pub network: Network,
    /// Its place, if that is on a network of the host's.
    pub link: Option<HostLink>,
    /// Whether somebody asked for it.
    pub asked: bool,
    /// Whom the workload reaches.
    pub egress: EgressPolicy,
    /// How much of that.
    pub limits: NetLimits,
    /// Networks on which it reaches other machines.
    pub joinings: Vec<Joining>,
    /// Which of its ports are reached by ports of the host's.
    pub published: Vec<Published>,
}

impl Networking {
    /// What the flags of the network make, if they agree.
    pub(super) fn collect(
        request: &RunRequest,
        image: &ImageConfig,
        problems: &mut Problems,
    ) -> Self {
        let network = request.network.clone().unwrap_or_default();
        let link = collect_link(request, &network, problems);
        let parsed = request.publish.iter().map(|text| parse_publish(text));
        let parsed = parsed.filter_map(|published| problems.take(published));
        let mut published: Vec<_> = parsed.flatten().collect();
        if request.publish_all {
            let exposed = image.exposed_ports.iter();
            let exposed = exposed.flat_map(|port| parse_exposed(port));
            let others: Vec<_> = exposed
                .filter(|one| {
                    let leads = |other: &Published| {
                        (other.guest, other.transport) == (one.guest, one.transport)
                    };
                    !published.iter().any(leads)
                })
                .collect();
            published.extend(others);
        }
        let publishes = request.publish_all || !request.publish.is_empty();
        let egress = EgressPolicy::parse(&request.egress).unwrap_or_else(|mistakes| {
            problems.0.extend(mistakes);
            EgressPolicy::default()
        });
        let limits = collect_limits(request, problems);
        let is_used = limits != NetLimits::default() || !request.egress.is_empty() || publishes;
        let contradiction = match &network {
            Network::None if !request.networks.is_empty() => {
                Some("--network none is no network at all: leave it, or the others, away")
            }
            Network::Host(_) if !request.networks.is_empty() => Some(
                "--network: a machine has a place on a network of the host's, or on those of machines",
            ),
            Network::None if is_used => {
                Some("--egress, --publish and --net-… need a network: leave --network none away")
            }
            Network::Host(_) if is_used => Some(
                "--egress, --publish and --net-… are for --network user: on a network of the host's, the host's own rules hold",
            ),
            _ if published.len() > MOST_PUBLISHED => {
                Some("--publish: a machine has 256 ports at most")
            }
            _ => None,
        };
        problems.0.extend(contradiction.map(str::to_owned));
        problems.0.extend(check_joinings(&request.networks));
        Self {
            asked: request
                .network
                .as_ref()
                .is_some_and(|one| *one != Network::None)
                || is_used
                || !request.networks.is_empty(),
            network,
            link,
            joinings: request.networks.clone(),
            egress,
            limits,
            published,
        }
    }
}

/// A machine's place on a network of the host's.
fn collect_link(
    request: &RunRequest,
    network: &Network,
    problems: &mut Problems,
) -> Option<HostLink> {
    let Network::Host(text) = network else {
        return None;
    };
    let link = problems.take(HostLink::parse(text))?;
    if request.wall != Wall::Vm
        && (link.vhost == Some(true) || link.queues.is_some_and(|all| all > 1))
    {
        let needs = "--network: vhost=on and queues= are for a machine's card, which a container has not: leave them or --wall away";
        problems.0.push(needs.to_owned());
    }
    Some(link)
}

fn collect_limits(request: &RunRequest, problems: &mut Problems) -> NetLimits {
    let connections = request.net_connections.as_deref().map(parse_connections);
    let rate = request.net_rate.as_deref().map(parse_rate);
    let bytes = request.net_bytes.as_deref().map(parse_bytes);
    NetLimits {
        connections: problems.take(connections.transpose()).flatten(),
        rate: problems.take(rate.transpose()).flatten(),
        bytes: problems.take(bytes.transpose()).flatten(),
    }
}
