//! A kernel that is not husk's: Debian's for clouds, which finds CPUs and devices by ACPI alone, with
//! the initial RAM disk of `rootfs/initramfs`. And what is no initial RAM disk.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::husk::{Husk, Said, kvm_is_hardware, skip, tool};
use crate::machines::CPUS;

/// Where `tests/lab/stock` has put the kernel and its initial RAM disk.
fn stock() -> &'static Path {
    static MADE: OnceLock<PathBuf> = OnceLock::new();
    MADE.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("stock");
        let recipe = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/lab/stock");
        tool(recipe, &[folder.to_str().unwrap()]);
        folder
    })
}

/// Whether this lane is spared a stock kernel.
fn interpreted() -> bool {
    let interpreted = !kvm_is_hardware();
    if interpreted {
        skip("a stock kernel: on a software KVM, system calls need the patch that husk's own has");
    }
    interpreted
}

/// Runs with the stock kernel.
fn run(flags: &[&str], command: &[&str], input: &[u8]) -> Said {
    let (kernel, initrd) = (stock().join("vmlinuz"), stock().join("initrd"));
    let mut args = vec!["run", "--kernel", kernel.to_str().unwrap()];
    args.extend(["--initrd", initrd.to_str().unwrap()]);
    args.extend(flags);
    args.push("busybox");
    args.extend(command);
    Husk::shared().feed(&args, input)
}

#[test]
fn a_stock_kernel_runs_an_image() {
    if interpreted() {
        return;
    }
    let script = "uname -r; ls /sys/bus/virtio/devices | wc -l; cat; \
        ping -c 1 -W 5 10.117.107.1 | grep -c ' 0% packet loss'; touch /x && exit 7";
    let said = run(&["-i"], &["sh", "-c", script], b"by stdin\n");
    assert_eq!((said.status, said.stderr.as_str()), (7, ""));
    let out = said.out();
    let lines: Vec<_> = out.lines().collect();
    assert!(lines[0].ends_with("-cloud-amd64"), "{out}");
    // Disk, socket, entropy and network.
    assert_eq!(lines[1..], ["4", "by stdin", "1"]);
}

#[test]
fn a_stock_kernel_has_one_and_two_cpus() {
    if interpreted() {
        return;
    }
    for (count, online) in [("1", "0"), ("2", "0-1")] {
        let said = run(&["--cpus", count], &["sh", "-c", CPUS], b"");
        assert_eq!((said.status, said.stderr.as_str()), (0, ""));
        let expected = [online, count, "1", count, "1", count];
        let out = said.out();
        assert_eq!(out.lines().collect::<Vec<_>>(), expected, "{count} CPUs");
    }
}

#[test]
fn a_stock_kernel_without_its_initial_ram_disk_says_what_it_lacks() {
    if interpreted() {
        return;
    }
    let kernel = stock().join("vmlinuz");
    let args = [
        "run",
        "--kernel",
        kernel.to_str().unwrap(),
        "busybox",
        "true",
    ];
    let said = Husk::shared().say(&args);
    assert_eq!(said.status, 125);
    for words in ["the guest kernel panicked", "root fs"] {
        assert!(said.stderr.contains(words), "{}", said.stderr);
    }
}

/// A bzImage that says of itself what husk reads (boot.rst), and would do nothing.
fn write_bzimage(path: &Path) {
    const SECTOR: usize = 512;
    let mut image = vec![0; 8 * SECTOR];
    let mut put = |offset: usize, bytes: &[u8]| {
        image[offset..offset + bytes.len()].copy_from_slice(bytes);
    };
    put(0x1f1, &[1]);
    put(0x202, b"HdrS");
    put(0x206, &0x020f_u16.to_le_bytes());
    put(0x211, &[1]);
    put(0x214, &0x10_0000_u32.to_le_bytes());
    put(0x22c, &0x7fff_ffff_u32.to_le_bytes());
    put(0x230, &0x20_0000_u32.to_le_bytes());
    put(0x258, &0x100_0000_u64.to_le_bytes());
    put(0x260, &0x300_0000_u32.to_le_bytes());
    fs::write(path, image).unwrap();
}

#[test]
fn what_is_no_initial_ram_disk_gets_one_clear_line() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let kernel = at("bzimage");
    write_bzimage(Path::new(&kernel));
    let sized = |name: &str, len: u64| {
        File::create(at(name)).unwrap().set_len(len).unwrap();
        at(name)
    };
    let (empty, large) = (sized("empty", 0), sized("large", 90 << 20));
    let (huge, small) = (sized("huge", 3 << 30), sized("small", 4096));
    let folder = folder.path().to_str().unwrap();
    let husk = Husk::shared();
    let table: [(&str, &str, &[&str]); 7] = [
        ("128m", "/no/initrd", &["/no/initrd", "No such file"]),
        ("128m", folder, &[folder, "no regular file"]),
        ("128m", "/dev/null", &["/dev/null", "no regular file"]),
        ("128m", &empty, &[&empty, "empty"]),
        // 16 MiB below the kernel, 48 of it, 24 to work in, and 90.
        ("128m", &large, &[&large, "128 MiB", "-m 178m"]),
        ("128m", &huge, &[&huge, "3072 MiB", "2048 MiB"]),
        ("64m", &small, &[&kernel, "64 MiB", "-m 88m"]),
    ];
    for (memory, initrd, words) in table {
        let said = husk.say(&[
            "run", "-m", memory, "--kernel", &kernel, "--initrd", initrd, "busybox", "true",
        ]);
        said.is_one_clear_line(words);
    }
    let alone = husk.say(&["run", "--initrd", &small, "busybox", "true"]);
    alone.is_one_clear_line(&["--initrd", "--kernel"]);
}
