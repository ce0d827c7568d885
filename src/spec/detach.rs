//! The keys by which a user leaves a terminal without ending what runs on it.

/// Docker's: ctrl-p, then ctrl-q.
pub const DETACH_KEYS: &str = "ctrl-p,ctrl-q";

/// A sequence of keys that is looked for in what is typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DetachKeys {
    keys: Vec<u8>,
    /// Typed, and the beginning of the sequence: withheld until the next key decides.
    held: Vec<u8>,
}

impl DetachKeys {
    /// Parses `ctrl-p,ctrl-q`: keys with commas between them, each a character, or `ctrl-` and one of
    /// a to z and `@[\]^_`. An empty text is no sequence, and nobody detaches.
    pub fn parse(text: &str) -> Result<Self, String> {
        let parts = text.split(',').filter(|_| !text.is_empty());
        let keys: Option<Vec<u8>> = parts.map(parse_key).collect();
        let keys = keys.ok_or_else(|| {
            format!("`{text}` names no keys: write them like ctrl-p,ctrl-q or ctrl-],d")
        })?;
        Ok(Self {
            keys,
            held: Vec::new(),
        })
    }

    /// What of `typed` is for the workload, and whether the user detached; what was typed after that is
    /// for nobody.
    pub fn pass(&mut self, typed: &[u8]) -> (Vec<u8>, bool) {
        let mut passed = Vec::with_capacity(typed.len());
        for byte in typed {
            self.held.push(*byte);
            while !self.keys.starts_with(&self.held) {
                passed.push(self.held.remove(0));
            }
            if !self.held.is_empty() && self.held == self.keys {
                self.held.clear();
                return (passed, true);
            }
        }
        (passed, false)
    }
}

fn parse_key(text: &str) -> Option<u8> {
    /// What the control key takes from a character (ASCII, columns 4 and 5).
    const CONTROL: u8 = 0x1f;
    if let Some(letter) = text.strip_prefix("ctrl-") {
        return match letter.as_bytes() {
            [letter @ (b'a'..=b'z' | b'@' | b'['..=b'_')] => Some(letter & CONTROL),
            _ => None,
        };
    }
    match text.as_bytes() {
        [key] if key.is_ascii_graphic() => Some(*key),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_by_their_names() {
        let keys = |text| DetachKeys::parse(text).map(|keys| keys.keys);
        assert_eq!(keys(DETACH_KEYS), Ok(vec![0x10, 0x11]));
        assert_eq!(keys("a,ctrl-],ctrl-@"), Ok(vec![b'a', 0x1d, 0]));
        assert_eq!(keys(""), Ok(vec![]));
        for text in [
            "ctrl-",
            "ctrl-1",
            "ctrl-P",
            "ab",
            "a,",
            "é",
            "ctrl-p ctrl-q",
        ] {
            assert!(keys(text).is_err(), "{text}");
        }
    }

    /// What of these reads is for the workload, and whether they detach.
    fn pass(reads: &[&[u8]]) -> (Vec<u8>, bool) {
        let mut keys = DetachKeys::parse(DETACH_KEYS).unwrap();
        let answers: Vec<_> = reads.iter().map(|bytes| keys.pass(bytes)).collect();
        let passed = answers.iter().flat_map(|(bytes, _)| bytes.clone());
        (
            passed.collect(),
            answers.iter().any(|(_, detached)| *detached),
        )
    }

    #[test]
    fn the_sequence_detaches_and_everything_else_passes() {
        assert_eq!(pass(&[b"ls\n"]), (b"ls\n".to_vec(), false));
        assert_eq!(pass(&[b"a\x10", b"\x11"]), (b"a".to_vec(), true));
        assert_eq!(pass(&[b"a\x10", b"b"]), (b"a\x10b".to_vec(), false));
        assert_eq!(pass(&[b"\x10\x10\x11b"]), (b"\x10".to_vec(), true));
        assert_eq!(pass(&[b"\x11\x10"]), (b"\x11".to_vec(), false));
        let mut never = DetachKeys::parse("").unwrap();
        assert_eq!(never.pass(b"\x10\x11"), (vec![0x10, 0x11], false));
    }

    proptest::proptest! {
        /// Nothing is lost or changed before the sequence, wherever reads cut it.
        #[test]
        fn what_is_typed_arrives(typed in proptest::collection::vec(0x0fu8..0x13, 0..60), cut in 0usize..60) {
            let mut keys = DetachKeys::parse("ctrl-p,ctrl-p,ctrl-q").unwrap();
            let (first, second) = typed.split_at(cut.min(typed.len()));
            let (mut passed, mut detached) = keys.pass(first);
            if !detached {
                let (rest, now) = keys.pass(second);
                passed.extend(rest);
                detached = now;
            }
            let at = typed.windows(3).position(|keys| keys == [0x10, 0x10, 0x11]);
            proptest::prop_assert_eq!(detached, at.is_some());
            let whole = at.map_or(typed.len() - keys.held.len(), |at| at);
            proptest::prop_assert_eq!(passed, &typed[..whole]);
        }
    }
}
