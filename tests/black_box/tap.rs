//! A machine with a place on a network of the host's: behind a TAP interface, and on a bridge.
//!
//! Each test has a network namespace of its own, in which it is the host: nothing of this machine's network changes.

use std::fs;
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::thread;

use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};

use crate::husk::{Husk, Wall, gives_containers_a_network, kvm_is_hardware, said, skip, tool};
use crate::network::{digest, fetch, pattern, sink, sized, web};

const HOST: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);

/// Does `test` as the administrator of a network where there is nothing but a loopback; what it starts is in it, too.
pub fn in_a_network_of_its_own(test: impl FnOnce() + Send + 'static) {
    if !rustix::process::geteuid().is_root() {
        return skip("networks of the host's: only root makes interfaces");
    }
    if !gives_containers_a_network() {
        return;
    }
    let done = thread::spawn(move || {
        // SAFETY: this thread alone leaves its network, and shares no files that would follow it.
        unsafe { unshare_unsafe(UnshareFlags::NEWNET) }.unwrap();
        ip("link set lo up");
        test();
    });
    if let Err(panic) = done.join() {
        std::panic::resume_unwind(panic);
    }
}

pub fn ip(words: &str) {
    tool("ip", &words.split_whitespace().collect::<Vec<_>>());
}

/// Another host: a network namespace of this name, as long as it lasts.
pub struct Far(&'static str);

impl Far {
    pub fn make(name: &'static str) -> Self {
        ip(&format!("netns add {name}"));
        Self(name)
    }

    /// Does `work` there.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let place = fs::File::open(format!("/run/netns/{}", self.0)).unwrap();
        let there = thread::scope(|scope| {
            let there = scope.spawn(|| {
                let kind = Some(LinkNameSpaceType::Network);
                move_into_link_name_space(place.as_fd(), kind).unwrap();
                work()
            });
            there.join()
        });
        there.unwrap()
    }
}

impl Drop for Far {
    fn drop(&mut self) {
        ip(&format!("netns delete {}", self.0));
    }
}

/// A TAP interface that is up and at which the host has addresses.
pub fn make_tap(name: &str) {
    ip(&format!("tuntap add dev {name} mode tap user root"));
    ip(&format!("addr add {HOST}/24 dev {name}"));
    ip(&format!("-6 addr add fd09::1/64 dev {name} nodad"));
    ip(&format!("link set {name} up"));
}

#[test]
fn a_machine_has_its_place_behind_a_tap_interface() {
    in_a_network_of_its_own(|| {
        make_tap("vm0");
        let bytes = pattern(sized());
        let (page, file) = (web(HOST, b"a page\n".to_vec()), web(HOST, bytes.clone()));
        let sink = sink(HOST);
        // The bits of /sys are features, the first one first: checksums and segments both ways.
        let script = format!(
            "ip -o addr show eth0 | sed 's/  */ /g' | cut -d' ' -f3,4; ip route; ip -6 route | grep default
            cat /sys/class/net/eth0/mtu /sys/class/net/eth0/address /etc/resolv.conf; grep box /etc/hosts
            cut -c 1,2,8,9,12,13,16 /sys/class/net/eth0/device/features 2>/dev/null
            wget -qO- http://{page}/; wget -qO /f http://{file}/; sha256sum < /f; nc {} {} < /f
            ping -c 1 -W 5 fd09::1 | grep -c ' 0% packet loss'",
            sink.ip(),
            sink.port()
        );
        let network = "tap=vm0,ip=10.9.0.2/24,gw=10.9.0.1,ip=fd09::2/64,gw=fd09::1,dns=192.0.2.53,mac=02:00:00:00:00:0a";
        let flags = ["--network", network, "--hostname", "box"];
        for husk in Husk::behind_each() {
            let out = husk.shell(&flags, &script);
            let sum = digest(&bytes);
            let features = match husk.wall() {
                Wall::Vm => "1111111\n",
                Wall::Container => "",
            };
            let rest = format!("{features}a page\n{sum}{sum}1\n");
            assert_eq!(out, format!("{PLACE}{rest}"), "{:?}", husk.wall());
        }
    });
}

const PLACE: &str = "inet 10.9.0.2/24\ninet6 fd09::2/64\n\
    default via 10.9.0.1 dev eth0 \n10.9.0.0/24 dev eth0 scope link  src 10.9.0.2 \n\
    default via fd09::1 dev eth0  metric 1024 \n\
    1500\n02:00:00:00:00:0a\nnameserver 192.0.2.53\n10.9.0.2\tbox\n";

/// What this host's kernel moves frames by.
const VHOST: &str = "/dev/vhost-net";

#[test]
fn the_hosts_kernel_moves_frames_itself() {
    if fs::metadata(VHOST).is_err() {
        return skip("frames moved by this host's kernel: there is no /dev/vhost-net here");
    }
    in_a_network_of_its_own(|| {
        make_tap("vm0");
        let bytes = pattern(sized());
        let (file, sink) = (web(HOST, bytes.clone()), sink(HOST));
        let script = format!(
            "cut -c 1,2,8,9,12,13,16 /sys/class/net/eth0/device/features
            wget -qO /f http://{file}/; sha256sum < /f; nc {} {} < /f
            ping -c 3 -i 0.1 -W 5 {HOST} | grep -c ' 0% packet loss'",
            sink.ip(),
            sink.port()
        );
        let flags = ["--network", "tap=vm0,ip=10.9.0.2/24,vhost=on"];
        let out = Husk::shared().shell(&flags, &script);
        let sum = digest(&bytes);
        assert_eq!(out, format!("1111111\n{sum}{sum}1\n"));
        // Nobody has to ask for it.
        let husk = Husk::fresh();
        for (network, count) in [("tap=vm0", 0), ("tap=vm0,vhost=off", 1)] {
            let words = ["run", "-d", "--rm", "--name", "one", "--network", network];
            let started = husk.say(&[&words[..], &["busybox", "sleep", "1000"]].concat());
            assert_eq!(started.status, 0, "{}", started.stderr);
            // The driver begins before there is a workload.
            let found = movers();
            assert_eq!(found.len(), 1, "{found:?}");
            assert_eq!(found[0], count, "threads for frames with {network}");
            husk.say(&["rm", "-f", "one"]);
        }
    });
}

/// Of each machine that has a TAP interface in this thread's network, how many threads of its own move frames.
fn movers() -> Vec<usize> {
    let own = fs::read_link("/proc/thread-self/ns/net").unwrap();
    let threads = fs::read_dir("/proc").unwrap().filter_map(|process| {
        let process = process.ok()?.path();
        let has_tap = fs::read_link(process.join("ns/net")).is_ok_and(|network| network == own)
            && fs::read_dir(process.join("fd")).ok()?.any(|file| {
                let file = file.and_then(|file| fs::read_link(file.path()));
                file.is_ok_and(|file| file == Path::new("/dev/net/tun"))
            });
        let words = fs::read_to_string(process.join("cmdline")).ok()?;
        let is_machine = has_tap && words.starts_with("husk-machine");
        is_machine.then_some(process.join("task"))
    });
    let count = |threads: std::path::PathBuf| {
        let names = fs::read_dir(threads).unwrap();
        let names = names.map(|one| fs::read_to_string(one.unwrap().path().join("comm")).unwrap());
        names.filter(|name| name == "net\n").count()
    };
    threads.map(count).collect()
}

/// How many pairs of queues a guest's card uses.
const USED_PAIRS: &str = "ls /sys/class/net/eth0/queues | grep -c tx-";

#[test]
fn a_machine_with_several_cpus_has_a_queue_for_each() {
    in_a_network_of_its_own(|| {
        ip("tuntap add dev vm0 mode tap multi_queue user root");
        ip(&format!("addr add {HOST}/24 dev vm0"));
        ip("link set vm0 up");
        make_tap("vm1");
        ip("link add br0 type bridge");
        let bytes = pattern(sized());
        let (file, sink) = (web(HOST, bytes.clone()), sink(HOST));
        let sum = digest(&bytes);
        let script = format!(
            "{USED_PAIRS}; cat /sys/class/net/eth0/device/features | cut -c 18,23
            wget -qO /f http://{file}/; sha256sum < /f; nc {} {} < /f",
            sink.ip(),
            sink.port()
        );
        let husk = Husk::shared();
        let all = [
            ("2", "tap=vm0,ip=10.9.0.2/24,vhost=off", "2", "11"),
            ("2", "tap=vm0,ip=10.9.0.2/24", "2", "11"),
            ("1", "tap=vm0,ip=10.9.0.2/24,queues=2", "1", "11"),
            ("2", "tap=vm0,ip=10.9.0.2/24,queues=1", "1", "00"),
        ];
        // Where a boot takes seconds, one will do: hosts with a software KVM have no vhost, either.
        let tried = if kvm_is_hardware() {
            &all[..]
        } else {
            &all[..1]
        };
        for (cpus, network, pairs, features) in tried {
            let out = husk.shell(&["--cpus", cpus, "--network", network], &script);
            let expected = format!("{pairs}\n{features}\n{sum}{sum}");
            assert_eq!(out, expected, "{cpus} CPUs, {network}");
        }
        // One that was made for one queue has one, and one that is made here has as many as there are CPUs.
        for (network, pairs) in [("tap=vm1", "1"), ("bridge=br0", "2")] {
            let out = husk.shell(&["--cpus", "2", "--network", network], USED_PAIRS);
            assert_eq!(out, format!("{pairs}\n"), "{network}");
        }
        husk.say(&["run", "--network", "tap=vm1,queues=2", "busybox", "true"])
            .is_one_clear_line(&[
                "one queue",
                "ip link delete vm1",
                "husk network setup tap=vm1,queues=2",
            ]);
    });
}

#[test]
fn a_tap_interface_with_several_queues_is_one_machines_too() {
    in_a_network_of_its_own(|| {
        ip("tuntap add dev vm0 mode tap multi_queue user root");
        ip("link set vm0 up");
        let husk = Husk::fresh();
        let run = ["run", "--rm", "--network", "tap=vm0"];
        let sleep = [
            "-d", "--name", "one", "--cpus", "2", "busybox", "sleep", "1000",
        ];
        for _ in 0..2 {
            let started = husk.say(&[&run[..], &sleep].concat());
            assert_eq!(started.status, 0, "{}", started.stderr);
            husk.say(&[&run[..], &["busybox", "true"]].concat())
                .is_one_clear_line(&["tap=vm0", "one of its own"]);
            husk.say(&["rm", "-f", "one"]);
        }
    });
}

#[test]
fn a_kernel_that_moves_no_frames_for_its_user_is_told_of() {
    in_a_network_of_its_own(|| {
        ip("tuntap add dev vm0 mode tap user 60001");
        ip("link set vm0 up");
        let run = |network| {
            let words = ["run", "--verbose", "--network", network];
            as_stranger(&[&words[..], &["busybox", "cat", "/sys/class/net/eth0/mtu"]].concat())
        };
        run("tap=vm0,vhost=on").is_one_clear_line(&["tap=vm0,vhost=on", "modprobe vhost_net"]);
        for (network, is_told) in [("tap=vm0", true), ("tap=vm0,vhost=off", false)] {
            let ran = run(network);
            assert_eq!(
                (ran.status, ran.out().as_str()),
                (0, "1500\n"),
                "{}",
                ran.stderr
            );
            assert!(!ran.stderr.contains("one queue"), "{}", ran.stderr);
            let told = "frames are moved by the machine's process";
            assert_eq!(ran.stderr.contains(told), is_told, "{}", ran.stderr);
            assert_eq!(ran.stderr.contains(VHOST), is_told, "{}", ran.stderr);
        }
    });
}

#[test]
fn machines_on_a_bridge_reach_each_other_and_leave_nothing_behind() {
    in_a_network_of_its_own(|| {
        ip("link add br0 mtu 1400 type bridge");
        ip(&format!("addr add {HOST}/24 dev br0"));
        ip("link set br0 up");
        let husk = Husk::fresh();
        let script = "echo page > /w/index.html; httpd -f -p 80 -h /w";
        let started = husk.say(&[
            "run",
            "-d",
            "--name",
            "web",
            "--tmpfs",
            "/w",
            "--network",
            "bridge=br0,ip=10.9.0.2/24",
            "busybox",
            "sh",
            "-c",
            script,
        ]);
        assert_eq!(started.status, 0, "{}", started.stderr);
        assert_eq!(fetch("10.9.0.2:80".parse().unwrap()), "page\n");
        let mode = ["inspect", "-f", "{{.HostConfig.NetworkMode}}", "web"];
        assert_eq!(husk.say(&mode).out(), "bridge=br0,ip=10.9.0.2/24\n");
        let other = "wget -qO- http://10.9.0.2/; cat /sys/class/net/eth0/mtu";
        for husk in Husk::behind_each() {
            let out = husk.shell(&["--network", "bridge=br0,ip=10.9.0.3/24"], other);
            assert_eq!(out, "page\n1400\n", "{:?}", husk.wall());
        }
        assert_eq!(made().len(), 1, "one machine, one interface: {:?}", made());
        husk.say(&["rm", "-f", "web"]);
        assert_eq!(made(), [] as [String; 0]);
    });
}

/// Interfaces on a bridge that husk made.
fn made() -> Vec<String> {
    let lines = tool("ip", &["-o", "link", "show", "master", "br0"]);
    lines.lines().map(str::to_owned).collect()
}

#[test]
fn without_an_address_a_machine_has_what_its_kernel_gives_it() {
    in_a_network_of_its_own(|| {
        make_tap("vm0");
        let script = "cat /sys/class/net/eth0/operstate; ip -o -4 addr show eth0; ip -o -6 addr show eth0 | grep -c 'inet6 fe80::'";
        let out = Husk::shared().shell(&["--network", "tap=vm0,mtu=1280"], script);
        assert_eq!(out, "up\n1\n");
    });
}

#[test]
fn what_is_no_place_on_the_hosts_network_is_one_line() {
    in_a_network_of_its_own(|| {
        make_tap("vm0");
        let husk = Husk::shared();
        for (network, words) in [
            (
                "tap=absent",
                &["no interface", "husk network setup tap=absent"][..],
            ),
            (
                "bridge=absent",
                &["no interface", "husk network setup bridge=absent"],
            ),
            ("tap=lo", &["is none", "husk network setup tap=lo"]),
            ("bridge=lo", &["is none"]),
            ("bridge=vm0", &["is none"]),
            (
                "tap=vm0,ip=10.9.0.2",
                &["--network `tap=vm0,ip=10.9.0.2`", "ip=10.9.0.2"],
            ),
            ("tap=vm0,ip=10.9.0.2/24,gw=10.8.0.1", &["gw=10.8.0.1"]),
            ("tap=vm0,queues=9", &["queues=9", "from 1 to 8"]),
            (
                "tap=vm0,vhost=maybe",
                &["vhost=maybe", "neither on nor off"],
            ),
        ] {
            for husk in Husk::behind_each() {
                husk.say(&["run", "--network", network, "busybox", "true"])
                    .is_one_clear_line(words);
            }
        }
        for flags in [["-p", "80"], ["--egress", "public"], ["--net-rate", "1m"]] {
            let run = [
                "run",
                "--network",
                "tap=vm0",
                flags[0],
                flags[1],
                "busybox",
                "true",
            ];
            husk.say(&run)
                .is_one_clear_line(&["--network user", "the host's own rules"]);
        }
        // A container has no card.
        for word in ["vhost=on", "queues=2"] {
            let network = format!("tap=vm0,{word}");
            let behind = Husk::shared().behind(Wall::Container);
            behind
                .say(&["run", "--network", &network, "busybox", "true"])
                .is_one_clear_line(&["vhost=on and queues=", "leave them or --wall away"]);
        }
    });
}

#[test]
fn a_tap_interface_is_one_machines_and_its_owners() {
    in_a_network_of_its_own(|| {
        make_tap("vm0");
        let husk = Husk::fresh();
        let run = [
            "run",
            "-d",
            "--name",
            "one",
            "--network",
            "tap=vm0",
            "busybox",
            "sleep",
            "1000",
        ];
        for holder in [Wall::Vm, Wall::Container] {
            let husk = Husk::at(husk.home()).behind(holder);
            assert_eq!(husk.say(&run).status, 0, "{holder:?}");
            for husk in Husk::behind_each() {
                husk.say(&["run", "--network", "tap=vm0", "busybox", "true"])
                    .is_one_clear_line(&["tap=vm0", "one of its own"]);
            }
            husk.say(&["rm", "-f", "one"]);
        }
        let told = as_stranger(&["run", "--network", "tap=vm0", "busybox", "true"]);
        told.is_one_clear_line(&["tap=vm0", "not yours", "husk network setup tap=vm0"]);
        ip("link add br0 type bridge");
        let told = as_stranger(&["run", "--network", "bridge=br0", "busybox", "true"]);
        told.is_one_clear_line(&["only root", "husk network setup tap=NAME --bridge br0"]);
        // One of theirs they may use; but they may not bring it up.
        ip("tuntap add dev vm1 mode tap user 60001 multi_queue");
        let run = |wall| {
            let words = ["run", "--wall", wall, "--network", "tap=vm1"];
            as_stranger(&[&words[..], &["busybox", "ls", "/sys/class/net"]].concat())
        };
        run("vm").is_one_clear_line(&["tap=vm1", "ip link set vm1 up"]);
        ip("link set vm1 up");
        for wall in ["vm", "container"] {
            let told = run(wall);
            let said = (told.status, told.out());
            assert_eq!(said, (0, "eth0\nlo\n".to_owned()), "{}", told.stderr);
        }
    });
}

#[test]
fn a_container_outlives_an_interface_that_is_taken_away() {
    in_a_network_of_its_own(|| {
        make_tap("vm0");
        let husk = Husk::fresh().behind(Wall::Container);
        let words = ["run", "-d", "--name", "one", "--network"];
        let place = ["tap=vm0,ip=10.9.0.2/24", "busybox", "sleep", "1000"];
        assert_eq!(husk.say(&[&words[..], &place].concat()).status, 0);
        let reaches = |target: &str| {
            let ping = ["exec", "one", "ping", "-c", "1", "-W", "2", target];
            husk.say(&ping).status
        };
        assert_eq!(reaches("10.9.0.1"), 0);
        ip("link delete vm0");
        assert_eq!((reaches("10.9.0.1"), reaches("10.9.0.2")), (1, 0));
        assert_eq!(husk.say(&["rm", "-f", "one"]).status, 0);
    });
}

/// What husk says to an ordinary user, who may use the devices of this host.
fn as_stranger(args: &[&str]) -> crate::husk::Said {
    let home = tempfile::tempdir().unwrap();
    fs::set_permissions(home.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let script = "mount -t tmpfs -o mode=755 dev /mnt && for device in kvm net/tun null urandom; do
            mkdir -p /mnt/dev/net && cp -a /dev/$device /mnt/dev/$device && chmod 666 /mnt/dev/$device &&
            mount --bind /mnt/dev/$device /dev/$device || exit
        done
        exec setpriv --reuid 60001 --regid 60001 --clear-groups \"$@\"";
    let husk = Path::new(env!("CARGO_BIN_EXE_husk"));
    // Its own folder may be closed to others.
    let copy = home.path().join("husk");
    fs::copy(husk, &copy).unwrap();
    let mut command = Command::new("unshare");
    command
        .args(["-m", "sh", "-c", script, "sh"])
        .arg(&copy)
        .args(args)
        .env("HUSK_HOME", home.path().join("store"))
        .env("HUSK_CONFIG", "/dev/null");
    said(command.output().unwrap())
}

#[test]
fn what_root_has_to_do_is_printed_and_done() {
    in_a_network_of_its_own(|| {
        let husk = Husk::shared();
        let setup = [
            "network",
            "setup",
            "--user",
            "60001",
            "--bridge",
            "br0",
            "tap=vm0,ip=10.9.0.2/24",
        ];
        let steps = husk.say(&setup);
        assert_eq!((steps.status, steps.stderr.as_str()), (0, ""));
        let printed = steps.out();
        assert!(
            printed.contains("ip tuntap add dev vm0 mode tap user 60001\n"),
            "{printed}"
        );
        let absent = Command::new("ip").args(["link", "show", "vm0"]).output();
        assert!(!absent.unwrap().status.success(), "printed is not done");
        // What is printed is what is done, and a shell does it, too.
        let apply = [&setup[..], &["--apply"]].concat();
        let done: Vec<_> = printed
            .lines()
            .filter(|line| !line.starts_with('#'))
            .collect();
        assert_eq!(husk.say(&apply).out().lines().collect::<Vec<_>>(), done);
        let shown = tool("ip", &["-o", "link", "show", "master", "br0"]);
        assert!(shown.contains("vm0"), "{shown}");
        let again = husk.say(&apply).out();
        let already = "# already so: ip tuntap add dev vm0 mode tap user 60001";
        assert!(again.lines().any(|line| line == already), "{again}");
        ip("link delete vm0");
        ip("link delete br0");
        tool("sh", &["-e", "-c", &printed]);
        let run = [
            "run",
            "--network",
            "tap=vm0,ip=10.9.0.2/24",
            "busybox",
            "cat",
            "/sys/class/net/eth0/operstate",
        ];
        let ran = as_stranger(&run);
        assert_eq!(
            (ran.status, ran.out().as_str()),
            (0, "up\n"),
            "{}",
            ran.stderr
        );
        let stranger = as_stranger(&apply);
        stranger.is_one_clear_line(&["--apply", "only root", "sudo sh -e"]);
    });
}

#[test]
fn a_host_that_leads_to_others_gives_machines_its_own_address() {
    in_a_network_of_its_own(|| {
        if Command::new("nft").arg("--version").output().is_err() {
            return skip("masquerading: there is no nft here");
        }
        let husk = Husk::shared();
        let network = "tap=vm0,ip=10.9.0.2/24,gw=10.9.0.1";
        let done = husk.say(&["network", "setup", "--apply", network]);
        assert_eq!((done.status, done.stderr.as_str()), (0, ""));
        // Another host, of which the machine's network knows nothing.
        let _far = Far::make("husk-far");
        ip("link add far0 type veth peer name far1 netns husk-far");
        ip("addr add 192.0.2.1/24 dev far0");
        ip("link set far0 up");
        ip("-n husk-far addr add 192.0.2.2/24 dev far1");
        ip("-n husk-far link set far1 up");
        let out = husk.shell(
            &["--network", network],
            "ping -c 1 -W 5 192.0.2.2 | grep -c ' 0% packet loss'",
        );
        assert_eq!(out, "1\n");
    });
}
