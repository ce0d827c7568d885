//! Machines in the background, and docker's verbs on them: behind either wall the same.

use std::fs;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::container::{processes, remains};
use crate::husk::{Husk, Said, WALLS, Wall, said, within};

/// Says what it is asked, and ends by itself when asked to stop.
const OBEDIENT: &str = "trap 'echo stopping; exit 3' TERM; echo out; echo err >&2; \
    while :; do sleep 0.1; done";

fn container() -> Husk {
    Husk::fresh().behind(Wall::Container)
}

/// What it printed; it must succeed, and say nothing on stderr.
pub fn well(said: Said) -> String {
    assert_eq!(
        (said.status, said.stderr.as_str()),
        (0, ""),
        "{}",
        said.out()
    );
    said.out()
}

/// Docker's number for what a user asked for in vain, and one clear line.
fn refused(said: &Said, words: &[&str]) {
    assert_eq!(said.status, 1, "{} {}", said.out(), said.stderr);
    assert_eq!(said.stderr.lines().count(), 1, "{}", said.stderr);
    for word in words {
        assert!(
            said.stderr.contains(word),
            "`{word}` is not in: {}",
            said.stderr
        );
    }
}

fn until(what: &str, is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(60), "never: {what}");
        sleep(Duration::from_millis(20));
    }
}

fn status(husk: &Husk, name: &str) -> String {
    let format = "{{.State.Status}} {{.State.ExitCode}}";
    well(husk.say(&["inspect", "-f", format, name]))
        .trim()
        .to_owned()
}

fn pid(husk: &Husk, name: &str) -> String {
    well(husk.say(&["inspect", "-f", "{{.State.Pid}}", name]))
        .trim()
        .to_owned()
}

fn kill(pid: &str) {
    assert!(
        Command::new("kill")
            .args(["-KILL", pid])
            .status()
            .unwrap()
            .success()
    );
}

/// Nothing of any machine: no process, mount, group or file, but what happened.
fn nothing_is_left(husk: &Husk) {
    until("no process is left", || processes(husk).is_empty());
    until("no mount or group is left", || remains(husk).is_empty());
    let machines = husk.home().join("machines");
    let names = fs::read_dir(machines.join("names")).unwrap().count();
    let files = fs::read_dir(machines).unwrap();
    let mut files: Vec<_> = files.map(|file| file.unwrap().file_name()).collect();
    files.sort();
    assert_eq!(
        (&files[..], names),
        (&["events".into(), "names".into()][..], 0)
    );
}

#[test]
fn a_machine_is_started_looked_at_stopped_and_removed() {
    for wall in WALLS {
        let husk = Husk::fresh().behind(wall);
        let words = [
            "run", "-d", "--name", "web", "-l", "tier=1", "busybox", "sh", "-c", OBEDIENT,
        ];
        let id = well(husk.say(&words));
        assert_eq!((id.len(), id.ends_with('\n')), (65, true));
        assert_eq!(well(husk.say(&["ps", "-q", "--no-trunc"])), id);
        let row = "{{.Names}} {{.Image}} {{.State}} {{.Label \"tier\"}}";
        assert_eq!(
            well(husk.say(&["ps", "--format", row])),
            "web busybox running 1\n"
        );
        until("it speaks", || husk.say(&["logs", "web"]).stderr == "err\n");
        let said = husk.say(&["logs", &id[..5]]);
        assert_eq!((said.status, said.out().as_str()), (0, "out\n"));
        refused(&husk.say(&["rm", "web"]), &["`web` is running"]);
        assert_eq!(well(husk.say(&["start", "web"])), "web\n");
        assert_eq!(well(husk.say(&["stop", "-t", "30", "web"])), "web\n");
        assert_eq!(well(husk.say(&["ps", "-q"])), "");
        assert_eq!(status(&husk, "web"), "exited 3", "{wall:?}");
        assert_eq!(well(husk.say(&["wait", "web"])), "3\n");
        assert_eq!(husk.say(&["logs", "web"]).out(), "out\nstopping\n");
        refused(&husk.say(&["kill", "web"]), &["`web` is not running"]);
        assert_eq!(well(husk.say(&["stop", "web"])), "web\n");
        assert_eq!(well(husk.say(&["rm", "web"])), "web\n");
        nothing_is_left(&husk);
    }
}

#[test]
fn a_machine_is_made_first_and_started_again_and_again() {
    let husk = container();
    let words = [
        "create",
        "--name",
        "web",
        "busybox",
        "sh",
        "-c",
        "echo $HOSTNAME; touch /made; ls /made",
    ];
    let id = well(husk.say(&words));
    assert_eq!(status(&husk, "web"), "created 0");
    assert_eq!(well(husk.say(&["logs", "web"])), "");
    let host = &id[..12];
    let mut expected = String::new();
    for verb in ["start", "restart", "start"] {
        assert_eq!(well(husk.say(&[verb, "web"])), "web\n");
        assert_eq!(well(husk.say(&["wait", "web"])), "0\n");
        expected += &format!("{host}\n/made\n");
        assert_eq!(well(husk.say(&["logs", "web"])), expected);
    }
    assert_eq!(well(husk.say(&["rename", "web", "api"])), "");
    refused(
        &husk.say(&["rename", "web", "other"]),
        &["no machine `web`"],
    );
    let said = husk.say(&["create", "--name", "api", "busybox"]);
    said.is_one_clear_line(&["`api` is taken", host]);
    assert_eq!(well(husk.say(&["rm", "api"])), "api\n");
    nothing_is_left(&husk);
}

#[test]
fn what_does_not_start_is_said_as_in_the_foreground() {
    let husk = container();
    let table: [(&[&str], i32); 3] = [
        (&["busybox", "/gone"], 127),
        (&["busybox", "/etc"], 126),
        (&["-u", "nobody-at-all", "busybox", "true"], 125),
    ];
    for (words, code) in table {
        let front = husk.say(&[&["run", "--rm"], words].concat());
        let behind = husk.say(&[&["run", "-d", "--name", "web"], words].concat());
        assert_eq!(
            (behind.status, &behind.stderr),
            (front.status, &front.stderr)
        );
        assert_eq!((behind.status, behind.out().as_str()), (code, ""));
        assert_eq!(status(&husk, "web"), format!("created {code}"));
        well(husk.say(&["rm", "web"]));
    }
    husk.say(&["run", "-d", "no-such-image"])
        .is_one_clear_line(&["no-such-image"]);
    nothing_is_left(&husk);
}

#[test]
fn a_run_in_the_foreground_is_a_machine_too() {
    let husk = container();
    for (flags, left) in [(&["--rm"][..], 0), (&[][..], 1)] {
        let words = [
            &["run", "--name", "front"],
            flags,
            &["busybox", "sh", "-c", OBEDIENT],
        ]
        .concat();
        let child = husk.start(&words);
        until("it runs", || {
            well(husk.say(&["ps", "--format", "{{.Names}}"])) == "front\n"
        });
        let logs = husk.say(&["logs", "front"]);
        refused(&logs, &["no log", "foreground"]);
        let waiting = husk.start(&["wait", "front"]);
        sleep(Duration::from_millis(200));
        well(husk.say(&["stop", "front"]));
        assert_eq!(child.wait_with_output().unwrap().status.code(), Some(3));
        assert_eq!(waiting.wait_with_output().unwrap().stdout, b"3\n");
        let all = well(husk.say(&["ps", "-aq"]));
        assert_eq!(all.lines().count(), left);
    }
    well(husk.say(&["rm", "front"]));
    nothing_is_left(&husk);
}

#[test]
fn a_keeper_that_is_killed_takes_its_machine_along_and_ps_says_so() {
    for wall in WALLS {
        let husk = Husk::fresh().behind(wall);
        let keep = ["run", "-d", "--name", "web", "busybox", "sleep", "1000"];
        well(husk.say(&keep));
        kill(&pid(&husk, "web"));
        until("it is not listed", || {
            well(husk.say(&["ps", "-q"])).is_empty()
        });
        let error = "{{.State.Status}} {{.State.ExitCode}} {{.State.Error}}";
        let said = well(husk.say(&["inspect", "-f", error, "web"]));
        assert_eq!(said, "exited 137 its keeper was killed\n");
        until("no process is left", || processes(&husk).is_empty());
        well(husk.say(&["rm", "web"]));
        nothing_is_left(&husk);
    }
}

#[test]
fn a_machine_that_was_to_be_removed_is_whatever_ends_it() {
    let husk = container();
    let sleep_long = ["busybox", "sleep", "1000"];
    let words = ["run", "-d", "--rm", "--name", "web"];
    for end in ["stop", "kill", "rm", "keeper"] {
        well(husk.say(&[&words[..], &sleep_long].concat()));
        match end {
            "keeper" => kill(&pid(&husk, "web")),
            "rm" => assert_eq!(well(husk.say(&["rm", "-f", "web"])), "web\n"),
            "stop" => assert_eq!(well(husk.say(&["stop", "-t", "0", "web"])), "web\n"),
            verb => assert_eq!(well(husk.say(&[verb, "web"])), "web\n"),
        }
        until("it is gone", || well(husk.say(&["ps", "-aq"])).is_empty());
        nothing_is_left(&husk);
    }
    well(husk.say(&[&words[..], &["--timeout", "200ms"], &sleep_long].concat()));
    until("its time is over", || {
        well(husk.say(&["ps", "-aq"])).is_empty()
    });
    let words = ["run", "-d", "--name", "late", "--timeout", "200ms"];
    well(husk.say(&[&words[..], &sleep_long].concat()));
    assert_eq!(well(husk.say(&["wait", "late"])), "137\n");
    let error = well(husk.say(&["inspect", "-f", "{{.State.Error}}", "late"]));
    assert_eq!(error, "its workload ran longer than --timeout\n");
    well(husk.say(&["rm", "late"]));
    nothing_is_left(&husk);
}

#[test]
fn a_keeper_holds_nothing_open_of_who_started_it() {
    let husk = container();
    let inner = husk.command(&["run", "-d", "--name", "web", "busybox", "sleep", "1000"]);
    let mut shell = Command::new("sh");
    shell.args(["-c", "exec 7>&1; \"$@\" >/dev/null; echo started", "sh"]);
    // Ends when nobody has the other end of the pipe any more.
    let said = said(within(shell, &inner).output().unwrap());
    assert_eq!(well(said), "started\n");
    well(husk.say(&["rm", "-f", "web"]));
    nothing_is_left(&husk);
}

#[test]
fn a_machines_process_that_is_killed_is_an_end_with_a_reason() {
    let husk = Husk::fresh();
    well(husk.say(&["run", "-d", "--name", "web", "busybox", "sleep", "1000"]));
    let parent = pid(&husk, "web");
    let children = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap();
    kill(children.trim());
    until("it has ended", || status(&husk, "web") == "exited 125");
    let error = well(husk.say(&["inspect", "-f", "{{.State.Error}}", "web"]));
    assert!(error.contains("process is gone"), "{error}");
    well(husk.say(&["rm", "web"]));
    nothing_is_left(&husk);
}

#[test]
fn a_client_that_is_killed_at_any_moment_leaves_the_truth() {
    let husk = container();
    well(husk.say(&["run", "--rm", "busybox", "true"]));
    for delay in (0..90).step_by(3) {
        let mut client = husk.start(&["run", "-d", "--name", "web", "busybox", "sleep", "1000"]);
        sleep(Duration::from_millis(delay));
        client.kill().unwrap();
        client.wait().unwrap();
        let known = well(husk.say(&["ps", "-a", "--format", "{{.Names}} {{.State}}"]));
        let legal = ["", "web created\n", "web running\n", "web exited\n"];
        assert!(legal.contains(&known.as_str()), "after {delay} ms: {known}");
        match known.is_empty() {
            true => refused(&husk.say(&["rm", "web"]), &["no machine"]),
            false => assert_eq!(well(husk.say(&["rm", "-f", "web"])), "web\n"),
        }
        nothing_is_left(&husk);
    }
}

/// Milliseconds after its beginning at which somebody of a run is killed.
fn moments(wall: Wall) -> Vec<u64> {
    match wall {
        Wall::Container => (0..96).step_by(8).collect(),
        Wall::Vm => vec![30, 300, 2000],
    }
}

#[test]
fn whoever_is_killed_at_any_moment_the_rest_tell_the_truth_and_go() {
    for wall in WALLS {
        let husk = Husk::fresh().behind(wall);
        well(husk.say(&["run", "--rm", "busybox", "true"]));
        for moment in moments(wall) {
            // The client, its keeper, and whoever works for that: each of them once.
            let mut victim = 0;
            while kill_one(&husk, moment, victim) {
                victim += 1;
            }
        }
    }
}

/// Begins a run, and kills the process number `victim` of it after so many milliseconds; whether there was one.
fn kill_one(husk: &Husk, moment: u64, victim: usize) -> bool {
    let mut client = husk.start(&["run", "-d", "--name", "web", "busybox", "sleep", "1000"]);
    sleep(Duration::from_millis(moment));
    let mut found: Vec<u32> = processes(husk)
        .iter()
        .map(|pid| pid.parse().unwrap())
        .collect();
    found.sort_unstable();
    let killed = found.get(victim).map(|pid| {
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        let pid = rustix::process::Pid::from_raw((*pid).try_into().unwrap()).unwrap();
        // It may have ended by itself.
        let _gone = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        format!("{} after {moment} ms", name.trim())
    });
    let begun = Instant::now();
    while client.try_wait().unwrap().is_none() {
        let waits = begun.elapsed();
        assert!(waits < Duration::from_secs(60), "{killed:?}: it waits");
        sleep(Duration::from_millis(5));
    }
    let list = || well(husk.say(&["ps", "-a", "--format", "{{.Names}} {{.State}}"]));
    let known = list();
    let legal = ["", "web created\n", "web running\n", "web exited\n"];
    assert!(legal.contains(&known.as_str()), "{killed:?}: {known}");
    if known == "web running\n" {
        let runs = husk.say(&["exec", "web", "true"]).status == 0;
        assert!(runs || list() != known, "{killed:?}: nobody runs");
    }
    if !known.is_empty() {
        well(husk.say(&["rm", "-f", "web"]));
    }
    nothing_is_left(husk);
    killed.is_some()
}

#[test]
fn of_many_processes_that_want_a_name_one_gets_it() {
    let husk = container();
    well(husk.say(&["run", "--rm", "busybox", "true"]));
    for _ in 0..5 {
        let rivals: Vec<_> = (0..8)
            .map(|_| husk.start(&["create", "--name", "web", "busybox"]))
            .collect();
        let ended = rivals
            .into_iter()
            .map(|rival| rival.wait_with_output().unwrap());
        let won = ended.filter(|output| output.status.success()).count();
        assert_eq!(won, 1);
        assert_eq!(
            well(husk.say(&["ps", "-a", "--format", "{{.Names}}"])),
            "web\n"
        );
        well(husk.say(&["rm", "web"]));
    }
    nothing_is_left(&husk);
}

#[test]
fn a_policy_starts_it_again_until_somebody_stops_it() {
    let husk = container();
    let restarts = |name: &str| well(husk.say(&["inspect", "-f", "{{.RestartCount}}", name]));
    let fails = [
        "run",
        "-d",
        "--restart",
        "on-failure:2",
        "--name",
        "fails",
        "busybox",
        "sh",
        "-c",
    ];
    well(husk.say(&[&fails[..], &["echo once; exit 5"]].concat()));
    assert_eq!(well(husk.say(&["wait", "fails"])), "5\n");
    assert_eq!(status(&husk, "fails"), "exited 5");
    assert_eq!(restarts("fails"), "2\n");
    assert_eq!(well(husk.say(&["logs", "fails"])), "once\nonce\nonce\n");

    let stays = [
        "run",
        "-d",
        "--restart",
        "always",
        "--name",
        "stays",
        "busybox",
        "sleep",
        "1000",
    ];
    well(husk.say(&stays));
    kill(&pid(&husk, "stays"));
    until("it is up again", || {
        restarts("stays") == "1\n" && status(&husk, "stays").starts_with("running")
    });
    well(husk.say(&["stop", "-t", "0", "stays"]));
    assert_eq!(status(&husk, "stays"), "exited 137");

    // Stopped while it waits to be started again.
    let ends = [
        "run",
        "-d",
        "--restart",
        "unless-stopped",
        "--name",
        "ends",
        "busybox",
        "true",
    ];
    well(husk.say(&ends));
    until("it waits", || {
        status(&husk, "ends") == "restarting 0"
            && restarts("ends").trim().parse::<u32>().unwrap() > 3
    });
    well(husk.say(&["stop", "ends"]));
    assert_eq!(status(&husk, "ends"), "exited 0");
    sleep(Duration::from_secs(1));
    assert_eq!(status(&husk, "ends"), "exited 0");
    well(husk.say(&["rm", "fails", "stays", "ends"]));
    nothing_is_left(&husk);
}

#[test]
fn logs_are_cut_by_lines_and_times_and_followed_to_the_end() {
    let husk = container();
    let script = "for i in 1 2 3 4 5; do echo $i; done; sleep 1; echo six >&2; sleep 1; echo seven";
    well(husk.say(&["run", "-d", "--name", "web", "busybox", "sh", "-c", script]));
    let followed = husk
        .start(&["logs", "-f", "web"])
        .wait_with_output()
        .unwrap();
    assert_eq!(followed.stdout, b"1\n2\n3\n4\n5\nseven\n");
    assert_eq!(followed.stderr, b"six\n");
    let tail = husk.say(&["logs", "--tail", "3", "web"]);
    assert_eq!(
        (tail.out().as_str(), tail.stderr.as_str()),
        ("5\nseven\n", "six\n")
    );
    let stamped = husk.say(&["logs", "-t", "-n", "1", "web"]).out();
    let (moment, word) = stamped.split_once(' ').unwrap();
    assert_eq!(word, "seven\n");
    assert_eq!(
        husk.say(&["logs", "--since", moment, "web"]).out(),
        "seven\n"
    );
    assert_eq!(husk.say(&["logs", "--until", "1h", "web"]).out(), "");
    refused(
        &husk.say(&["logs", "--since", "soon", "web"]),
        &["--since", "`soon`"],
    );
    refused(&husk.say(&["logs", "--tail", "x", "web"]), &["--tail"]);
    well(husk.say(&["rm", "web"]));
    nothing_is_left(&husk);
}

#[test]
fn machines_are_listed_as_asked() {
    let husk = container();
    let file = husk.home().with_file_name("id");
    let id_file = file.to_str().unwrap();
    let words = [
        "create",
        "--name",
        "one",
        "-l",
        "a=b",
        "--cidfile",
        id_file,
        "busybox",
        "true",
    ];
    let id = well(husk.say(&words));
    assert_eq!(fs::read_to_string(&file).unwrap(), id.trim());
    husk.say(&["create", "--cidfile", id_file, "busybox"])
        .is_one_clear_line(&[id_file]);
    well(husk.say(&[
        "run", "-d", "--name", "two", "-l", "a=c", "busybox", "sh", "-c", "exit 9",
    ]));
    well(husk.say(&["wait", "two"]));
    let names = |filters: &[&str]| {
        let words = [&["ps", "-a", "--format", "{{.Names}}"], filters].concat();
        well(husk.say(&words)).lines().collect::<Vec<_>>().join(" ")
    };
    let table: [(&[&str], &str); 9] = [
        (&[], "two one"),
        (&["-f", "label=a"], "two one"),
        (&["-f", "label=a=b"], "one"),
        (&["-f", "status=created"], "one"),
        (&["-f", "status=created", "-f", "status=exited"], "two one"),
        (&["-f", "exited=9"], "two"),
        (&["-f", "name=tw"], "two"),
        (&["-f", "ancestor=busybox:latest", "-f", "name=one"], "one"),
        (&["-l"], "two"),
    ];
    for (filters, expected) in table {
        assert_eq!(names(filters), expected, "{filters:?}");
    }
    let pruned = well(husk.say(&["prune", "--machines"]));
    let deleted = pruned
        .lines()
        .filter(|line| line.starts_with("Deleted machine: "));
    assert_eq!(deleted.count(), 2);
    nothing_is_left(&husk);
}

#[test]
fn lists_say_what_is_known_and_formats_what_there_is() {
    let husk = container();
    let id = well(husk.say(&["create", "--name", "one", "busybox", "true"]));
    let list: Value = serde_json::from_str(&well(husk.say(&["ps", "-a", "--json"]))).unwrap();
    assert_eq!(list[0]["Id"], id.trim());
    let table = well(husk.say(&["ps", "-a"]));
    assert!(
        table.starts_with("MACHINE ID     IMAGE     COMMAND   "),
        "{table}"
    );
    refused(&husk.say(&["ps", "-f", "nmae=x"]), &["nmae", "ancestor"]);
    refused(
        &husk.say(&["ps", "--format", "{{.Name}}"]),
        &[".Name", ".Names"],
    );
    refused(
        &husk.say(&["inspect", "-f", "{{.State.Stat}}", "one"]),
        &[".Status"],
    );
    refused(&husk.say(&["rmi", "busybox"]), &["in use by machine `"]);
    well(husk.say(&["rm", "one"]));
    assert_eq!(well(husk.say(&["rmi", "busybox"])).lines().count(), 2);
    nothing_is_left(&husk);
}

#[test]
fn wrong_words_about_machines_are_one_clear_line() {
    let husk = container();
    well(husk.say(&["create", "--name", "web", "busybox", "true"]));
    for verb in ["start", "stop", "restart", "kill", "wait", "rm", "logs"] {
        let said = husk.say(&[verb, "wbe"]);
        refused(&said, &["no machine `wbe`", "did you mean `web`?"]);
    }
    // Those that are there are done all the same.
    let said = husk.say(&["rm", "nobody", "web"]);
    refused(&said, &["nobody"]);
    assert_eq!(said.out(), "web\n");
    refused(&husk.say(&["kill", "-s", "HUPP", "web"]), &["HUPP"]);
    let table: [(&[&str], &str); 6] = [
        (&["run", "-d", "--name", "a b", "busybox"], "a b"),
        (&["run", "--restart", "always", "busybox"], "-d"),
        (
            &["run", "-d", "--rm", "--restart", "always", "busybox"],
            "--rm",
        ),
        (&["run", "-d", "--json", "busybox"], "--json"),
        (&["run", "-d", "--stop-signal", "HUPP", "busybox"], "HUPP"),
        (&["create", "-d", "busybox"], "--detach"),
    ];
    for (words, word) in table {
        husk.say(words).is_one_clear_line(&[word]);
    }
    assert_eq!(
        husk.say(&["run", "-d", "--restart", "sometimes", "busybox"])
            .status,
        125
    );
    nothing_is_left(&husk);
}

#[test]
fn a_hundred_machines_come_and_go_and_leave_nothing() {
    let husk = container();
    for round in 0..100 {
        let id = well(husk.say(&["run", "-d", "busybox", "sleep", "1000"]));
        let id = id.trim();
        match round % 4 {
            0 => well(husk.say(&["rm", "-f", id])),
            1 => well(husk.say(&["stop", "-t", "0", id])) + &well(husk.say(&["rm", id])),
            2 => well(husk.say(&["kill", id])) + &well(husk.say(&["rm", id])),
            _ => well(husk.say(&["restart", "-t", "0", id])) + &well(husk.say(&["rm", "-f", id])),
        };
    }
    nothing_is_left(&husk);
}
