//! A workload on a terminal: driven as people do, by keys on a real one (tmux), and looked at as it
//! shows.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::husk::{Husk, tool};
use crate::signals::children;

/// A command of a guest whose kernel is interpreted takes its time.
const PATIENCE: Duration = Duration::from_secs(90);

/// A terminal with a shell of this machine's on it, which runs husk and says how it ended.
struct Screen {
    server: String,
    folder: TempDir,
}

impl Screen {
    /// Runs husk with `args`, on 80 columns and 24 lines.
    fn run(husk: &Husk, args: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let command = husk.command(args);
        let words = [command.get_program()]
            .into_iter()
            .chain(command.get_args());
        let words: Vec<_> = words
            .map(|word| format!("'{}'", word.to_str().unwrap()))
            .collect();
        let at = folder.path().to_str().unwrap().to_owned();
        let script = format!(
            "stty -g >{at}/before; env HUSK_HOME='{}' sh -c 'echo $$ >{at}/pid; exec \"$@\"' - {}; \
             echo ended-$?; stty -g >{at}/after; echo over; sleep 1000",
            husk.home().display(),
            words.join(" ")
        );
        fs::write(folder.path().join("script"), script).unwrap();
        let server = format!("husk-{}", at.rsplit('/').next().unwrap());
        let screen = Self { server, folder };
        let run = format!("sh {at}/script");
        screen.tmux(&[
            "-f",
            "/dev/null",
            "new-session",
            "-d",
            "-x",
            "80",
            "-y",
            "24",
            &run,
        ]);
        screen
    }

    fn tmux(&self, args: &[&str]) -> String {
        tool("tmux", &[&["-L", &self.server], args].concat())
    }

    /// Presses keys, by tmux's names for them.
    fn press(&self, keys: &[&str]) {
        self.tmux(&[&["send-keys"], keys].concat());
    }

    /// Types words.
    fn type_in(&self, text: &str) {
        self.tmux(&["send-keys", "-l", text]);
    }

    /// Types a line, and waits until the last line above the prompt is `answer`.
    fn ask(&self, line: &str, answer: &str) {
        self.type_in(line);
        self.press(&["Enter"]);
        self.wait_for(&format!("{answer}\n/ #"));
        self.clear();
    }

    /// An empty screen, but for the prompt.
    fn clear(&self) {
        self.type_in("clear");
        self.press(&["Enter"]);
        let begun = Instant::now();
        while self.shown().trim_end() != "/ #" {
            assert!(begun.elapsed() < PATIENCE, "{}", self.shown());
            std::thread::sleep(Duration::from_millis(50));
        }
        Self::settle();
    }

    /// Waits until the program there has heard the terminal's answers: a shell at its prompt asks where the
    /// cursor is, and eats keys that come with the answer. It does so without husk, too.
    fn settle() {
        std::thread::sleep(Duration::from_millis(500));
    }

    fn shown(&self) -> String {
        self.tmux(&["capture-pane", "-p"])
    }

    fn wait_for(&self, text: &str) {
        let begun = Instant::now();
        while !self.shown().contains(text) {
            let shown = self.shown();
            assert!(begun.elapsed() < PATIENCE, "no `{text}` on:\n{shown}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits for husk's end with this status; then its terminal is what it was before.
    fn ends_with(&self, status: &str) {
        self.wait_for(&format!("ended-{status}\n"));
        self.wait_for("over\n");
        let modes = |name: &str| fs::read_to_string(self.folder.path().join(name)).unwrap();
        assert_eq!(modes("before"), modes("after"));
    }

    fn husk(&self) -> u32 {
        let pid = fs::read_to_string(self.folder.path().join("pid")).unwrap();
        pid.trim().parse().unwrap()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // It may be over already.
        let server = ["-L", &self.server, "kill-server"];
        let _over = Command::new("tmux").args(server).output();
    }
}

#[test]
fn a_shell_on_a_terminal_is_as_people_know_it() {
    Husk::behind_each().for_each(|husk| check_shell(&husk));
}

fn check_shell(husk: &Husk) {
    let screen = Screen::run(husk, &["run", "-it", "busybox", "sh"]);
    screen.wait_for("/ #");
    edits_lines(&screen);
    screen.ask(
        "echo $TERM; tty; test -c /dev/console; echo $?",
        "xterm\n/dev/pts/0\n0",
    );
    screen.ask("stty size", "24 80");
    screen.tmux(&["resize-window", "-x", "100", "-y", "30"]);
    screen.ask("stty size", "30 100");
    controls_jobs(&screen);
    edits_files(&screen);
    screen.type_in("top");
    screen.press(&["Enter"]);
    screen.wait_for("Load average");
    screen.press(&["q"]);
    screen.wait_for("/ #");
    screen.type_in("exit 7");
    screen.press(&["Enter"]);
    screen.ends_with("7");
}

fn edits_lines(screen: &Screen) {
    screen.type_in("ech one");
    screen.press(&["Left", "Left", "Left", "Left"]);
    screen.ask("o", "one");
    // Beyond the line that cleared the screen.
    screen.press(&["Up"]);
    screen.wait_for("/ # clear");
    screen.press(&["Up"]);
    screen.wait_for("/ # echo one");
    screen.press(&["BSpace"]);
    screen.ask("ce", "once");
}

fn controls_jobs(screen: &Screen) {
    screen.type_in("sleep 1000");
    screen.press(&["Enter"]);
    std::thread::sleep(Duration::from_secs(1));
    screen.press(&["C-c"]);
    screen.wait_for("^C\n/ #");
    screen.ask("echo status $?", "status 130");
    screen.type_in("sleep 1000");
    screen.press(&["Enter"]);
    std::thread::sleep(Duration::from_secs(1));
    screen.press(&["C-z"]);
    screen.wait_for("Stopped");
    screen.type_in("fg");
    screen.press(&["Enter"]);
    screen.wait_for("fg\nsleep 1000\n");
    screen.press(&["C-c"]);
    screen.wait_for("^C\n/ #");
    screen.ask("jobs; echo none", "none");
}

fn edits_files(screen: &Screen) {
    screen.type_in("vi /tmp/file");
    screen.press(&["Enter"]);
    screen.wait_for("~\n~\n");
    Screen::settle();
    screen.type_in("itwo words");
    screen.press(&["Escape"]);
    Screen::settle();
    screen.type_in(":wq");
    screen.press(&["Enter"]);
    screen.wait_for("/ #");
    screen.clear();
    screen.ask("cat /tmp/file", "two words");
}

#[test]
fn a_terminal_in_the_background_is_left_and_taken_up_again() {
    for husk in Husk::behind_each() {
        let name = format!("back-{:?}", husk.wall()).to_lowercase();
        let started = husk.say(&["run", "-dit", "--name", &name, "busybox", "sh"]);
        assert_eq!(started.status, 0, "{}", started.stderr);
        let screen = Screen::run(&husk, &["attach", &name]);
        // What it said before is not shown again.
        Screen::settle();
        screen.press(&["Enter"]);
        screen.wait_for("/ #");
        Screen::settle();
        screen.ask("stty size; tty; kept=1", "24 80\n/dev/pts/0");
        screen.press(&["C-p", "C-q"]);
        screen.ends_with("0");
        let screen = Screen::run(&husk, &["attach", &name]);
        Screen::settle();
        screen.type_in("exit $((kept + 6))");
        screen.press(&["Enter"]);
        screen.ends_with("7");
        assert_eq!(husk.say(&["rm", &name]).status, 0);
    }
}

#[test]
fn a_command_beside_the_workload_has_a_terminal_of_its_own() {
    for husk in Husk::behind_each() {
        let name = format!("beside-{:?}", husk.wall()).to_lowercase();
        let run = ["run", "-d", "--name", &name, "busybox", "sleep", "1000"];
        let started = husk.say(&run);
        assert_eq!(started.status, 0, "{}", started.stderr);
        let screen = Screen::run(&husk, &["exec", "-it", &name, "sh"]);
        screen.wait_for("/ #");
        Screen::settle();
        screen.ask("stty size; tty", "24 80\n/dev/pts/0");
        screen.tmux(&["resize-window", "-x", "100", "-y", "30"]);
        screen.ask("stty size", "30 100");
        controls_jobs(&screen);
        // Left alone, it goes on.
        screen.type_in("sleep 999");
        screen.press(&["Enter"]);
        Screen::settle();
        screen.press(&["C-p", "C-q"]);
        screen.ends_with("0");
        let left = husk.say(&["exec", &name, "pidof", "sleep"]);
        assert_eq!(left.out().split_whitespace().count(), 2, "{}", left.out());
        let screen = Screen::run(&husk, &["exec", "-it", &name, "sh"]);
        screen.wait_for("/ #");
        Screen::settle();
        screen.type_in("exit 7");
        screen.press(&["Enter"]);
        screen.ends_with("7");
        assert_eq!(husk.say(&["rm", "-f", &name]).status, 0);
    }
}

#[test]
fn a_machine_that_is_killed_leaves_the_terminal_as_it_was() {
    let script = "echo ready; sleep 1000";
    let screen = Screen::run(
        &Husk::shared(),
        &["run", "-it", "busybox", "sh", "-c", script],
    );
    screen.wait_for("ready\n");
    let machines = children(screen.husk());
    assert_eq!(machines.len(), 1);
    tool("kill", &["-KILL", &machines[0].to_string()]);
    screen.ends_with("125");
}

#[test]
fn a_terminal_needs_no_input_and_input_on_it_needs_a_terminal() {
    let husk = Husk::shared();
    let refused = husk.say(&["run", "-it", "busybox", "true"]);
    refused.is_one_clear_line(&["not a TTY", "-t"]);
    let script = "test -t 0 && test -t 1 && test -t 2 && tty; exit 3";
    let walls: [&[&str]; 3] = [
        &["run", "-t"],
        &["run", "--wall", "container", "-t"],
        &["run", "--wall", "container", "--oci-runtime", "runc", "-t"],
    ];
    for wall in walls {
        let said = husk.say(&[wall, &["busybox", "sh", "-c", script]].concat());
        let (out, err) = (said.out(), said.stderr.as_str());
        assert_eq!(
            (said.status, out.as_str(), err),
            (3, "/dev/pts/0\r\n", ""),
            "{wall:?}"
        );
    }
}

#[test]
fn detach_keys_are_keys() {
    let refused = Husk::shared().say(&["run", "--detach-keys", "ctrl-1", "busybox", "true"]);
    assert_eq!(refused.status, 125);
    assert!(refused.stderr.contains("ctrl-1"), "{}", refused.stderr);
}
