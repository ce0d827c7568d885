//! Who is on a network, with which number.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};

use super::message::{Join, Member};
use crate::spec::Subnets;

/// Most members of a network.
pub const MOST_MEMBERS: usize = 1024;

/// Most names of a member besides its own two, longest one, and longest ID.
const MOST_ALIASES: usize = 32;
const LONGEST_NAME: usize = 253;
const LONGEST_ID: usize = 64;

/// Digits of an ID by which a machine is found.
const SHORT: usize = 12;

/// What is said of names that are too long, or too many.
const NO_NAMES: &str = "wants names that nobody can have";

fn is_short(name: &str) -> bool {
    (1..=LONGEST_NAME).contains(&name.len())
}

/// The members by their numbers, each with the connection that it has.
#[derive(Debug)]
pub struct Table {
    subnets: Subnets,
    most: usize,
    members: BTreeMap<u32, (u64, Member)>,
}

impl Table {
    /// Nobody, where these are the addresses; `most` members at most.
    pub fn new(subnets: Subnets, most: usize) -> Self {
        let members = BTreeMap::new();
        Self {
            subnets,
            most: most.min(MOST_MEMBERS),
            members,
        }
    }

    /// A place for who wants one by connection `client`, or why there is none. Its number is the one that it wants, or the
    /// least that nobody has.
    pub fn seat(&mut self, client: u64, join: Join) -> Result<Member, String> {
        if join.aliases.len() > MOST_ALIASES
            || join.id.len() > LONGEST_ID
            || !join.id.is_ascii()
            || !is_short(&join.name)
            || !join.aliases.iter().all(|alias| is_short(alias))
        {
            return Err(NO_NAMES.to_owned());
        }
        if self.members.values().any(|(_, other)| other.id == join.id) {
            return Err("is on it already".to_owned());
        }
        let taken = |number: &u32| self.members.contains_key(number);
        let mut numbers = self.subnets.numbers();
        let number = match join.ip {
            _ if self.members.len() >= self.most => None,
            None => numbers.find(|number| !taken(number)),
            Some(ip) => {
                let subnets = &self.subnets;
                let number = subnets.number_of(ip).ok_or_else(|| {
                    format!(
                        "cannot have {ip}: it is no address for a machine in {}/{}",
                        subnets.v4, subnets.bits
                    )
                })?;
                if let Some((_, other)) = self.members.get(&number) {
                    return Err(format!("cannot have {ip}: `{}` has it", other.name));
                }
                Some(number)
            }
        };
        let number = number.ok_or_else(|| "finds it full".to_owned())?;
        let (v4, v6) = self.subnets.address(number);
        let short = join.id[..SHORT.min(join.id.len())].to_ascii_lowercase();
        let mut names = vec![join.name.to_ascii_lowercase(), short];
        names.extend(join.aliases.iter().map(|alias| alias.to_ascii_lowercase()));
        let member = Member {
            id: join.id,
            name: join.name,
            names,
            v4,
            v6,
        };
        self.members.insert(number, (client, member.clone()));
        Ok(member)
    }

    /// Has the member with this ID be called `name`, and its connection; `None` where it is not there.
    pub fn rename(&mut self, id: &str, name: &str) -> Result<Option<(u64, Member)>, String> {
        if !is_short(name) {
            return Err(NO_NAMES.to_owned());
        }
        let mut members = self.members.values_mut();
        let found = members.find(|(_, member)| member.id == id);
        Ok(found.map(|(client, member)| {
            name.clone_into(&mut member.name);
            // Its name is the first.
            if let Some(first) = member.names.first_mut() {
                *first = name.to_ascii_lowercase();
            }
            (*client, member.clone())
        }))
    }

    /// Takes a member's place away.
    pub fn remove(&mut self, member: &Member) {
        if let Some(number) = self.subnets.number_of(member.v4) {
            self.members.remove(&number);
        }
    }

    /// The connection of who has `address`.
    pub fn find(&self, address: IpAddr) -> Option<u64> {
        let number = match address {
            IpAddr::V4(address) => self.subnets.number_of(address)?,
            IpAddr::V6(address) => self.number_of_v6(address)?,
        };
        self.members.get(&number).map(|(client, _)| *client)
    }

    fn number_of_v6(&self, address: Ipv6Addr) -> Option<u32> {
        let number = u128::from(address) ^ u128::from(self.subnets.v6);
        u32::try_from(number).ok()
    }

    /// All members.
    pub fn members(&self) -> impl Iterator<Item = &Member> {
        self.members.values().map(|(_, member)| member)
    }
}
