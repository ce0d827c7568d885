//! Bytes of the user's in JSON: as text where they are UTF-8, which is nearly always, and as numbers
//! where they are not. For `#[serde(with = …)]`.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// One word in a document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
enum Word {
    Text(String),
    Bytes(Vec<u8>),
}

impl From<Vec<u8>> for Word {
    fn from(bytes: Vec<u8>) -> Self {
        String::from_utf8(bytes).map_or_else(|error| Self::Bytes(error.into_bytes()), Self::Text)
    }
}

impl From<Word> for Vec<u8> {
    fn from(word: Word) -> Self {
        match word {
            Word::Text(text) => text.into_bytes(),
            Word::Bytes(bytes) => bytes,
        }
    }
}

/// A type that is some bytes, or several.
pub(super) trait Bytes: Sized {
    /// Its words.
    fn into_words(self) -> Vec<Vec<u8>>;
    /// Itself again; `None` for a number of words that it cannot have.
    fn from_words(words: Vec<Vec<u8>>) -> Option<Self>;
}

impl Bytes for Vec<u8> {
    fn into_words(self) -> Vec<Vec<u8>> {
        vec![self]
    }

    fn from_words(mut words: Vec<Vec<u8>>) -> Option<Self> {
        words.pop().filter(|_| words.is_empty())
    }
}

impl Bytes for PathBuf {
    fn into_words(self) -> Vec<Vec<u8>> {
        vec![self.into_os_string().into_vec()]
    }

    fn from_words(words: Vec<Vec<u8>>) -> Option<Self> {
        Vec::<u8>::from_words(words).map(|bytes| OsString::from_vec(bytes).into())
    }
}

impl Bytes for Vec<Vec<u8>> {
    fn into_words(self) -> Vec<Vec<u8>> {
        self
    }

    fn from_words(words: Vec<Vec<u8>>) -> Option<Self> {
        Some(words)
    }
}

impl<T: Bytes> Bytes for Option<T> {
    fn into_words(self) -> Vec<Vec<u8>> {
        self.map(T::into_words).unwrap_or_default()
    }

    fn from_words(words: Vec<Vec<u8>>) -> Option<Self> {
        match words.is_empty() {
            true => Some(None),
            false => T::from_words(words).map(Some),
        }
    }
}

/// Writes `value` as a list of words.
pub(super) fn serialize<T, S>(value: &T, to: S) -> Result<S::Ok, S::Error>
where
    T: Bytes + Clone,
    S: Serializer,
{
    let words = value.clone().into_words();
    words
        .into_iter()
        .map(Word::from)
        .collect::<Vec<_>>()
        .serialize(to)
}

/// Reads what [`serialize`] wrote.
pub(super) fn deserialize<'de, T, D>(from: D) -> Result<T, D::Error>
where
    T: Bytes,
    D: Deserializer<'de>,
{
    let words = Vec::<Word>::deserialize(from)?;
    let words = words.into_iter().map(Vec::from).collect();
    T::from_words(words).ok_or_else(|| serde::de::Error::custom("a wrong number of words"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{EnvWord, OciRuntime, RunRequest, Wall};

    #[test]
    fn a_request_survives_its_document_whatever_bytes_it_has() {
        let request = RunRequest {
            command: vec![b"sh".to_vec(), b"\xff\x00".to_vec(), Vec::new()],
            entrypoint: Some(Vec::new()),
            env: vec![
                EnvWord::Set(b"A".to_vec(), b"\xfe".to_vec()),
                EnvWord::Unset(b"B".to_vec()),
            ],
            kernel: Some(OsString::from_vec(b"/k\xff".to_vec()).into()),
            wall: Wall::Container(OciRuntime::Program("runc".into())),
            ..RunRequest::default()
        };
        let text = serde_json::to_string(&request).unwrap();
        assert!(text.contains(r#""command":["sh","#), "{text}");
        let read: RunRequest = serde_json::from_str(&text).unwrap();
        assert_eq!(format!("{read:?}"), format!("{request:?}"));
    }
}
