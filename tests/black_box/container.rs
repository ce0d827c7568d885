//! The namespace wall: what it keeps out, for whom it works, and what it leaves behind.

use std::fs;
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::husk::{Husk, Said, Wall, gives_containers_a_network, said, skip, within};

/// An ordinary user's ids: nobody's in particular.
const STRANGER: &str = "60123";

fn container() -> Husk {
    Husk::shared().behind(Wall::Container)
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[test]
fn the_wall_is_as_high_as_dockers() {
    let script =
        "grep -E '^(CapEff|CapBnd|NoNewPrivs|Seccomp):' /proc/self/status | tr -s '\\t ' ' ';
        mount -t tmpfs none /mnt 2>/dev/null || echo no mount;
        unshare -U true 2>/dev/null || echo no user namespace;
        dmesg >/dev/null 2>&1 || echo no kernel log;
        echo 1 2>/dev/null >/proc/sys/kernel/panic || echo no sysctl;
        mknod /tmp/disk b 7 0 2>/dev/null && cat /tmp/disk 2>/dev/null || echo no disk;
        wc -c < /proc/keys; ls /sys/firmware | wc -l;
        find /sys/fs/cgroup -name 'memory.*limit*' -o -name memory.max |
            while read -r limit; do echo 1 2>/dev/null >$limit && echo $limit; done;
        ls /dev | grep -v core | sort | tr '\\n' ' '";
    let out = container().shell(&[], script);
    let lines: Vec<_> = out.lines().collect();
    let (mask, rest) = lines.split_at(4);
    // kcore leads to a masked file, where a host has one. CAP_MKNOD, bit 27, only where the host tells devices apart.
    let masks = ["00000000a80425fb", "00000000a00425fb"];
    assert!(
        masks
            .iter()
            .any(|bits| mask[0] == format!("CapEff: {bits}")),
        "{out}"
    );
    assert!(
        masks
            .iter()
            .any(|bits| mask[1] == format!("CapBnd: {bits}")),
        "{out}"
    );
    assert_eq!(mask[2..], ["NoNewPrivs: 1", "Seccomp: 2"]);
    assert_eq!(
        rest,
        [
            "no mount",
            "no user namespace",
            "no kernel log",
            "no sysctl",
            "no disk",
            "0",
            "0",
            "fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero ",
        ],
        "{out}"
    );
}

/// The runtimes that people have, as far as this machine has them and they can work here: what
/// `--oci-runtime` is compared with.
fn others() -> Vec<&'static str> {
    let refuses = |runtime| {
        let said = container().say(&["run", "--oci-runtime", runtime, "busybox", "true"]);
        (said.status != 0).then_some(said.stderr)
    };
    let mut found = Vec::new();
    for runtime in ["runc", "crun"] {
        let paths = ["/usr/bin", "/usr/sbin"].map(|folder| Path::new(folder).join(runtime));
        if !paths.iter().any(|path| path.exists()) {
            skip(&format!("{runtime}: it is not installed"));
        } else if let Some(why) = refuses(runtime).filter(|why| why.contains("hybrid mode")) {
            skip(&format!("{runtime}: {}", why.trim()));
        } else {
            found.push(runtime);
        }
    }
    found
}

/// Runs `script` in a container of an ordinary user's, with a store in `home`, after root's `setup`, which
/// sees mounts of its own.
fn as_stranger(home: &Path, setup: &str, script: &str) -> Said {
    let shell = format!(
        "{setup}
        exec setpriv --reuid {STRANGER} --regid {STRANGER} --clear-groups \"$@\" -c '{script}'"
    );
    let run = container().command(&["run", "busybox", "sh"]);
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", &shell, "sh"]);
    command.arg(run.get_program()).args(run.get_args());
    command.env("HUSK_HOME", home.join("store"));
    said(command.output().unwrap())
}

/// A home that is the stranger's.
fn stranger_home() -> TempDir {
    let home = tempfile::tempdir().unwrap();
    let stranger = rustix::process::Uid::from_raw(STRANGER.parse().unwrap());
    rustix::fs::chown(home.path(), Some(stranger), None).unwrap();
    home
}

#[test]
fn an_ordinary_user_has_containers_too() {
    if !is_root() {
        return skip("becoming an ordinary user: these tests are run by one");
    }
    let home = stranger_home();
    let script = "id -u; rm -r /etc/group && mkdir /etc/group && ls -ld /etc/group | cut -c1-10";
    let said = as_stranger(home.path(), "", script);
    assert_eq!(
        (said.out().as_str(), said.stderr.as_str()),
        ("0\ndrwxr-xr-x\n", "")
    );
}

#[test]
fn an_ordinary_user_with_subordinate_ids_has_the_images_users() {
    if !is_root() || !Path::new("/usr/bin/newuidmap").exists() {
        return skip("subordinate ids: they take root to be given, and newuidmap to be used");
    }
    let home = stranger_home();
    let path = |name: &str| home.path().join(name).display().to_string();
    fs::write(path("ranges"), format!("{STRANGER}:300000:65536\n")).unwrap();
    // newuidmap knows users by name.
    let users = fs::read_to_string("/etc/passwd").unwrap();
    let stranger = format!("stranger:x:{STRANGER}:{STRANGER}::/:/bin/sh\n");
    fs::write(path("passwd"), users + &stranger).unwrap();
    let setup = format!(
        "for file in /etc/subuid /etc/subgid; do mount --bind {} $file; done
        mount --bind {} /etc/passwd",
        path("ranges"),
        path("passwd")
    );
    let script = "chown 33:100 /root && stat -c %u:%g /root; cat /proc/self/uid_map | tr -s \" \"";
    let said = as_stranger(home.path(), &setup, script);
    assert_eq!(
        (said.out().as_str(), said.stderr.as_str()),
        ("33:100\n 0 60123 1\n 1 300000 65536\n", ""),
        "{}",
        said.status
    );
}

/// Gives the mounts of [`as_stranger`] a /dev/net/tun with permissions `mode`.
fn tun(home: &Path, mode: &str) -> String {
    format!(
        "cd {}; mkdir -p dev; mount -t tmpfs -o dev none dev; mknod -m {mode} dev/tun c 10 200
        mount --bind dev/tun /dev/net/tun",
        home.display()
    )
}

#[test]
fn an_ordinary_user_has_a_network_where_tun_is_everybodys() {
    if !is_root() || !Path::new("/dev/net/tun").exists() {
        return skip("permissions of /dev/net/tun: they take root to be changed, and the device");
    }
    let home = stranger_home();
    let script = "cat /etc/resolv.conf; ls /sys/class/net; \
        ping -c 1 -W 5 10.117.107.1 | grep -c \" 0% packet loss\"; \
        test ! -e /sys/class/net/eth0 || \
        cat /proc/sys/net/ipv4/ping_group_range /proc/sys/net/ipv4/ip_unprivileged_port_start";
    let table = [
        ("666", "nameserver 10.117.107.1\neth0\nlo\n1\n0\t0\n0\n"),
        // Nobody asked for it.
        ("600", "# This machine has no network.\nlo\n0\n"),
    ];
    for (mode, expected) in table {
        let said = as_stranger(home.path(), &tun(home.path(), mode), script);
        assert_eq!(said.out(), expected, "{mode}: {}", said.stderr);
        assert_eq!(said.status, 0, "{mode}");
    }
}

#[test]
fn a_network_that_was_asked_for_and_cannot_be_had_is_one_clear_line() {
    if !is_root() {
        return skip("a host without /dev/net/tun: it takes root to be made");
    }
    for flags in ["--network user", "-p 80", "--egress any"] {
        let husk = container();
        let run = husk.command(&["run"]);
        let words = format!("{flags} busybox true");
        let script = format!("mkdir -p /dev/net; mount -t tmpfs none /dev/net; \"$@\" {words}");
        let mut command = Command::new("unshare");
        command.args(["-m", "sh", "-c", &script, "sh"]);
        said(within(command, &run).output().unwrap()).is_one_clear_line(&[
            "/dev/net/tun",
            "modprobe tun",
            "--network none",
        ]);
    }
}

/// A run that has said `ready` and waits, and the far end of its network.
fn networked_run(husk: &Husk) -> (Child, u32) {
    let mut child = husk.start(&[
        "run",
        "--network",
        "user",
        "busybox",
        "sh",
        "-c",
        "echo ready; sleep 100",
    ]);
    let mut ready = [0; 6];
    std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut ready).unwrap();
    let children = format!("/proc/{0}/task/{0}/children", child.id());
    let children = fs::read_to_string(children).unwrap();
    let mut children = children.split_whitespace().map(|pid| pid.parse().unwrap());
    let far_end = children
        .find(|pid| is_far_end(*pid))
        .expect("the far end is a child");
    (child, far_end)
}

fn is_far_end(pid: u32) -> bool {
    let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    words.starts_with(b"husk-far-end")
}

#[test]
fn a_container_and_the_far_end_of_its_network_end_together() {
    if !gives_containers_a_network() {
        return;
    }
    let husk = container();
    let kill = |pid: u32| {
        let pid = rustix::process::Pid::from_raw(pid.try_into().unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    };
    let (child, far_end) = networked_run(&husk);
    kill(far_end);
    said(child.wait_with_output().unwrap()).is_one_clear_line(&["network broke", "killed"]);
    let (mut child, far_end) = networked_run(&husk);
    let held = fs::read_dir(format!("/proc/{far_end}/fd")).unwrap().count();
    // The streams, the leash, the cable, what lingers, what was tried, and what waits for sockets; nothing of its
    // callers'.
    assert!(held <= 8, "{held} files");
    let environment = fs::read(format!("/proc/{far_end}/environ")).unwrap();
    assert_eq!(environment, b"");
    let status = fs::read_to_string(format!("/proc/{far_end}/status")).unwrap();
    assert!(
        status.contains("Seccomp:\t2") && status.contains("NoNewPrivs:\t1"),
        "{status}"
    );
    child.kill().unwrap();
    child.wait().unwrap();
    for _ in 0..100 {
        if !is_far_end(far_end) {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    panic!("the far end is still there");
}

#[test]
fn no_workload_gets_a_hand_on_the_terminal() {
    let husk = container();
    let script = "for fd in 1 2; do test -t $fd && echo a terminal; done; readlink /proc/self/fd/1";
    let inner = husk.command(&["run", "busybox", "sh", "-c", script]);
    let quoted = |word: &std::ffi::OsStr| format!("'{}'", word.to_str().unwrap());
    let words = [inner.get_program()]
        .into_iter()
        .chain(inner.get_args())
        .map(quoted);
    let line = words.collect::<Vec<_>>().join(" ");
    let mut terminal = Command::new("script");
    terminal
        .args(["-qec", &line, "/dev/null"])
        .env("HUSK_HOME", husk.home());
    let seen = said(terminal.output().unwrap());
    assert!(seen.out().starts_with("pipe:["), "{}", seen.out());
    assert_eq!((seen.status, seen.out().lines().count()), (0, 1));
}

/// A shell that eats memory: 64 MiB of it, if it may.
const GLUTTON: &str =
    "x=0123456789abcdef; while [ ${#x} -lt 67108864 ]; do x=$x$x; done; echo ate ${#x}";

#[test]
fn memory_is_limited_where_the_host_can() {
    let mut runtimes = vec![Vec::new()];
    runtimes.extend(others().iter().map(|other| vec!["--oci-runtime", other]));
    for runtime in &runtimes {
        let words = ["run", "-m", "24m", "--json", "busybox", "sh", "-c", GLUTTON];
        let words = [&words[..1], runtime, &words[1..]].concat();
        let said = container().say(&words);
        let json: serde_json::Value =
            serde_json::from_str(said.stderr.lines().last().unwrap()).unwrap();
        let lacks = json["missing"].to_string();
        if lacks.contains("--memory") {
            return skip(&format!("a container's memory: {lacks}"));
        }
        assert_eq!((said.status, said.out().as_str()), (137, ""), "{runtime:?}");
        let words = ["run", "-m", "400m", "busybox", "sh", "-c", GLUTTON];
        let said = container().say(&[&words[..1], runtime, &words[1..]].concat());
        assert_eq!((said.status, said.out().as_str()), (0, "ate 67108864\n"));
    }
}

#[test]
fn another_runtime_gives_the_same() {
    let husk = container();
    let others = others();
    let table: [&[&str]; 9] = [
        &["busybox", "sh", "-c", "echo out; echo err >&2; exit 7"],
        &["busybox", "sh", "-c", "kill -TERM $$"],
        &["-u", "www-data", "busybox", "id"],
        &[
            "-w",
            "/made/for/me",
            "-e",
            "A=b c",
            "busybox",
            "sh",
            "-c",
            "pwd; echo $A",
        ],
        &[
            "--read-only",
            "--tmpfs",
            "/scratch",
            "busybox",
            "touch",
            "/scratch/x",
            "/x",
        ],
        &[
            "--hostname",
            "box",
            "--ulimit",
            "nofile=100",
            "busybox",
            "sh",
            "-c",
            "hostname; ulimit -n",
        ],
        &[
            "busybox",
            "sh",
            "-c",
            "grep -E '^(Cap|NoNew|Seccomp:)' /proc/self/status; ls /dev | grep -v core; ls /proc/1/fd",
        ],
        &["busybox", "/gone"],
        &["busybox", "/etc"],
    ];
    for words in table {
        let own = husk.say(&[&["run"], words].concat());
        for runtime in &others {
            let other = husk.say(&[&["run", "--oci-runtime", runtime], words].concat());
            assert_eq!(
                (other.status, other.out(), other.stderr.as_str()),
                (own.status, own.out(), own.stderr.as_str()),
                "{runtime}: {words:?}"
            );
        }
    }
}

#[test]
fn a_wrong_runtime_is_one_clear_line() {
    let husk = container();
    husk.say(&["run", "--oci-runtime", "nope", "busybox", "true"])
        .is_one_clear_line(&["nope"]);
    husk.say(&["run", "--oci-runtime", "/nowhere/runc", "busybox", "true"])
        .is_one_clear_line(&["/nowhere/runc"]);
    husk.say(&["run", "--kernel", "/nowhere", "busybox", "true"])
        .is_one_clear_line(&["--kernel"]);
    Husk::shared()
        .say(&["run", "--oci-runtime", "runc", "busybox", "true"])
        .is_one_clear_line(&["--oci-runtime", "--wall container"]);
}

/// What a run could leave on the host: mounts, control groups, and what lies in the store.
pub fn remains(husk: &Husk) -> Vec<String> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let home = husk.home().to_str().unwrap().to_owned();
    let mounts = mounts.lines().filter(|line| line.contains(&home));
    let mut found: Vec<_> = mounts.map(ToOwned::to_owned).collect();
    let trees = fs::read_dir("/sys/fs/cgroup").into_iter().flatten();
    let trees = trees.map(|tree| tree.unwrap().path().join("husk"));
    for place in trees.chain([
        "/sys/fs/cgroup/husk".into(),
        husk.home().join("run"),
        husk.home().join("written"),
    ]) {
        let entries = fs::read_dir(place).into_iter().flatten();
        let folders = entries.map(|entry| entry.unwrap().path());
        let folders = folders.filter(|path| path.is_dir() && !lives(path));
        found.extend(folders.map(|path| path.display().to_string()));
    }
    found
}

/// Whether a folder is a control group with somebody in it: then it is in use, and if that is anybody of ours,
/// [`processes`] finds them.
fn lives(group: &Path) -> bool {
    fs::read_to_string(group.join("cgroup.procs")).is_ok_and(|pids| !pids.is_empty())
}

/// The processes that were started with this store in their environment.
pub fn processes(husk: &Husk) -> Vec<String> {
    let variable = format!("HUSK_HOME={}", husk.home().display());
    let all = fs::read_dir("/proc").unwrap();
    let pids = all.filter_map(|entry| entry.unwrap().file_name().into_string().ok());
    let is_ours = |pid: &String| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment
            .split(|byte| *byte == 0)
            .any(|pair| pair == variable.as_bytes())
    };
    pids.filter(is_ours).collect()
}

#[test]
fn nothing_is_left_behind() {
    let husk = Husk::fresh().behind(Wall::Container);
    // Groups of other tests' containers come and go beside it: only what stays is ours.
    let stays = |what: &dyn Fn() -> Vec<String>| {
        let mut left = what();
        for _ in 0..100 {
            if left.is_empty() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(100));
            let now = what();
            left.retain(|one| now.contains(one));
        }
        left
    };
    for _ in 0..20 {
        assert_eq!(husk.say(&["run", "busybox", "true"]).status, 0);
    }
    assert_eq!(stays(&|| remains(&husk)), [""; 0]);
    assert_eq!(stays(&|| processes(&husk)), [""; 0]);
    let mut runtimes = vec![Vec::new()];
    runtimes.extend(others().iter().map(|other| vec!["--oci-runtime", other]));
    for runtime in &runtimes {
        let script = "mkdir /kept; echo ready; while :; do sleep 1; done";
        let words = [&["run"][..], runtime, &["busybox", "sh", "-c", script]].concat();
        let mut child = husk.start(&words);
        let mut ready = [0; 6];
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut ready).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(stays(&|| remains(&husk)), [""; 0], "{runtime:?}");
        assert_eq!(stays(&|| processes(&husk)), [""; 0], "{runtime:?}");
    }
}

#[test]
fn what_the_caller_ignores_the_workload_does_not() {
    let husk = container();
    // A shell's `&` ignores two signals, and nohup a third.
    let inner = husk.command(&["run", "busybox", "grep", "^SigIgn", "/proc/self/status"]);
    let mut shell = Command::new("sh");
    shell.args(["-c", "trap '' HUP INT QUIT CHLD; \"$@\"", "sh"]);
    let seen = said(within(shell, &inner).output().unwrap());
    assert_eq!(
        (seen.out().as_str(), seen.stderr.as_str()),
        ("SigIgn:\t0000000000000000\n", "")
    );
}

/// What is sent into a container is husk's own process until it has become the command: nobody there can write to
/// its file, and no link of its own leads out.
#[test]
fn a_command_beside_the_workload_is_no_way_out() {
    let husk = Husk::fresh().behind(Wall::Container);
    let started = husk.say(&["run", "-d", "--name", "box", "busybox", "sleep", "1000"]);
    assert_eq!(started.status, 0, "{}", started.stderr);
    let shell = |script: &str| husk.say(&["exec", "box", "sh", "-c", script]);
    // Whoever makes husk execute itself in there has a process whose file is husk's.
    let mut husk_inside = husk.start(&["exec", "-i", "box", "/proc/self/exe", "load"]);
    let attack = "for process in /proc/[0-9]*; do
            tr '\\0' ' ' < $process/cmdline | grep -q '^/proc/self/exe load' && : > $process/exe
        done 2>&1";
    let begun = Instant::now();
    while !shell(attack).out().contains("Read-only file system") {
        assert!(
            begun.elapsed() < Duration::from_secs(30),
            "{}",
            shell(attack).out()
        );
    }
    drop(husk_inside.stdin.take());
    husk_inside.wait().unwrap();
    // What husk has open on the host is no directory to begin in.
    for number in 0..16 {
        let said = husk.say(&[
            "exec",
            "-w",
            &format!("/proc/self/fd/{number}"),
            "box",
            "pwd",
        ]);
        said.is_one_clear_line(&["working directory"]);
    }
    let open = shell("ls -l /proc/self/fd | grep -v ' -> /dev/null' | grep -c ' -> '");
    // The two outputs, and the directory itself.
    assert_eq!(open.out(), "2\n");
    assert_eq!(husk.say(&["rm", "-f", "box"]).status, 0);
}

#[test]
fn an_ordinary_user_runs_commands_beside_the_workload() {
    if !is_root() {
        return skip("becoming an ordinary user: these tests are run by one");
    }
    let home = stranger_home();
    let say = |args: &[&str]| {
        let inner = container().command(args);
        let mut command = Command::new("setpriv");
        command.args(["--reuid", STRANGER, "--regid", STRANGER, "--clear-groups"]);
        command.arg(inner.get_program()).args(inner.get_args());
        command.env("HUSK_HOME", home.path().join("store"));
        said(command.output().unwrap())
    };
    let held =
        "grep -E '^(Groups|Cap|NoNewPrivs|Seccomp)' /proc/self/status; cat /proc/self/uid_map";
    let script = format!("({held}) > /tmp/held; sleep 1000");
    let started = say(&["run", "-d", "--name", "box", "busybox", "sh", "-c", &script]);
    assert_eq!((started.status, started.stderr.as_str()), (0, ""));
    let script = format!("({held}) | diff /tmp/held -; id -u");
    let seen = say(&["exec", "box", "sh", "-c", &script]);
    assert_eq!((seen.out().as_str(), seen.stderr.as_str()), ("0\n", ""));
    let typed = say(&["exec", "-t", "box", "tty"]);
    assert_eq!(typed.out(), "/dev/pts/0\r\n");
    say(&["exec", "-u", "33", "box", "true"]).is_one_clear_line(&["no id 33", "/etc/subuid"]);
    assert_eq!(say(&["rm", "-f", "box"]).status, 0);
}

#[test]
fn another_runtimes_container_takes_more_commands_and_has_its_health_checked() {
    for runtime in others() {
        let husk = Husk::fresh().behind(Wall::Container);
        // Not the open files: of those runc 1.1 gives its `exec` as many as it may, whatever it is told.
        let held = "grep -E '^(Groups|Cap|NoNewPrivs|Seccomp)' /proc/self/status; umask; ulimit -c";
        let script = format!(
            "({held}) > /tmp/held; echo hal:x:70:71::/home/hal: >> /etc/passwd; sleep 1000"
        );
        let run = ["run", "-d", "--oci-runtime", runtime, "--name", "box"];
        let flags = ["-e", "COLOUR=grey", "--health-interval", "300ms"];
        let check = ["--health-cmd", "echo looked; test -e /well"];
        let command = ["busybox", "sh", "-c", &script];
        let started = husk.say(&[&run[..], &flags, &check, &command].concat());
        assert_eq!((started.status, started.stderr.as_str()), (0, ""));
        let exec = |args: &[&str]| husk.say(&[&["exec"], args].concat());
        runs_commands(&husk, &exec, held);
        assert_eq!(exec(&["box", "touch", "/well"]).status, 0);
        let patience = Instant::now() + Duration::from_secs(60);
        let shown = ["inspect", "-f", "{{json .State.Health}}", "box"];
        let is_healthy = || {
            let health = husk.say(&shown).out();
            health.contains("\"healthy\"") && health.contains("looked")
        };
        while !is_healthy() {
            assert!(Instant::now() < patience, "{runtime}: it is never healthy");
        }
        assert_eq!(husk.say(&["rm", "-f", "box"]).status, 0);
    }
}

fn runs_commands(husk: &Husk, exec: &dyn Fn(&[&str]) -> Said, held: &str) {
    let wait = "while ! grep -q hal /etc/passwd; do sleep .1; done";
    let script = format!("{wait}; ({held}) | diff /tmp/held -; pwd");
    let seen = exec(&["box", "sh", "-c", &script]);
    assert_eq!((seen.out().as_str(), seen.stderr.as_str()), ("/\n", ""));
    let script = "id -u; id -g; pwd; echo $HOME $COLOUR $A; cat; echo wrong >&2; exit 7";
    let flags = ["-i", "-u", "hal", "-w", "/srv/new", "-e", "A=b"];
    let command = ["box", "sh", "-c", script];
    let said = husk.feed(&[&["exec"], &flags[..], &command].concat(), b"typed");
    assert_eq!(said.out(), "70\n71\n/srv/new\n/home/hal grey b\ntyped");
    assert_eq!((said.status, said.stderr.as_str()), (7, "wrong\n"));
    for (command, status) in [("/gone", 127), ("gone", 127), ("/etc", 126)] {
        let said = exec(&["box", command]);
        assert_eq!((said.status, said.stderr.lines().count()), (status, 1));
        assert!(said.stderr.contains(command), "{}", said.stderr);
    }
    assert_eq!(exec(&["box", "sh", "-c", "kill -9 $$"]).status, 137);
    exec(&["-u", "nobody-here", "box", "true"]).is_one_clear_line(&["nobody-here"]);
    let typed = exec(&["-t", "box", "sh", "-c", "tty; test -t 2; exit 3"]);
    assert_eq!((typed.status, typed.stderr.as_str()), (3, ""));
    assert!(typed.out().starts_with("/dev/pts/"), "{}", typed.out());
}
