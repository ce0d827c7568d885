//! Who is on networks, and what becomes of that while machines run: told, renamed, lost and found again.

use std::fs;
use std::os::unix::fs::symlink;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::husk::{Husk, WALLS, Wall, gives_containers_a_network};
use crate::together::{
    address_of, inspect, kill, make, nothing_is_left, start, switches, until, with_network,
};

const WAIT: &str = "while :; do sleep 1; done";

/// What `verb` prints of networks, a line each.
fn lines(husk: &Husk, args: &[&str]) -> Vec<String> {
    let said = husk.say(args);
    assert_eq!((said.status, said.stderr.as_str()), (0, ""), "{args:?}");
    said.out().lines().map(str::to_owned).collect()
}

#[test]
fn machines_and_networks_are_found_by_one_another() {
    let husk = with_network("back", &[]);
    make(&husk, "front", &[]);
    let create = |name: &str, flags: &[&str]| {
        let words = [&["create", "--name", name], flags, &["busybox", "true"]].concat();
        assert_eq!(husk.say(&words).status, 0);
    };
    create("one", &["--network", "back"]);
    create("two", &["--network", "back", "--network", "front"]);
    create("alone", &["--network", "none"]);
    create("other", &[]);
    let id = lines(&husk, &["network", "ls", "-q", "--filter", "name=front"]).remove(0);
    let found = |filters: &[&str]| {
        let filters = filters.iter().flat_map(|filter| ["--filter", filter]);
        let words = ["ps", "-a", "--format", "{{.Names}}"].into_iter();
        let mut found = lines(&husk, &words.chain(filters).collect::<Vec<_>>());
        found.sort();
        found
    };
    assert_eq!(found(&["network=back"]), ["one", "two"]);
    assert_eq!(found(&[&format!("network={id}")]), ["two"]);
    assert_eq!(found(&["network=back", "name=one"]), ["one"]);
    assert_eq!(found(&["network=none"]), ["alone"]);
    assert_eq!(found(&["network=nope"]), [] as [&str; 0]);
    // Those that rest are not listed without -a.
    assert_eq!(
        lines(&husk, &["ps", "-q", "--filter", "network=back"]).len(),
        0
    );
    husk.say(&["rm", "two"]);
    let networks = |filter: &str| {
        lines(
            &husk,
            &["network", "ls", "--format", "{{.Name}}", "--filter", filter],
        )
    };
    assert_eq!(networks("dangling=true"), ["front"]);
    assert_eq!(networks("dangling=false"), ["back"]);
    assert_eq!(networks("driver=switch"), ["back", "front"]);
    assert_eq!(networks("driver=bridge"), [] as [&str; 0]);
    assert_eq!(networks("type=custom"), ["back", "front"]);
    husk.say(&["rm", "one", "alone", "other"]);
}

#[test]
fn what_cannot_be_pruned_is_told_and_the_others_are() {
    let husk = with_network("back", &[]);
    make(&husk, "front", &[]);
    let lock = husk.home().join("networks/back/lock");
    fs::remove_file(&lock).unwrap();
    symlink("lock", &lock).unwrap();
    let said = husk.say(&["network", "prune", "-f"]);
    assert_eq!(said.out(), "front\n");
    said.is_one_clear_line(&["back/lock"]);
    assert_eq!(
        lines(&husk, &["network", "ls", "--format", "{{.Name}}"]),
        ["back"]
    );
}

/// What happened to networks: the action, the network's name, and whether a machine is told of.
fn happened(husk: &Husk) -> Vec<(String, String, bool)> {
    let words = [
        "--since",
        "1h",
        "--until",
        "0s",
        "--filter",
        "type=network",
        "--json",
    ];
    let lines = lines(husk, &[&["events"], &words[..]].concat());
    let events = lines.iter().map(|line| {
        let event: Value = serde_json::from_str(line).unwrap();
        assert_eq!(event["Type"], "network", "{line}");
        let of = &event["Actor"]["Attributes"];
        assert_eq!(of["type"], "switch", "{line}");
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let is_of_one = text(&of["container"]).len() == 64;
        (text(&event["Action"]), text(&of["name"]), is_of_one)
    });
    events.collect()
}

#[test]
fn what_happens_to_networks_is_told() {
    if !gives_containers_a_network() {
        return;
    }
    for wall in WALLS {
        let husk = with_network("back", &[]).behind(wall);
        make(&husk, "front", &[]);
        start(&husk, &["--name", "one", "--network", "back"], WAIT);
        for verb in ["connect", "disconnect"] {
            assert_eq!(husk.say(&["network", verb, "front", "one"]).status, 0);
        }
        assert_eq!(husk.say(&["stop", "-t", "0", "one"]).status, 0);
        husk.say(&["rm", "one"]);
        assert_eq!(husk.say(&["network", "rm", "back"]).status, 0);
        assert_eq!(husk.say(&["network", "prune", "-f"]).status, 0);
        let expected = [
            ("create", "back", false),
            ("create", "front", false),
            ("connect", "back", true),
            ("connect", "front", true),
            ("disconnect", "front", true),
            ("disconnect", "back", true),
            ("destroy", "back", false),
            ("destroy", "front", false),
        ];
        let expected = expected
            .map(|(action, name, is_of_one)| (action.to_owned(), name.to_owned(), is_of_one));
        assert_eq!(happened(&husk), expected, "{wall:?}");
    }
}

/// What happened to machines: the action, without what it is about, and the name.
fn told_of_machines(husk: &Husk) -> Vec<(String, String)> {
    let words = ["events", "--since", "1h", "--until", "0s", "--json"];
    let lines = lines(
        husk,
        &[&words[..], &["--filter", "type=container"]].concat(),
    );
    let events = lines.iter().map(|line| {
        let event: Value = serde_json::from_str(line).unwrap();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let action = text(&event["Action"]);
        let action = action.split(':').next().unwrap().to_owned();
        (action, text(&event["Actor"]["Attributes"]["name"]))
    });
    events.collect()
}

#[test]
fn what_happens_to_a_renamed_machine_is_told_by_its_new_name() {
    for wall in WALLS {
        if wall == Wall::Container && !gives_containers_a_network() {
            continue;
        }
        let husk = Husk::fresh().behind(wall);
        start(&husk, &["--rm", "--name", "one"], WAIT);
        let does = |args: &[&str]| {
            let said = husk.say(args);
            assert_eq!((said.status, said.stderr.as_str()), (0, ""), "{args:?}");
        };
        does(&["rename", "one", "Uno"]);
        does(&["exec", "Uno", "true"]);
        does(&["pause", "Uno"]);
        does(&["unpause", "Uno"]);
        does(&["kill", "Uno"]);
        until(
            &husk,
            &[
                "run",
                "--rm",
                "--name",
                "Uno",
                "--network",
                "none",
                "busybox",
                "true",
            ],
        );
        let told = told_of_machines(&husk);
        let named = |name: &str| {
            let named = told.iter().filter(|(_, other)| other == name);
            named.map(|(action, _)| action.as_str()).collect::<Vec<_>>()
        };
        assert_eq!(named("one"), ["create", "start"], "{wall:?}");
        let first = named("Uno").into_iter().take(7).collect::<Vec<_>>();
        let expected = [
            "rename",
            "exec_start",
            "pause",
            "unpause",
            "kill",
            "die",
            "destroy",
        ];
        assert_eq!(first, expected, "{wall:?}");
        // Neither name is anybody's now.
        for name in ["one", "Uno"] {
            assert_ne!(husk.say(&["inspect", name]).status, 0, "{name}");
        }
    }
}

fn pings(husk: &Husk, from: &str, to: &str) -> bool {
    husk.say(&ping(from, to)).status == 0
}

/// Waits until one reaches the other.
fn await_ping(husk: &Husk, from: &str, to: &str) {
    until(husk, &ping(from, to));
}

fn ping<'a>(from: &'a str, to: &'a str) -> [&'a str; 8] {
    ["exec", from, "ping", "-c", "1", "-W", "5", to]
}

#[test]
fn a_machine_that_is_renamed_is_found_by_its_new_name() {
    if !gives_containers_a_network() {
        return;
    }
    for wall in WALLS {
        let husk = with_network("back", &[]);
        start(&husk, &["--name", "two", "--network", "back"], WAIT);
        let husk = husk.behind(wall);
        start(
            &husk,
            &[
                "--name",
                "one",
                "--network",
                "back",
                "--network-alias",
                "www",
            ],
            WAIT,
        );
        assert!(
            pings(&husk, "two", "one") && pings(&husk, "one", "two"),
            "{wall:?}"
        );
        for (old, new) in [("one", "Uno"), ("two", "dos")] {
            let said = husk.say(&["rename", old, new]);
            assert_eq!((said.status, said.stderr.as_str()), (0, ""), "{wall:?}");
        }
        await_ping(&husk, "dos", "uno");
        await_ping(&husk, "Uno", "dos");
        assert!(pings(&husk, "dos", "www"), "{wall:?}: its alias stays");
        assert!(
            !pings(&husk, "dos", "one") && !pings(&husk, "Uno", "two"),
            "{wall:?}"
        );
        let members = husk.say(&["network", "inspect", "-f", "{{json .Containers}}", "back"]);
        let members = members.out();
        assert!(
            members.contains("\"Uno\"") && !members.contains("\"one\""),
            "{members}"
        );
        husk.say(&["rm", "-f", "Uno", "dos"]);
        nothing_is_left(&husk, "back");
    }
}

/// The switch's process.
fn switch(husk: &Husk) -> Option<u32> {
    let mut all = switches(husk).into_iter();
    all.find(|(_, name)| name == "husk-switch")
        .map(|(pid, _)| pid)
}

#[test]
fn machines_whose_switch_is_killed_are_together_again_by_themselves() {
    if !gives_containers_a_network() {
        return;
    }
    for wall in WALLS {
        let husk = with_network("back", &[]);
        start(&husk, &["--name", "two", "--network", "back"], WAIT);
        let husk = husk.behind(wall);
        start(&husk, &["--name", "one"], WAIT);
        // One joined when it was made, the other while it ran.
        assert_eq!(husk.say(&["network", "connect", "back", "one"]).status, 0);
        let places = ["one", "two"].map(|name| address_of(&husk, name, "back"));
        assert!(pings(&husk, "two", "one"), "{wall:?}");
        for _ in 0..2 {
            let killed = switch(&husk);
            kill(&husk, "husk-switch");
            let begun = Instant::now();
            while switch(&husk).is_none_or(|now| Some(now) == killed) {
                assert!(
                    begun.elapsed() < Duration::from_secs(20),
                    "nobody started another one"
                );
                sleep(Duration::from_millis(20));
            }
            await_ping(&husk, "two", "one");
            await_ping(&husk, "one", "two");
        }
        let now = ["one", "two"].map(|name| address_of(&husk, name, "back"));
        assert_eq!(now, places, "{wall:?}: each has its own address");
        // What has left is not brought back.
        assert_eq!(
            husk.say(&["network", "disconnect", "back", "one"]).status,
            0
        );
        kill(&husk, "husk-switch");
        sleep(Duration::from_secs(2));
        assert!(!pings(&husk, "two", "one"), "{wall:?}");
        assert_eq!(
            inspect(&husk, "one", "{{json .NetworkSettings.Networks}}"),
            "{}"
        );
        husk.say(&["rm", "-f", "one", "two"]);
        nothing_is_left(&husk, "back");
    }
}

#[test]
fn a_machine_starts_a_switch_where_nobody_is_left_who_would() {
    if !gives_containers_a_network() {
        return;
    }
    let husk = with_network("back", &[]);
    start(&husk, &["--name", "two", "--network", "back"], WAIT);
    let husk = husk.behind(Wall::Vm);
    start(&husk, &["--name", "one", "--network", "back"], WAIT);
    let places = || ["one", "two"].map(|name| address_of(&husk, name, "back"));
    let before = places();
    let killed = switch(&husk);
    kill(&husk, "husk-caretaker");
    kill(&husk, "husk-switch");
    await_ping(&husk, "two", "one");
    await_ping(&husk, "one", "two");
    assert_ne!(switch(&husk), killed);
    assert_eq!(places(), before);
    husk.say(&["rm", "-f", "one", "two"]);
    nothing_is_left(&husk, "back");
}

#[test]
fn who_comes_back_too_late_has_another_address() {
    if !gives_containers_a_network() {
        return;
    }
    let husk = with_network("back", &[]);
    start(&husk, &["--name", "one", "--network", "back"], WAIT);
    let first = address_of(&husk, "one", "back");
    // Nobody is there to start a switch, and so the next one does, and takes the first address.
    kill(&husk, "husk-caretaker");
    kill(&husk, "husk-switch");
    start(&husk, &["--name", "two", "--network", "back"], WAIT);
    await_ping(&husk, "two", "one");
    await_ping(&husk, "one", "two");
    let (one, two) = (
        address_of(&husk, "one", "back"),
        address_of(&husk, "two", "back"),
    );
    assert_ne!(one, two);
    if two == first {
        let shown = husk
            .say(&["exec", "one", "ip", "addr", "show", "eth0"])
            .out();
        assert!(
            shown.contains(&one) && !shown.contains(&format!("{first}/")),
            "{shown}"
        );
    }
    husk.behind(Wall::Vm).say(&["rm", "-f", "one", "two"]);
}

#[test]
fn names_of_machines_are_answered_by_tcp_too() {
    if !gives_containers_a_network() {
        return;
    }
    let husk = with_network("back", &[]);
    start(&husk, &["--name", "db", "--network", "back"], WAIT);
    let address = address_of(&husk, "db", "back").replace('.', " ");
    // A query for `db` with its length before it, and the last four bytes of the answer; then its bits for an error.
    let ask = "printf '\\0\\024\\022\\064\\001\\0\\0\\001\\0\\0\\0\\0\\0\\0\\002db\\0\\0\\001\\0\\001' | nc $(ip route | sed -n 's/default via \\([^ ]*\\) .*/\\1/p') 53 >/a; tail -c 4 /a | hexdump -e '4/1 \"%d \" \"\\n\"'";
    let mut husk = husk;
    for wall in WALLS {
        husk = husk.behind(wall);
        for flags in [&[][..], &["--egress", "allow:a.example"]] {
            let words = ["run", "--rm", "--network", "back"];
            let args = [&words, flags, &["busybox", "sh", "-c", ask]].concat();
            let said = husk.say(&args);
            let heard = said.out();
            assert_eq!(heard.trim(), address, "{wall:?} {flags:?}: {}", said.stderr);
        }
    }
    husk.say(&["rm", "-f", "db"]);
    nothing_is_left(&husk, "back");
}
