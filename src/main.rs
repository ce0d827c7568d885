//! The `husk` binary: everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    husk::cli::main()
}
