//! Sizes and times as people type them.

use std::time::Duration;

/// Parses a size by docker's rules: a number, then `b`, `k`, `m`, `g` or `t` (powers of 1024,
/// either case, `kb` and `kib` alike); bytes without a unit.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is not a size: write a number and a unit, like 256m or 1g");
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let shift = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        _ => return Err(wrong()),
    };
    number
        .checked_mul(1 << shift)
        .ok_or_else(|| format!("`{text}` is more than 16 EiB"))
}

/// Parses a duration: seconds (`90`, `1.5`), or numbers with units (`500ms`, `2m`, `1h30m`).
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is not a duration: write seconds, or 500ms, 30s, 2m, 1h30m");
    if let Ok(seconds) = text.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).map_err(|_| wrong());
    }
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .ok_or_else(wrong)?;
        let (number, tail) = rest.split_at(digits);
        let letters = tail
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(letters);
        let factor = match unit {
            "ms" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return Err(wrong()),
        };
        let number: f64 = number.parse().map_err(|_| wrong())?;
        let part = Duration::try_from_secs_f64(number * factor).map_err(|_| wrong())?;
        total = total.checked_add(part).ok_or_else(wrong)?;
        rest = tail;
    }
    if text.is_empty() {
        Err(wrong())
    } else {
        Ok(total)
    }
}

/// A size for people: `1.5 GiB`, `12 MiB`, `800 B`.
pub fn show_size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    let mut shown = format!("{bytes} B");
    for (power, unit) in (1..).zip(UNITS) {
        let whole = bytes >> (10 * power);
        if whole == 0 {
            break;
        }
        let tenths = ((bytes >> (10 * (power - 1))) & 1023) * 10 / 1024;
        shown = if whole < 10 && tenths > 0 {
            format!("{whole}.{tenths} {unit}")
        } else {
            format!("{whole} {unit}")
        };
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_as_docker_reads_them() {
        let table = [
            ("0", 0),
            ("1k", 1024),
            ("256m", 256 << 20),
            ("2G", 2 << 30),
            ("3kb", 3072),
        ];
        for (text, bytes) in table {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for text in ["", "m", "1x", "-1", "1.5g", "99999999999t"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn durations_add_up() {
        let table = [
            ("2", 2000),
            ("1.5", 1500),
            ("500ms", 500),
            ("1m30s", 90_000),
            ("1.5h", 5_400_000),
        ];
        for (text, ms) in table {
            assert_eq!(
                parse_duration(text),
                Ok(Duration::from_millis(ms)),
                "{text}"
            );
        }
        for text in ["", "s", "1x", "-1", "1e400", "5m3"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_are_shown_short() {
        let table = [
            (800, "800 B"),
            (1536, "1.5 KiB"),
            (12 << 20, "12 MiB"),
            (3 << 30, "3 GiB"),
        ];
        for (bytes, text) in table {
            assert_eq!(show_size(bytes), text);
        }
    }
}
