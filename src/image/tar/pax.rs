//! PAX records: `LENGTH KEY=VALUE\n`, one after another.

use super::TarError;
use super::sparse::Extent;

/// Records of one header, in order.
#[derive(Debug, Default, Clone)]
pub struct Records(Vec<(Vec<u8>, Vec<u8>)>);

/// What star, libarchive, GNU tar and Go put before the name of an extended attribute.
const XATTR: &[u8] = b"SCHILY.xattr.";

const MALFORMED: TarError = TarError::Malformed("a malformed PAX header");

impl Records {
    /// Parses a header's data.
    pub fn parse(mut bytes: &[u8]) -> Result<Self, TarError> {
        let mut records = Vec::new();
        while !bytes.is_empty() {
            // Some writers pad with zeros.
            if bytes.iter().all(|byte| *byte == 0) {
                break;
            }
            let blank = bytes
                .iter()
                .position(|byte| *byte == b' ')
                .ok_or(MALFORMED)?;
            let length = decimal(&bytes[..blank]).and_then(|length| usize::try_from(length).ok());
            let record = length
                .and_then(|length| bytes.get(blank + 1..length))
                .ok_or(MALFORMED)?;
            bytes = &bytes[blank + 1 + record.len()..];
            let record = record.strip_suffix(b"\n").ok_or(MALFORMED)?;
            let equals = record
                .iter()
                .position(|byte| *byte == b'=')
                .ok_or(MALFORMED)?;
            records.push((record[..equals].to_vec(), record[equals + 1..].to_vec()));
        }
        Ok(Self(records))
    }

    /// These records, and `globals` where these say nothing.
    pub fn over(self, globals: &Self) -> Self {
        let mut all = globals.0.clone();
        all.extend(self.0);
        Self(all)
    }

    /// The last value of `key`; an empty one takes earlier ones back.
    pub fn text(&self, key: &str) -> Option<&[u8]> {
        let found = self
            .0
            .iter()
            .rev()
            .find(|(known, _)| known == key.as_bytes());
        found
            .map(|(_, value)| value.as_slice())
            .filter(|value| !value.is_empty())
    }

    /// A number.
    pub fn number(&self, key: &str) -> Result<Option<u64>, TarError> {
        self.text(key)
            .map(|text| decimal(text).ok_or(MALFORMED))
            .transpose()
    }

    /// A time: seconds and nanoseconds since the epoch, the latter counted upwards.
    pub fn time(&self, key: &str) -> Result<Option<(i64, u32)>, TarError> {
        self.text(key)
            .map(|text| time(text).ok_or(MALFORMED))
            .transpose()
    }

    /// Extended attributes, sorted; of two with one name the last.
    pub fn xattrs(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let named = self.0.iter().filter_map(|(key, value)| {
            let name = key.strip_prefix(XATTR).filter(|name| !name.is_empty())?;
            Some((name.to_vec(), value.clone()))
        });
        let latest: std::collections::BTreeMap<_, _> = named.collect();
        latest.into_iter().collect()
    }

    /// Whether the entry is a sparse file.
    pub fn is_sparse(&self) -> bool {
        let says = |key| self.text(key).is_some();
        says("GNU.sparse.major") || says("GNU.sparse.map") || says("GNU.sparse.numblocks")
    }

    /// The map of formats 0.0 (a record per number) and 0.1 (all numbers in one).
    pub fn sparse_map(&self) -> Result<Vec<Extent>, TarError> {
        let numbers: Vec<&[u8]> = match self.text("GNU.sparse.map") {
            Some(map) => map.split(|byte| *byte == b',').collect(),
            None => {
                let of_map =
                    |key: &[u8]| key == b"GNU.sparse.offset" || key == b"GNU.sparse.numbytes";
                self.0
                    .iter()
                    .filter(|(key, _)| of_map(key))
                    .map(|(_, value)| &value[..])
                    .collect()
            }
        };
        let pair = |pair: &[&[u8]]| {
            let [offset, len] = pair else { return None };
            Some(Extent {
                offset: decimal(offset)?,
                len: decimal(len)?,
            })
        };
        numbers
            .chunks(2)
            .map(|numbers| pair(numbers).ok_or(MALFORMED))
            .collect()
    }
}

/// A decimal number without a sign.
pub fn decimal(text: &[u8]) -> Option<u64> {
    let digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(text)
        .ok()
        .filter(|_| digits)?
        .parse()
        .ok()
}

fn time(text: &[u8]) -> Option<(i64, u32)> {
    let (negative, text) = match text.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let mut parts = text.splitn(2, |byte| *byte == b'.');
    let seconds = i64::try_from(decimal(parts.next()?)?).ok()?;
    let fraction = parts.next().unwrap_or_default();
    let nine: Vec<u8> = fraction.iter().copied().chain([b'0'; 9]).take(9).collect();
    let nanos = u32::try_from(decimal(&nine)?).ok()?;
    Some(match (negative, nanos) {
        (false, _) => (seconds, nanos),
        (true, 0) => (-seconds, 0),
        (true, _) => (-seconds - 1, 1_000_000_000 - nanos),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_parsed_or_refused() {
        let records = Records::parse(b"12 path=a=b\n20 mtime=-1.250000\n").unwrap_err();
        assert!(matches!(records, TarError::Malformed(_)));
        let records = Records::parse(b"12 path=a=b\n19 mtime=-1.250000\n8 path=\n").unwrap();
        assert_eq!(records.text("path"), None);
        assert_eq!(records.time("mtime").unwrap(), Some((-2, 750_000_000)));
        for wrong in [
            "x", "5 a=b", "7 a=b\n", "99 a=b\n", "5 ab\n", "0 =\n", " a=b\n",
        ] {
            assert!(Records::parse(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }
}
