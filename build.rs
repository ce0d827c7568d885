//! Builds the guest's programs, PID 1 and the probe, static, so that they can be embedded; and hashes
//! what is embedded, so that no run has to.
//!
//! They are binaries of another target (the guest's, without a dynamic loader), so they get a build
//! directory and flags of their own.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest, Sha256};

const KERNEL: &str = "kernel/vmlinux.zst";

const LOCK: &str = "kernel/source.lock";

const TARGET: &str = "x86_64-unknown-linux-gnu";

fn main() {
    for input in [
        "rootfs/init/src",
        "rootfs/init/Cargo.toml",
        "rootfs/probe/src",
        "rootfs/probe/Cargo.toml",
        "Cargo.lock",
        "Cargo.toml",
        KERNEL,
        LOCK,
    ] {
        println!("cargo::rerun-if-changed={input}");
    }
    println!("cargo::rustc-env=HUSK_KERNEL_VERSION={}", kernel_version());
    let built = build_for_guest(&["husk-init", "husk-probe"]);
    println!(
        "cargo::rustc-env=HUSK_KERNEL_SHA256={}",
        sha256(Path::new(KERNEL))
    );
    for (name, program) in [("INIT", "husk-init"), ("PROBE", "husk-probe")] {
        let file = built.join(program);
        println!("cargo::rustc-env=HUSK_{name}={}", file.display());
        println!("cargo::rustc-env=HUSK_{name}_SHA256={}", sha256(&file));
    }
}

/// Builds these packages' binaries of the same names; the folder that has them.
fn build_for_guest(programs: &[&str]) -> PathBuf {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let build = out.join("guest");
    let named = programs
        .iter()
        .flat_map(|program| ["--package", program, "--bin", program]);
    let status = Command::new(env::var_os("CARGO").expect("cargo sets CARGO"))
        .args(["build", "--profile", "guest"])
        .args(named)
        .args(["--target", TARGET, "--target-dir"])
        .arg(&build)
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_BUILD_TARGET")
        // A linter's wrapper is for the host's code; it would not make a binary.
        .env_remove("RUSTC_WORKSPACE_WRAPPER")
        .env(
            "CARGO_ENCODED_RUSTFLAGS",
            "-Ctarget-feature=+crt-static\u{1f}-Crelocation-model=static",
        )
        .status()
        .expect("cargo runs");
    assert!(status.success(), "{programs:?} do not build: see above");
    build.join(TARGET).join("guest")
}

/// The version of the kernel's pinned source.
fn kernel_version() -> String {
    let lock = fs::read_to_string(LOCK).expect("the kernel's source is pinned");
    let line = lock.lines().find_map(|line| line.strip_prefix("version="));
    line.expect("by its version").to_owned()
}

fn sha256(file: &Path) -> String {
    let bytes = fs::read(file).expect("what is embedded is there");
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
