//! Whom a workload reaches by rules, behind each wall: by address, by port, and by name.
//!
//! Names are those of a resolver of this test's own, at port 53 of an address of this host's; only a husk that is started
//! in a mount namespace with another /etc/resolv.conf asks it.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use std::{fs, thread};

use crate::husk::{Husk, Said, Wall, said, skip};
use crate::network::{address, behind_each, web};

/// Answers queries for addresses as `find` does, and notes the names.
fn resolver(
    socket: UdpSocket,
    find: impl Fn(&str) -> Option<Ipv4Addr> + Send + 'static,
) -> Arc<Mutex<Vec<String>>> {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&asked);
    thread::spawn(move || {
        let mut query = [0; 512];
        while let Ok((len, from)) = socket.recv_from(&mut query) {
            let (name, end) = name_of(&query[..len]);
            noted.lock().unwrap().push(name.clone());
            let is_v4 = query[end..end + 2] == [0, 1];
            let mut answer = query[..end + 4].to_vec();
            answer[2..4].copy_from_slice(&[0x81, 0x80]);
            answer[6..12].fill(0);
            if let Some(address) = find(&name).filter(|_| is_v4) {
                answer[7] = 1;
                answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
                answer.extend(address.octets());
            }
            socket.send_to(&answer, from).unwrap();
        }
    });
    asked
}

/// The name in a query, and where it ends.
fn name_of(query: &[u8]) -> (String, usize) {
    let (mut labels, mut at) = (Vec::new(), 12);
    while query[at] > 0 {
        let end = at + 1 + usize::from(query[at]);
        labels.push(String::from_utf8_lossy(&query[at + 1..end]).into_owned());
        at = end;
    }
    (labels.join("."), at + 1)
}

/// A run whose host has its resolver at `address`.
fn run_with_resolver(husk: &Husk, address: Ipv4Addr, args: &[&str]) -> Said {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("resolv.conf");
    fs::write(&file, format!("nameserver {address}\n")).unwrap();
    let shell = format!(
        "mount --bind {} /etc/resolv.conf && exec \"$@\"",
        file.display()
    );
    let run = husk.command(args);
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", &shell, "sh"]);
    command.arg(run.get_program()).args(run.get_args());
    command.env("HUSK_HOME", husk.home());
    command.env("HUSK_CONFIG", "/dev/null");
    said(command.output().unwrap())
}

#[test]
fn names_lead_to_the_addresses_that_were_told_for_them_and_nowhere_else() {
    let Some(address) = address() else {
        return skip("this host has no address but its loopback");
    };
    let Ok(socket) = UdpSocket::bind((address, 53)) else {
        return skip("port 53 of this host is not for who runs these tests");
    };
    let asked = resolver(socket, move |name| match name {
        "page.test" | "other.test" => Some(address),
        "inside.test" => Some(Ipv4Addr::new(10, 255, 255, 1)),
        "host.test" => Some(Ipv4Addr::LOCALHOST),
        _ => None,
    });
    for husk in behind_each() {
        asked.lock().unwrap().clear();
        ask_for_names(&husk, address);
        let mut asked = asked.lock().unwrap().clone();
        asked.sort();
        asked.dedup();
        assert_eq!(asked, ["host.test", "inside.test", "page.test"]);
    }
}

fn ask_for_names(husk: &Husk, address: Ipv4Addr) {
    let at = web(address, b"page\n".to_vec());
    let port = at.port();
    let rules = format!("allow:page.test:{port}/tcp,allow:inside.test,allow:host.test");
    let script = format!(
        "last() {{ \"$@\" 2>&1 | tail -n 1; }}
        answer() {{ nslookup $1 2>&1 | grep -o 'NXDOMAIN\\|REFUSED' | head -n 1; }}
        last wget -O- http://{at}/
        answer other.test; answer a.page.test; answer $(echo secret).example
        answer inside.test; answer host.test
        wget -qO- http://page.test:{port}/; wget -qO- http://{at}/
        last nc -w 9 page.test 9; last ping -c 1 -W 9 page.test | grep -c '100% packet loss'
        nc -w 9 10.117.107.1 53 && echo also by TCP"
    );
    let args = ["run", "--egress", &rules, "busybox", "sh", "-c", &script];
    let ran = run_with_resolver(husk, address, &args);
    let out = ran.out();
    let unreached = format!("remote host ({address}): No route to host");
    let lines: Vec<_> = out.lines().collect();
    assert_eq!(ran.status, 0, "{out} {}", ran.stderr);
    assert!(lines[0].ends_with(&unreached), "{out}");
    assert_eq!(lines[1..4], ["NXDOMAIN"; 3], "{out}");
    assert_eq!(lines[4..6], ["REFUSED"; 2], "{out}");
    assert_eq!(lines[6..8], ["page"; 2], "{out}");
    assert!(lines[8].contains("No route to host"), "{out}");
    assert_eq!(lines[9], "1", "{out}");
    assert_eq!(lines[10], "also by TCP", "{out}");
}

#[test]
fn rules_are_of_addresses_and_ports_and_the_first_one_holds() {
    let Some(address) = address() else {
        return skip("this host has no address but its loopback");
    };
    let [open, closed] = [0, 1].map(|_| web(address, b"page\n".to_vec()));
    let script = |at: SocketAddr| format!("wget -O- http://{at}/ 2>&1 | tail -n 1; ");
    let flags = [
        "--egress".to_owned(),
        format!("deny:{address}:{}/tcp,allow:{address}/tcp", closed.port()),
        "--egress".to_owned(),
        "allow:[2001:db8::/32]:1".to_owned(),
    ];
    let rest = format!(
        "ping -c 1 -W 9 {address} | grep -o '1 packets transmitted, . '; \
         wget -O- 'http://[2001:db8::1]:2/' 2>&1 | tail -n 1"
    );
    let flags = flags.each_ref().map(String::as_str);
    for husk in behind_each() {
        let out = husk.shell(&flags, &(script(open) + &script(closed) + &rest));
        let lines: Vec<_> = out.lines().collect();
        assert!(lines[0].contains("written to stdout"), "{out}");
        assert!(lines[1].contains("No route to host"), "{out}");
        assert_eq!(lines[2], "1 packets transmitted, 0 ", "{out}");
        assert!(lines[3].contains("Permission denied"), "{out}");
    }
}

#[test]
fn a_rule_that_is_none_is_one_line() {
    let husk = Husk::shared();
    for (rules, words) in [
        (
            "allow:10.0.0.1/8",
            &["--egress `allow:10.0.0.1/8`", "write 10.0.0.0/8"][..],
        ),
        ("everybody", &["--egress `everybody`", "none, public, any"]),
        (
            "allow:[::1]",
            &["--egress `allow:[::1]`", "no rule opens loopback"],
        ),
        ("allow:a:80/icmp", &["icmp has no ports"]),
    ] {
        let args = ["run", "--egress", rules, "busybox", "true"];
        husk.say(&args).is_one_clear_line(words);
    }
}

/// What `husk inspect` says was tried: a line of each, in order.
fn attempts(husk: &Husk, name: &str) -> Vec<String> {
    let shown = husk.say(&["inspect", "-f", "{{json .NetworkSettings.Attempts}}", name]);
    let list: Vec<serde_json::Value> = serde_json::from_str(&shown.out()).unwrap();
    let keys = [
        "Transport",
        "Address",
        "Port",
        "Name",
        "Verdict",
        "Rule",
        "Count",
        "Sent",
        "Received",
    ];
    let line = |one: &serde_json::Value| {
        let words = keys.map(|key| one[key].to_string().replace('"', ""));
        words.join(" ")
    };
    list.iter().map(line).collect()
}

#[test]
fn what_was_tried_is_told_while_it_runs_and_when_it_has_ended() {
    let Some(address) = address() else {
        return skip("this host has no address but its loopback");
    };
    behind_each().for_each(|husk| try_several(husk.wall(), address));
}

fn try_several(wall: Wall, address: Ipv4Addr) {
    let husk = Husk::fresh().behind(wall);
    let at = web(address, b"page\n".to_vec());
    let rules = format!("deny:{address}:9,allow:{address}");
    let script = format!(
        "wget -qO- http://{at}/; nc -w 9 {address} 9; nc -w 9 192.168.250.1 80
        nc -w 9 169.254.169.254 80; nslookup a.example; ping -c 2 -W 9 10.255.255.1
        echo done; sleep 1000"
    );
    let args = ["run", "-d", "--name", "tries", "--egress", &rules];
    let args = [&args[..], &["busybox", "sh", "-c", &script]].concat();
    assert_eq!(husk.say(&args).status, 0);
    let deadline = Instant::now() + Duration::from_secs(200);
    while !husk.say(&["logs", "tries"]).out().contains("done\n") {
        assert!(Instant::now() < deadline);
        thread::sleep(Duration::from_millis(300));
    }
    let told = attempts(&husk, "tries");
    let port = at.port();
    let starts = |line: usize, text: &str| {
        assert!(told[line].starts_with(text), "{text}: {told:#?}");
    };
    starts(
        0,
        &format!("tcp {address} {port}  allowed allow:{address} 1 "),
    );
    assert!(
        told[0].ends_with(" 43") && !told[0].contains(" 0 "),
        "{told:#?}"
    );
    starts(1, &format!("tcp {address} 9  refused deny:{address}:9 "));
    starts(2, "tcp 192.168.250.1 80  refused none ");
    starts(3, "tcp 169.254.169.254 80  refused never ");
    starts(4, "dns  0 a.example refused none ");
    starts(5, "icmp 10.255.255.1 0  refused none 2 0 0");
    assert_eq!(told.len(), 6, "{told:#?}");
    husk.say(&["kill", "tries"]);
    husk.say(&["wait", "tries"]);
    assert_eq!(attempts(&husk, "tries"), told);
    // The next run begins a new list.
    let json = ["run", "--json", "--egress", "none", "busybox", "sh", "-c"];
    let script = "wget -qO- http://10.2.2.2/; true";
    let ran = husk.say(&[&json[..], &[script]].concat());
    let line = ran.stderr.lines().last().unwrap();
    assert!(line.contains(r#""Address":"10.2.2.2","Port":80"#), "{line}");
}

#[test]
fn limits_hold_and_are_told() {
    let Some(address) = address() else {
        return skip("this host has no address but its loopback");
    };
    behind_each().for_each(|husk| limit(husk.wall(), address));
}

fn limit(wall: Wall, address: Ipv4Addr) {
    let husk = Husk::fresh().behind(wall);
    let at = web(address, vec![b'x'; 200_000]);
    let flags = [
        "--net-rate",
        "50k",
        "--net-bytes",
        "300000",
        "--net-connections",
        "1",
    ];
    let script = format!(
        "sleep 1000 | nc {} {} >/dev/null & sleep 2; wget -O /dev/null http://{at}/ 2>&1 | tail -n 1; kill $!; sleep 2
        time wget -qO /f http://{at}/; wc -c < /f; sleep 2; wget -qO /g http://{at}/; wc -c < /g
        wget -O /dev/null http://{at}/ 2>&1 | tail -n 1; kill %1",
        at.ip(),
        at.port()
    );
    let args = [
        &["run", "--name", "bounded"][..],
        &flags,
        &["busybox", "sh", "-c", &script],
    ];
    let ran = husk.say(&args.concat());
    let out = ran.out();
    let lines: Vec<_> = out.lines().collect();
    assert!(lines[0].ends_with("Connection refused"), "{out}");
    assert_eq!(lines[1], "200000", "{out}");
    // Its first quarter of a second's worth is there at once.
    let seconds = ran.stderr.lines().find_map(|line| {
        let time = line.strip_prefix("real\t0m ")?.strip_suffix('s')?;
        time.parse::<f64>().ok()
    });
    assert!(seconds.unwrap() > 3.0, "{}", ran.stderr);
    let rest: usize = lines[2].parse().unwrap();
    assert!((1..100_000).contains(&rest), "{out}");
    assert!(lines[3].ends_with("No route to host"), "{out}");
    let told = attempts(&husk, "bounded");
    let has = |words: &str| told.iter().any(|line| line.contains(words));
    assert!(has("refused --net-connections"), "{told:#?}");
    assert!(has("refused --net-bytes"), "{told:#?}");
    for (flag, value) in [
        ("--net-rate", "fast"),
        ("--net-bytes", "0"),
        ("--net-connections", "no"),
    ] {
        husk.say(&["run", flag, value, "busybox", "true"])
            .is_one_clear_line(&[flag]);
    }
}
