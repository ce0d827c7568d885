//! A process for one test.

use std::process::Command;

/// Says to a test that it has the process for itself.
const ALONE: &str = "HUSK_TEST_ALONE";

/// Whether this process runs no test but `name`; otherwise it has run in a process of its own when
/// this returns. For a test that waits for any child.
pub fn alone(name: &str) -> bool {
    if std::env::var_os(ALONE).is_some() {
        return true;
    }
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture", name])
        .env(ALONE, "yes")
        .status()
        .unwrap();
    assert!(status.success(), "{name}: see above");
    false
}
