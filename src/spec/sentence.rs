//! Failures as sentences: one line, safe to print, whatever bytes a guest or an image put in it.

use std::io;

use husk_init::exit::{Failure, Stage};

/// The whole chain of an error on one line: what, then why, then why that.
pub fn sentence(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let why = cause.to_string();
        // A transparent error says its source's words already.
        if !text.ends_with(&why) {
            text = format!("{text}: {why}");
        }
        source = cause.source();
    }
    text
}

/// A failure before the workload's first instruction as a sentence: what, on what, why, and where:
/// `place` is "the guest" or "the container".
pub fn describe(failure: &Failure, place: &str) -> String {
    let detail = excerpt(&failure.detail);
    let why = match failure.errno {
        0 => String::new(),
        errno => format!(": {}", errno_text(errno)),
    };
    match failure.stage {
        Stage::Exec => describe_exec(&detail, failure.errno),
        Stage::User => format!(
            "the image has no user or group `{detail}`{why}: give one that its /etc/passwd and /etc/group name, or numbers"
        ),
        Stage::Workdir => format!("cannot make or enter the working directory `{detail}`{why}"),
        Stage::Volume => format!("cannot mount `{detail}` in {place}{why}"),
        Stage::Limit => format!("cannot set the limit `{detail}` in {place}{why}"),
        Stage::Mount => format!("{place} cannot mount `{detail}`{why}"),
        Stage::Identity => format!("{place} cannot set its `{detail}`{why}"),
        Stage::Files => format!("{place} cannot write `{detail}`{why}"),
        Stage::Stream => format!("{place} cannot connect the workload's streams ({detail}){why}"),
        Stage::Fork => format!("{place} cannot start a process{why}: give it more --memory"),
        Stage::Terminal => format!("{place} cannot make a terminal ({detail}){why}"),
        Stage::Sessions => format!("{place} takes no more commands: {detail}"),
        Stage::Network => format!(
            "{place} cannot set up its network interface `{detail}`{why}: give it --network none"
        ),
        Stage::Protocol => format!("{place} did not understand the host ({detail}){why}"),
    }
}

/// As much of a guest's words as a sentence takes.
fn excerpt(bytes: &[u8]) -> String {
    const MOST: usize = 300;
    let text = printable(&bytes[..bytes.len().min(MOST)]);
    if bytes.len() > MOST {
        format!("{text}…")
    } else {
        text
    }
}

fn describe_exec(command: &str, errno: i32) -> String {
    match errno {
        libc::ENOENT | libc::ENOTDIR => {
            format!("`{command}`: command not found in the image (or its interpreter is missing)")
        }
        libc::ENOEXEC => format!(
            "`{command}`: not a program: neither ELF for x86_64 nor a script that begins with #!"
        ),
        libc::E2BIG => {
            format!("`{command}`: arguments and environment are longer than Linux takes")
        }
        errno => format!("`{command}`: cannot be executed: {}", errno_text(errno)),
    }
}

fn errno_text(errno: i32) -> String {
    words(&io::Error::from_raw_os_error(errno)).to_lowercase()
}

/// The words of an error of the kernel's, without its number.
pub fn words(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}

/// A guest's bytes made safe for a terminal: what controls it, or the order of its letters, becomes
/// `\u{..}`.
pub fn printable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let shown = text.trim_end().chars().map(|c| match c {
        '\t' => " ".to_owned(),
        c if c.is_control() || is_invisible(c) => c.escape_default().to_string(),
        c => c.to_string(),
    });
    shown.collect()
}

/// Separators, marks and overrides that make text look like other text.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_what_it_looks_like() {
        assert_eq!(
            printable("a\u{202e}b\u{85}c\n".as_bytes()),
            "a\\u{202e}b\\u{85}c"
        );
    }

    #[test]
    fn a_failure_is_one_line_however_long_its_detail() {
        let failure = Failure {
            stage: Stage::Exec,
            errno: libc::ENOENT,
            detail: b"a\n\x1b[2J\xff".repeat(50_000),
        };
        let said = describe(&failure, "the guest");
        assert!(
            said.len() < 2000 && !said.contains(char::is_control),
            "{said}"
        );
        assert!(said.contains("command not found"));
    }
}
