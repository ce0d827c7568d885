//! `--device-read-bps` and its like: how fast the disks may be used, in docker's way.
//!
//! Docker's word is `PATH:RATE`, where PATH is a disk of the host's. A machine has disks of its own, which are what is
//! bounded, whatever PATH says; a container has the host's, and without a PATH it is the one that has the images.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::units::parse_size;

/// As typed; absent is `None`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct RateWords {
    /// `--device-read-bps`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read_bps: Option<String>,
    /// `--device-write-bps`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub write_bps: Option<String>,
    /// `--device-read-iops`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read_iops: Option<String>,
    /// `--device-write-iops`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub write_iops: Option<String>,
}

/// One bound.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceRate {
    /// The disk of the host's, where somebody named one.
    pub device: Option<PathBuf>,
    /// Bytes, or operations, a second; at least one.
    pub rate: u64,
}

/// How fast the disks may be used; as fast as they are where nobody says.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct DeviceRates {
    /// Bytes a second that are read.
    pub read_bps: Option<DeviceRate>,
    /// Bytes a second that are written.
    pub write_bps: Option<DeviceRate>,
    /// Requests a second that read.
    pub read_iops: Option<DeviceRate>,
    /// Requests a second that write.
    pub write_iops: Option<DeviceRate>,
}

/// What a rate counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    Bytes,
    Operations,
}

impl RateWords {
    /// Whether nothing is said.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The flags, and what was typed behind them.
    pub fn flags(&self) -> [(&'static str, Option<&String>); 4] {
        [
            ("--device-read-bps", self.read_bps.as_ref()),
            ("--device-write-bps", self.write_bps.as_ref()),
            ("--device-read-iops", self.read_iops.as_ref()),
            ("--device-write-iops", self.write_iops.as_ref()),
        ]
    }

    /// What they say, or every mistake in them.
    pub fn parse(&self) -> Result<DeviceRates, Vec<String>> {
        let units = [Unit::Bytes, Unit::Bytes, Unit::Operations, Unit::Operations];
        let mut mistakes = Vec::new();
        let mut words = self.flags().into_iter().zip(units);
        let mut next = || {
            let ((flag, word), unit) = words.next()?;
            let parsed = parse(flag, word?, unit);
            parsed.map_err(|mistake| mistakes.push(mistake)).ok()?
        };
        let rates = DeviceRates {
            read_bps: next(),
            write_bps: next(),
            read_iops: next(),
            write_iops: next(),
        };
        match mistakes.is_empty() {
            true => Ok(rates),
            false => Err(mistakes),
        }
    }
}

impl DeviceRates {
    /// Whether nothing is bounded.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// `[PATH:]RATE`; none for a rate of 0.
fn parse(flag: &str, text: &str, unit: Unit) -> Result<Option<DeviceRate>, String> {
    let wrong = || match unit {
        Unit::Bytes => format!("{flag} `{text}`: write bytes a second, like 10m or /dev/sda:10m"),
        Unit::Operations => {
            format!("{flag} `{text}`: write operations a second, like 100 or /dev/sda:100")
        }
    };
    let (device, rate) = match text.rsplit_once(':') {
        Some((device, rate)) => (Some(PathBuf::from(device)), rate),
        None => (None, text),
    };
    if device.as_ref().is_some_and(|path| !path.is_absolute()) {
        return Err(wrong());
    }
    let is_plain = || !rate.is_empty() && rate.bytes().all(|byte| byte.is_ascii_digit());
    let rate = match unit {
        Unit::Bytes => parse_size(rate.strip_suffix("/s").unwrap_or(rate)).ok(),
        // As many as a control group counts.
        Unit::Operations if is_plain() => rate.parse::<u32>().ok().map(u64::from),
        Unit::Operations => None,
    };
    let rate = rate.ok_or_else(wrong)?;
    Ok((rate > 0).then_some(DeviceRate { device, rate }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(text: &str) -> Result<Option<DeviceRate>, String> {
        parse("--device-read-bps", text, Unit::Bytes)
    }

    #[test]
    fn rates_read_as_docker_reads_them() {
        let rate = |device: Option<&str>, rate| {
            let device = device.map(PathBuf::from);
            Some(DeviceRate { device, rate })
        };
        for (text, expected) in [
            ("1mb", rate(None, 1 << 20)),
            ("512k/s", rate(None, 512 << 10)),
            ("/dev/sda:10m", rate(Some("/dev/sda"), 10 << 20)),
            ("/dev/a:b:7", rate(Some("/dev/a:b"), 7)),
            ("0", None),
        ] {
            assert_eq!(bytes(text), Ok(expected), "{text}");
        }
        for text in ["", "fast", "sda:1m", "/dev/sda", "/dev/sda:", "-1", "1.5m"] {
            let mistake = bytes(text).unwrap_err();
            assert!(mistake.starts_with(&format!("--device-read-bps `{text}`")));
        }
    }

    #[test]
    fn operations_are_plain_numbers() {
        let operations = |text| parse("--device-write-iops", text, Unit::Operations);
        assert_eq!(operations("/dev/sda:100").unwrap().unwrap().rate, 100);
        for text in ["1k", "+1", "", "/dev/sda:", "99999999999"] {
            assert!(operations(text).is_err(), "{text}");
        }
    }

    #[test]
    fn every_mistake_is_told_and_each_word_is_its_own() {
        let words = RateWords {
            read_bps: Some("x".to_owned()),
            write_iops: Some("y".to_owned()),
            write_bps: Some("1m".to_owned()),
            ..RateWords::default()
        };
        assert_eq!(words.parse().unwrap_err().len(), 2);
        let words = RateWords {
            write_iops: Some("9".to_owned()),
            ..RateWords::default()
        };
        let rates = words.parse().unwrap();
        assert_eq!(rates.write_iops.map(|one| one.rate), Some(9));
        assert!(rates.read_bps.is_none() && rates.read_iops.is_none());
    }
}
