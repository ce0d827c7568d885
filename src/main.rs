//! The `husk` binary: everything is in the library.

use std::io::{self, Write};
use std::process::ExitCode;

use husk::sys::{heap, panics};

fn main() -> ExitCode {
    heap::share();
    panics::end_with(|line| {
        // Nobody is left to tell when stderr is gone.
        let _closed = writeln!(io::stderr(), "husk: {line}");
    });
    husk::cli::main()
}
