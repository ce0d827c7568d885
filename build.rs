//! Builds PID 1 of the guest, static, so that it can be embedded; and hashes what is embedded, so that
//! no run has to.
//!
//! PID 1 is a binary of another target (the guest's, without a dynamic loader), so it gets a build
//! directory and flags of its own.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest, Sha256};

const KERNEL: &str = "kernel/vmlinux.zst";

const TARGET: &str = "x86_64-unknown-linux-gnu";

fn main() {
    for input in [
        "rootfs/init/src",
        "rootfs/init/Cargo.toml",
        "Cargo.lock",
        KERNEL,
    ] {
        println!("cargo::rerun-if-changed={input}");
    }
    let init = build_init();
    println!("cargo::rustc-env=HUSK_INIT={}", init.display());
    println!("cargo::rustc-env=HUSK_INIT_SHA256={}", sha256(&init));
    println!(
        "cargo::rustc-env=HUSK_KERNEL_SHA256={}",
        sha256(Path::new(KERNEL))
    );
}

fn build_init() -> PathBuf {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let build = out.join("init");
    let status = Command::new(env::var_os("CARGO").expect("cargo sets CARGO"))
        .args([
            "build",
            "--package",
            "husk-init",
            "--bin",
            "husk-init",
            "--profile",
            "guest",
        ])
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
    assert!(status.success(), "husk-init does not build: see above");
    build.join(TARGET).join("guest/husk-init")
}

fn sha256(file: &Path) -> String {
    let bytes = fs::read(file).expect("what is embedded is there");
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
