//! What the host's /etc/hosts says.

use std::collections::HashMap;
use std::net::IpAddr;

/// The names of /etc/hosts (hosts(5)). The host's loopback is no answer for somebody else.
pub fn parse(text: &str) -> HashMap<String, Vec<IpAddr>> {
    let mut hosts: HashMap<String, Vec<IpAddr>> = HashMap::new();
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default();
        let mut words = line.split_whitespace();
        let Some(Ok(address)) = words.next().map(str::parse::<IpAddr>) else {
            continue;
        };
        if address.is_loopback() {
            continue;
        }
        for name in words {
            let addresses = hosts.entry(name.to_ascii_lowercase()).or_default();
            addresses.push(address);
        }
    }
    hosts
}
