//! Programs that people have, of a Debian image, on each side of a machine's network: nginx, redis and iperf3 behind published
//! ports, curl, redis-cli, redis-benchmark, iperf3, dig and ping on the other side, in a machine of their own.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use crate::husk::{Husk, Wall, kvm_is_hardware, skip};
use crate::layers::images;
use crate::network::{address, behind_each, digest, pattern, sink, sized};
use crate::tap::{Far, in_a_network_of_its_own, ip, make_tap};

/// The image, in the store that all tests share.
fn load() {
    static LOADED: OnceLock<()> = OnceLock::new();
    LOADED.get_or_init(|| {
        let archive = images().join("programs.tar");
        let said = Husk::shared().say(&["load", "-q", "-i", archive.to_str().unwrap()]);
        assert_eq!(said.status, 0, "{}", said.stderr);
    });
}

/// Answers each question with 192.0.2.53 (RFC 1035, 4.1): the question again, and one record that points to it.
fn resolver(address: Ipv4Addr) -> SocketAddr {
    let socket = UdpSocket::bind((address, 0)).unwrap();
    let at = socket.local_addr().unwrap();
    thread::spawn(move || {
        let mut packet = [0; 512];
        while let Ok((len, from)) = socket.recv_from(&mut packet) {
            let end = 12 + packet[12..len].iter().position(|byte| *byte == 0).unwrap() + 5;
            let head = [packet[0], packet[1], 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0];
            let record = [0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 53];
            let answer = [&head[..], &packet[12..end], &record].concat();
            // A guest that ends early is the test's to find.
            let _gone = socket.send_to(&answer, from);
        }
    });
    at
}

/// Walls behind which large programs run in seconds: a software KVM takes minutes to map their libraries.
fn behind_fast_ones() -> impl Iterator<Item = Husk> {
    let is_hardware = kvm_is_hardware();
    if !is_hardware {
        skip(
            "Debian's programs in a machine: they take minutes on a software KVM; in the lab they run",
        );
    }
    behind_each().filter(move |husk| is_hardware || husk.wall() == Wall::Container)
}

const SERVERS: &str = "nginx && redis-server --protected-mode no --save '' --daemonize yes >/dev/null && exec iperf3 -s";

#[test]
fn servers_of_an_image_are_used_by_clients_of_it() {
    let Some(host) = address() else {
        return skip("this host has no address but its loopback");
    };
    load();
    let resolver = resolver(host);
    for husk in behind_fast_ones() {
        let name = format!("servers-{:?}", husk.wall()).to_lowercase();
        husk.say(&["rm", "-f", &name]);
        let ports = ["80", "6379", "5201/tcp", "5201/udp"].map(|port| format!("{host}::{port}"));
        let mut run = vec!["run", "-d", "--name", &name];
        run.extend(ports.iter().flat_map(|port| ["-p", port]));
        let started = husk.say(&[&run[..], &["programs:1", "bash", "-c", SERVERS]].concat());
        assert_eq!(started.status, 0, "{}", started.stderr);
        let port = |of: &str| {
            let at = husk.say(&["port", &name, of]).out();
            at.trim().rsplit(':').next().unwrap().to_owned()
        };
        let (web, redis, iperf) = (port("80"), port("6379"), port("5201"));
        let script = format!(
            "curl -s --retry 30 --retry-delay 1 --retry-connrefused http://{host}:{web}/ | grep -c '<h1>Welcome to nginx'
            r=\"-h {host} -p {redis}\"
            redis-cli $r set key value; redis-cli $r get key
            head -c 100000 /dev/zero | redis-cli $r -x set large; redis-cli $r strlen large
            redis-benchmark $r -n 200 -c 20 -t set,get -q | tr '\\r' '\\n' | grep -c 'requests per second'
            i='iperf3 -J -p {iperf} -c {host} -n 1M'
            for way in '' -R; do
                for try in 1 2 3 4 5 6 7 8; do $i $way >/tmp/out && break; sleep 1; done
                grep -q '\"bytes\":[[:space:]]*[1-9][0-9]\\{{6\\}}' /tmp/out && echo moved
            done
            dig +short -p {} @{} a.example
            ping -c 2 -i 0.2 -W 5 10.117.107.1 | grep -c ' 0% packet loss'
            ping -c 2 -i 0.2 -W 5 fd68:7573:6b00::1 | grep -c ' 0% packet loss'",
            resolver.port(),
            resolver.ip(),
        );
        let asked = husk.say(&["run", "--rm", "programs:1", "bash", "-c", &script]);
        husk.say(&["rm", "-f", &name]);
        let expected = "1\nOK\nvalue\nOK\n100000\n2\nmoved\nmoved\n192.0.2.53\n1\n1\n";
        assert_eq!(asked.out(), expected, "{:?}: {}", husk.wall(), asked.stderr);
    }
}

#[test]
fn a_peer_that_is_restarted_ends_what_it_had_and_is_found_again() {
    let Some(host) = address() else {
        return skip("this host has no address but its loopback");
    };
    load();
    for husk in behind_fast_ones() {
        let listener = TcpListener::bind((host, 0)).unwrap();
        let at = listener.local_addr().unwrap();
        let served = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&served);
        thread::spawn(move || {
            let (mut first, _) = listener.accept().unwrap();
            // Half a page, and gone with everything that listens: the next ones are refused.
            let mut request = [0; 4096];
            let _len = first.read(&mut request).unwrap();
            first
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
                .unwrap();
            drop((first, listener));
            thread::sleep(Duration::from_secs(2));
            for stream in TcpListener::bind(at).unwrap().incoming() {
                let mut stream = stream.unwrap();
                let _len = stream.read(&mut request).unwrap();
                count.fetch_add(1, Ordering::SeqCst);
                stream
                    .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwhole")
                    .unwrap();
                let _gone = stream.shutdown(Shutdown::Write);
            }
        });
        let script = format!(
            "curl -s http://{at}/; echo \" $?\"; curl -s --retry 30 --retry-delay 1 --retry-connrefused http://{at}/"
        );
        let asked = husk.say(&["run", "--rm", "programs:1", "bash", "-c", &script]);
        assert_eq!(
            asked.out(),
            "half 18\nwhole",
            "{:?}: {}",
            husk.wall(),
            asked.stderr
        );
        assert_eq!(served.load(Ordering::SeqCst), 1);
    }
}

#[test]
fn packets_are_as_short_as_the_way_takes_them() {
    in_a_network_of_its_own(|| {
        make_tap("vm0");
        // Behind the host, one link on which packets are shorter than on the machine's own, and who forwards says so.
        let far = Far::make("husk-narrow");
        ip("link add narrow0 mtu 1400 type veth peer name narrow1 netns husk-narrow");
        ip("addr add 192.0.2.1/24 dev narrow0");
        ip("link set narrow0 up");
        ip("-n husk-narrow addr add 192.0.2.2/24 dev narrow1");
        ip("-n husk-narrow link set narrow1 mtu 1400 up");
        ip("-n husk-narrow route add default via 192.0.2.1");
        fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap();
        let bytes = pattern(sized());
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("file"), &bytes).unwrap();
        let share = format!("{}:/f:ro", folder.path().display());
        for network in ["user", "tap=vm0,ip=10.9.0.2/24,gw=10.9.0.1"] {
            let at = far.inside(|| sink(Ipv4Addr::new(192, 0, 2, 2)));
            let script = format!("nc {} {} < /f/file", at.ip(), at.port());
            let out = Husk::shared().shell(&["--network", network, "-v", &share], &script);
            assert_eq!(out, digest(&bytes), "{network}");
        }
    });
}
