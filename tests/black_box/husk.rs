//! The binary under test, with a store of its own.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use tempfile::TempDir;

/// The walls that every promise of `run` holds behind.
pub const WALLS: [Wall; 2] = [Wall::Vm, Wall::Container];

/// What stands between a workload and this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wall {
    /// A machine: what `run` does when nothing is said.
    Vm,
    /// Namespaces, made by husk's own runtime.
    Container,
}

/// A husk with a store.
pub struct Husk {
    home: PathBuf,
    wall: Wall,
    _own: Option<TempDir>,
}

/// What a command said and how it ended.
pub struct Said {
    pub status: i32,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

impl Said {
    pub fn out(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// One line, exit 125, and each of `words` in it.
    pub fn is_one_clear_line(&self, words: &[&str]) {
        assert_eq!(self.status, 125, "{}", self.stderr);
        assert_eq!(self.stderr.lines().count(), 1, "one line: {}", self.stderr);
        assert!(self.stderr.starts_with("husk: "), "{}", self.stderr);
        for word in words {
            assert!(
                self.stderr.contains(word),
                "`{word}` is not in: {}",
                self.stderr
            );
        }
    }
}

impl Husk {
    /// A store that all tests share: fit for runs, not for counting what is in it.
    pub fn shared() -> Self {
        static HOME: OnceLock<PathBuf> = OnceLock::new();
        let home = HOME.get_or_init(|| Path::new(env!("CARGO_TARGET_TMPDIR")).join("shared-store"));
        fs::create_dir_all(home).unwrap();
        Self {
            home: home.clone(),
            wall: Wall::Vm,
            _own: None,
        }
    }

    /// An empty store of one's own.
    pub fn fresh() -> Self {
        let own = tempfile::tempdir().unwrap();
        Self {
            home: own.path().join("store"),
            wall: Wall::Vm,
            _own: Some(own),
        }
    }

    /// With the store in this folder, which is somebody else's.
    pub fn at(folder: &Path) -> Self {
        Self {
            home: folder.join("store"),
            wall: Wall::Vm,
            _own: None,
        }
    }

    /// The same husk, whose every `run` is behind `wall`.
    pub fn behind(self, wall: Wall) -> Self {
        Self { wall, ..self }
    }

    /// The husk that all tests share, behind one wall after the other.
    pub fn behind_each() -> impl Iterator<Item = Self> {
        WALLS.into_iter().map(|wall| Self::shared().behind(wall))
    }

    /// What its runs are behind.
    pub fn wall(&self) -> Wall {
        self.wall
    }

    /// Where the store is.
    pub fn home(&self) -> &Path {
        &self.home
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_husk"));
        let (verb, rest) = args.split_at(args.len().min(1));
        let behind = (matches!(verb, ["run" | "create"]) && self.wall == Wall::Container)
            .then_some(["--wall", "container"]);
        command
            .args(verb)
            .args(behind.into_iter().flatten())
            .args(rest)
            .env("HUSK_HOME", &self.home)
            // What the person who tests wants of husk is not what is tested.
            .env("HUSK_CONFIG", "/dev/null")
            .stdin(Stdio::null());
        command
    }

    pub fn say(&self, args: &[&str]) -> Said {
        said(self.command(args).output().unwrap())
    }

    /// Runs with `input` on stdin.
    pub fn feed(&self, args: &[&str], input: &[u8]) -> Said {
        let mut child = self.start(args);
        let mut stdin = child.stdin.take().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                // The workload may stop reading early.
                let _closed = stdin.write_all(input);
            });
            said(child.wait_with_output().unwrap())
        })
    }

    /// Starts with all three streams as pipes.
    pub fn start(&self, args: &[&str]) -> Child {
        self.command(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    /// Runs a shell script in the busybox image and gives what it printed; it must succeed.
    pub fn shell(&self, flags: &[&str], script: &str) -> String {
        let mut args = vec!["run"];
        args.extend(flags);
        args.extend(["busybox", "sh", "-c", script]);
        let said = self.say(&args);
        assert_eq!(
            (said.status, said.stderr.as_str()),
            (0, ""),
            "{:?}: {script}: {}",
            self.wall,
            said.out()
        );
        said.out()
    }
}

/// Whether guest kernels run on the processor, or on its emulation in the lab, rather than being
/// interpreted: as husk itself measures it.
pub fn kvm_is_hardware() -> bool {
    static HARDWARE: OnceLock<bool> = OnceLock::new();
    *HARDWARE.get_or_init(|| {
        let said = Husk::shared().say(&["doctor"]);
        said.out().contains("kind of KVM: hardware")
    })
}

/// Whether containers have a network here: says why, if not.
pub fn gives_containers_a_network() -> bool {
    let tun = File::options().read(true).write(true).open("/dev/net/tun");
    if let Err(error) = &tun {
        skip(&format!("a container's network: /dev/net/tun: {error}"));
    }
    tun.is_ok()
}

/// Says what this lane does not test, and why: past the harness, which shows only failures.
pub fn skip(reason: &str) {
    // A closed stderr is no reason to fail.
    let _closed = writeln!(std::io::stderr(), "skipped: {reason}");
}

/// `outer` with `inner` as its last words, and with its environment.
pub fn within(mut outer: Command, inner: &Command) -> Command {
    outer.arg(inner.get_program()).args(inner.get_args());
    for (name, value) in inner.get_envs() {
        outer.env(name, value.unwrap_or_default());
    }
    outer
}

pub fn said(output: std::process::Output) -> Said {
    Said {
        status: output.status.code().unwrap_or(-1),
        stdout: output.stdout,
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Runs a tool that makes test images; its failure is the test's, with its own words.
pub fn tool(program: &str, args: &[&str]) -> String {
    let output = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}: run tests/all once"));
    let said = said(output);
    assert_eq!(said.status, 0, "{program} {args:?}: {}", said.stderr);
    said.out()
}
