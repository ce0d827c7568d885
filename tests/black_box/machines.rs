//! Machines of many shapes: CPUs and memory.

use crate::husk::{Husk, kvm_is_hardware, skip};

/// What a guest of `count` CPUs prints: all of them are there, cores of one package, each runs
/// what is pinned to it, and each has a timer.
pub const CPUS: &str = r#"
    cat /sys/devices/system/cpu/online
    grep '^core id' /proc/cpuinfo | sort -u | wc -l
    grep '^physical id' /proc/cpuinfo | sort -u | wc -l
    cpu=0
    while [ -d /sys/devices/system/cpu/cpu$cpu ]; do
        taskset -c $cpu sha256sum /bin/busybox > /dev/shm/$cpu && echo ran >> /dev/shm/ran &
        cpu=$((cpu + 1))
    done
    wait
    wc -l < /dev/shm/ran
    cat /dev/shm/[0-9]* | sort -u | wc -l
    awk '/^ *LOC:/ { for (i = 2; $i + 0 > 0; i++) n++; print n }' /proc/interrupts
"#;

#[test]
fn two_and_four_cpus_all_work() {
    if !kvm_is_hardware() {
        return skip("two and four CPUs: an interpreted kernel takes minutes to start them");
    }
    for (count, online) in [("2", "0-1"), ("4", "0-3")] {
        let out = Husk::shared().shell(&["--cpus", count], CPUS);
        let expected = [online, count, "1", count, "1", count];
        assert_eq!(out.lines().collect::<Vec<_>>(), expected, "{count} CPUs");
    }
}

#[test]
fn memory_from_64_mib_to_4_gib() {
    let script = "awk '/MemTotal/ {print int($2 / 1024)}' /proc/meminfo;
        yes something to keep | head -c 4m > /dev/shm/x && md5sum < /dev/shm/x > /dev/shm/sum &&
        md5sum < /dev/shm/x | cmp - /dev/shm/sum && echo kept";
    // Where a boot takes seconds: the least, the most, and one between.
    let sizes: &[u32] = match kvm_is_hardware() {
        true => &[64, 128, 1024, 2048, 3072, 4096],
        false => &[64, 1024, 4096],
    };
    for &asked in sizes {
        let out = Husk::shared().shell(&["-m", &format!("{asked}m")], script);
        let lines: Vec<_> = out.lines().collect();
        let usable: u32 = lines[0].parse().unwrap();
        let least = asked - asked / 32 - 24;
        assert!(
            (least..=asked).contains(&usable),
            "{usable} MiB of {asked} are usable"
        );
        assert_eq!(lines[1..], ["kept"]);
    }
}

#[test]
fn nearly_all_memory_is_the_workloads() {
    if !kvm_is_hardware() {
        return skip("a machine full of data: an interpreted kernel takes minutes to write it");
    }
    let script = "fill() { for copy in $(seq 46); do cat /bin/busybox; done; }
        fill > /kept/x && du -m /kept/x | cut -f1 && sum=$(md5sum < /kept/x) &&
        [ \"$sum\" = \"$(fill | md5sum)\" ] && echo same";
    let flags = ["-m", "128m", "--tmpfs", "/kept:size=95m"];
    let out = Husk::shared().shell(&flags, script);
    let (kept, same) = out.split_once('\n').unwrap();
    assert!(kept.parse::<u32>().unwrap() >= 80, "{kept} MiB of 128");
    assert_eq!(same, "same\n");
}

#[test]
fn a_workload_that_wants_more_than_there_is_is_killed() {
    if !kvm_is_hardware() {
        return skip("a workload without bounds: an interpreted kernel takes minutes to feed it");
    }
    let endless = r#"BEGIN { text = "x"; while (1) text = text text }"#;
    for cpus in ["1", "2"] {
        let run = [
            "run", "-m", "128m", "--cpus", cpus, "busybox", "awk", endless,
        ];
        let said = Husk::shared().say(&run);
        assert_eq!(
            (said.status, said.stderr.as_str()),
            (137, ""),
            "{cpus} CPUs"
        );
    }
}
