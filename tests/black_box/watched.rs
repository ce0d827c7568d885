//! Machines in the background, watched and held: attach, pause, health, events, stats.

use std::io::Write;
use std::process::Stdio;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::background::well;
use crate::husk::{Husk, WALLS, Wall, said};
use crate::image_config::build;

/// Says a number, and the next one a tenth of a second later.
const COUNT: &str = "i=0; while :; do i=$((i+1)); echo $i; sleep 0.1; done";

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let patience = Instant::now() + Duration::from_secs(90);
    while !is_so() {
        assert!(Instant::now() < patience, "never: {what}");
        sleep(Duration::from_millis(50));
    }
}

fn status(husk: &Husk, name: &str) -> String {
    let named = format!("name={name}");
    let words = ["ps", "-a", "-f", &named, "--format", "{{.Status}}"];
    well(husk.say(&words)).trim().to_owned()
}

fn lines(husk: &Husk, name: &str) -> usize {
    husk.say(&["logs", name]).out().lines().count()
}

#[test]
fn what_is_paused_stands_still_and_goes_on_or_ends() {
    for wall in WALLS {
        let husk = Husk::fresh().behind(wall);
        well(husk.say(&[
            "run", "-d", "--name", "counter", "busybox", "sh", "-c", COUNT,
        ]));
        until("it counts", || lines(&husk, "counter") > 1);
        let paused = husk.say(&["pause", "counter"]);
        if paused.stderr.contains("no control group") {
            crate::husk::skip("a container of this user has no control group to pause it by");
            well(husk.say(&["rm", "-f", "counter"]));
            continue;
        }
        assert_eq!(well(paused), "counter\n");
        assert!(status(&husk, "counter").ends_with(" (Paused)"));
        assert_eq!(
            well(husk.say(&["inspect", "-f", "{{.State.Paused}}", "counter"])),
            "true\n"
        );
        // What was said before has arrived.
        sleep(Duration::from_millis(500));
        let stood = lines(&husk, "counter");
        sleep(Duration::from_secs(1));
        assert_eq!(lines(&husk, "counter"), stood, "{wall:?}");
        let again = husk.say(&["pause", "counter"]);
        assert_eq!(again.status, 1);
        assert!(
            again.stderr.contains("`counter` is paused"),
            "{}",
            again.stderr
        );
        let exec = husk.say(&["exec", "counter", "true"]);
        assert_eq!(exec.status, 1);
        assert!(exec.stderr.contains("husk unpause"), "{}", exec.stderr);
        well(husk.say(&["unpause", "counter"]));
        until("it goes on", || lines(&husk, "counter") > stood);
        let again = husk.say(&["unpause", "counter"]);
        assert!(again.stderr.contains("is not paused"), "{}", again.stderr);
        // Somebody who stands still is ended all the same.
        well(husk.say(&["pause", "counter"]));
        well(husk.say(&["kill", "counter"]));
        assert!(
            status(&husk, "counter").starts_with("Exited (137)"),
            "{wall:?}"
        );
        let gone = husk.say(&["pause", "counter"]);
        assert!(gone.stderr.contains("is not running"), "{}", gone.stderr);
        well(husk.say(&["rm", "counter"]));
    }
}

#[test]
fn who_attaches_sees_what_comes_and_types_and_gets_the_status() {
    for wall in WALLS {
        let husk = Husk::fresh().behind(wall);
        let script = "read a; echo got-$a; echo to-stderr >&2; read b; exit $b";
        well(husk.say(&[
            "run", "-d", "-i", "--name", "reader", "busybox", "sh", "-c", script,
        ]));
        let first = husk.feed(
            &["attach", "--no-stdin", "--sig-proxy=false", "nobody"],
            b"",
        );
        assert_eq!(first.status, 1);
        let mut child = husk
            .command(&["attach", "reader"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut keyboard = child.stdin.take().unwrap();
        keyboard.write_all(b"one\n").unwrap();
        until("it answers", || {
            husk.say(&["logs", "reader"]).out() == "got-one\n"
        });
        keyboard.write_all(b"7\n").unwrap();
        let seen = said(child.wait_with_output().unwrap());
        drop(keyboard);
        assert_eq!(seen.status, 7, "{wall:?} {}", seen.stderr);
        assert_eq!(
            (seen.out().as_str(), seen.stderr.as_str()),
            ("got-one\n", "to-stderr\n")
        );
        let over = husk.say(&["attach", "reader"]);
        assert_eq!(over.status, 1);
        assert!(over.stderr.contains("husk start"), "{}", over.stderr);
        // Started again with its output here: what it said before is not.
        let again = husk.feed(&["start", "-i", "reader"], b"two\n3\n");
        assert_eq!(
            (again.status, again.out().as_str()),
            (3, "got-two\n"),
            "{wall:?}"
        );
        well(husk.say(&["rm", "reader"]));
    }
}

#[test]
fn health_is_what_the_last_checks_say() {
    WALLS.into_iter().for_each(check_health);
}

fn check_health(wall: Wall) {
    let husk = Husk::fresh().behind(wall);
    let containerfile = "FROM scratch\nCOPY busybox /bin/busybox\nRUN [\"/bin/busybox\", \"--install\", \"-s\", \"/bin\"]\n\
        HEALTHCHECK --interval=300ms --retries=2 CMD echo looked; test -e /well\nCMD [\"sleep\", \"1000\"]\n";
    let archive = build(containerfile, "localhost/well:1", "docker-archive");
    well(husk.say(&["load", "-q", "-i", archive.to_str().unwrap()]));
    well(husk.say(&["run", "-d", "--name", "patient", "well:1"]));
    until("it is unhealthy", || {
        status(&husk, "patient").ends_with("(unhealthy)")
    });
    well(husk.say(&["exec", "patient", "touch", "/well"]));
    until("it is healthy", || {
        status(&husk, "patient").ends_with("(healthy)")
    });
    let health = well(husk.say(&["inspect", "-f", "{{json .State.Health}}", "patient"]));
    let health: serde_json::Value = serde_json::from_str(&health).unwrap();
    assert_eq!(health["FailingStreak"], 0);
    let checks = health["Log"].as_array().unwrap();
    assert!((1..=5).contains(&checks.len()));
    assert_eq!(checks.last().unwrap()["ExitCode"], 0);
    assert_eq!(checks.last().unwrap()["Output"], "looked\n");
    well(husk.say(&["rm", "-f", "patient"]));
    // The user's words go first; a check that does not end is ended.
    let flags = [
        "--health-cmd",
        "sleep 1000",
        "--health-timeout",
        "500ms",
        "--health-interval",
        "100ms",
    ];
    let run = [
        &["run", "-d", "--name", "slow", "--health-retries", "1"],
        &flags[..],
        &["well:1"],
    ]
    .concat();
    well(husk.say(&run));
    until("it is unhealthy", || {
        status(&husk, "slow").ends_with("(unhealthy)")
    });
    let log = well(husk.say(&["inspect", "-f", "{{json .State.Health}}", "slow"]));
    assert!(log.contains("exceeded timeout (0.5s)"), "{log}");
    well(husk.say(&["rm", "-f", "slow"]));
    well(husk.say(&[
        "run",
        "-d",
        "--name",
        "unseen",
        "--no-healthcheck",
        "well:1",
    ]));
    assert!(!status(&husk, "unseen").contains("health"));
    well(husk.say(&["rm", "-f", "unseen"]));
    let both = husk.say(&["run", "--no-healthcheck", "--health-retries", "3", "well:1"]);
    both.is_one_clear_line(&["--no-healthcheck", "leave one"]);
}

#[test]
fn what_happens_is_told_in_its_order_and_to_who_waits() {
    for wall in WALLS {
        let husk = Husk::fresh().behind(wall);
        let mut waiting = husk
            .command(&[
                "events",
                "--format",
                "{{.Action}} {{.Actor.Attributes.name}}",
            ])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        sleep(Duration::from_millis(500));
        let run = [
            "run", "-d", "--name", "one", "-l", "tier=1", "busybox", "sleep", "1000",
        ];
        let id = well(husk.say(&run));
        well(husk.say(&["rename", "one", "two"]));
        well(husk.say(&["stop", "-t", "0", "two"]));
        well(husk.say(&["rm", "two"]));
        let told = |more: &[&str]| {
            let words = [&["events", "--since", "1h", "--until", "0s"], more].concat();
            well(husk.say(&words))
        };
        let actions = told(&["--format", "{{.Action}}"]);
        let expected = [
            "create", "start", "rename", "kill", "die", "stop", "destroy",
        ];
        let mut seen: Vec<_> = actions.lines().collect();
        // Once asked, and once killed, unless it went by itself.
        seen.dedup();
        assert_eq!(seen, expected, "{wall:?}");
        let whole = told(&["-f", "event=die"]);
        assert!(
            whole.contains(&format!(" container die {} (", id.trim())),
            "{whole}"
        );
        assert!(
            whole.contains("image=busybox, name=") && whole.contains("tier=1)"),
            "{whole}"
        );
        let document: serde_json::Value =
            serde_json::from_str(&told(&["--json", "-f", "event=rename"])).unwrap();
        assert_eq!(document["Actor"]["Attributes"]["oldName"], "one");
        assert_eq!(told(&["-f", "label=tier=2"]), "");
        // What happened is looked for twenty times a second.
        sleep(Duration::from_millis(500));
        waiting.kill().unwrap();
        let live = said(waiting.wait_with_output().unwrap()).out();
        assert!(
            live.starts_with("create one\nstart one\nrename two\n"),
            "{live}"
        );
        let wrong = husk.say(&["events", "-f", "nonsense"]);
        assert_eq!(wrong.status, 1);
    }
}

#[test]
fn stats_are_what_the_host_counts() {
    for wall in WALLS {
        let husk = Husk::fresh().behind(wall);
        let busy = "while :; do :; done";
        well(husk.say(&[
            "run", "-d", "--name", "busy", "-m", "256m", "busybox", "sh", "-c", busy,
        ]));
        well(husk.say(&[
            "run", "-d", "--name", "idle", "-m", "256m", "busybox", "sleep", "1000",
        ]));
        let show = [
            "stats",
            "--no-stream",
            "--format",
            "{{.Name}} {{.CPUPerc}} {{.PIDs}} {{.MemUsage}}",
        ];
        let mut shares = (0.0, 100.0);
        // On a machine that does much else a second may be short.
        until("the busy one is busier", || {
            let text = well(husk.say(&show));
            let share = |name: &str| {
                let line = text.lines().find(|line| line.starts_with(name)).unwrap();
                let words: Vec<_> = line.split(' ').collect();
                assert!(words[2].parse::<u32>().unwrap() > 0, "{line}");
                assert!(line.ends_with(" / 256 MiB"), "{line}");
                words[1].strip_suffix('%').unwrap().parse::<f64>().unwrap()
            };
            shares = (share("busy"), share("idle"));
            shares.0 > 10.0 && shares.0 > shares.1
        });
        well(husk.say(&["rm", "-f", "busy"]));
        if wall == Wall::Vm {
            // A machine is bounded without any rights; what is above its share is its devices'.
            let half = ["run", "-d", "--name", "half", "--cpus", "0.5", "busybox"];
            well(husk.say(&[&half[..], &["sh", "-c", busy]].concat()));
            let words = ["stats", "--no-stream", "--format", "{{.CPUPerc}}", "half"];
            for _ in 0..3 {
                let share = well(husk.say(&words));
                let share: f64 = share.trim().strip_suffix('%').unwrap().parse().unwrap();
                assert!(share < 75.0, "{share}");
            }
            well(husk.say(&["rm", "-f", "half"]));
        }
        well(husk.say(&["rm", "-f", "idle"]));
        let gone = husk.say(&["stats", "--no-stream", "idle"]);
        assert_eq!(gone.status, 1);
    }
}
