//! `-e` and `--env-file`: words about the environment.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::output::Failure;
use crate::spec::EnvWord;

/// `K=V` sets; `K` alone takes the host's value, or drops K when the host has none.
pub fn parse_word(word: &OsStr) -> Result<EnvWord, String> {
    let bytes = word.as_bytes();
    let split = bytes.iter().position(|byte| *byte == b'=');
    let key = &bytes[..split.unwrap_or(bytes.len())];
    if key.is_empty() {
        return Err(format!(
            "--env `{}`: write KEY=VALUE, or KEY",
            word.to_string_lossy()
        ));
    }
    Ok(match split {
        Some(at) => EnvWord::Set(key.to_vec(), bytes[at + 1..].to_vec()),
        None => match env::var_os(OsStr::from_bytes(key)) {
            Some(value) => EnvWord::Set(key.to_vec(), value.as_bytes().to_vec()),
            None => EnvWord::Unset(key.to_vec()),
        },
    })
}

/// A file of such words, one per line; empty lines and lines that begin with `#` say nothing, and
/// the rest is taken as it stands, quotes and blanks too, as docker does.
pub fn read_file(path: &Path) -> Result<Vec<EnvWord>, Failure> {
    let wrong = |why: String| Failure::new(format!("--env-file `{}`: {why}", path.display()));
    let bytes = fs::read(path).map_err(|error| wrong(error.to_string()))?;
    let mut words = Vec::new();
    for (number, line) in (1..).zip(bytes.split(|byte| *byte == b'\n')) {
        let line = line.strip_suffix(b"\r").unwrap_or(line).trim_ascii_start();
        if line.is_empty() || line.starts_with(b"#") {
            continue;
        }
        let key = line.split(|byte| *byte == b'=').next().unwrap_or_default();
        if key.iter().any(u8::is_ascii_whitespace) {
            return Err(wrong(format!("line {number}: a name with blanks in it")));
        }
        let word = parse_word(OsStr::from_bytes(line));
        words.push(word.map_err(|_| wrong(format!("line {number}: no name before `=`")))?);
    }
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_set_inherit_or_drop() {
        let set = |k: &str, v: &str| EnvWord::Set(k.into(), v.into());
        assert_eq!(parse_word(OsStr::new("A=b=c")), Ok(set("A", "b=c")));
        assert_eq!(parse_word(OsStr::new("A=")), Ok(set("A", "")));
        let absent = "HUSK_TEST_NOT_SET";
        assert_eq!(
            parse_word(OsStr::new(absent)),
            Ok(EnvWord::Unset(absent.into()))
        );
        assert!(parse_word(OsStr::new("=x")).is_err());
    }

    #[test]
    fn files_name_the_line_that_is_wrong() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("env");
        fs::write(&path, "# comment\n\nA= b \"c\"\r\n  B=2\n").unwrap();
        let words = read_file(&path).unwrap();
        let set = |k: &str, v: &str| EnvWord::Set(k.into(), v.into());
        assert_eq!(words, [set("A", " b \"c\""), set("B", "2")]);
        fs::write(&path, "A=1\nB C=2\n").unwrap();
        assert!(format!("{:?}", read_file(&path).unwrap_err()).contains("line 2"));
    }
}
