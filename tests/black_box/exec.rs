//! `husk exec`: more commands in a machine that runs. One machine for all of them, because booting is what
//! takes time.

use std::process::Child;
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use crate::husk::{Husk, Said, WALLS, Wall, said};

/// Says what holds who runs it.
const HELD: &str = "grep -E '^(Cap|NoNewPrivs|Seccomp)' /proc/self/status; cat /proc/self/cgroup /proc/self/oom_score_adj \
     /proc/self/limits; for space in /proc/self/ns/*; do readlink $space; done; umask";

/// A machine that only waits, and is removed when the test is over.
struct Machine {
    husk: Husk,
}

impl Machine {
    fn start(wall: Wall) -> Self {
        let husk = Husk::fresh().behind(wall);
        let script = format!(
            "echo kept > /tmp/kept; ({HELD}) > /tmp/seen; mv /tmp/seen /tmp/held; while :; do sleep 1; done"
        );
        let flags = ["-e", "COLOUR=grey", "-w", "/srv/data", "--hostname", "host"];
        let flags = [
            &flags[..],
            &["--ulimit", "nofile=300:400", "--ulimit", "core=0"],
        ]
        .concat();
        let run = ["run", "-d", "--name", "box"];
        let command = ["busybox", "sh", "-c", &script];
        let started = husk.say(&[&run[..], &flags, &command].concat());
        assert_eq!((started.status, started.stderr.as_str()), (0, ""));
        Self { husk }
    }

    fn exec(&self, args: &[&str]) -> Said {
        self.husk.say(&[&["exec"], args].concat())
    }

    /// What a shell in the machine prints; it must succeed, and say nothing on stderr.
    fn shell(&self, script: &str) -> String {
        let said = self.exec(&["box", "sh", "-c", script]);
        assert_eq!((said.status, said.stderr.as_str()), (0, ""), "{script}");
        said.out()
    }

    fn begin(&self, args: &[&str]) -> Child {
        self.husk.start(&[&["exec"], args].concat())
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.husk.say(&["rm", "-f", "box"]);
    }
}

/// Waits until `seen` is.
fn until(mut seen: impl FnMut() -> bool) {
    let patience = Instant::now() + Duration::from_secs(60);
    while !seen() {
        assert!(Instant::now() < patience, "it does not come");
        sleep(Duration::from_millis(100));
    }
}

#[test]
fn commands_run_beside_the_workload_and_end_with_the_machine() {
    WALLS.into_iter().for_each(check_commands);
}

fn check_commands(wall: Wall) {
    let machine = Machine::start(wall);
    statuses_and_streams(&machine);
    the_workloads_own_world(&machine);
    held_as_the_workload_is(&machine);
    many_at_once(&machine);
    who_leaves_ends_nothing(&machine);
    wrong_words(&machine);
    processes_by_their_numbers_in_it(&machine);
    // What still runs ends with the machine.
    let last = machine.begin(&["box", "sleep", "1000"]);
    until(|| machine.shell("ps").contains("sleep 1000"));
    assert_eq!(machine.husk.say(&["kill", "box"]).status, 0);
    assert_eq!(said(last.wait_with_output().unwrap()).status, 137);
    let rests = machine.husk.say(&["top", "box"]);
    assert_eq!(rests.status, 1);
    assert!(rests.stderr.contains("husk start"), "{}", rests.stderr);
    let late = machine.exec(&["box", "true"]);
    assert_eq!(late.status, 1);
    assert!(
        late.stderr.contains("box") && late.stderr.contains("running"),
        "{}",
        late.stderr
    );
}

fn statuses_and_streams(machine: &Machine) {
    let both = machine.exec(&["box", "sh", "-c", "echo out; echo err >&2; exit 7"]);
    assert_eq!(
        (both.status, both.out().as_str(), both.stderr.as_str()),
        (7, "out\n", "err\n")
    );
    assert_eq!(machine.exec(&["box", "sh", "-c", "kill -9 $$"]).status, 137);
    let bytes: Vec<u8> = (0..=255).cycle().take(200_000).collect();
    let fed = machine.husk.feed(&["exec", "-i", "box", "cat"], &bytes);
    assert!(
        fed.status == 0 && fed.stdout == bytes,
        "{} bytes came back",
        fed.stdout.len()
    );
    assert_eq!(
        machine.exec(&["box", "wc", "-c"]).out().trim(),
        "0",
        "without -i there is no stdin"
    );
    let tty = machine
        .exec(&["-t", "box", "sh", "-c", "tty; echo $TERM"])
        .out();
    assert!(
        tty.starts_with("/dev/pts/") && tty.contains("xterm"),
        "{tty}"
    );
}

fn the_workloads_own_world(machine: &Machine) {
    let world = machine
        .shell("cat /tmp/kept; echo $COLOUR; pwd; hostname; id -u; umask; echo 1 > /tmp/new");
    assert_eq!(world, "kept\ngrey\n/srv/data\nhost\n0\n0022\n");
    assert_eq!(machine.shell("cat /tmp/new"), "1\n");
    let flags = ["-u", "www-data", "-w", "/made", "-e", "COLOUR=blue"];
    let script = ["box", "sh", "-c", "id -un; pwd; echo $COLOUR"];
    let other = machine.exec(&[&flags[..], &script].concat());
    assert_eq!(other.out(), "www-data\n/made\nblue\n");
}

/// No command beside the workload may more than it; and as somebody else, not more than they could.
fn held_as_the_workload_is(machine: &Machine) {
    until(|| machine.exec(&["box", "test", "-e", "/tmp/held"]).status == 0);
    let workload = machine.shell("cat /tmp/held");
    assert!(
        workload.contains("CapBnd") && workload.contains("400"),
        "{workload}"
    );
    let script = ["box", "sh", "-c", HELD];
    assert_eq!(machine.exec(&script).out(), workload);
    let typed = machine.exec(&[&["-t"], &script[..]].concat()).out();
    assert_eq!(typed.replace('\r', ""), workload);
    let other = machine
        .exec(&[&["-u", "www-data"], &script[..]].concat())
        .out();
    let is_about_ability = |line: &&str| line.starts_with("CapPrm") || line.starts_with("CapEff");
    let abilities = other.lines().filter(is_about_ability);
    assert_eq!(
        abilities
            .filter(|line| line.ends_with("\t0000000000000000"))
            .count(),
        2,
        "{other}"
    );
    let rest = |text: &str| {
        let rest = text.lines().filter(|line| !is_about_ability(line));
        rest.collect::<Vec<_>>().join("\n")
    };
    assert_eq!(rest(&other), rest(&workload));
}

fn processes_by_their_numbers_in_it(machine: &Machine) {
    machine.exec(&["-d", "-u", "www-data", "box", "sleep", "1001"]);
    let said = machine.husk.say(&["top", "box"]);
    assert_eq!((said.status, said.stderr.as_str()), (0, ""));
    let table = said.out();
    let rows: Vec<Vec<_>> = table
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(
        rows[0],
        ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]
    );
    let row = |command: &[&str]| {
        let found = rows.iter().find(|row| row[7..].starts_with(command));
        found.unwrap_or_else(|| panic!("no {command:?} in: {table}"))
    };
    let (workload, beside) = (row(&["sh", "-c"]), row(&["sleep", "1001"]));
    assert_eq!((workload[0], beside[0]), ("root", "www-data"));
    assert_eq!(machine.exec(&["box", "kill", beside[1]]).status, 0);
    assert!(
        !table.contains("husk") && !table.contains("kthreadd"),
        "{table}"
    );
    let chosen = machine.husk.say(&["top", "box", "-eo", "pid,args"]);
    assert_eq!(chosen.status, 0, "{}", chosen.stderr);
    let lines = chosen.out();
    let titles: Vec<_> = lines.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(titles, ["PID", "COMMAND"]);
    let first = lines.lines().nth(1).unwrap().split_whitespace().next();
    assert!(first.unwrap().parse::<u32>().is_ok(), "{lines}");
    for (options, word) in [(&["-o", "rss"][..], "`rss`"), (&["aux"], "`aux`")] {
        let said = machine.husk.say(&[&["top", "box"], options].concat());
        assert_eq!((said.status, said.stderr.lines().count()), (1, 1));
        assert!(said.stderr.contains(word), "{}", said.stderr);
    }
}

fn many_at_once(machine: &Machine) {
    scope(|scope| {
        let runs: Vec<_> = (0..12)
            .map(|number| {
                let script = format!("echo {number}; exit {number}");
                scope.spawn(move || machine.exec(&["box", "sh", "-c", &script]))
            })
            .collect();
        for (number, run) in runs.into_iter().enumerate() {
            let run = run.join().unwrap();
            let expected = (i32::try_from(number).unwrap(), format!("{number}\n"));
            assert_eq!((run.status, run.out()), expected, "{}", run.stderr);
        }
    });
}

/// `-d`, and a client that is killed: the command goes on.
fn who_leaves_ends_nothing(machine: &Machine) {
    let script =
        "while :; do echo more; sleep 0.1; [ -e /tmp/stop ] && touch /tmp/$0 && exit; done";
    let detached = machine.exec(&["-d", "box", "sh", "-c", script, "first"]);
    assert_eq!((detached.status, detached.out().as_str()), (0, ""));
    let mut client = machine.begin(&["box", "sh", "-c", script, "second"]);
    let mut heard = [0; 5];
    std::io::Read::read_exact(client.stdout.as_mut().unwrap(), &mut heard).unwrap();
    client.kill().unwrap();
    client.wait().unwrap();
    machine.shell("touch /tmp/stop");
    until(|| {
        machine
            .exec(&["box", "ls", "/tmp/first", "/tmp/second"])
            .status
            == 0
    });
}

fn wrong_words(machine: &Machine) {
    for (command, status) in [("/gone", 127), ("gone", 127), ("/etc", 126)] {
        let said = machine.exec(&["box", command]);
        assert_eq!(said.status, status, "{command}");
        assert!(
            said.stderr.starts_with("husk: ") && said.stderr.contains(command),
            "{}",
            said.stderr
        );
    }
    let stranger = machine.exec(&["nobody-of-this-name", "true"]);
    assert_eq!(stranger.status, 1);
    assert!(
        stranger.stderr.contains("nobody-of-this-name"),
        "{}",
        stranger.stderr
    );
    let typed = machine.exec(&["-it", "box", "true"]);
    assert_eq!(typed.status, 125);
    assert!(typed.stderr.contains("TTY"), "{}", typed.stderr);
    assert_eq!(machine.exec(&["-w", "relative", "box", "true"]).status, 125);
    assert_eq!(
        machine.exec(&["-u", "nobody-here", "box", "true"]).status,
        125
    );
}
