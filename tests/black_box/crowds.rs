//! Thousands of connections at one time, out of a workload and into it, behind each wall; and one more than there may be.

use std::fs;
use std::io::{BufRead, BufReader, Lines};
use std::net::Ipv4Addr;
use std::process::{Child, ChildStdout, Command, Stdio};

use crate::husk::{Husk, Said, Wall, kvm_is_hardware, said, skip, within};
use crate::network::{address, behind_each};

/// The program that connects and answers, behind a wall and outside of it.
const PROBE: &str = env!("HUSK_PROBE");

/// Files that each process of such a test may have open: those of all connections, and some more.
const FILES: usize = 20_000;

/// Most MiB that ten thousand connections may take which have nothing to say.
const MOST_MIB: usize = 64;

/// Memory of a machine, in MiB.
const MACHINE_MIB: usize = 512;

/// How many there are at one time.
fn crowd(wall: Wall) -> usize {
    // A software KVM takes its time for each.
    match wall == Wall::Container || kvm_is_hardware() {
        true => 10_000,
        false => 300,
    }
}

/// The same command, with so many files.
fn with_files(command: &Command, files: usize) -> Command {
    let script = format!("ulimit -n {files} && exec \"$@\"");
    let mut limited = Command::new("sh");
    limited.args(["-c", &script, "sh"]).stdin(Stdio::null());
    within(limited, command)
}

/// Whether processes here may have as many files open; says so if not.
fn gives_files() -> bool {
    let tried = with_files(&Command::new("true"), FILES).status().unwrap();
    if !tried.success() {
        skip("ten thousand connections: this user may not have so many files open (ulimit -Hn)");
    }
    tried.success()
}

/// A server outside of the wall, which lets `count` in.
struct Server {
    child: Child,
    out: Lines<BufReader<ChildStdout>>,
    port: u16,
}

impl Server {
    fn start(count: usize) -> Self {
        let mut command = Command::new(PROBE);
        command.args(["--crowd", "at", "0", &count.to_string()]);
        let mut child = with_files(&command, FILES)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap()).lines();
        let port = out.next().unwrap().unwrap().parse().unwrap();
        Self { child, out, port }
    }

    /// Waits until all have come.
    fn await_all(&mut self) -> Option<String> {
        self.out.next().map(Result::unwrap)
    }

    /// Answers all of them.
    fn answer(mut self) {
        drop(self.child.stdin.take());
        assert!(self.child.wait().unwrap().success());
    }
}

/// A run of the probe's, with words of its own.
fn probe(husk: &Husk, flags: &[&str], words: &[&str], files: usize) -> Command {
    let (memory, limit) = (format!("{MACHINE_MIB}m"), format!("nofile={}", files - 100));
    let run = ["run", "--probe", "-m", &memory, "--ulimit", &limit];
    let args = [&run, flags, &["busybox", "--crowd"], words].concat();
    with_files(&husk.command(&args), files)
}

/// MiB that the process holds which has the sockets, a child of `keeper`: without the memory of the machine's own.
fn held(keeper: u32, wall: Wall) -> usize {
    let (name, own) = match wall {
        Wall::Vm => ("husk-machine", MACHINE_MIB),
        Wall::Container => ("husk-far-end", 0),
    };
    let tasks = fs::read_dir(format!("/proc/{keeper}/task")).unwrap();
    let children = tasks.map(|task| fs::read_to_string(task.unwrap().path().join("children")));
    let children: String = children.map(Result::unwrap).collect();
    let process = children.split_whitespace().find(|pid| {
        let words = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        words.starts_with(name)
    });
    let status = fs::read_to_string(format!("/proc/{}/status", process.unwrap())).unwrap();
    let mut lines = status.lines();
    let line = lines.find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.unwrap().trim().trim_end_matches(" kB");
    (kib.parse::<usize>().unwrap() >> 10).saturating_sub(own)
}

#[test]
fn ten_thousand_connections_are_open_at_one_time() {
    let Some(address) = address() else {
        return skip("this host has no address but its loopback");
    };
    if gives_files() {
        behind_each().for_each(|husk| connect_all(&husk, address));
    }
}

fn connect_all(husk: &Husk, address: Ipv4Addr) {
    let (wall, count) = (husk.wall(), crowd(husk.wall()));
    let mut server = Server::start(count);
    let words = [
        "to",
        &format!("{address}:{}", server.port),
        &count.to_string(),
    ];
    let child = probe(husk, &[], &words, FILES)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    if server.await_all().is_none() {
        let said = said(child.wait_with_output().unwrap());
        panic!("{wall:?}: not all came: {}{}", said.out(), said.stderr);
    }
    let held = held(child.id(), wall);
    assert!(held <= MOST_MIB, "{wall:?}: {held} MiB");
    server.answer();
    let said = said(child.wait_with_output().unwrap());
    let expected = format!("{count} answered, 0 refused\n");
    assert_eq!(said.out(), expected, "{wall:?}: {}", said.stderr);
    assert_eq!(said.status, 0, "{wall:?}");
}

#[test]
fn a_crowd_comes_in_by_a_published_port_at_one_time() {
    if gives_files() {
        behind_each().for_each(|husk| let_all_in(&Husk::fresh().behind(husk.wall())));
    }
}

fn let_all_in(husk: &Husk) {
    let wall = husk.wall();
    // What a machine's kernel of this size may keep for connections at one time (tcp_mem of tcp(7)): beyond that it drops
    // bytes until others are read, and who reads waits for one of those.
    let most = match wall {
        Wall::Vm => 4_000,
        Wall::Container => 10_000,
    };
    let count = crowd(wall).min(most);
    let flags = ["-d", "--name", "server", "-p", "80"];
    let words = ["at", "80", &count.to_string()];
    let started = said(probe(husk, &flags, &words, FILES).output().unwrap());
    assert_eq!((started.status, started.stderr.as_str()), (0, ""));
    while husk.say(&["logs", "server"]).out().is_empty() {
        assert_eq!(
            husk.say(&["top", "server"]).status,
            0,
            "{wall:?}: it is gone"
        );
    }
    let at = husk.say(&["port", "server", "80"]).out();
    let mut clients = Command::new(PROBE);
    clients.args(["--crowd", "to", at.trim(), &count.to_string()]);
    let met = said(with_files(&clients, FILES).output().unwrap());
    let expected = format!("{count} answered, 0 refused\n");
    assert_eq!((met.out(), met.stderr.as_str()), (expected, ""), "{wall:?}");
    husk.say(&["rm", "-f", "server"]);
}

#[test]
fn who_may_have_fewer_files_open_is_told_how_many_connections_that_is() {
    let Some(address) = address() else {
        return skip("this host has no address but its loopback");
    };
    // Half of so few are for everything else.
    let (files, most, count) = (400, 200, 210);
    for husk in behind_each() {
        let mut server = Server::start(most);
        let words = [
            "to",
            &format!("{address}:{}", server.port),
            &count.to_string(),
        ];
        let child = probe(&husk, &["--net-connections", "250"], &words, files)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let all_came = server.await_all();
        server.answer();
        let Said { stderr, stdout, .. } = said(child.wait_with_output().unwrap());
        assert!(all_came.is_some(), "{:?}: {stderr}", husk.wall());
        let refused = count - most;
        let expected = format!("{most} answered, {refused} refused\n");
        assert_eq!(String::from_utf8_lossy(&stdout), expected, "{stderr}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
        for word in [
            "--net-connections 250",
            "200 at one time",
            "400 files",
            "ulimit -Hn",
        ] {
            assert!(stderr.contains(word), "`{word}` is not in: {stderr}");
        }
    }
}
