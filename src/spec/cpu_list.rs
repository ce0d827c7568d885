//! `--cpuset-cpus`: processors of the host by number, as the kernel lists them (cpuset(7), "List format").

use std::fmt;

/// More than any host has: the kernel's own bound (`CONFIG_NR_CPUS`).
const MOST: u32 = 8192;

/// Which processors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CpuList(Vec<u32>);

impl CpuList {
    /// Parses `3`, `0-3`, `0,2-4`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("--cpuset-cpus `{text}`: write numbers and ranges, like 0-3,5");
        let number = |text: &str| {
            let is_plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            let number = is_plain.then(|| text.parse().ok()).flatten();
            number.filter(|number| *number < MOST).ok_or_else(wrong)
        };
        let mut numbers = Vec::new();
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last): (u32, u32) = (number(first)?, number(last)?);
            if first > last {
                return Err(wrong());
            }
            numbers.extend(first..=last);
        }
        numbers.sort_unstable();
        numbers.dedup();
        Ok(Self(numbers))
    }

    /// Their numbers, each once, the least first.
    pub fn numbers(&self) -> impl Iterator<Item = usize> {
        self.0.iter().map(|number| *number as usize)
    }
}

impl fmt::Display for CpuList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<_> = self.0.iter().map(u32::to_string).collect();
        f.write_str(&words.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_what_the_kernel_calls_so() {
        for (text, expected) in [
            ("3", "3"),
            ("0-3", "0,1,2,3"),
            ("5,0-2,1", "0,1,2,5"),
            ("8191", "8191"),
        ] {
            assert_eq!(CpuList::parse(text).unwrap().to_string(), expected);
        }
        for text in [
            "",
            ",",
            "1-",
            "-1",
            "2-1",
            "a",
            "+1",
            "8192",
            "0-99999999999",
        ] {
            let error = CpuList::parse(text).unwrap_err();
            assert!(
                error.starts_with(&format!("--cpuset-cpus `{text}`")),
                "{error}"
            );
        }
    }
}
