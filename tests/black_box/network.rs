//! The network of a workload, from inside, behind each wall: real programs of the image's, real servers of this host's.
//!
//! A guest reaches no loopback, so the servers are at an address of this host's that is none, where it has one;
//! published ports and what is refused need none.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use crate::husk::{Husk, Wall, gives_containers_a_network, kvm_is_hardware, skip};

/// Where the gateway of every machine is.
pub const GATEWAY: &str = "10.117.107.1";

/// An address of this host's that is not its loopback. The lab's host has one only if it is root, who may give it one.
pub fn address() -> Option<Ipv4Addr> {
    static ADDRESS: OnceLock<Option<Ipv4Addr>> = OnceLock::new();
    *ADDRESS.get_or_init(|| own_address().or_else(make_address))
}

/// What a packet to somewhere would have as its source; none is sent.
fn own_address() -> Option<Ipv4Addr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("203.0.113.1:9").ok()?;
    match socket.local_addr().ok()?.ip() {
        IpAddr::V4(address) if !address.is_loopback() => Some(address),
        _ => None,
    }
}

fn make_address() -> Option<Ipv4Addr> {
    let address = Ipv4Addr::new(198, 51, 100, 7);
    let words = ["addr", "add", "198.51.100.7/32", "dev", "lo"];
    for program in ["ip", "busybox"] {
        let busybox = (program == "busybox").then_some("ip");
        let made = std::process::Command::new(program)
            .args(busybox)
            .args(words)
            .output();
        if made.is_ok() && TcpListener::bind((address, 0)).is_ok() {
            return Some(address);
        }
    }
    None
}

/// husk behind each wall that has a network here.
pub fn behind_each() -> impl Iterator<Item = Husk> {
    let gives = gives_containers_a_network();
    Husk::behind_each().filter(move |husk| husk.wall() == Wall::Vm || gives)
}

/// A server on its own threads: each connection is given to `serve`.
fn server(address: Ipv4Addr, serve: impl Fn(TcpStream) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind((address, 0)).unwrap();
    let at = listener.local_addr().unwrap();
    let serve = Arc::new(serve);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let serve = Arc::clone(&serve);
            thread::spawn(move || serve(stream.unwrap()));
        }
    });
    at
}

/// Answers a request with `page`.
pub fn web(address: Ipv4Addr, page: Vec<u8>) -> SocketAddr {
    server(address, move |mut stream| {
        let mut request = [0; 4096];
        let _len = stream.read(&mut request).unwrap();
        let head = format!("HTTP/1.0 200 OK\r\nContent-Length: {}\r\n\r\n", page.len());
        // A guest that ends early is the test's to find.
        let _gone = stream
            .write_all(head.as_bytes())
            .and_then(|()| stream.write_all(&page));
    })
}

/// Says what it got when the guest says no more: half of the connection is closed by then.
pub fn sink(address: Ipv4Addr) -> SocketAddr {
    server(address, |mut stream| {
        let mut all = Vec::new();
        stream.read_to_end(&mut all).unwrap();
        stream.write_all(digest(&all).as_bytes()).unwrap();
    })
}

pub fn sized() -> usize {
    // A software KVM executes the guest's copying one word at a time.
    if kvm_is_hardware() { 8 << 20 } else { 1 << 20 }
}

pub fn pattern(len: usize) -> Vec<u8> {
    let words = (0u32..).flat_map(|number| number.wrapping_mul(2_654_435_761).to_le_bytes());
    words.take(len).collect()
}

/// As `sha256sum` prints it of its stdin.
pub fn digest(bytes: &[u8]) -> String {
    let digits = Sha256::digest(bytes);
    let digits: String = digits.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{digits}  -\n")
}

#[test]
fn pages_and_large_files_come_and_go_whole() {
    let Some(address) = address() else {
        return skip("this host has no address but its loopback");
    };
    let bytes = pattern(sized());
    let (page, file) = (
        web(address, b"a page\n".to_vec()),
        web(address, bytes.clone()),
    );
    let sink = sink(address);
    let script = format!(
        "wget -qO- http://{page}/; wget -qO /f http://{file}/; sha256sum < /f; nc {} {} < /f",
        sink.ip(),
        sink.port()
    );
    let sum = digest(&bytes);
    for husk in behind_each() {
        let out = husk.shell(&[], &script);
        assert_eq!(out, format!("a page\n{sum}{sum}"), "{:?}", husk.wall());
    }
}

#[test]
fn many_connections_at_once() {
    let Some(address) = address() else {
        return skip("this host has no address but its loopback");
    };
    behind_each().for_each(|husk| connect_many(&husk, address));
}

fn connect_many(husk: &Husk, address: Ipv4Addr) {
    // A software KVM takes its time for each.
    let is_fast = husk.wall() == Wall::Container || kvm_is_hardware();
    let count = if is_fast { 200 } else { 20 };
    let arrived = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&arrived);
    // Nobody is answered until all are there.
    let at = server(address, move |mut stream| {
        seen.fetch_add(1, Ordering::SeqCst);
        let deadline = Instant::now() + Duration::from_secs(120);
        while seen.load(Ordering::SeqCst) < count && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(5));
        }
        stream.write_all(b"x").unwrap();
    });
    let script = format!(
        "i=0; while [ $i -lt {count} ]; do nc {} {} </dev/null & i=$((i+1)); done; wait",
        at.ip(),
        at.port()
    );
    let out = husk.shell(&["-m", "1g"], &script);
    assert_eq!(out, "x".repeat(count), "{:?}", husk.wall());
    assert_eq!(arrived.load(Ordering::SeqCst), count, "{:?}", husk.wall());
}

#[test]
fn a_refused_port_and_what_nobody_may_reach_are_told_at_once() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = nobody.local_addr().unwrap().port();
    let script = format!(
        "for to in {GATEWAY}:{port} 127.0.0.1:{port} 169.254.169.254 0.0.0.0:{port} 224.0.0.1; do \
            wget -O- http://$to/ 2>&1 | tail -n 1; done; \
        wget -O- 'http://[fe80::1]/' 2>&1 | tail -n 1; wget -O- 'http://[fd00:ec2::254]/' 2>&1 | tail -n 1"
    );
    for husk in behind_each() {
        is_refused(&husk.shell(&[], &script));
    }
    drop(nobody);
}

fn is_refused(out: &str) {
    let refused =
        |host: &str| format!("wget: can't connect to remote host ({host}): Connection refused");
    let lines: Vec<_> = out.lines().collect();
    assert_eq!(lines[0], refused(GATEWAY), "{out}");
    // The guest's own.
    assert_eq!(lines[1], refused("127.0.0.1"), "{out}");
    assert!(lines[2].ends_with("No route to host"), "{out}");
    // The guest's own kernel knows better than to ask.
    assert!(lines[3].contains("can't connect"), "{out}");
    assert!(lines[4].contains("can't connect"), "{out}");
    assert!(lines[5].contains("can't connect"), "{out}");
    assert!(lines[6].contains("Permission denied"), "{out}");
}

#[test]
fn egress_is_what_was_asked() {
    let Some(address) = address() else {
        return skip("this host has no address but its loopback");
    };
    let at = web(address, b"page\n".to_vec());
    let script =
        format!("wget -O- http://{at}/ 2>&1 | tail -n 1; ping -c 1 -W 5 {GATEWAY} | tail -n 2");
    let told = format!("wget: can't connect to remote host ({address}): No route to host\n");
    for husk in behind_each() {
        let out = husk.shell(&["--egress", "none"], &script);
        assert!(out.starts_with(&told), "{:?}: {out}", husk.wall());
        assert!(out.contains(" 0% packet loss"), "{:?}: {out}", husk.wall());
    }
}

#[test]
fn a_machine_has_its_place_on_the_network_at_once() {
    let script = "ip -o addr show eth0 | sed 's/  */ /g' | cut -d' ' -f3,4; ip route; ip -6 route | grep default; \
        cat /sys/class/net/eth0/mtu; grep -c nameserver /etc/resolv.conf; head -n 1 /etc/resolv.conf; \
        grep box /etc/hosts; ping -c 1 -W 5 10.117.107.1 | grep -c ' 0% packet loss'; \
        ping -c 1 -W 5 fd68:7573:6b00::1 | grep -c ' 0% packet loss'";
    for husk in behind_each() {
        let out = husk.shell(&["--hostname", "box"], script);
        assert_eq!(out, PLACE, "{:?}", husk.wall());
    }
}

/// What that says.
const PLACE: &str = "inet 10.117.107.2/30\ninet6 fd68:7573:6b00::2/64\n\
         default via 10.117.107.1 dev eth0 \n\
         10.117.107.0/30 dev eth0 scope link  src 10.117.107.2 \n\
         default via fd68:7573:6b00::1 dev eth0  metric 1024 \n\
         65520\n1\nnameserver 10.117.107.1\n10.117.107.2\tbox\n1\n1\n";

#[test]
fn without_a_network_there_is_no_device() {
    let script =
        "ls /sys/class/net; cat /etc/resolv.conf; ping -c 1 127.0.0.1 | grep -c ' 0% packet loss'";
    for husk in Husk::behind_each() {
        let out = husk.shell(&["--network", "none"], script);
        let expected = "lo\n# This machine has no network.\n1\n";
        assert_eq!(out, expected, "{:?}", husk.wall());
    }
}

#[test]
fn a_published_port_leads_into_the_machine_and_is_listed() {
    behind_each().for_each(|husk| publish(husk.wall()));
}

fn publish(wall: Wall) {
    let husk = Husk::fresh().behind(wall);
    let script = "mkdir /w; echo page > /w/index.html; httpd -f -p 80 -h /w";
    let args = [
        "run",
        "-d",
        "--name",
        "web",
        "-p",
        "80",
        "-p",
        "[::1]::80",
        "busybox",
        "sh",
        "-c",
        script,
    ];
    let started = husk.say(&args);
    if started.status != 0 && started.stderr.contains("[::1]") {
        return skip("this host has no IPv6");
    }
    assert_eq!(started.status, 0, "{}", started.stderr);
    let ports = husk.say(&["port", "web", "80"]).out();
    let listed = husk.say(&["ps", "--format", "{{.Ports}}"]).out();
    for port in ports.lines() {
        assert!(listed.contains(&format!("{port}->80/tcp")), "{listed}");
        assert_eq!(fetch(port.parse().unwrap()), "page\n", "{port}");
    }
    let shown = husk
        .say(&["inspect", "-f", "{{json .NetworkSettings.Ports}}", "web"])
        .out();
    assert!(
        shown.contains("\"80/tcp\":[{\"HostIp\":\"127.0.0.1\""),
        "{shown}"
    );
    let taken = ports.lines().next().unwrap().to_owned() + ":80";
    husk.say(&["run", "-p", &taken, "busybox", "true"])
        .is_one_clear_line(&["--publish", "in use", "another port"]);
    let unknown = husk.say(&["port", "web", "81"]);
    assert_eq!(
        (unknown.status, unknown.stderr.lines().count()),
        (1, 1),
        "{}",
        unknown.stderr
    );
    husk.say(&["rm", "-f", "web"]);
    assert!(
        TcpStream::connect(ports.lines().next().unwrap()).is_err(),
        "nobody listens any more"
    );
}

#[test]
fn all_exposed_ports_are_published_for_a_server_that_is_nobody_special() {
    let husk = Husk::fresh();
    husk.say(&["run", "-d", "--name", "plain", "busybox", "sleep", "1000"]);
    let expose = ["EXPOSE 80/tcp", "EXPOSE 53/udp"];
    let commit = [
        "commit", "-c", expose[0], "-c", expose[1], "plain", "exposed",
    ];
    assert_eq!(husk.say(&commit).status, 0);
    husk.say(&["rm", "-f", "plain"]);
    let script = "echo page > /w/index.html; cat /proc/sys/net/ipv4/ping_group_range
        httpd -f -p 80 -h /w";
    let flags = [
        "run",
        "-d",
        "-P",
        "-u",
        "1000:1000",
        "--tmpfs",
        "/w:mode=777",
        "--name",
        "web",
    ];
    let started = husk.say(&[&flags[..], &["exposed", "sh", "-c", script]].concat());
    assert_eq!(started.status, 0, "{}", started.stderr);
    let ports = husk.say(&["port", "web"]).out();
    let mut ports: Vec<_> = ports.lines().collect();
    ports.sort_unstable();
    assert_eq!(ports.len(), 2, "{ports:?}");
    assert!(ports[0].starts_with("53/udp -> 127.0.0.1:"), "{ports:?}");
    let at = ports[1].strip_prefix("80/tcp -> ").unwrap();
    assert_eq!(fetch(at.parse().unwrap()), "page\n");
    assert_eq!(husk.say(&["logs", "web"]).out(), "0\t2147483647\n");
    husk.say(&["rm", "-f", "web"]);
}

/// The page of a server that may not be up yet.
pub fn fetch(at: SocketAddr) -> String {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let mut answer = String::new();
        let asked = TcpStream::connect(at).and_then(|mut stream| {
            stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
            stream.read_to_string(&mut answer)
        });
        if asked.is_ok()
            && let Some((_, page)) = answer.split_once("\r\n\r\n")
        {
            return page.to_owned();
        }
        assert!(Instant::now() < deadline, "{asked:?} {answer}");
        thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn flags_that_make_no_sense_are_one_line() {
    for (flags, words) in [
        (&["-p", "80:x"][..], &["--publish `80:x`", "1 to 65535"][..]),
        (&["-p", "1-3:1-2"], &["same length"]),
        (&["--network", "none", "-p", "80"], &["--network none"]),
        (
            &["--network", "none", "--egress", "any"],
            &["--network none"],
        ),
        (&["-p", "1-300:1-300"], &["256 ports"]),
    ] {
        for husk in Husk::behind_each() {
            let args = [&["run"], flags, &["busybox", "true"]].concat();
            husk.say(&args).is_one_clear_line(words);
        }
    }
}
