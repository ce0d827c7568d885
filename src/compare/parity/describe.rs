//! What differs between runs, in words that a person can look for.

use std::collections::BTreeSet;
use std::fmt::Write;

use super::output::MOST;
use super::{Change, How, Output, Seen};
use crate::compare::ordered::Ordered;
use crate::compare::report::{Aspect, Difference, Parity};
use crate::spec::sentence::printable;

/// Files that are told one by one.
const FILES: usize = 1000;

/// Bytes of a line that are shown, and how many of them before the first that differs.
const EXCERPT: usize = 160;
const LEAD: usize = 40;

/// Every difference between what was seen behind each wall, by its name.
pub fn differences(seen: &[(String, Seen)]) -> Parity {
    let differs = |what, values: Option<Vec<String>>| {
        values.map(|values| Difference {
            what,
            path: None,
            walls: by_wall(seen, values),
        })
    };
    let outputs = |stream: fn(&Seen) -> &Output| {
        let outputs: Vec<_> = seen.iter().map(|(_, seen)| stream(seen)).collect();
        outputs_differ(&outputs)
    };
    let statuses: Vec<_> = seen.iter().map(|(_, s)| s.status.to_string()).collect();
    let lines = [
        differs(Aspect::Status, (!alike(&statuses)).then_some(statuses)),
        differs(Aspect::Stdout, outputs(|seen| &seen.stdout)),
        differs(Aspect::Stderr, outputs(|seen| &seen.stderr)),
    ];
    let mut differences: Vec<_> = lines.into_iter().flatten().collect();
    differences.extend(files_differ(seen));
    Parity {
        equal: differences.is_empty(),
        differences,
    }
}

fn by_wall<T>(seen: &[(String, Seen)], values: Vec<T>) -> Ordered<T> {
    let walls = seen.iter().map(|(wall, _)| wall.clone());
    walls.zip(values).collect()
}

fn alike<T: PartialEq>(values: &[T]) -> bool {
    values.windows(2).all(|pair| pair[0] == pair[1])
}

/// The first line that is not the same in all outputs, as it is in each.
fn outputs_differ(outputs: &[&Output]) -> Option<Vec<String>> {
    if alike(outputs) {
        return None;
    }
    let kept: Vec<_> = outputs.iter().map(|output| output.bytes()).collect();
    let common = kept
        .iter()
        .map(|bytes| common_length(kept[0], bytes))
        .min()?;
    if common == MOST {
        return Some(outputs.iter().map(|output| describe_long(output)).collect());
    }
    let before = &kept[0][..common];
    let number = before.iter().filter(|byte| **byte == b'\n').count() + 1;
    let start = before.iter().rposition(|byte| *byte == b'\n');
    let start = start.map_or(0, |newline| newline + 1);
    let lines = kept.iter().map(|bytes| {
        let line = describe_line(&bytes[start..], common - start);
        format!("line {number}: {line}")
    });
    Some(lines.collect())
}

fn common_length(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

/// Beyond what is kept, nobody knows where.
fn describe_long(output: &Output) -> String {
    let digest = output
        .rest()
        .map_or_else(String::new, |digest| format!(", {}", &digest.hex()[..16]));
    format!(
        "longer than {} MiB, compared by hash: {} bytes{digest}",
        MOST >> 20,
        output.len()
    )
}

/// The first line of `bytes`, the part around `at` when it is long.
fn describe_line(bytes: &[u8], at: usize) -> String {
    if bytes.is_empty() {
        return "not there".to_owned();
    }
    let end = bytes.iter().position(|byte| *byte == b'\n');
    let line = &bytes[..end.unwrap_or(bytes.len())];
    let is_long = line.len() > EXCERPT && at > LEAD;
    let first = is_long.then(|| align(line, at.min(line.len()) - LEAD));
    let first = first.unwrap_or(0);
    let last = align(line, (first + EXCERPT).min(line.len()));
    let (before, after) = (
        if first > 0 { "…" } else { "" },
        if last < line.len() { "…" } else { "" },
    );
    let unfinished = match end {
        Some(_) => "",
        None => ", without a newline",
    };
    format!("{before}{}{after}{unfinished}", quote(&line[first..last]))
}

/// The beginning of the character that `at` is in.
fn align(text: &[u8], at: usize) -> usize {
    let is_inside = |at: &usize| text.get(*at).is_some_and(|byte| byte & 0xc0 == 0x80);
    let back = (at.saturating_sub(3)..=at).rev();
    back.clone().find(|at| !is_inside(at)).unwrap_or(at)
}

/// Text between quotes, in which everything that does not show is escaped, and nothing else is lost.
fn quote(bytes: &[u8]) -> String {
    let mut text = String::from("\"");
    for chunk in bytes.utf8_chunks() {
        text.extend(chunk.valid().chars().flat_map(|c| match c {
            // Between double quotes it is a character like any other.
            '\'' => "'".chars().collect::<Vec<_>>(),
            c => c.escape_debug().collect(),
        }));
        for byte in chunk.invalid() {
            // Writing to a string does not fail.
            let _written = write!(text, "\\x{byte:02x}");
        }
    }
    text + "\""
}

/// One difference per path, and one for all that are too many.
fn files_differ(seen: &[(String, Seen)]) -> Vec<Difference> {
    let paths: BTreeSet<_> = seen.iter().flat_map(|(_, s)| s.files.keys()).collect();
    let differing = paths.into_iter().filter_map(|path| {
        let changes: Vec<_> = seen.iter().map(|(_, s)| s.files.get(path)).collect();
        (!alike(&changes)).then_some((path, changes))
    });
    let differing: Vec<_> = differing.collect();
    let told = differing
        .iter()
        .take(FILES)
        .map(|(path, changes)| Difference {
            what: Aspect::Files,
            path: Some(printable(path.as_bytes())),
            walls: by_wall(seen, describe_changes(changes)),
        });
    let mut told: Vec<_> = told.collect();
    if differing.len() > FILES {
        let more = format!("{} more paths differ", differing.len() - FILES);
        told.push(Difference {
            what: Aspect::Files,
            path: None,
            walls: by_wall(seen, vec![more; seen.len()]),
        });
    }
    told
}

/// What happened to one path behind each wall: only that, if it was not the same; else what is not the
/// same of what is there.
fn describe_changes(changes: &[Option<&Change>]) -> Vec<String> {
    let happenings = changes
        .iter()
        .map(|change| change.map(|change| (change.change, change.kind.as_str())));
    let happenings: Vec<_> = happenings.collect();
    if !alike(&happenings) {
        let words = happenings.into_iter().map(|happened| match happened {
            Some((How::Added, kind)) => format!("{} added", printable(kind.as_bytes())),
            Some((How::Changed, kind)) => format!("{} changed", printable(kind.as_bytes())),
            Some((How::Removed, kind)) => format!("{} removed", printable(kind.as_bytes())),
            None => "unchanged".to_owned(),
        });
        return words.collect();
    }
    let facts: Vec<_> = changes.iter().map(|change| facts(*change)).collect();
    let differing: Vec<_> = (0..FACTS)
        .filter(|at| facts.iter().any(|list| list[*at] != facts[0][*at]))
        .collect();
    let words = facts.iter().map(|list| {
        let words = differing.iter().filter_map(|at| list[*at].clone());
        let words: Vec<_> = words.collect();
        if words.is_empty() {
            "not known".to_owned()
        } else {
            words.join(", ")
        }
    });
    words.collect()
}

/// How many facts there are about a path.
const FACTS: usize = 5;

fn facts(change: Option<&Change>) -> [Option<String>; FACTS] {
    let Some(change) = change else {
        return [const { None }; FACTS];
    };
    let owner = change.uid.zip(change.gid);
    [
        change.mode.map(|mode| format!("mode {mode:04o}")),
        owner.map(|(uid, gid)| format!("owner {uid}:{gid}")),
        change.size.map(|size| format!("{size} bytes")),
        change
            .target
            .as_ref()
            .map(|target| format!("target {}", quote(target.as_bytes()))),
        change
            .hash
            .as_ref()
            .map(|hash| format!("hash {}", printable(hash.as_bytes()))),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change() -> Change {
        Change {
            change: How::Added,
            kind: "file".to_owned(),
            mode: Some(0o644),
            uid: Some(0),
            gid: Some(0),
            size: Some(2),
            target: None,
            hash: Some("0f".to_owned()),
        }
    }

    /// Differences, one line each.
    fn tell(walls: [Seen; 2]) -> Vec<String> {
        let [a, b] = walls;
        let parity = differences(&[("a".to_owned(), a), ("b".to_owned(), b)]);
        assert_eq!(parity.equal, parity.differences.is_empty());
        let lines = parity.differences.into_iter().map(|difference| {
            let (a, b) = (difference.walls.get("a"), difference.walls.get("b"));
            let path = difference.path.unwrap_or_default();
            format!(
                "{}{path}: {} | {}",
                difference.what.name(),
                a.unwrap(),
                b.unwrap()
            )
        });
        lines.collect()
    }

    fn stdout(a: &[u8], b: &[u8]) -> Vec<String> {
        tell([a, b].map(|bytes| Seen {
            stdout: Output::of(bytes),
            ..Seen::default()
        }))
    }

    fn file(a: Option<Change>, b: Option<Change>) -> Vec<String> {
        tell([a, b].map(|change| Seen {
            files: change.map(|c| ("/f".to_owned(), c)).into_iter().collect(),
            ..Seen::default()
        }))
    }

    #[test]
    fn the_same_is_no_difference() {
        assert!(tell([Seen::default(), Seen::default()]).is_empty());
        assert!(stdout(b"x", b"x").is_empty());
        assert!(file(Some(change()), Some(change())).is_empty());
        assert!(differences(&[]).equal);
    }

    #[test]
    fn the_first_line_that_differs_is_shown() {
        let cases: [(&[u8], &[u8], &str); 7] = [
            (b"a\nb\nc\n", b"a\nB\nd\n", r#"line 2: "b" | line 2: "B""#),
            (
                b"a\n",
                b"a",
                r#"line 1: "a" | line 1: "a", without a newline"#,
            ),
            (b"a\n", b"a\nb\n", r#"line 2: not there | line 2: "b""#),
            (b"", b"\n", r#"line 1: not there | line 1: """#),
            (b"a \n", b"a\t\n", r#"line 1: "a " | line 1: "a\t""#),
            (b"\xff\n", b"\\xff\n", r#"line 1: "\xff" | line 1: "\\xff""#),
            (
                b"\x1b[2J'",
                "ü\u{202e}".as_bytes(),
                r#"line 1: "\u{1b}[2J'", without a newline | line 1: "ü\u{202e}", without a newline"#,
            ),
        ];
        for (a, b, expected) in cases {
            assert_eq!(stdout(a, b), [format!("stdout: {expected}")]);
        }
    }

    #[test]
    fn long_lines_are_shown_where_they_differ() {
        let line = |end: &str| format!("{}{end}{}\n", "ü".repeat(500), "z".repeat(500));
        let lines = stdout(line("A").as_bytes(), line("B").as_bytes());
        assert_eq!(lines.len(), 1);
        assert!(lines[0].len() < 500, "{lines:?}");
        assert!(
            lines[0].contains("üAz") && lines[0].contains("üBz"),
            "{lines:?}"
        );
        assert!(!lines[0].contains("\\x"), "{lines:?}");
        let shorter = stdout(&[b'x'; 1000], &[b'x'; 100]);
        assert!(shorter[0].contains("without a newline"), "{shorter:?}");
        let mut long = vec![b'x'; MOST + 1];
        let before = long.clone();
        *long.last_mut().unwrap() = b'y';
        let lines = stdout(&before, &long);
        assert!(lines[0].contains("longer than 16 MiB, compared by hash"));
    }

    #[test]
    fn files_differ_by_what_happened_or_what_is_there() {
        let gone = Change {
            change: How::Removed,
            ..change()
        };
        let open = Change {
            mode: Some(0o666),
            hash: None,
            ..change()
        };
        assert_eq!(
            file(Some(change()), None),
            ["files/f: file added | unchanged"]
        );
        let lines = file(Some(change()), Some(gone));
        assert_eq!(lines, ["files/f: file added | file removed"]);
        let lines = file(Some(change()), Some(open));
        assert_eq!(lines, ["files/f: mode 0644, hash 0f | mode 0666"]);
    }

    #[test]
    fn status_first_and_files_without_end_are_counted() {
        let files = (0..FILES + 5).map(|n| (format!("/{n:05}"), change()));
        let many = Seen {
            status: 3,
            files: files.collect(),
            ..Seen::default()
        };
        let lines = tell([many, Seen::default()]);
        assert_eq!(lines.len(), FILES + 2);
        assert_eq!(lines[0], "status: 3 | 0");
        assert_eq!(
            lines[FILES + 1],
            "files: 5 more paths differ | 5 more paths differ"
        );
    }
}
