//! What has to be done on a host, once and by root, before machines have a place on its network: as lines that a shell
//! takes, and done.

use std::fmt;
use std::io::{self, Write};
use std::net::IpAddr;
use std::process::{Command, Stdio};

use thiserror::Error;

use crate::spec::{HostEnd, HostLink, HostPlace};
use crate::sys::interfaces::Interface;

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// A program and its words; not needed where this interface is there already.
    Make(String, Vec<String>),
    /// A program and its words, which do nothing when they are said again.
    Say(Vec<String>),
    /// A value for one of the kernel's settings.
    Set(&'static str, &'static str),
    /// A table of nftables' with this text, instead of one of its name.
    Translate(String),
}

/// Why a step was not done.
#[derive(Debug, Error)]
pub enum Error {
    /// Somebody else than root.
    #[error(
        "--apply: only root may do that; as an ordinary user pipe the steps: husk network setup … | sudo sh -e"
    )]
    NotRoot,
    /// A program did not do it.
    #[error("`{step}` failed: {why}")]
    Failed {
        /// The step, as it is printed.
        step: String,
        /// The program's own words.
        why: String,
    },
    /// A program is not there, or a setting not to be written.
    #[error("cannot do `{step}`")]
    Refused {
        /// The step, as it is printed.
        step: String,
        /// Why.
        source: io::Error,
    },
}

/// The steps for machines of `link`: of a TAP interface for `user` (without an owner it would be everybody's), on
/// `bridge`, if it is on one. The host is their gateway where `link` names one.
pub fn steps(link: &HostLink, bridge: Option<&str>, user: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    let bridge = match &link.end {
        HostEnd::Bridge(name) => Some(name.as_str()),
        HostEnd::Tap(_) => bridge,
    };
    if let Some(name) = bridge {
        steps.push(make(name, &format!("ip link add name {name} type bridge")));
        steps.push(say(&format!("ip link set {name} up")));
    }
    if let HostEnd::Tap(name) = &link.end {
        let kind = match link.queues {
            Some(2..) => " multi_queue",
            _ => "",
        };
        let words = format!("ip tuntap add dev {name} mode tap user {user}{kind}");
        steps.push(make(name, &words));
        if let Some(bridge) = bridge {
            steps.push(say(&format!("ip link set {name} master {bridge}")));
        }
        steps.push(say(&format!("ip link set {name} up")));
    }
    let own = host_interface(link, bridge);
    for place in [link.v4, link.v6].into_iter().flatten() {
        if let Some(gateway) = place.gateway {
            steps.extend(lead(own, place, gateway));
        }
    }
    steps
}

/// The lines that undo them.
pub fn undoing(link: &HostLink, bridge: Option<&str>) -> Vec<String> {
    let places = [link.v4, link.v6].into_iter().flatten();
    let own = host_interface(link, bridge);
    let tables = places.filter(|place| place.gateway.is_some());
    let tables = tables.map(|place| format!("nft delete table {}", table(own, place.own)));
    let (HostEnd::Tap(name) | HostEnd::Bridge(name)) = &link.end;
    tables.chain([format!("ip link delete {name}")]).collect()
}

/// At which interface the host itself is.
fn host_interface<'a>(link: &'a HostLink, bridge: Option<&'a str>) -> &'a str {
    let (HostEnd::Tap(name) | HostEnd::Bridge(name)) = &link.end;
    bridge.unwrap_or(name)
}

/// The host as the gateway of `place`: its address, and what goes further goes under the host's own.
fn lead(interface: &str, place: HostPlace, gateway: IpAddr) -> Vec<Step> {
    let (version, family, forwarding) = match gateway {
        IpAddr::V4(_) => ("-4", "ip", "/proc/sys/net/ipv4/ip_forward"),
        IpAddr::V6(_) => ("-6", "ip6", "/proc/sys/net/ipv6/conf/all/forwarding"),
    };
    let bits = place.prefix;
    let addressed = format!("ip {version} addr replace {gateway}/{bits} dev {interface}");
    // Who else has the address, nobody asks: it would be tentative for a second.
    let addressed = match gateway {
        IpAddr::V4(_) => addressed,
        IpAddr::V6(_) => format!("{addressed} nodad"),
    };
    let table = table(interface, gateway);
    let rule = format!(
        "{family} saddr {}/{bits} oifname != \"{interface}\" masquerade",
        place.network()
    );
    vec![
        say(&addressed),
        Step::Set(forwarding, "1"),
        Step::Translate(format!(
            "table {table}; delete table {table}; table {table} {{ chain postrouting {{ \
             type nat hook postrouting priority srcnat; {rule}; }}; }}"
        )),
    ]
}

/// What nftables calls the table of an interface, for addresses of the version of `address`.
fn table(interface: &str, address: IpAddr) -> String {
    let family = if address.is_ipv4() { "ip" } else { "ip6" };
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    let name: String = interface.chars().map(plain).collect();
    format!("{family} husk_{name}")
}

fn say(words: &str) -> Step {
    Step::Say(words.split(' ').map(str::to_owned).collect())
}

fn make(interface: &str, words: &str) -> Step {
    let words = words.split(' ').map(str::to_owned);
    Step::Make(interface.to_owned(), words.collect())
}

/// Does `steps`, as root; `tell` hears of each whether it was needed.
pub fn apply(steps: &[Step], mut tell: impl FnMut(&Step, bool)) -> Result<(), Error> {
    if !rustix::process::geteuid().is_root() {
        return Err(Error::NotRoot);
    }
    for step in steps {
        tell(step, step.run()?);
    }
    Ok(())
}

impl Step {
    /// Does it; whether it was needed.
    fn run(&self) -> Result<bool, Error> {
        match self {
            Self::Make(interface, words) => {
                let name = std::ffi::CString::new(interface.as_str());
                if name.is_ok_and(|name| Interface::find(&name).is_ok()) {
                    return Ok(false);
                }
                self.spawn(words, "")?;
            }
            Self::Say(words) => self.spawn(words, "")?,
            Self::Set(path, value) => {
                let read = std::fs::read_to_string(path);
                if read.is_ok_and(|now| now.trim() == *value) {
                    return Ok(false);
                }
                std::fs::write(path, value).map_err(|source| self.refused(source))?;
            }
            Self::Translate(text) => {
                let words = ["nft", "-f", "-"].map(str::to_owned);
                self.spawn(&words, text)?;
            }
        }
        Ok(true)
    }

    /// Runs a program with `input`.
    fn spawn(&self, words: &[String], input: &str) -> Result<(), Error> {
        let refused = |source| self.refused(source);
        let mut child = Command::new(&words[0])
            .args(&words[1..])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(refused)?;
        if let Some(mut stdin) = child.stdin.take() {
            // What does not read has its own words about it.
            let _closed = stdin.write_all(input.as_bytes());
        }
        let output = child.wait_with_output().map_err(refused)?;
        if output.status.success() {
            return Ok(());
        }
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        Err(Error::Failed {
            step: self.to_string(),
            why: words
                .lines()
                .next()
                .unwrap_or("it did not say why")
                .to_owned(),
        })
    }

    fn refused(&self, source: io::Error) -> Error {
        Error::Refused {
            step: self.to_string(),
            source,
        }
    }
}

/// As a shell takes it.
impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Make(_, words) | Self::Say(words) => f.write_str(&words.join(" ")),
            Self::Set(path, value) => write!(f, "echo {value} >{path}"),
            Self::Translate(text) => write!(f, "nft '{text}'"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str, bridge: Option<&str>) -> Vec<String> {
        let link = HostLink::parse(text).unwrap();
        let steps = steps(&link, bridge, "me");
        steps.iter().map(Step::to_string).collect()
    }

    #[test]
    fn a_tap_interface_behind_which_the_host_leads_to_others() {
        let expected = [
            "ip tuntap add dev vm0 mode tap user me",
            "ip link set vm0 up",
            "ip -4 addr replace 10.0.0.1/24 dev vm0",
            "echo 1 >/proc/sys/net/ipv4/ip_forward",
            "nft 'table ip husk_vm0; delete table ip husk_vm0; table ip husk_vm0 { chain postrouting { \
             type nat hook postrouting priority srcnat; ip saddr 10.0.0.0/24 oifname != \"vm0\" masquerade; }; }'",
        ];
        let text = "tap=vm0,ip=10.0.0.2/24,gw=10.0.0.1";
        assert_eq!(lines(text, None), expected);
        let link = HostLink::parse(text).unwrap();
        let undone = ["nft delete table ip husk_vm0", "ip link delete vm0"];
        assert_eq!(undoing(&link, None), undone);
    }

    #[test]
    fn one_with_several_queues() {
        for (text, kind) in [
            ("tap=vm0,queues=4", " multi_queue"),
            ("tap=vm0,queues=1", ""),
        ] {
            let expected = format!("ip tuntap add dev vm0 mode tap user me{kind}");
            assert_eq!(lines(text, None)[0], expected);
        }
    }

    #[test]
    fn one_on_a_bridge_and_a_bridge_alone() {
        let expected = [
            "ip link add name br0 type bridge",
            "ip link set br0 up",
            "ip tuntap add dev vm0 mode tap user me",
            "ip link set vm0 master br0",
            "ip link set vm0 up",
        ];
        assert_eq!(lines("tap=vm0,ip=10.0.0.2/24", Some("br0")), expected);
        assert_eq!(lines("bridge=br0", None), expected[..2]);
        let v6 = lines("bridge=br.0,ip=fd00::2/64,gw=fd00::1", None);
        assert_eq!(v6[2], "ip -6 addr replace fd00::1/64 dev br.0 nodad");
        assert!(v6[4].contains("table ip6 husk_br_0 { chain"), "{}", v6[4]);
        assert!(v6[4].contains("ip6 saddr fd00::/64 oifname"), "{}", v6[4]);
    }
}
