//! A change as one line of JSON.

use std::fmt::Write as _;
use std::io::{self, Write};

use super::content;
use super::snapshot::{Change, How, Kind};

/// Writes `change`. What a removed file was like is said nowhere: the image knows.
pub fn write(out: &mut impl Write, change: &Change<'_>) -> io::Result<()> {
    let (path, state) = (change.path, change.state);
    write!(
        out,
        r#"{{"path":"{}","change":"{}","kind":"{}""#,
        text(path),
        change.how.name(),
        state.kind().name()
    )?;
    if change.how != How::Removed {
        write!(
            out,
            r#","mode":{},"uid":{},"gid":{}"#,
            state.mode & 0o7777,
            state.uid,
            state.gid
        )?;
        if let Some(target) = &state.target {
            write!(out, r#","target":"{}""#, text(target))?;
        }
        if state.kind() == Kind::File {
            write!(out, r#","size":{}"#, state.size)?;
            if let Some(hash) = content::hash(path) {
                write!(out, r#","hash":"{hash:016x}""#)?;
            }
        }
    }
    writeln!(out, "}}")
}

/// Bytes as the inside of a JSON string, so that no two are alike: what is not UTF-8 as `\xNN`, a backslash
/// as two of them.
fn text(bytes: &[u8]) -> String {
    let mut escaped = String::new();
    for chunk in bytes.utf8_chunks() {
        escaped.push_str(&chunk.valid().replace('\\', r"\\"));
        for byte in chunk.invalid() {
            // Writing to a string does not fail.
            let _written = write!(escaped, r"\x{byte:02x}");
        }
    }
    let mut json = String::new();
    for c in escaped.chars() {
        match c {
            '"' | '\\' => json.extend(['\\', c]),
            c if c.is_control() => {
                let _written = write!(json, r"\u{:04x}", u32::from(c));
            }
            c => json.push(c),
        }
    }
    json
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    #[test]
    fn no_two_paths_are_alike() {
        let cases: [(&[u8], &str); 5] = [
            (b"/a b\"c", "/a b\"c"),
            (b"/a\xffb", r"/a\xffb"),
            (br"/a\xffb", r"/a\\xffb"),
            ("/ü\n\u{85}".as_bytes(), "/ü\n\u{85}"),
            (b"/\xe2\x82", r"/\xe2\x82"),
        ];
        for (bytes, expected) in cases {
            let json = format!("\"{}\"", text(bytes));
            assert!(!json.contains('\n'));
            let read: Value = serde_json::from_str(&json).unwrap();
            assert_eq!(read, expected);
        }
    }
}
