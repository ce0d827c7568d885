//! A panic is a mistake of husk's own. In any thread it ends the process with one line, because a
//! thread that is silently gone would be waited for by the others for ever.

use std::panic::{PanicHookInfo, set_hook};
use std::process;
use std::thread;

use super::terminal;

/// Docker's table: the tool itself failed.
const STATUS: i32 = 125;

/// From now on gives the last words of a thread that panics to `tell`, and ends the process.
pub fn end_with(tell: impl Fn(&str) + Send + Sync + 'static) {
    set_hook(Box::new(move |info| {
        terminal::restore();
        tell(&last_words(info));
        process::exit(STATUS);
    }));
}

fn last_words(info: &PanicHookInfo<'_>) -> String {
    let what = info.payload_as_str().unwrap_or("no reason given");
    let what: Vec<_> = what.split_whitespace().collect();
    let place = info
        .location()
        .map_or_else(|| "nowhere".to_owned(), ToString::to_string);
    let thread = thread::current();
    let thread = thread.name().unwrap_or("without a name");
    format!(
        "a mistake of husk's own, please report it: {} at {place} in thread {thread}",
        what.join(" ")
    )
}

#[cfg(test)]
mod tests {
    use std::env;
    use std::io::{self, Write};
    use std::process::Command;
    use std::thread;
    use std::time::Duration;

    use super::*;

    const TEST: &str = "sys::panics::tests::a_panic_in_any_thread_is_one_line_and_the_end";

    /// Says that this is the process of the test's own, in which a thread panics.
    const CHILD: &str = "HUSK_TEST_PANICS";

    fn panic_in_a_thread() {
        end_with(|line| {
            let _closed = writeln!(io::stderr(), "husk: {line}");
        });
        let worker = thread::Builder::new().name("worker".to_owned());
        let _handle = worker.spawn(|| panic!("two\nlines")).unwrap();
        thread::sleep(Duration::from_secs(60));
    }

    #[test]
    fn a_panic_in_any_thread_is_one_line_and_the_end() {
        if env::var_os(CHILD).is_some() {
            return panic_in_a_thread();
        }
        let child = Command::new(env::current_exe().unwrap())
            .args(["--nocapture", "--exact", TEST])
            .env(CHILD, "yes")
            .output()
            .unwrap();
        let said = String::from_utf8(child.stderr).unwrap();
        assert_eq!((child.status.code(), said.lines().count()), (Some(125), 1));
        for words in ["husk: ", "two lines", "panics.rs", "worker"] {
            assert!(said.contains(words), "{said}");
        }
    }
}
