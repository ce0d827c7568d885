//! What a workload finds around it: what a container would have given it.

use std::fs;

use crate::container::processes;
use crate::husk::{Husk, WALLS, skip};

#[test]
fn the_machine_looks_like_a_container() {
    let script = "
        set -e
        for device in null zero full random urandom tty ptmx; do test -c /dev/$device; done
        for name in fd stdin stdout stderr; do test -L /dev/$name; done
        test -d /dev/pts && test -d /dev/shm && test -d /dev/mqueue
        test ! -e /dev/vda && test ! -e /dev/kmsg && test ! -e /dev/vsock
        head -c 4 /dev/zero | od -An -tx1
        echo into-stdout > /dev/stdout
        grep -c ' / ' /proc/self/mounts
        test -f /sys/fs/cgroup/cgroup.procs || test -f /sys/fs/cgroup/pids/cgroup.procs
        test -d /sys/class/net/lo
        echo shared > /dev/shm/x && cat /dev/shm/x
        ls -d /rootfs /init /.husk-probe 2>/dev/null || echo no trace of the machine";
    for husk in Husk::behind_each() {
        assert_eq!(
            husk.shell(&[], script),
            " 00 00 00 00\ninto-stdout\n1\nshared\nno trace of the machine\n"
        );
    }
}

#[test]
fn names_time_and_files_are_the_hosts_to_give() {
    Husk::behind_each().for_each(|husk| check_names(&husk));
}

fn check_names(husk: &Husk) {
    let script =
        "hostname; cat /etc/hostname; grep -c box.example /etc/hosts; test -f /etc/resolv.conf;
        echo $HOSTNAME $HOME $PATH; date +%s; id -u; pwd; ulimit -n; ulimit -Hn";
    let flags = ["--hostname", "box.example", "--ulimit", "nofile=100:200"];
    let out = husk.shell(&flags, script);
    let lines: Vec<&str> = out.lines().collect();
    let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    assert_eq!(lines[..3], ["box.example", "box.example", "1"]);
    assert_eq!(lines[3], format!("box.example /root {path}"));
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs();
    let guest: u64 = lines[4].parse().unwrap();
    assert!(
        now.abs_diff(guest) < 60,
        "the guest's clock says {guest}, the host's {now}"
    );
    assert_eq!(lines[5..], ["0", "/", "100", "200"]);
}

#[test]
fn flags_change_user_directory_environment_and_mounts() {
    let flags = [
        "-u",
        "www-data:users",
        "-w",
        "/made/for/me",
        "-e",
        "A=b c",
        "-e",
        "HOST_ONLY",
        "--read-only",
        "--tmpfs",
        "/scratch:size=1m,mode=1777",
    ];
    let script = "id -u; id -g; pwd; echo \"$A\" $HOST_ONLY; echo $HOME;
        touch /x 2>/dev/null || echo refused; echo ok > /scratch/x && cat /scratch/x;
        df -k /scratch | tail -1 | awk '{print $2}'";
    let mut args = vec!["run"];
    args.extend(flags);
    args.extend(["busybox", "sh", "-c", script]);
    for husk in Husk::behind_each() {
        let mut command = husk.command(&args);
        let output = command.env("HOST_ONLY", "from here").output().unwrap();
        let out = String::from_utf8(output.stdout).unwrap();
        let expected = "33\n100\n/made/for/me\nb c from here\n/var/www\nrefused\nok\n1024\n";
        assert_eq!(out, expected, "{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn cpus_and_memory_are_real() {
    let script =
        "grep -c ^processor /proc/cpuinfo; awk '/MemTotal/ {print int($2 / 1024)}' /proc/meminfo";
    let out = Husk::shared().shell(&["--cpus", "2", "-m", "300m"], script);
    let numbers: Vec<u32> = out.lines().map(|line| line.parse().unwrap()).collect();
    assert_eq!(numbers[0], 2);
    assert!((230..=300).contains(&numbers[1]), "{} MiB", numbers[1]);
}

#[test]
fn processors_are_those_that_were_said() {
    let script = "grep Cpus_allowed_list /proc/self/status; echo ready; sleep 1000";
    for husk in WALLS.map(|wall| Husk::fresh().behind(wall)) {
        let flags = ["run", "-d", "--name", "one", "--cpuset-cpus", "0"];
        let command = ["busybox", "sh", "-c", script];
        let said = husk.say(&[&flags[..], &command].concat());
        assert_eq!(said.status, 0, "{}", said.stderr);
        let begun = std::time::Instant::now();
        while !husk.say(&["logs", "one"]).out().ends_with("ready\n") {
            assert!(begun.elapsed().as_secs() < 60);
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        assert_eq!(
            husk.say(&["logs", "one"]).out(),
            "Cpus_allowed_list:\t0\nready\n"
        );
        // As the host sees it: every thread of who keeps it, and of who is it.
        let keepers = processes(&husk);
        let children = keepers.iter().flat_map(|pid| {
            let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
            let children = children.unwrap_or_default();
            children
                .split_whitespace()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        });
        for pid in keepers.iter().cloned().chain(children) {
            for task in fs::read_dir(format!("/proc/{pid}/task"))
                .into_iter()
                .flatten()
            {
                let status = fs::read_to_string(task.unwrap().path().join("status"));
                let status = status.unwrap_or_else(|_| "Cpus_allowed_list:\t0\n".to_owned());
                assert!(status.contains("Cpus_allowed_list:\t0\n"), "{status}");
            }
        }
        husk.say(&["rm", "-f", "one"]);
        husk.say(&["run", "--cpuset-cpus", "0,4095", "busybox"])
            .is_one_clear_line(&["--cpuset-cpus", "CPU 4095"]);
        husk.say(&["run", "--cpuset-cpus", "0-", "busybox"])
            .is_one_clear_line(&["--cpuset-cpus `0-`"]);
    }
}

#[test]
fn processes_are_as_many_as_was_said() {
    let script = "for number in 1 2 3 4 5 6; do sleep 1000 & echo $number; done";
    for husk in Husk::behind_each() {
        let flags = ["run", "--rm", "--pids-limit", "5"];
        let command = ["busybox", "sh", "-c", script];
        let said = husk.say(&[&flags[..], &command].concat());
        if said
            .stderr
            .contains("--pids-limit of a container is not enforced")
        {
            skip("this host lets nobody bound the processes of a container");
            continue;
        }
        // The shell is one of them.
        let expected = (2, "1\n2\n3\n4\n".to_owned());
        assert_eq!((said.status, said.out()), expected, "{}", said.stderr);
        assert!(said.stderr.contains("can't fork"), "{}", said.stderr);
    }
    let refused = Husk::shared().say(&["run", "--pids-limit", "few", "busybox"]);
    refused.is_one_clear_line(&["--pids-limit `few`"]);
}

#[test]
fn what_the_workload_leaves_running_ends_with_it() {
    let script = "sleep 1000 & (sleep 1000 &) ; echo done";
    let begun = std::time::Instant::now();
    for husk in Husk::behind_each() {
        assert_eq!(husk.shell(&[], script), "done\n");
    }
    assert!(
        begun.elapsed().as_secs() < 500,
        "it waited for what was left running"
    );
}
