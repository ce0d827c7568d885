//! `husk diff`, `commit` and `export`, and `cp` where there is nobody in the machine to help: behind each wall.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::husk::{Husk, Said, WALLS, Wall, tool};
use crate::probe::distroless;

/// What podman 4.3 says of it, line by line: made beside it, from the same tree.
const CHANGES: &str = "
    mkdir -p /srv/a/b; echo x > /srv/a/b/c; rm /etc/passwd; chmod 600 /etc/group; rm -r /usr/sbin
    mkdir /usr/sbin; echo 1 > /usr/sbin/new; ln -s x /root/l; touch /var/t; rm /var/t; mkdir /home/u
    mv /bin/awk /bin/kwa; ln /srv/a/b/c /srv/hard; echo kept > /data/out; chown 12:34 /home/u";

const LISTED: &str = "C /bin\nD /bin/awk\nA /bin/kwa\nA /data\nC /etc\nC /etc/group\nD /etc/passwd\nC /home\nA /home/u\n\
    A /ready\nC /root\nA /root/l\nA /srv\nA /srv/a\nA /srv/a/b\nA /srv/a/b/c\nA /srv/hard\nC /usr\n\
    C /usr/sbin\nA /usr/sbin/new";

struct Machine(Husk);

impl Machine {
    fn start(wall: Wall, flags: &[&str], script: &str) -> Self {
        let machine = Self(Husk::fresh().behind(wall));
        let script = format!("{script}; echo > /ready; while :; do sleep 1; done");
        let run = ["run", "-d", "--name", "box"];
        let command = ["busybox", "sh", "-c", &script];
        machine.does(&[&run[..], flags, &command].concat());
        let patience = Instant::now() + Duration::from_secs(60);
        while machine.0.say(&["cp", "box:/ready", "-"]).status != 0 {
            assert!(Instant::now() < patience, "its workload is not ready");
            sleep(Duration::from_millis(100));
        }
        machine
    }

    fn does(&self, args: &[&str]) -> String {
        let said = self.0.say(args);
        assert_eq!((said.status, said.stderr.as_str()), (0, ""), "{args:?}");
        said.out()
    }

    fn refuses(&self, args: &[&str], status: i32, words: &[&str]) {
        let Said {
            status: found,
            stderr,
            ..
        } = self.0.say(args);
        assert_eq!(
            (found, stderr.lines().count()),
            (status, 1),
            "{args:?}: {stderr}"
        );
        for word in words {
            assert!(stderr.contains(word), "{word}: {stderr}");
        }
    }

    /// What a shell says in the image of this name, behind the other wall than its maker.
    fn run(&self, wall: Wall, image: &str, script: &str) -> String {
        let container = ["--wall", "container"];
        let wall = (wall != self.0.wall() && wall == Wall::Container).then_some(container);
        let run = ["run", "--rm"];
        let command = [image, "sh", "-c", script];
        let walls: Vec<&str> = wall.into_iter().flatten().collect();
        self.does(&[&run[..], &walls, &command].concat())
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.0.say(&["rm", "-f", "box"]);
    }
}

/// Its lines sorted by path, as podman and docker have them.
fn sorted(lines: &str) -> String {
    let mut lines: Vec<_> = lines.lines().collect();
    lines.sort_by_key(|line| &line[2..]);
    lines.join("\n")
}

#[test]
fn changes_are_listed_and_become_an_image() {
    for wall in WALLS {
        let flags = ["-e", "COLOUR=grey", "--label", "a=b", "--tmpfs", "/data"];
        let machine = Machine::start(wall, &flags, CHANGES);
        assert_eq!(sorted(&machine.does(&["diff", "box"])), LISTED, "{wall:?}");
        commits(&machine);
        exports(&machine);
        machine.refuses(&["commit", "-c", "RUN ls", "box"], 1, &["RUN", "CMD"]);
        machine.refuses(&["commit", "box", "No:Name:x"], 1, &["No:Name:x"]);
        machine.does(&["kill", "box"]);
        for verb in ["diff", "commit", "export"] {
            machine.refuses(&[verb, "box"], 1, &["box", "husk start box"]);
        }
        machine.refuses(&["diff", "nobody-here"], 1, &["nobody-here"]);
    }
}

fn commits(machine: &Machine) {
    let change = |words: &'static str| ["--change", words];
    let changes = [
        change("CMD [\"cat\", \"/srv/a/b/c\"]"),
        change("ENV SHAPE=\"a circle\""),
        change("WORKDIR /srv/a"),
        change("EXPOSE 80"),
        change("LABEL c=d"),
    ];
    let commit = [
        &["commit", "-m", "why", "-a", "me", "--pause=false"][..],
        &changes.concat(),
        &["box", "made:1"],
    ];
    let commit = commit.concat();
    let dated = |args: &[&str]| {
        let mut command = machine.0.command(args);
        crate::husk::said(command.env("SOURCE_DATE_EPOCH", "86400").output().unwrap())
    };
    let id = dated(&commit);
    assert_eq!((id.status, id.stderr.as_str()), (0, ""));
    let id = id.out();
    assert!(id.starts_with("sha256:") && id.len() == 72, "{id}");
    assert_eq!(
        dated(&commit).out(),
        id,
        "the same changes are the same image"
    );
    let images = machine.does(&["images"]);
    let row = images.lines().find(|line| line.starts_with("made:1"));
    assert!(row.is_some_and(|row| row.contains(&id[7..19])), "{images}");
    let shown: serde_json::Value =
        serde_json::from_str(&machine.does(&["inspect", "made:1"])).unwrap();
    let config = &shown[0]["Config"];
    let env = config["Env"].as_array().unwrap();
    assert!(
        env.contains(&"COLOUR=grey".into()) && env.contains(&"SHAPE=a circle".into()),
        "{env:?}"
    );
    assert_eq!(config["Labels"]["a"], "b");
    assert_eq!(config["Labels"]["c"], "d");
    assert_eq!(config["WorkingDir"], "/srv/a");
    assert_eq!(config["Cmd"], serde_json::json!(["cat", "/srv/a/b/c"]));
    assert!(config["ExposedPorts"]["80/tcp"].is_object());
    assert_eq!(machine.does(&["run", "--rm", "made:1"]), "x\n");
    let script = "
        pwd; echo $COLOUR $SHAPE; ls /usr/sbin /bin/kwa /home /data; stat -c '%a %u:%g %h' /etc/group /home/u /srv/hard
        readlink /root/l; [ -e /etc/passwd ] || [ -e /bin/awk ] || echo gone; cat /srv/hard";
    let expected = "/srv/a\ngrey a circle\n/bin/kwa\n\n/data:\n\n/home:\nu\n\n/usr/sbin:\nnew\n600 0:0 1\n\
        755 12:34 2\n644 0:0 2\nx\ngone\nx\n";
    for wall in WALLS {
        assert_eq!(machine.run(wall, "made:1", script), expected, "{wall:?}");
    }
}

fn exports(machine: &Machine) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("root.tar").display().to_string();
    machine.does(&["export", "-o", &path, "box"]);
    let listed = tool("tar", &["--numeric-owner", "-tvf", &path]);
    let line = |name: &str| {
        let found = listed.lines().find(|line| line.ends_with(name));
        found
            .unwrap_or_else(|| panic!("{name}: {listed}"))
            .to_owned()
    };
    assert!(line(" etc/group").starts_with("-rw------- 0/0"));
    assert!(line(" home/u/").starts_with("drwxr-xr-x 12/34"));
    assert!(line(" srv/hard link to srv/a/b/c").starts_with('h'));
    line(" data/");
    for name in [" data/out", " etc/passwd", " dev/null"] {
        assert!(!listed.lines().any(|line| line.ends_with(name)), "{name}");
    }
    let stdout = machine.0.say(&["export", "box"]).stdout;
    assert_eq!(stdout, fs::read(&path).unwrap());
}

#[test]
fn a_container_is_copied_from_and_to_and_its_links_end_in_it() {
    let script = "mkdir -p /srv/d; echo text > /srv/d/f; chmod 4640 /srv/d/f; ln -s / /srv/root; ln -s /etc/passwd /srv/d/l
        ln -s /proc/1/root /srv/one; mkfifo /srv/d/p; ln /srv/d/f /srv/d/h";
    let machine = Machine::start(Wall::Container, &["--tmpfs", "/data"], script);
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let path = |name: &str| at(name).display().to_string();
    machine.does(&["cp", "box:/srv/d", &path("out")]);
    assert_eq!(fs::read_to_string(at("out/f")).unwrap(), "text\n");
    assert_eq!(
        fs::read_link(at("out/l")).unwrap(),
        Path::new("/etc/passwd")
    );
    let file = fs::metadata(at("out/f")).unwrap();
    assert_eq!(
        (file.permissions().mode() & 0o7777, file.nlink()),
        (0o640, 2)
    );
    // The host's own names are out of reach, in both directions.
    let own = tempfile::Builder::new()
        .prefix("husk-outside-")
        .tempdir_in("/tmp")
        .unwrap();
    let outside = own.path().display().to_string();
    fs::write(own.path().join("secret"), "the host's").unwrap();
    fs::write(at("file"), "mine").unwrap();
    for way in ["/srv/root", "/srv/one"] {
        machine.refuses(
            &["cp", &format!("box:{way}{outside}/secret"), &path("x")],
            1,
            &["secret"],
        );
        machine.refuses(
            &["cp", &path("file"), &format!("box:{way}{outside}/made")],
            1,
            &[&outside],
        );
    }
    assert_eq!(fs::read_dir(own.path()).unwrap().count(), 1);
    machine.does(&["cp", &path("file"), "box:/srv/root/tmp/made"]);
    machine.does(&["cp", &path("out"), "box:/data/in"]);
    symlink("file", at("link")).unwrap();
    machine.does(&["cp", &path("link"), "box:/data"]);
    machine.does(&["cp", "box:/data/.", &path("back")]);
    assert_eq!(fs::read_to_string(at("back/in/h")).unwrap(), "text\n");
    assert_eq!(fs::read_link(at("back/link")).unwrap(), Path::new("file"));
    machine.does(&["cp", "box:/tmp/made", &path("made")]);
    assert_eq!(fs::read_to_string(at("made")).unwrap(), "mine");
    let large = vec![7; 3 << 20];
    fs::write(at("large"), &large).unwrap();
    machine.does(&["cp", &path("large"), "box:/data/large"]);
    machine.does(&["cp", "box:/data/large", &path("again")]);
    assert!(fs::read(at("again")).unwrap() == large);
}

#[test]
fn an_image_without_any_program_is_copied_from_and_to() {
    let (_folder, image) = distroless();
    for wall in WALLS {
        let husk = Husk::fresh().behind(wall);
        let machine = Machine(husk);
        machine.does(&["run", "-d", "--name", "box", "--probe", &image, "--wait"]);
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        let patience = Instant::now() + Duration::from_secs(60);
        while machine
            .0
            .say(&["cp", "box:/readme", &path("readme")])
            .status
            != 0
        {
            assert!(Instant::now() < patience, "{wall:?}: it does not come");
            sleep(Duration::from_millis(100));
        }
        assert_eq!(
            fs::read_to_string(path("readme")).unwrap(),
            "no program here\n"
        );
        machine.does(&["cp", &path("readme"), "box:/copy"]);
        let diff = machine.does(&["diff", "box"]);
        assert!(
            diff.lines().any(|line| line == "A /copy"),
            "{wall:?}: {diff}"
        );
        assert!(!diff.contains("husk"), "{wall:?}: {diff}");
        machine.does(&["commit", "--pause=false", "box", "more:1"]);
    }
}

/// Pairs of files of which the second is written right behind the first: by one process, and by children of another that live
/// no longer than that. Between the two, by their names, is what takes a while to read.
const IN_STEP: &str = "
    mkdir /w /f; truncate -s $SIZE /w/m /f/m
    trap 'echo >> /signalled' CONT
    while :; do ( echo >> /f/a; echo >> /f/z ); done &
    while :; do
        echo >> /w/a; echo >> /w/z
        read group < /proc/self/cgroup
        case \"$group\" in *halted*) echo \"$group\" >> /moved; esac
    done";

const COUNTS: &str =
    "wc -l < /w/a; wc -l < /w/z; wc -l < /f/a; wc -l < /f/z; ls -d /moved /signalled 2>&-; :";

/// The lengths of the files: of the four that grow only, if nobody has seen anything of it.
fn counts(said: &str) -> Vec<u64> {
    let numbers = said.lines().map(str::parse);
    let numbers = numbers.collect::<Result<Vec<_>, _>>();
    numbers.unwrap_or_else(|_| panic!("somebody saw it: {said}"))
}

/// Whether containers of this user can be halted: says why, if not.
fn is_halted_by(said: &Said) -> bool {
    let can = !said.stderr.contains("no control group");
    if !can {
        crate::husk::skip("a container of this user has no control group to pause it by");
    }
    can
}

#[test]
fn a_commit_is_of_one_moment_and_nobody_in_the_machine_knows() {
    for wall in WALLS {
        // It takes a second in a guest whose kernel is interpreted, and a moment on the host.
        let size = match wall {
            Wall::Vm => "SIZE=4M",
            Wall::Container => "SIZE=64M",
        };
        let script = format!("({IN_STEP}) & :");
        let machine = Machine::start(wall, &["-e", size], &script);
        wait_until("nobody writes", || {
            let mut files = ["box:/w/z", "box:/f/z"].iter();
            files.all(|file| machine.0.say(&["cp", file, "-"]).status == 0)
        });
        let made = machine.0.say(&["commit", "--pause", "box", "moment:1"]);
        if !is_halted_by(&made) {
            assert_eq!((made.status, made.stderr.lines().count()), (1, 1));
            let made = machine.0.say(&["commit", "box", "moment:1"]);
            assert_eq!((made.status, made.stderr.lines().count()), (0, 1));
            assert!(made.stderr.contains("goes on meanwhile"), "{}", made.stderr);
            continue;
        }
        assert_eq!((made.status, made.stderr.as_str()), (0, ""), "{wall:?}");
        let taken = counts(&machine.run(Wall::Container, "moment:1", COUNTS));
        let is_of_one_moment = |pair: &[u64]| pair[0] == pair[1] || pair[0] == pair[1] + 1;
        assert_eq!(taken.len(), 4);
        assert!(taken.chunks(2).all(is_of_one_moment), "{wall:?}: {taken:?}");
        // It goes on, where it was.
        let patience = Instant::now() + Duration::from_secs(60);
        loop {
            let now = counts(&machine.does(&["exec", "box", "sh", "-c", COUNTS]));
            if now.iter().zip(&taken).all(|(now, then)| now > then) {
                break;
            }
            assert!(Instant::now() < patience, "{wall:?}: {now:?}, {taken:?}");
        }
    }
}

/// Says on and on that it goes on, beside what takes a while to read.
const GOING_ON: &str = "
    truncate -s 24M /large
    while :; do echo on; sleep .1; done & :";

/// Bytes that a process has read (proc(5), "io").
fn has_read(pid: u32) -> u64 {
    let read = fs::read_to_string(format!("/proc/{pid}/io")).unwrap_or_default();
    let count = read.lines().find_map(|line| line.strip_prefix("rchar: "));
    count.map_or(0, |count| count.parse().unwrap())
}

fn signal(pid: u32, signal: &str) {
    tool("kill", &[signal, &pid.to_string()]);
}

/// Waits until it is so.
fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let patience = Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(Instant::now() < patience, "{what}");
    }
}

#[test]
fn a_commit_that_is_killed_leaves_nobody_halted() {
    for wall in WALLS {
        let machine = Machine::start(wall, &[], GOING_ON);
        let said = || machine.does(&["logs", "box"]).len();
        let mut commit = machine.0.start(&["commit", "--pause", "box", "killed:1"]);
        let pid = commit.id();
        wait_until("it reads nothing", || {
            let is_over = commit.try_wait().unwrap().is_some();
            is_over || has_read(pid) > 8 << 20
        });
        signal(pid, "-STOP");
        if let Some(ended) = commit.try_wait().unwrap() {
            let said = crate::husk::said(commit.wait_with_output().unwrap());
            assert!(!is_halted_by(&said), "{ended}: {}", said.stderr);
            continue;
        }
        wait_until("nobody is halted", || {
            let before = said();
            sleep(Duration::from_secs(2));
            said() == before
        });
        // It begins when the others go on.
        let beside = machine.0.start(&["exec", "box", "echo", "begun"]);
        let stood = said();
        signal(pid, "-KILL");
        commit.wait().unwrap();
        wait_until("they do not go on", || said() > stood);
        let beside = crate::husk::said(beside.wait_with_output().unwrap());
        assert_eq!((beside.status, beside.out().as_str()), (0, "begun\n"));
        machine.refuses(&["run", "--rm", "killed:1"], 125, &["killed:1"]);
        machine.does(&["commit", "box", "whole:1"]);
    }
}

#[test]
fn what_is_paused_already_stays_paused_where_it_can_be_read() {
    for wall in WALLS {
        let machine = Machine::start(wall, &[], "echo kept > /kept");
        let paused = machine.0.say(&["pause", "box"]);
        if paused.stderr.contains("no control group") {
            crate::husk::skip("a container of this user has no control group to pause it by");
            continue;
        }
        match wall {
            // A program in the machine would read it.
            Wall::Vm => machine.refuses(&["commit", "box", "x:1"], 1, &["husk unpause"]),
            Wall::Container => {
                machine.does(&["commit", "box", "x:1"]);
                let status = ["inspect", "-f", "{{.State.Paused}}", "box"];
                assert_eq!(machine.does(&status), "true\n");
                machine.refuses(&["exec", "box", "true"], 1, &["husk unpause"]);
            }
        }
        machine.does(&["unpause", "box"]);
        machine.does(&["exec", "box", "true"]);
    }
}
