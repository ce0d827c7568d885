//! Machines on networks of their own, behind each wall and across: real programs of the image's, that find one another by
//! name.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use crate::husk::{Husk, WALLS, Wall, gives_containers_a_network, kvm_is_hardware, said};
use crate::network::{address, web};

const PATIENCE: Duration = Duration::from_secs(60);

/// A husk with a store of its own, and a network in it.
pub fn with_network(name: &str, flags: &[&str]) -> Husk {
    let husk = Husk::fresh().behind(Wall::Container);
    make(&husk, name, flags);
    husk
}

pub fn make(husk: &Husk, name: &str, flags: &[&str]) {
    let made = husk.say(&[&["network", "create"], flags, &[name]].concat());
    assert_eq!((made.status, made.stderr.as_str()), (0, ""));
    assert_eq!(made.out().trim().len(), 64, "{}", made.out());
}

/// Starts a machine in the background.
pub fn start(husk: &Husk, flags: &[&str], script: &str) {
    let args = [&["run", "-d"], flags, &["busybox", "sh", "-c", script]].concat();
    let started = husk.say(&args);
    assert_eq!(
        (started.status, started.stderr.as_str()),
        (0, ""),
        "{flags:?}"
    );
}

/// What `template` shows of a machine.
pub fn inspect(husk: &Husk, name: &str, template: &str) -> String {
    husk.say(&["inspect", "-f", template, name])
        .out()
        .trim()
        .to_owned()
}

pub fn address_of(husk: &Husk, machine: &str, network: &str) -> String {
    let template = format!("{{{{.NetworkSettings.Networks.{network}.IPAddress}}}}");
    inspect(husk, machine, &template)
}

/// Serves a page, and bytes that differ.
fn server(len: usize) -> String {
    format!(
        "mkdir /w; echo page >/w/index.html; \
         i=0; while [ $i -lt {} ]; do echo \"$i some bytes of line $i that differ from all others\"; i=$((i+1)); done >/w/file; \
         while [ $(stat -c %s /w/file) -lt {len} ]; do cat /w/file /w/file >/w/more; mv /w/more /w/file; done; \
         sha256sum /w/file | cut -d' ' -f1 >/w/sum; httpd -f -h /w",
        200
    )
}

/// Waits until a command says well.
pub fn until(husk: &Husk, args: &[&str]) -> String {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let said = husk.say(args);
        if said.status == 0 {
            return said.out();
        }
        assert!(
            Instant::now() < deadline,
            "{args:?}: {}{}",
            said.out(),
            said.stderr
        );
        thread::sleep(Duration::from_millis(100));
    }
}

/// Processes that have a file of this store's networks open, by name.
pub fn switches(husk: &Husk) -> Vec<(u32, String)> {
    let networks = husk.home().join("networks");
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        let files = fs::read_dir(entry.path().join("fd"))
            .into_iter()
            .flatten()
            .flatten();
        let mut files = files.filter_map(|file| fs::read_link(file.path()).ok());
        if files.any(|file| file.starts_with(&networks)) {
            let name = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
            found.push((pid, name.trim().to_owned()));
        }
    }
    found
}

pub fn socket(husk: &Husk, network: &str) -> PathBuf {
    husk.home().join("networks").join(network).join("switch")
}

/// No process of the network's, and no socket.
pub fn nothing_is_left(husk: &Husk, network: &str) {
    let deadline = Instant::now() + PATIENCE;
    while !switches(husk).is_empty() || socket(husk, network).exists() {
        assert!(Instant::now() < deadline, "{:?}", switches(husk));
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn networks_are_made_listed_and_removed() {
    let husk = with_network("back", &["--label", "tier=data", "--internal"]);
    make(
        &husk,
        "front",
        &["--subnet", "10.5.0.0/24", "--subnet", "fd12:3456::/64"],
    );
    let listed = husk.say(&["network", "ls"]).out();
    let lines: Vec<Vec<_>> = listed
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(lines[0], ["NETWORK", "ID", "NAME", "DRIVER", "SCOPE"]);
    assert_eq!(
        (lines[1][1..].to_vec(), lines[2][1]),
        (vec!["back", "switch", "local"], "front")
    );
    let id = husk
        .say(&["network", "ls", "-q", "--filter", "name=front"])
        .out();
    assert_eq!(id.trim(), lines[2][0]);
    let names = husk.say(&[
        "network",
        "ls",
        "--filter",
        "label=tier=data",
        "--format",
        "{{.Name}} {{.Internal}}",
    ]);
    assert_eq!(names.out(), "back true\n");
    let shown = husk
        .say(&[
            "network",
            "inspect",
            "-f",
            "{{json .IPAM.Config}}",
            id.trim(),
        ])
        .out();
    let expected = r#"[{"Subnet":"10.5.0.0/24","Gateway":"10.5.0.1"},{"Subnet":"fd12:3456::/64","Gateway":"fd12:3456::1"}]"#;
    assert_eq!(shown.trim(), expected);
    mistakes_are_one_line(&husk);
    assert_eq!(
        husk.say(&["network", "rm", "-f", "nope", "front"]).out(),
        "front\n"
    );
    let asked = husk.feed(&["network", "prune"], b"n\n");
    assert!(asked.out().contains("  back\n"), "{}", asked.out());
    assert_eq!(husk.say(&["network", "prune", "-f"]).out(), "back\n");
    assert_eq!(husk.say(&["network", "ls", "-q"]).out(), "");
}

fn mistakes_are_one_line(husk: &Husk) {
    for (args, words) in [
        (&["create", "back"][..], &["`back` is there already"][..]),
        (&["create", "host"], &["`host`", "another name"]),
        (&["create", "a/b"], &["`a/b`", "letters"]),
        (
            &["create", "--subnet", "10.5.0.0/33", "x"],
            &["--subnet `10.5.0.0/33`", "8 to 29"],
        ),
        (
            &["create", "--subnet", "10.5.0.64/26", "x"],
            &["`front`", "another --subnet"],
        ),
        (&["inspect", "nope"], &["no network `nope`", "network ls"]),
        (&["rm", "nope"], &["no network `nope`"]),
        (&["ls", "--filter", "x=y"], &["id, name, label"]),
    ] {
        husk.say(&[&["network"], args].concat())
            .is_one_clear_line(words);
    }
}

#[test]
fn what_cannot_be_joined_is_one_clear_line() {
    let husk = with_network("back", &["--subnet", "10.5.0.0/29"]).behind(Wall::Vm);
    for wall in WALLS {
        if wall == Wall::Container && !gives_containers_a_network() {
            continue;
        }
        let run = |flags: &[&str]| {
            let wall = if wall == Wall::Vm { "vm" } else { "container" };
            husk.say(&[&["run", "--wall", wall], flags, &["busybox", "true"]].concat())
        };
        run(&["--network", "nope"]).is_one_clear_line(&["no network `nope`"]);
        run(&["--network", "none", "--network", "back"]).is_one_clear_line(&["--network none"]);
        run(&["--network", "user", "--network", "back"]).is_one_clear_line(&["--network user"]);
        run(&["--network", "back", "--network", "back"]).is_one_clear_line(&["there twice"]);
        run(&["--network-alias", "x"]).is_one_clear_line(&["--network NAME"]);
        run(&["--network", "back", "--network-alias", "a b"]).is_one_clear_line(&["`a b`"]);
        run(&[
            "--network",
            "back",
            "--ip",
            "10.6.0.1",
            "--rm",
            "--name",
            "x1",
        ])
        .is_one_clear_line(&["`x1`", "`back`", "10.6.0.1", "10.5.0.0/29"]);
    }
    let made = husk.say(&[
        "create",
        "--name",
        "idle",
        "--network",
        "back",
        "busybox",
        "true",
    ]);
    assert_eq!(made.status, 0, "{}", made.stderr);
    husk.say(&["create", "--network", "nope", "busybox", "true"])
        .is_one_clear_line(&["no network `nope`"]);
    husk.say(&["network", "rm", "back"])
        .is_one_clear_line(&["`back`", "in use", "`idle`"]);
    assert_eq!(husk.say(&["network", "prune", "-f"]).out(), "");
    husk.say(&["rm", "idle"]);
    assert_eq!(husk.say(&["network", "rm", "back"]).status, 0);
    nothing_is_left(&husk, "back");
}

#[test]
fn containers_reach_one_another_by_name_and_others_do_not() {
    if gives_containers_a_network() {
        meet(Wall::Container, Wall::Container);
    }
}

#[test]
fn machines_reach_one_another_by_name_and_others_do_not() {
    meet(Wall::Vm, Wall::Vm);
}

#[test]
fn a_container_and_a_machine_reach_one_another() {
    if gives_containers_a_network() {
        meet(Wall::Vm, Wall::Container);
        meet(Wall::Container, Wall::Vm);
    }
}

/// A server behind one wall, a client behind the other.
fn meet(serves: Wall, asks: Wall) {
    let husk = with_network("back", &[]).behind(serves);
    // A software KVM executes the guest's copying one word at a time.
    let is_fast = kvm_is_hardware() || serves == Wall::Container && asks == Wall::Container;
    let len = if is_fast { 8 << 20 } else { 1 << 20 };
    let flags = [
        "--name",
        "Web",
        "--network",
        "back",
        "--network-alias",
        "db",
        "-p",
        "80",
    ];
    start(&husk, &flags, &server(len));
    let at = address_of(&husk, "Web", "back");
    assert!(at.starts_with("10.117.") && at.ends_with(".2"), "{at}");
    let id = inspect(&husk, "Web", "{{.Id}}");
    let husk = husk.behind(asks);
    let script = format!(
        "until wget -qO- http://web/; do sleep 1; done; wget -qO- http://DB/; wget -qO- http://{}/; wget -qO- http://{at}/; \
         ping -c 1 -W 20 db | grep -c ' 0% packet loss'; \
         wget -qO /f http://web/file; sha256sum /f | cut -d' ' -f1; wget -qO- http://web/sum; stat -c %s /f | wc -c; \
         grep box /etc/hosts; ip -o -4 addr show eth0 | sed 's/  */ /g' | cut -d' ' -f4; ip route | grep -c '^default via'; \
         ping -c 1 -W 20 $(ip route | grep default | cut -d' ' -f3) | grep -c ' 0% packet loss'",
        &id[..12]
    );
    let flags = ["--rm", "--hostname", "box", "--network", "back"];
    let args = [&["run"], &flags[..], &["busybox", "sh", "-c", &script]].concat();
    let child = husk
        .command(&args)
        .stderr(std::process::Stdio::piped())
        .output()
        .unwrap();
    let out = said(child).out();
    let lines: Vec<_> = out.lines().collect();
    assert_eq!(
        lines[..5],
        ["page", "page", "page", "page", "1"],
        "{serves:?} {asks:?}: {out}"
    );
    assert_eq!(lines[5].len(), 64, "{out}");
    assert_eq!(lines[5], lines[6], "what arrives is what was sent");
    assert!(lines[7].parse::<usize>().unwrap() >= 8, "{out}");
    let own = at.strip_suffix(".2").unwrap();
    assert_eq!(
        lines[8..],
        [
            format!("{own}.3\tbox"),
            format!("{own}.3/24"),
            "1".into(),
            "1".into()
        ]
    );
    // Its port leads to it as ever.
    let port = husk.say(&["port", "Web", "80"]).out();
    assert_eq!(fetch(port.trim()), "page\n");
    is_strange_to_others(&husk, &at);
    husk.say(&["rm", "-f", "Web"]);
    nothing_is_left(&husk, "back");
    nothing_is_left(&husk, "front");
}

/// Who is on no network with it reaches it neither by name nor by address.
fn is_strange_to_others(husk: &Husk, at: &str) {
    make(husk, "front", &[]);
    let script = format!(
        "wget -T 5 -qO- http://web/ || echo no; wget -T 5 -qO- http://{at}/ || echo no; ping -c 1 -W 2 {at} | grep -c '100% packet loss'"
    );
    let args = [
        "run",
        "--rm",
        "--network",
        "front",
        "busybox",
        "sh",
        "-c",
        &script,
    ];
    assert_eq!(husk.say(&args).out(), "no\nno\n1\n");
}

/// A page by way of a port of this host's.
fn fetch(at: &str) -> String {
    let mut stream = TcpStream::connect(at).unwrap();
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.split_once("\r\n\r\n").unwrap().1.to_owned()
}

#[test]
fn a_machine_on_two_networks_has_an_address_on_each() {
    if !gives_containers_a_network() {
        return;
    }
    let husk = with_network("back", &["--subnet", "10.5.0.0/24"]);
    make(&husk, "front", &["--subnet", "10.6.0.0/24"]);
    let wait = "while :; do sleep 1; done";
    start(
        &husk,
        &[
            "--name",
            "both",
            "--network",
            "front",
            "--network",
            "back",
            "--ip",
            "10.6.0.77",
        ],
        wait,
    );
    start(&husk, &["--name", "db", "--network", "back"], wait);
    start(&husk, &["--name", "web", "--network", "front"], wait);
    assert_eq!(address_of(&husk, "both", "front"), "10.6.0.77");
    assert_eq!(address_of(&husk, "both", "back"), "10.5.0.2");
    assert_eq!(
        inspect(&husk, "both", "{{.HostConfig.NetworkMode}}"),
        "front"
    );
    let members = husk
        .say(&["network", "inspect", "-f", "{{json .Containers}}", "back"])
        .out();
    assert!(
        members.contains("\"Name\":\"both\"") && members.contains("\"10.5.0.3/24\""),
        "{members}"
    );
    assert!(!members.contains("\"Name\":\"web\""), "{members}");
    only_neighbours_answer(&husk);
    let routes = husk.say(&["exec", "both", "ip", "route"]).out();
    assert!(
        routes.contains("default via 10.6.0.1 ") && routes.contains("10.5.0.0/24 dev eth0"),
        "{routes}"
    );
    husk.say(&["rm", "-f", "both", "db", "web"]);
    nothing_is_left(&husk, "back");
}

fn only_neighbours_answer(husk: &Husk) {
    let ping = |from: &str, to: &str| {
        let args = ["exec", from, "ping", "-c", "1", "-W", "2", to];
        husk.say(&args).status == 0
    };
    for (from, to) in [
        ("both", "db"),
        ("both", "web"),
        ("db", "both"),
        ("web", "both"),
        ("db", "10.5.0.2"),
    ] {
        assert!(ping(from, to), "{from} {to}");
    }
    for (from, to) in [
        ("db", "web"),
        ("web", "db"),
        ("db", "10.6.0.77"),
        ("web", "10.5.0.2"),
    ] {
        assert!(!ping(from, to), "{from} {to}");
    }
}

#[test]
fn an_internal_network_has_no_way_out() {
    let Some(address) = address() else {
        return crate::husk::skip("this host has no address but its loopback");
    };
    if !gives_containers_a_network() {
        return;
    }
    let at = web(address, b"outside\n".to_vec());
    let husk = with_network("back", &["--internal"]);
    make(&husk, "front", &[]);
    start(&husk, &["--name", "web", "--network", "back"], &server(0));
    until(&husk, &["exec", "web", "wget", "-qO-", "http://web/"]);
    let script = format!("wget -qO- http://web/; wget -qO- http://{at}/ 2>&1 | tail -n 1");
    let run = |flags: &[&str]| {
        let args = [&["run", "--rm"], flags, &["busybox", "sh", "-c", &script]].concat();
        husk.say(&args).out()
    };
    let out = run(&["--network", "back"]);
    assert!(
        out.starts_with("page\n") && !out.contains("outside"),
        "{out}"
    );
    assert_eq!(
        run(&["--network", "back", "--network", "front"]),
        "page\noutside\n"
    );
    husk.say(&["rm", "-f", "web"]);
}

#[test]
fn who_ends_is_forgotten_and_its_address_given_again() {
    if !gives_containers_a_network() {
        return;
    }
    let husk = with_network("back", &[]);
    let wait = "trap 'exit 0' TERM; while :; do sleep 1; done";
    for name in ["one", "two"] {
        start(&husk, &["--name", name, "--network", "back"], wait);
    }
    let first = address_of(&husk, "one", "back");
    until(&husk, &["exec", "two", "ping", "-c", "1", "-W", "5", "one"]);
    assert_eq!(husk.say(&["stop", "-t", "5", "one"]).status, 0);
    assert_eq!(address_of(&husk, "one", "back"), "");
    let gone = husk.say(&["exec", "two", "ping", "-c", "1", "-W", "1", "one"]);
    assert!(
        gone.stderr.contains("bad address") || gone.out().contains("bad address"),
        "{}",
        gone.stderr
    );
    let gone = husk.say(&["exec", "two", "ping", "-c", "1", "-W", "5", &first]);
    assert!(gone.status != 0, "{}", gone.out());
    start(&husk, &["--name", "three", "--network", "back"], wait);
    assert_eq!(address_of(&husk, "three", "back"), first);
    // One that is started again is a member again.
    assert_eq!(husk.say(&["start", "one"]).status, 0);
    until(&husk, &["exec", "two", "ping", "-c", "1", "-W", "5", "one"]);
    husk.say(&["rm", "-f", "one", "two", "three"]);
    nothing_is_left(&husk, "back");
}

#[test]
fn whoever_is_killed_leaves_nothing_and_the_next_one_finds_a_switch() {
    if !gives_containers_a_network() {
        return;
    }
    let husk = with_network("back", &[]);
    let mut child = husk.start(&[
        "run",
        "--network",
        "back",
        "busybox",
        "sh",
        "-c",
        "echo ready; sleep 1000",
    ]);
    let mut ready = [0; 6];
    child
        .stdout
        .as_mut()
        .unwrap()
        .read_exact(&mut ready)
        .unwrap();
    assert!(socket(&husk, "back").exists());
    child.kill().unwrap();
    child.wait().unwrap();
    nothing_is_left(&husk, "back");
    let wait = "while :; do sleep 1; done";
    start(&husk, &["--name", "one", "--network", "back"], wait);
    let mut names: Vec<_> = switches(&husk).into_iter().map(|(_, name)| name).collect();
    names.sort();
    assert_eq!(names, ["husk-caretaker", "husk-switch"]);
    let (switch, _) = switches(&husk)
        .into_iter()
        .find(|(_, name)| name == "husk-switch")
        .unwrap();
    let filter = fs::read_to_string(format!("/proc/{switch}/status")).unwrap();
    assert!(
        filter.contains("Seccomp:\t2") && filter.contains("CapEff:\t0000000000000000"),
        "{filter}"
    );
    // Both are killed: nobody starts it again, and the socket is left.
    for name in ["husk-caretaker", "husk-switch"] {
        kill(&husk, name);
    }
    goes_on_without(&husk, wait);
    husk.say(&["rm", "-f", "one", "two", "three"]);
    nothing_is_left(&husk, "back");
}

/// Kills the process of a network that is called so.
pub fn kill(husk: &Husk, name: &str) {
    let all = switches(husk);
    let (pid, _) = all.iter().find(|(_, other)| other == name).unwrap();
    let pid = rustix::process::Pid::from_raw(i32::try_from(*pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

/// A machine whose switch was killed goes on, without the network; the next ones have one again, and then it has, too.
fn goes_on_without(husk: &Husk, wait: &str) {
    assert_eq!(husk.say(&["exec", "one", "echo", "alive"]).out(), "alive\n");
    for name in ["two", "three"] {
        start(husk, &["--name", name, "--network", "back"], wait);
    }
    let ping = |from, to| until(husk, &["exec", from, "ping", "-c", "1", "-W", "5", to]);
    ping("two", "three");
    ping("two", "one");
    for verb in ["disconnect", "connect"] {
        assert_eq!(husk.say(&["network", verb, "back", "one"]).status, 0);
    }
    ping("two", "one");
    assert_eq!(husk.say(&["restart", "-t", "0", "one"]).status, 0);
    ping("two", "one");
}

#[test]
fn a_machine_that_runs_joins_a_network_and_leaves_it() {
    if !gives_containers_a_network() {
        return;
    }
    for wall in WALLS {
        join_and_leave(wall);
    }
}

fn join_and_leave(wall: Wall) {
    let husk = with_network("back", &[]);
    let wait = "while :; do sleep 1; done";
    start(&husk, &["--name", "db", "--network", "back"], wait);
    let husk = husk.behind(wall);
    start(&husk, &["--name", "web"], wait);
    let connect = [
        "network",
        "connect",
        "--alias",
        "www",
        "--ip",
        "10.117.128.9",
    ];
    let connected = husk.say(&[&connect[..], &["back", "web"]].concat());
    assert_eq!(
        (connected.status, connected.stderr.as_str()),
        (0, ""),
        "{wall:?}"
    );
    assert_eq!(address_of(&husk, "web", "back"), "10.117.128.9");
    let ping = |from: &str, to: &str| {
        let said = husk.say(&["exec", from, "ping", "-c", "1", "-W", "5", to]);
        said.status == 0
    };
    assert!(ping("web", "db") && ping("db", "www"), "{wall:?}");
    // Its own place is still there, too.
    assert!(ping("web", "10.117.107.1"), "{wall:?}");
    husk.say(&[&connect[..], &["back", "web"]].concat())
        .is_one_clear_line(&["`web`", "`back`", "already"]);
    husk.say(&["network", "rm", "back"])
        .is_one_clear_line(&["in use"]);
    let left = husk.say(&["network", "disconnect", "back", "web"]);
    assert_eq!((left.status, left.stderr.as_str()), (0, ""), "{wall:?}");
    assert!(
        !ping("db", "www") && !ping("db", "10.117.128.9"),
        "{wall:?}"
    );
    assert!(!ping("web", "db"), "{wall:?}");
    let shown = husk
        .say(&["exec", "web", "ip", "addr", "show", "eth0"])
        .out();
    assert!(
        !shown.contains("10.117.128.9") && shown.contains("10.117.107.2"),
        "{shown}"
    );
    assert_eq!(
        inspect(&husk, "web", "{{json .NetworkSettings.Networks}}"),
        "{}"
    );
    husk.say(&["network", "disconnect", "back", "web"])
        .is_one_clear_line(&["`web` is not on network `back`"]);
    husk.say(&["network", "connect", "nope", "web"])
        .is_one_clear_line(&["no network `nope`"]);
    husk.say(&["rm", "-f", "web", "db"]);
    nothing_is_left(&husk, "back");
}

#[test]
fn what_a_machine_that_rests_is_told_holds_from_its_start_on() {
    if !gives_containers_a_network() {
        return;
    }
    let husk = with_network("back", &[]);
    make(&husk, "front", &[]);
    let wait = "while :; do sleep 1; done";
    let args = [
        "create",
        "--name",
        "web",
        "--network",
        "front",
        "busybox",
        "sh",
        "-c",
        wait,
    ];
    assert_eq!(husk.say(&args).status, 0);
    start(&husk, &["--name", "db", "--network", "back"], wait);
    assert_eq!(husk.say(&["network", "connect", "back", "web"]).status, 0);
    assert_eq!(
        husk.say(&["network", "disconnect", "front", "web"]).status,
        0
    );
    assert_eq!(husk.say(&["network", "rm", "front"]).status, 0);
    assert_eq!(husk.say(&["start", "web"]).status, 0);
    until(&husk, &["exec", "web", "ping", "-c", "1", "-W", "5", "db"]);
    let none = [
        "create",
        "--name",
        "alone",
        "--network",
        "none",
        "busybox",
        "true",
    ];
    assert_eq!(husk.say(&none).status, 0);
    husk.say(&["network", "connect", "back", "alone"])
        .is_one_clear_line(&["`alone`", "--network none"]);
    husk.say(&["rm", "-f", "web", "db", "alone"]);
    nothing_is_left(&husk, "back");
}

#[test]
fn many_come_and_go_at_once_and_each_finds_a_switch() {
    if !gives_containers_a_network() {
        return;
    }
    let husk = with_network("back", &[]);
    for _ in 0..4 {
        let children: Vec<_> = (0..4)
            .map(|_| {
                husk.start(&[
                    "run",
                    "--rm",
                    "--network",
                    "back",
                    "busybox",
                    "ping",
                    "-c",
                    "1",
                    "-W",
                    "9",
                    "10.117.128.1",
                ])
            })
            .collect();
        for child in children {
            let said = said(child.wait_with_output().unwrap());
            assert_eq!(
                (said.status, said.stderr.as_str()),
                (0, ""),
                "{}",
                said.out()
            );
        }
    }
    nothing_is_left(&husk, "back");
    assert_eq!(husk.say(&["network", "rm", "back"]).status, 0);
}
