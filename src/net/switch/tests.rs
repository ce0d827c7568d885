//! The switch as its members see it: those that behave, and those that were taken over.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::message::{self, LONGEST, Message, decode};
use super::{Join, Member, Switch, Word};
use crate::net::link::{ETHERNET_LEN, Unsummed};
use crate::spec::Subnets;
use crate::sys::seqpacket::{Listener, Seqpacket};

const PATIENCE: Duration = Duration::from_secs(10);

/// The addresses of the tests' networks.
pub fn subnets(bits: u8) -> Subnets {
    Subnets {
        v4: Ipv4Addr::new(10, 5, 0, 0),
        bits,
        v6: "fd00:5::".parse().unwrap(),
    }
}

/// A switch on a thread of its own.
pub struct Running {
    folder: TempDir,
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    pub fn new(subnets: Subnets) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ends = Arc::new(AtomicBool::new(false));
        let path = folder.path().join("switch").display().to_string();
        let mut switch = Switch::new(Listener::bind(&path).unwrap(), subnets, 10_000).unwrap();
        let over = Arc::clone(&ends);
        let thread = thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                switch.work(Some(Duration::from_millis(5))).unwrap();
            }
        });
        Self {
            folder,
            ends,
            thread: Some(thread),
        }
    }

    pub fn connect(&self) -> Seqpacket {
        Seqpacket::connect(&self.folder.path().join("switch").display().to_string()).unwrap()
    }

    pub fn join(&self, name: &str) -> (Seqpacket, Member) {
        let socket = self.connect();
        let join = Join {
            id: format!("{name}-id"),
            name: name.to_owned(),
            ..Join::default()
        };
        say(&socket, &Word::Join(join));
        match hear(&socket) {
            Word::Seated { v4, v6 } => {
                let member = Member {
                    id: String::new(),
                    name: name.to_owned(),
                    names: Vec::new(),
                    v4,
                    v6,
                };
                (socket, member)
            }
            other => panic!("{other:?}"),
        }
    }

    /// Ends it, as if it were killed.
    pub fn end(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        self.thread
            .take()
            .into_iter()
            .for_each(|thread| thread.join().unwrap());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}

/// A wish of a machine whose ID is its name.
fn ask(name: &str) -> Word {
    Word::Join(Join {
        id: name.to_owned(),
        name: name.to_owned(),
        ..Join::default()
    })
}

fn say(socket: &Seqpacket, word: &Word) {
    socket.send_now(&word.encode()).unwrap();
}

/// The next message within the time.
fn next(socket: &Seqpacket) -> Option<Vec<u8>> {
    let mut space = vec![0; LONGEST];
    let deadline = Instant::now() + PATIENCE;
    loop {
        match socket.take(&mut space) {
            Ok(Some(len)) => return Some(space[..len].to_vec()),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            // The connection is over.
            _ => return None,
        }
        assert!(Instant::now() < deadline, "nothing came");
        thread::sleep(Duration::from_millis(1));
    }
}

fn hear(socket: &Seqpacket) -> Word {
    let bytes = next(socket).expect("an answer");
    match decode(&bytes) {
        Some(Message::Word(word)) => word,
        other => panic!("{other:?}"),
    }
}

/// The next packet.
fn packet(socket: &Seqpacket) -> Vec<u8> {
    loop {
        let bytes = next(socket).expect("a packet");
        if let Some(Message::Packet(packet)) = decode(&bytes) {
            return packet.ends.whole.to_vec();
        }
    }
}

/// A packet of `len` bytes.
fn write(source: IpAddr, target: IpAddr, len: usize) -> Vec<u8> {
    let mut packet = vec![7; len];
    match (source, target) {
        (IpAddr::V4(source), IpAddr::V4(target)) => {
            packet[..2].copy_from_slice(&[0x45, 0]);
            packet[2..4].copy_from_slice(&u16::try_from(len).unwrap().to_be_bytes());
            packet[12..16].copy_from_slice(&source.octets());
            packet[16..20].copy_from_slice(&target.octets());
        }
        (IpAddr::V6(source), IpAddr::V6(target)) => {
            packet[0] = 0x60;
            packet[4..6].copy_from_slice(&u16::try_from(len - 40).unwrap().to_be_bytes());
            packet[8..24].copy_from_slice(&source.octets());
            packet[24..40].copy_from_slice(&target.octets());
        }
        _ => unreachable!("of one version"),
    }
    packet
}

fn send(socket: &Seqpacket, packet: &[u8]) {
    let mut bytes = Vec::new();
    message::encode(&mut bytes, packet, None);
    // Lost, where there is no room.
    let _lost = socket.send_now(&bytes);
}

#[test]
fn members_hear_of_one_another_and_packets_cross() {
    let switch = Running::new(subnets(24));
    let ((a, at_a), (b, at_b)) = (switch.join("a"), switch.join("B"));
    assert_eq!(
        (at_a.v4, at_b.v4),
        ([10, 5, 0, 2].into(), [10, 5, 0, 3].into())
    );
    assert_eq!(at_b.v6.to_string(), "fd00:5::3");
    // Of itself, and then of the other; who comes hears of who is there.
    let names = |word| match word {
        Word::Came(member) => member.names[0].clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!([names(hear(&a)), names(hear(&a))], ["a", "b"]);
    assert_eq!([names(hear(&b)), names(hear(&b))], ["a", "b"]);
    for (source, target) in [
        (at_a.v4.into(), at_b.v4.into()),
        (IpAddr::V6(at_a.v6), at_b.v6.into()),
    ] {
        let sent = write(source, target, 1000);
        send(&a, &sent);
        assert_eq!(packet(&b), sent);
    }
    drop(a);
    assert_eq!(hear(&b), Word::Left { v4: at_a.v4 });
    let (_again, at_c) = switch.join("c");
    assert_eq!(at_c.v4, at_a.v4, "an address is given again");
}

#[test]
fn nobody_speaks_for_another_or_to_who_is_not_there() {
    let switch = Running::new(subnets(24));
    let ((a, at_a), (b, at_b)) = (switch.join("a"), switch.join("b"));
    let foreign: [(IpAddr, IpAddr); 7] = [
        // As the gateway, as the other, from outside, from an address that nobody has.
        ([10, 5, 0, 1].into(), at_b.v4.into()),
        (at_b.v4.into(), at_b.v4.into()),
        ([192, 0, 2, 1].into(), at_b.v4.into()),
        ([10, 5, 0, 9].into(), at_b.v4.into()),
        (IpAddr::V6(at_b.v6), at_b.v6.into()),
        // To everybody, and to nobody.
        (at_a.v4.into(), [10, 5, 0, 255].into()),
        (at_a.v4.into(), [10, 5, 0, 77].into()),
    ];
    for (source, target) in foreign {
        send(&a, &write(source, target, 60));
    }
    // Cut short, longer than it says, of a checksum that is not in it, and no packet at all.
    let whole = write(at_a.v4.into(), at_b.v4.into(), 60);
    send(&a, &whole[..40]);
    send(&a, &[&whole[..], b"more"].concat());
    let mut bytes = Vec::new();
    let outside = Unsummed {
        start: u16::try_from(ETHERNET_LEN + 58).unwrap(),
        offset: 2,
    };
    message::encode(&mut bytes, &whole, Some(outside));
    a.send_now(&bytes).unwrap();
    a.send_now(&[1, 0]).unwrap();
    a.send_now(b"\0{\"Came\":3}").unwrap();
    let last = write(at_a.v4.into(), at_b.v4.into(), 61);
    send(&a, &last);
    assert_eq!(packet(&b), last, "and nothing before it");
}

#[test]
fn who_is_no_member_sends_nothing_and_who_is_one_joins_once() {
    let switch = Running::new(subnets(24));
    let (b, at_b) = switch.join("b");
    let stranger = switch.connect();
    send(&stranger, &write([10, 5, 0, 3].into(), at_b.v4.into(), 60));
    assert_eq!(next(&stranger), None, "it is shown the door");
    for nonsense in [
        &b"\0x"[..],
        &[9],
        &vec![0; 40 << 10],
        &vec![1; (64 << 10) - 1],
    ] {
        let stranger = switch.connect();
        stranger.send_now(nonsense).unwrap();
        assert_eq!(next(&stranger), None, "{}", nonsense.len());
    }
    let (twice, at_twice) = switch.join("twice");
    say(
        &twice,
        &Word::Join(Join {
            id: "other".into(),
            name: "x".into(),
            ..Join::default()
        }),
    );
    while next(&twice).is_some() {}
    let left = |word| word == Word::Left { v4: at_twice.v4 };
    while !left(hear(&b)) {}
}

#[test]
fn addresses_that_cannot_be_had_are_refused_with_a_reason() {
    let switch = Running::new(subnets(24));
    let (_a, at_a) = switch.join("a");
    let long = "n".repeat(300);
    for (ip, name, id, says) in [
        (Some(at_a.v4), "b", "1", "`a` has it"),
        (
            Some([10, 5, 0, 1].into()),
            "b",
            "1",
            "no address for a machine in 10.5.0.0/24",
        ),
        (Some([10, 5, 0, 255].into()), "b", "1", "no address"),
        (Some([10, 6, 0, 7].into()), "b", "1", "no address"),
        (None, "b", "a-id", "already"),
        (None, &long, "1", "names"),
        (None, "", "1", "names"),
    ] {
        let socket = switch.connect();
        let join = Join {
            id: id.to_owned(),
            name: name.to_owned(),
            aliases: Vec::new(),
            ip,
        };
        say(&socket, &Word::Join(join));
        match hear(&socket) {
            Word::Refused { why } => assert!(why.contains(says), "{why}"),
            other => panic!("{other:?}"),
        }
    }
    let socket = switch.connect();
    let join = Join {
        id: "1".to_owned(),
        name: "b".to_owned(),
        aliases: vec!["x".to_owned(); 33],
        ip: None,
    };
    say(&socket, &Word::Join(join.clone()));
    assert!(matches!(hear(&socket), Word::Refused { .. }));
    // It may ask again, for what can be had.
    say(
        &socket,
        &Word::Join(Join {
            aliases: vec!["X".to_owned()],
            ip: Some([10, 5, 0, 200].into()),
            ..join
        }),
    );
    assert!(matches!(hear(&socket), Word::Seated { .. }));
    let listener = switch.connect();
    say(&listener, &Word::List);
    let listed: Vec<_> = std::iter::from_fn(|| match hear(&listener) {
        Word::Came(member) => Some((member.name, member.v4.octets()[3], member.names.len())),
        Word::All => None,
        other => panic!("{other:?}"),
    })
    .collect();
    assert_eq!(listed, [("a".to_owned(), 2, 2), ("b".to_owned(), 200, 3)]);
}

#[test]
fn a_network_has_room_for_its_addresses_and_no_more() {
    let switch = Running::new(subnets(29));
    let mut members: Vec<_> = (0..5)
        .map(|number| switch.join(&format!("m{number}")))
        .collect();
    let late = switch.connect();
    say(&late, &ask("late"));
    match hear(&late) {
        Word::Refused { why } => assert!(why.contains("full"), "{why}"),
        other => panic!("{other:?}"),
    }
    let (_, gone) = members.remove(2);
    // The switch may hear of the end after the next one's beginning.
    let deadline = Instant::now() + PATIENCE;
    loop {
        say(&late, &ask("late"));
        match hear(&late) {
            Word::Seated { v4, .. } => break assert_eq!(v4, gone.v4),
            _ => assert!(Instant::now() < deadline),
        }
    }
}

#[test]
fn visitors_without_end_do_not_keep_members_out() {
    let switch = Running::new(subnets(24));
    let (a, at_a) = switch.join("a");
    // More than may be connected: those are shown the door, one after the other.
    let crowd: Vec<_> = (0..1500)
        .filter_map(|_| {
            thread::sleep(Duration::from_micros(100));
            Seqpacket::connect(&switch.folder.path().join("switch").display().to_string()).ok()
        })
        .collect();
    drop(crowd);
    let deadline = Instant::now() + PATIENCE;
    let b = loop {
        let socket = switch.connect();
        say(&socket, &ask("b"));
        match next(&socket).as_deref().map(decode) {
            Some(Some(Message::Word(Word::Seated { v4, .. }))) => break (socket, v4),
            _ => assert!(Instant::now() < deadline),
        }
    };
    let sent = write(at_a.v4.into(), b.1.into(), 60);
    send(&a, &sent);
    assert_eq!(packet(&b.0), sent);
}

#[test]
fn who_does_not_listen_loses_packets_and_costs_nobody_else_any() {
    let switch = Running::new(subnets(24));
    let ((a, at_a), (_deaf, at_deaf), (c, at_c)) =
        (switch.join("a"), switch.join("deaf"), switch.join("c"));
    // Four times what waits for one that does not listen.
    for _ in 0..16 << 10 {
        send(&a, &write(at_a.v4.into(), at_deaf.v4.into(), 1024));
    }
    let sent = write(at_a.v4.into(), at_c.v4.into(), 60_000);
    let deadline = Instant::now() + PATIENCE;
    loop {
        send(&a, &sent);
        let mut space = vec![0; LONGEST];
        if let Ok(Some(len)) = c.take(&mut space)
            && let Some(Message::Packet(packet)) = decode(&space[..len])
        {
            break assert_eq!(packet.ends.whole, sent);
        }
        assert!(Instant::now() < deadline);
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn who_does_not_listen_to_words_loses_its_place() {
    let switch = Running::new(subnets(16));
    let (deaf, at_deaf) = switch.join("deaf");
    let (b, _) = switch.join("b");
    let name = "n".repeat(250);
    let crowd = move |number: usize| Join {
        id: format!("{number}"),
        name: name.clone(),
        aliases: vec![name.clone(); 30],
        ip: None,
    };
    // Each of them is some 8 KiB of words.
    let deadline = Instant::now() + 6 * PATIENCE;
    'crowd: for number in 0.. {
        assert!(Instant::now() < deadline, "{number} came and went");
        let socket = switch.connect();
        say(&socket, &Word::Join(crowd(number)));
        assert!(matches!(hear(&socket), Word::Seated { .. }), "{number}");
        drop(socket);
        let mut space = vec![0; LONGEST];
        while let Ok(Some(len)) = b.take(&mut space) {
            if decode(&space[..len]) == Some(Message::Word(Word::Left { v4: at_deaf.v4 })) {
                break 'crowd;
            }
        }
    }
    drop(deaf);
}

#[test]
fn a_member_is_called_otherwise_when_somebody_else_says_so() {
    let switch = Running::new(subnets(24));
    let (one, _) = switch.join("one");
    let (two, _) = switch.join("two");
    let rename = |from: &Seqpacket, id: &str, name: &str| {
        let (id, name) = (id.to_owned(), name.to_owned());
        say(from, &Word::Rename { id, name });
    };
    let visitor = switch.connect();
    rename(&visitor, "one-id", "Uno");
    assert_eq!(hear(&visitor), Word::All);
    // Who was there hears of it, and who comes hears of nothing else.
    for socket in [&two, &switch.join("three").0] {
        let renamed = loop {
            match hear(socket) {
                Word::Came(member) if member.id == "one-id" && member.name != "one" => {
                    break member;
                }
                Word::Came(_) => {}
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(renamed.names, ["uno", "one-id"]);
    }
    rename(&visitor, "nobody", "x");
    assert_eq!(hear(&visitor), Word::All);
    rename(&visitor, "one-id", "");
    assert!(matches!(hear(&visitor), Word::Refused { .. }));
    // A member names nobody, and itself least of all: its connection ends.
    rename(&one, "two-id", "one");
    while next(&one).is_some() {}
    say(&visitor, &Word::List);
    assert!(matches!(hear(&visitor), Word::Came(member) if member.name == "two"));
}
