//! `--device-read-bps` and its like: how fast disks may be used, behind both walls.

use serde_json::{Value, json};

use crate::husk::{Husk, WALLS, Wall, skip};

/// Writes 512 KiB, and reads them again, of the disk itself; how many hundredths of a second each took.
const SCRIPT: &str = "now() { cut -d ' ' -f 1 /proc/uptime | tr -d .; }
    place=$1; begun=$(now)
    dd if=/dev/zero of=$place/x bs=64k count=8 $2 conv=fsync 2>/dev/null || exit 9
    written=$(now)
    [ -n \"$2\" ] || echo 3 >/proc/sys/vm/drop_caches
    dd if=$place/x of=/dev/null bs=64k $3 2>/dev/null || exit 9
    echo $((written - begun)) $(($(now) - written))";

/// What is said where the host cannot do it.
const NOT_ENFORCED: &str = "of a container is not enforced";

#[test]
fn disks_are_used_as_fast_as_was_said_and_again_after_a_start() {
    let rates = ["--device-write-bps", "128k", "--device-read-bps", "128k"];
    for husk in WALLS.map(|wall| Husk::fresh().behind(wall)) {
        let folder = husk.home().parent().unwrap().join("files");
        let folder = folder.to_str().unwrap();
        std::fs::create_dir(folder).unwrap();
        let mount = format!("{folder}:/files");
        // A guest's disk is its own; a container's is the host's, and what the host keeps in memory flows freely.
        let (more, words) = match husk.wall() {
            Wall::Vm => (["--disk", "64m"], ["/", "", ""]),
            Wall::Container => (["-v", &mount], ["/files", "oflag=direct", "iflag=direct"]),
        };
        let command = ["busybox", "sh", "-c", SCRIPT, "sh"];
        let said = husk.say(
            &[
                &["create", "--name", "one"],
                &rates[..],
                &more,
                &command,
                &words,
            ]
            .concat(),
        );
        assert_eq!(said.status, 0, "{}", said.stderr);
        let shown = husk.say(&["inspect", "-f", "{{json .HostConfig}}", "one"]);
        let shown: Value = serde_json::from_slice(&shown.stdout).unwrap();
        let rate = json!([{"Path": null, "Rate": 128 << 10}]);
        assert_eq!(shown["BlkioDeviceReadBps"], rate);
        assert_eq!(shown["BlkioDeviceWriteBps"], rate);
        assert_eq!(shown["BlkioDeviceReadIOps"], json!([]));
        let said = husk.say(&["start", "-a", "one"]);
        if said.stderr.contains(NOT_ENFORCED) || said.status == 9 {
            skip(
                "this host's control groups bound no disk, or its file system knows no direct I/O",
            );
            continue;
        }
        assert_eq!(said.status, 0, "{}{}", said.out(), said.stderr);
        let out = said.out();
        let took: Vec<u32> = out.split_whitespace().map(|n| n.parse().unwrap()).collect();
        assert!(
            took.len() == 2 && took.iter().all(|time| *time >= 250),
            "{took:?}"
        );
    }
}

#[test]
fn rates_that_make_no_sense_are_one_clear_line() {
    let husk = Husk::shared();
    for (flag, rate, says) in [
        ("--device-read-bps", "fast", "like 10m or /dev/sda:10m"),
        ("--device-write-iops", "1k", "like 100 or /dev/sda:100"),
        (
            "--device-write-bps",
            "sda:1m",
            "--device-write-bps `sda:1m`",
        ),
    ] {
        husk.say(&["run", flag, rate, "busybox"])
            .is_one_clear_line(&[flag, says]);
    }
    let husk = husk.behind(Wall::Container);
    for path in ["/dev/null", "/no/such/disk"] {
        let rate = format!("{path}:1m");
        husk.say(&["run", "--device-read-bps", &rate, "busybox", "true"])
            .is_one_clear_line(&["--device-read-bps", path, "lsblk"]);
    }
}
