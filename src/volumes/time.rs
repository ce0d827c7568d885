//! The present, as docker writes it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

const DAY: u64 = 86_400;

/// Now, like `2026-01-31T23:59:59Z`.
pub fn now() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    write(since.unwrap_or(Duration::ZERO).as_secs())
}

/// Seconds since 1970 by RFC 3339.
fn write(seconds: u64) -> String {
    let (mut day, second) = (seconds / DAY, seconds % DAY);
    let mut year = 1970;
    while day >= days_of(year) {
        day -= days_of(year);
        year += 1;
    }
    let mut month = 1;
    while day >= days_of_month(year, month) {
        day -= days_of_month(year, month);
        month += 1;
    }
    let (hour, minute) = (second / 3600, second / 60 % 60);
    let (day, second) = (day + 1, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400)
}

fn days_of(year: u64) -> u64 {
    365 + u64::from(is_leap(year))
}

fn days_of_month(year: u64, month: u64) -> u64 {
    match month {
        2 => 28 + u64::from(is_leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(write(0), "1970-01-01T00:00:00Z");
        assert_eq!(write(951_782_399), "2000-02-28T23:59:59Z");
        assert_eq!(write(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(write(1_735_689_599), "2024-12-31T23:59:59Z");
    }
}
