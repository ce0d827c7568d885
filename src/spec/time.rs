//! Moments as people and programs write them: RFC 3339, seconds of Unix, or so long ago.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::units::parse_duration;

/// A moment: nanoseconds since 1970, UTC.
pub type Nanoseconds = u64;

const SECOND: u64 = 1_000_000_000;
const DAY: u64 = 86_400;

/// Now.
pub fn now() -> Nanoseconds {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    })
}

/// `2006-01-02T15:04:05.999999999Z`, with all nine digits, so that lines of a log align.
pub fn show(moment: Nanoseconds) -> String {
    let (seconds, nanos) = (moment / SECOND, moment % SECOND);
    let (year, month, day) = date_of(seconds / DAY);
    let [hour, minute, second] = [seconds / 3600 % 24, seconds / 60 % 60, seconds % 60];
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{nanos:09}Z")
}

/// `2006-01-02 15:04:05 +0000 UTC`, as docker lists it.
pub fn show_plainly(moment: Nanoseconds) -> String {
    let text = show(moment);
    let (date, rest) = text.split_once('T').unwrap_or((&text, ""));
    let time = rest.get(..8).unwrap_or(rest);
    format!("{date} {time} +0000 UTC")
}

/// How long for people, in docker's words: `About a minute`, `3 hours`.
pub fn show_length(length: Duration) -> String {
    let seconds = length.as_secs();
    let (minutes, hours) = (seconds / 60, (seconds + 1800) / 3600);
    match (seconds, minutes, hours) {
        (0, ..) => "Less than a second".to_owned(),
        (1, ..) => "1 second".to_owned(),
        (2..60, ..) => format!("{seconds} seconds"),
        (_, 1, _) => "About a minute".to_owned(),
        (_, 2..60, _) => format!("{minutes} minutes"),
        (.., 1) => "About an hour".to_owned(),
        (.., 2..48) => format!("{hours} hours"),
        (.., 48..336) => format!("{} days", hours / 24),
        (.., 336..1440) => format!("{} weeks", hours / 24 / 7),
        (.., 1440..17520) => format!("{} months", hours / 24 / 30),
        _ => format!("{} years", hours / 24 / 365),
    }
}

/// Parses a moment: RFC 3339 (a date alone, or without a zone, is UTC), seconds of Unix with a fraction
/// if wanted, or a duration before now.
pub fn parse(text: &str, now: Nanoseconds) -> Result<Nanoseconds, String> {
    let wrong = || {
        format!(
            "`{text}` is not a time: write 2006-01-02T15:04:05Z, seconds of Unix, or 10m for so long ago"
        )
    };
    if let Some(moment) = parse_unix(text) {
        return Ok(moment);
    }
    if let Some(moment) = parse_date(text) {
        return Ok(moment);
    }
    let ago = parse_duration(text).map_err(|_| wrong())?;
    Ok(now.saturating_sub(u64::try_from(ago.as_nanos()).unwrap_or(u64::MAX)))
}

fn parse_unix(text: &str) -> Option<Nanoseconds> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let seconds = digits(seconds)?;
    seconds
        .checked_mul(SECOND)?
        .checked_add(parse_fraction(fraction)?)
}

/// `25` is a quarter of a second.
fn parse_fraction(text: &str) -> Option<u64> {
    let nine = text.get(..text.len().min(9))?;
    digits(text.get(..1)?)?;
    Some(digits(nine)? * 10u64.pow(9 - u32::try_from(nine.len()).ok()?))
}

fn parse_date(text: &str) -> Option<Nanoseconds> {
    let (date, rest) = match text.split_once(['T', ' ']) {
        Some((date, rest)) => (date, rest),
        None => (text, "00:00:00"),
    };
    let mut parts = date.split('-').map(digits);
    let (year, month, day) = (parts.next()??, parts.next()??, parts.next()??);
    let legal = (1970..=2500).contains(&year) && (1..=12).contains(&month);
    if !legal || !(1..=31).contains(&day) || parts.next().is_some() {
        return None;
    }
    let (clock, offset) = split_zone(rest)?;
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, "0"));
    let mut parts = clock.split(':').map(digits);
    let (hour, minute) = (parts.next()??, parts.next()??);
    let second = parts.next().unwrap_or(Some(0))?;
    if hour > 23 || minute > 59 || second > 60 || parts.next().is_some() {
        return None;
    }
    let seconds = days_until(year, month, day) * DAY + hour * 3600 + minute * 60 + second;
    let seconds = seconds.checked_add_signed(-offset)?;
    seconds
        .checked_mul(SECOND)?
        .checked_add(parse_fraction(fraction)?)
}

/// A time of day, and its zone's seconds east of Greenwich.
fn split_zone(text: &str) -> Option<(&str, i64)> {
    if let Some(clock) = text.strip_suffix('Z') {
        return Some((clock, 0));
    }
    let Some(at) = text.find(['+', '-']) else {
        return Some((text, 0));
    };
    let (hours, minutes) = text[at + 1..].split_once(':')?;
    let east = i64::try_from(digits(hours)? * 3600 + digits(minutes)? * 60).ok()?;
    let sign = if text[at..].starts_with('-') { -1 } else { 1 };
    Some((&text[..at], sign * east))
}

fn digits(text: &str) -> Option<u64> {
    let all = !text.is_empty() && text.len() < 12 && text.bytes().all(|b| b.is_ascii_digit());
    all.then(|| text.parse().ok()).flatten()
}

/// Days from 1970-01-01 to a date of the Gregorian calendar. Years begin in March here, so that the
/// odd day comes last (Hinnant, "chrono-Compatible Low-Level Date Algorithms").
fn days_until(year: u64, month: u64, day: u64) -> u64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year / 400, year % 400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// The date so many days after 1970-01-01: year, month, day.
fn date_of(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    (era * 400 + year + next, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_written_and_read() {
        let table = [
            (0, "1970-01-01T00:00:00.000000000Z"),
            (951_827_696_000_000_001, "2000-02-29T12:34:56.000000001Z"),
            (1_798_761_599_500_000_000, "2026-12-31T23:59:59.500000000Z"),
        ];
        for (moment, text) in table {
            assert_eq!(show(moment), text);
            assert_eq!(parse(text, 0), Ok(moment));
        }
        assert_eq!(show_plainly(table[1].0), "2000-02-29 12:34:56 +0000 UTC");
        for day in 0..200_000 {
            let (y, m, d) = date_of(day);
            assert_eq!(days_until(y, m, d), day);
        }
    }

    #[test]
    fn moments_are_read_as_people_write_them() {
        let now = 1_000_000 * SECOND;
        let table = [
            ("10m", now - 600 * SECOND),
            ("1.5", SECOND + SECOND / 2),
            ("1700000000", 1_700_000_000 * SECOND),
            ("1970-01-02", DAY * SECOND),
            ("1970-01-01T01:00", 3600 * SECOND),
            ("1970-01-01T01:00:00+01:00", 0),
            ("1970-01-01T00:00:01.25-00:30", 1801 * SECOND + SECOND / 4),
        ];
        for (text, moment) in table {
            assert_eq!(parse(text, now), Ok(moment), "{text}");
        }
        for text in [
            "",
            "yesterday",
            "2026-13-01",
            "2026-01-01T25:00",
            "1970-01-01T00:00:00+02:00",
            "-5",
        ] {
            assert!(parse(text, now).is_err(), "{text}");
        }
    }

    #[test]
    fn lengths_are_dockers_words() {
        let table = [
            (0, "Less than a second"),
            (59, "59 seconds"),
            (61, "About a minute"),
            (3000, "50 minutes"),
            (3600, "About an hour"),
            (7200, "2 hours"),
            (3 * 86_400, "3 days"),
            (400 * 86_400, "13 months"),
        ];
        for (seconds, text) in table {
            assert_eq!(show_length(Duration::from_secs(seconds)), text);
        }
    }
}
