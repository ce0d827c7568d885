//! Whom a workload may reach: rules of `--egress`, and the word that holds for the rest.
//!
//! ```text
//!  --egress allow:*.example.com:443/tcp,deny:*:25,public
//!           ├───┘ ├───────────┘ ├─┘ ├─┘           └─ what holds where no rule does
//!           │     where         │   tcp, udp or icmp; without it all of them
//!           allow or deny       a port, or FIRST-LAST; without it all of them
//! ```
//!
//! The first rule that speaks of an address holds. What nobody may reach (`net::policy`) no rule allows.

mod place;

pub use place::Place;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Whom a workload may reach where no rule says so. Nobody reaches the host's loopback, link-local addresses, and
/// the metadata services of clouds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Egress {
    /// Nobody. It still answers those that reach it.
    None,
    /// Who has a public address.
    Public,
    /// Everybody.
    #[default]
    Any,
}

/// What carries what a workload says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Carrier {
    /// Streams.
    Tcp,
    /// Datagrams.
    Udp,
    /// Echo requests, in either version of IP.
    Icmp,
}

/// All of `--egress`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(into = "Vec<String>", try_from = "Vec<String>")]
pub struct EgressPolicy {
    /// The first one that speaks of an address holds.
    pub rules: Vec<Rule>,
    /// What holds for the others.
    pub base: Egress,
}

/// One rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Whether what it speaks of is allowed.
    pub allows: bool,
    /// Where that is.
    pub place: Place,
    /// Its first and last port; all where nobody says.
    pub ports: Option<(u16, u16)>,
    /// What carries it; all where nobody says.
    pub carrier: Option<Carrier>,
}

/// Most bytes of all rules: the machine's process is told of them in one message.
const MOST_TEXT: usize = 8 << 10;

impl EgressPolicy {
    /// What was typed, each with one or more words between commas; every mistake of it.
    pub fn parse(typed: &[String]) -> Result<Self, Vec<String>> {
        let (mut rules, mut base, mut problems) = (Vec::new(), None, Vec::new());
        for word in typed.iter().flat_map(|words| words.split(',')) {
            match (parse_base(word), base) {
                (Some(egress), None) => base = Some(egress),
                (Some(egress), Some(other)) if egress != other => problems.push(format!(
                    "--egress `{word}`: `{other}` holds for what no rule speaks of: leave one of them away"
                )),
                (Some(_), Some(_)) => {}
                (None, _) => match word.parse() {
                    Ok(rule) => rules.push(rule),
                    Err(problem) => problems.push(problem),
                },
            }
        }
        if typed.iter().map(String::len).sum::<usize>() > MOST_TEXT {
            let text = "--egress: its rules have 8192 bytes at most: write networks for addresses";
            problems.push(text.to_owned());
        }
        match problems.is_empty() {
            true => Ok(Self {
                base: base.unwrap_or_else(|| default_base(&rules)),
                rules,
            }),
            false => Err(problems),
        }
    }

    /// Whether some rule speaks of names.
    pub fn has_names(&self) -> bool {
        let mut rules = self.rules.iter();
        rules.any(|rule| matches!(rule.place, Place::Named(_)))
    }
}

fn parse_base(word: &str) -> Option<Egress> {
    match word {
        "none" => Some(Egress::None),
        "public" => Some(Egress::Public),
        "any" => Some(Egress::Any),
        _ => None,
    }
}

/// Who lists what is allowed means nothing else; who lists what is denied, from what everybody reaches.
fn default_base(rules: &[Rule]) -> Egress {
    match rules {
        [] => Egress::default(),
        rules if rules.iter().any(|rule| rule.allows) => Egress::None,
        _ => Egress::Public,
    }
}

impl Rule {
    /// Whether it speaks of this port of what is carried so.
    pub fn covers(&self, carrier: Carrier, port: u16) -> bool {
        let is_port = |(first, last)| (first..=last).contains(&port) && carrier != Carrier::Icmp;
        self.carrier.is_none_or(|own| own == carrier) && self.ports.is_none_or(is_port)
    }

    /// Whether it speaks of all that its place has.
    pub fn covers_all(&self) -> bool {
        self.carrier.is_none() && self.ports.is_none()
    }
}

impl FromStr for Rule {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let wrong = |why: String| format!("--egress `{word}`: {why}");
        let (allows, what) = match word.split_once(':') {
            Some(("allow", what)) => (true, what),
            Some(("deny", what)) => (false, what),
            _ => {
                let text = "write none, public, any, or a rule like allow:example.com:443 or deny:10.0.0.0/8";
                return Err(wrong(text.to_owned()));
            }
        };
        let (what, carrier) = split_carrier(what).map_err(wrong)?;
        let (place, ports) = split_ports(what).map_err(wrong)?;
        let ports = ports.map(parse_ports).transpose().map_err(wrong)?;
        if carrier == Some(Carrier::Icmp) && ports.is_some() {
            return Err(wrong("icmp has no ports: leave the port away".to_owned()));
        }
        let place = Place::parse(place).map_err(wrong)?;
        if let (true, Place::Network(network)) = (allows, &place)
            && network.is_of_a_host()
        {
            let text = "no rule opens loopback, link-local and multicast addresses: have who is meant listen on another one";
            return Err(wrong(text.to_owned()));
        }
        Ok(Self {
            allows,
            place,
            ports,
            carrier,
        })
    }
}

/// `…/tcp`, `…/udp` or `…/icmp`: what follows the last slash, unless it counts the bits of a network.
fn split_carrier(text: &str) -> Result<(&str, Option<Carrier>), String> {
    let Some((what, word)) = text.rsplit_once('/') else {
        return Ok((text, None));
    };
    let carrier = match word {
        "tcp" => Carrier::Tcp,
        "udp" => Carrier::Udp,
        "icmp" => Carrier::Icmp,
        _ if word.starts_with(|c: char| c.is_ascii_alphabetic()) => {
            return Err(format!("`{word}` is none of tcp, udp and icmp"));
        }
        _ => return Ok((text, None)),
    };
    Ok((what, Some(carrier)))
}

/// What is before the last colon, and the ports behind it; brackets keep an address of IPv6 together.
fn split_ports(text: &str) -> Result<(&str, Option<&str>), String> {
    if text.starts_with('[') {
        let unclosed = || "the bracket is not closed: write [2001:db8::/32]:443".to_owned();
        let (place, rest) = text.split_at(text.find(']').ok_or_else(unclosed)? + 1);
        return match rest.strip_prefix(':') {
            Some(ports) => Ok((place, Some(ports))),
            None if rest.is_empty() => Ok((place, None)),
            None => Err(format!("`{rest}` is no port: write [2001:db8::/32]:443")),
        };
    }
    match text.split_once(':') {
        Some((_, ports)) if ports.contains(':') => Err(
            "an address of IPv6 stands in brackets: write [2001:db8::/32] or [2001:db8::1]:443"
                .to_owned(),
        ),
        Some((place, ports)) => Ok((place, Some(ports))),
        None => Ok((text, None)),
    }
}

fn parse_ports(text: &str) -> Result<(u16, u16), String> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let number = |text: &str| {
        let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
        let port = text.parse::<u16>().ok();
        port.filter(|port| *port > 0 && is_plain)
    };
    match (number(first), number(last)) {
        (Some(first), Some(last)) if first <= last => Ok((first, last)),
        _ => Err(format!(
            "`{text}` is no port: write one from 1 to 65535, or FIRST-LAST"
        )),
    }
}

impl From<Egress> for EgressPolicy {
    fn from(base: Egress) -> Self {
        let rules = Vec::new();
        Self { rules, base }
    }
}

impl From<EgressPolicy> for Vec<String> {
    fn from(policy: EgressPolicy) -> Self {
        let rules = policy.rules.iter().map(ToString::to_string);
        rules.chain([policy.base.to_string()]).collect()
    }
}

impl TryFrom<Vec<String>> for EgressPolicy {
    type Error = String;

    fn try_from(words: Vec<String>) -> Result<Self, String> {
        Self::parse(&words).map_err(|problems| problems.join("; "))
    }
}

impl fmt::Display for Egress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Public => "public",
            Self::Any => "any",
        })
    }
}

impl fmt::Display for Carrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Icmp => "icmp",
        })
    }
}

impl fmt::Display for Rule {
    /// As it may be typed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.allows { "allow:" } else { "deny:" })?;
        self.place.fmt(f)?;
        match self.ports {
            None => {}
            Some((first, last)) if first == last => write!(f, ":{first}")?,
            Some((first, last)) => write!(f, ":{first}-{last}")?,
        }
        match self.carrier {
            None => Ok(()),
            Some(carrier) => write!(f, "/{carrier}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Result<EgressPolicy, Vec<String>> {
        EgressPolicy::parse(&[text.to_owned()])
    }

    #[test]
    fn rules_are_read_and_written_alike() {
        for text in [
            "allow:10.0.0.0/8:443",
            "allow:10.1.2.3",
            "allow:*.example.com:443/tcp",
            "deny:0.0.0.0/0",
            "deny:*:1-1024/udp",
            "allow:[2001:db8::/32]:443",
            "allow:[2001:db8::1]/icmp",
            "deny:[::/0]",
            "allow:10.0.0.0/8/icmp",
            "allow:public:443",
            "allow:a_b.x-1",
        ] {
            let rule: Rule = text.parse().unwrap();
            assert_eq!(rule.to_string(), text);
        }
        let rule: Rule = "allow:Example.COM.:80".parse().unwrap();
        assert_eq!(rule.to_string(), "allow:example.com:80");
        let rule: Rule = "deny:10.0.0.1/32".parse().unwrap();
        assert_eq!(rule.to_string(), "deny:10.0.0.1");
    }

    #[test]
    fn what_holds_for_the_rest_goes_with_the_rules() {
        let table = [
            ("public", Egress::Public),
            ("allow:example.com", Egress::None),
            ("deny:example.com", Egress::Public),
            ("deny:10.0.0.0/8,allow:*", Egress::None),
            ("any,deny:10.0.0.0/8", Egress::Any),
            ("deny:10.0.0.0/8,any", Egress::Any),
            ("none,none", Egress::None),
        ];
        for (text, base) in table {
            assert_eq!(parse(text).unwrap().base, base, "{text}");
        }
        assert_eq!(EgressPolicy::parse(&[]).unwrap(), EgressPolicy::default());
        let several = ["allow:a,deny:b".to_owned(), "any".to_owned()];
        assert_eq!(EgressPolicy::parse(&several).unwrap().rules.len(), 2);
    }

    #[test]
    fn a_policy_survives_its_document() {
        let policy = parse("allow:[2001:db8::/32]:443,deny:*.x/udp,any").unwrap();
        let text = serde_json::to_string(&policy).unwrap();
        assert_eq!(
            text,
            r#"["allow:[2001:db8::/32]:443","deny:*.x/udp","any"]"#
        );
        let read: EgressPolicy = serde_json::from_str(&text).unwrap();
        assert_eq!(read, policy);
    }

    #[test]
    fn a_mistake_is_one_line_with_its_remedy() {
        let table = [
            ("", "write none, public, any, or a rule"),
            ("everything", "write none, public, any, or a rule"),
            ("permit:10.0.0.0/8", "write none, public, any, or a rule"),
            ("none,", "write none, public, any, or a rule"),
            ("none,any", "leave one of them away"),
            ("allow:", "it says not where"),
            ("allow::443", "it says not where"),
            ("allow:10.0.0.1/8", "write 10.0.0.0/8"),
            ("allow:[2001:db8::1/32]", "write 2001:db8::/32"),
            ("allow:10.0.0.0/33", "write /0 to /32"),
            ("allow:[::/129]", "write /0 to /128"),
            ("allow:10.0.0.0/", "no address or network"),
            ("allow:10.0.0.0/+8", "no address or network"),
            ("allow:10.0.0", "no address or network"),
            ("allow:256.1.1.1", "no address or network"),
            ("allow:[10.0.0.1]", "no address or network"),
            ("allow:[::1", "not closed"),
            ("allow:[2001:db8::]443", "is no port"),
            ("allow:2001:db8::1", "in brackets"),
            ("allow:x:0", "1 to 65535"),
            ("allow:x:65536", "1 to 65535"),
            ("allow:x:9-8", "1 to 65535"),
            ("allow:x:+80", "1 to 65535"),
            ("allow:x:", "1 to 65535"),
            ("allow:x:80/sctp", "none of tcp, udp and icmp"),
            ("allow:x:80/icmp", "icmp has no ports"),
            ("allow:*example.com", "is no name"),
            ("allow:a..b", "is no name"),
            ("allow:a.*.b", "is no name"),
            ("allow:exämple.com", "is no name"),
            ("allow:127.0.0.1:5432", "listen on another one"),
            ("allow:169.254.169.254", "listen on another one"),
            ("allow:[fe80::/64]", "listen on another one"),
        ];
        for (text, remedy) in table {
            let problems = parse(text).unwrap_err();
            assert_eq!(problems.len(), 1, "{text}: {problems:?}");
            assert!(problems[0].starts_with("--egress `"), "{problems:?}");
            assert!(problems[0].contains(remedy), "{text}: {problems:?}");
        }
        assert_eq!(parse("a,b,allow:c").unwrap_err().len(), 2, "all are told");
        let long = vec!["deny:10.1.2.3".to_owned(); 1000];
        assert!(EgressPolicy::parse(&long).unwrap_err()[0].contains("8192 bytes"));
    }

    #[test]
    fn ports_and_carriers_are_those_that_were_typed() {
        let rule: Rule = "allow:*:80-81/tcp".parse().unwrap();
        assert!(rule.covers(Carrier::Tcp, 80) && rule.covers(Carrier::Tcp, 81));
        assert!(!rule.covers(Carrier::Tcp, 82) && !rule.covers(Carrier::Udp, 80));
        let rule: Rule = "allow:*:80".parse().unwrap();
        assert!(rule.covers(Carrier::Udp, 80));
        assert!(!rule.covers(Carrier::Icmp, 80) && !rule.covers(Carrier::Icmp, 0));
        let rule: Rule = "allow:*".parse().unwrap();
        assert!(rule.covers(Carrier::Icmp, 0) && rule.covers_all());
    }

    proptest! {
        #[test]
        fn whatever_is_typed_is_a_policy_or_a_line(
            text in "(allow|deny|none|any|x)?:?[a-z0-9.*/:,\\[\\]-]{0,30}(:[0-9-]{0,9})?(/(tcp|icmp|8))?",
        ) {
            match parse(&text) {
                Ok(policy) => {
                    let words: Vec<String> = policy.clone().into();
                    prop_assert_eq!(EgressPolicy::parse(&words), Ok(policy));
                }
                Err(problems) => {
                    prop_assert!(problems.iter().all(|line| line.starts_with("--egress")));
                }
            }
        }
    }
}
