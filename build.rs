//! Builds PID 1 of the guest, static, so that it can be embedded.
//!
//! It is a binary of another target (the guest's, without a dynamic loader), so it gets a build
//! directory and flags of its own.

use std::env;
use std::path::PathBuf;
use std::process::Command;

const TARGET: &str = "x86_64-unknown-linux-gnu";

fn main() {
    for input in ["rootfs/init/src", "rootfs/init/Cargo.toml", "Cargo.lock"] {
        println!("cargo::rerun-if-changed={input}");
    }
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
    let binary = build.join(TARGET).join("guest/husk-init");
    println!("cargo::rustc-env=HUSK_INIT={}", binary.display());
}
