//! Networks of ordinary users: their machines are together behind each wall, without root, and nobody else's are there.

use std::process::Command;

use rustix::process::Uid;
use tempfile::TempDir;

use crate::husk::{Husk, Said, WALLS, Wall, gives_containers_a_network, said, skip, within};
use crate::together::{kill, nothing_is_left};

const WAIT: &str = "while :; do sleep 1; done";

/// Somebody without rights, and a store of theirs.
struct User {
    id: &'static str,
    folder: TempDir,
}

impl User {
    fn new(id: &'static str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let owner = Uid::from_raw(id.parse().unwrap());
        rustix::fs::chown(folder.path(), Some(owner), None).unwrap();
        Self { id, folder }
    }

    fn husk(&self) -> Husk {
        Husk::at(self.folder.path())
    }

    /// What husk says to this user about `store`; /dev/net/tun and /dev/kvm are everybody's.
    fn say_about(&self, store: &Husk, args: &[&str]) -> Said {
        let inner = store.command(args);
        let script = format!(
            "mount -t tmpfs -o dev none /mnt && mkdir /mnt/net &&
            mknod -m 666 /mnt/net/tun c 10 200 && mknod -m 666 /mnt/kvm c 10 232 &&
            mount --bind /mnt/net/tun /dev/net/tun && mount --bind /mnt/kvm /dev/kvm && umount -l /mnt &&
            exec setpriv --reuid {0} --regid {0} --clear-groups \"$@\"",
            self.id
        );
        let mut command = Command::new("unshare");
        command.args(["-m", "sh", "-c", &script, "sh"]);
        said(within(command, &inner).output().unwrap())
    }

    fn say(&self, wall: Wall, args: &[&str]) -> Said {
        self.say_about(&self.husk().behind(wall), args)
    }

    fn does(&self, wall: Wall, args: &[&str]) -> String {
        let said = self.say(wall, args);
        assert_eq!((said.status, said.stderr.as_str()), (0, ""), "{args:?}");
        said.out()
    }

    fn start(&self, wall: Wall, name: &str) {
        let words = ["run", "-d", "--name", name, "--network", "back"];
        self.does(wall, &[&words[..], &["busybox", "sh", "-c", WAIT]].concat());
    }

    /// Whether one finds the other by name within a minute, or at once.
    fn pings(&self, from: &str, to: &str, tries: usize) -> bool {
        let script = format!(
            "i=0; until ping -c 1 -W 5 {to}; do i=$((i+1)); [ $i -lt {tries} ] || exit 1; sleep 1; done"
        );
        let args = ["exec", from, "sh", "-c", &script];
        self.say(Wall::Container, &args).status == 0
    }
}

fn may_be_others() -> bool {
    if !rustix::process::geteuid().is_root() {
        skip("becoming ordinary users: these tests are run by one");
        return false;
    }
    gives_containers_a_network()
}

#[test]
fn an_ordinary_users_machines_are_together_and_others_are_not_there() {
    if !may_be_others() {
        return;
    }
    let (user, other) = (User::new("60123"), User::new("60124"));
    for somebody in [&user, &other] {
        somebody.does(Wall::Container, &["network", "create", "back"]);
    }
    user.start(Wall::Container, "one");
    other.start(Wall::Container, "theirs");
    for wall in WALLS {
        user.start(wall, "two");
        assert!(
            user.pings("two", "one", 9) && user.pings("one", "two", 9),
            "{wall:?}"
        );
        assert!(!user.pings("two", "theirs", 1), "{wall:?}");
        user.does(wall, &["rm", "-f", "two"]);
    }
    assert!(!other.pings("theirs", "one", 1));
    // The same numbers are another network's.
    let shown = other.does(Wall::Container, &["network", "inspect", "back"]);
    assert!(
        shown.contains("\"theirs\"") && !shown.contains("\"one\""),
        "{shown}"
    );
    for args in [
        &["network", "ls"][..],
        &["network", "rm", "back"],
        &["run", "--rm", "--network", "back", "busybox", "true"],
        &["network", "connect", "back", "one"],
    ] {
        let about = user.husk().behind(Wall::Container);
        let said = other.say_about(&about, args);
        assert_ne!(said.status, 0, "{args:?}");
        assert_eq!(said.stderr.lines().count(), 1, "{args:?}: {}", said.stderr);
        assert!(said.stderr.contains("Permission denied"), "{}", said.stderr);
    }
    assert!(
        user.say(Wall::Container, &["ps", "-q"])
            .out()
            .lines()
            .count()
            == 1
    );
    user.does(Wall::Container, &["rm", "-f", "one"]);
    other.does(Wall::Container, &["rm", "-f", "theirs"]);
    [user, other]
        .iter()
        .for_each(|one| nothing_is_left(&one.husk(), "back"));
}

#[test]
fn an_ordinary_users_containers_join_leave_and_come_back() {
    if !may_be_others() {
        return;
    }
    let user = User::new("60123");
    let does = |args: &[&str]| user.does(Wall::Container, args);
    for network in ["back", "front"] {
        does(&["network", "create", network]);
    }
    for name in ["one", "two"] {
        user.start(Wall::Container, name);
        does(&["network", "connect", "front", name]);
    }
    kill(&user.husk(), "husk-switch");
    assert!(user.pings("one", "two", 30) && user.pings("two", "one", 30));
    for name in ["one", "two"] {
        does(&["network", "disconnect", "back", name]);
    }
    assert!(user.pings("one", "two", 9), "by the other network");
    does(&["rename", "two", "dos"]);
    assert!(user.pings("one", "dos", 9) && !user.pings("one", "two", 1));
    does(&["network", "disconnect", "front", "dos"]);
    assert!(!user.pings("one", "dos", 1));
    does(&["rm", "-f", "one", "dos"]);
    nothing_is_left(&user.husk(), "back");
}
