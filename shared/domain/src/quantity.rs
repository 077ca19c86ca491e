//! Numbers with a unit, as people write them: `250ms`, `90d`, `64MiB`. And moments.

use std::time::Duration;

use chrono::{DateTime, Datelike, Utc};

/// Units of time, the largest first, and how many milliseconds each is.
pub const DURATION_UNITS: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1000), ("ms", 1)];

/// A time as settings have it: `250ms`, `10s`, `90d`.
///
/// # Errors
/// What it must be, where it is none.
///
/// ```
/// use std::time::Duration;
///
/// use muster_domain::quantity::parse_duration;
///
/// assert_eq!(parse_duration("5min"), Ok(Duration::from_secs(300)));
/// assert!(parse_duration("soon").is_err());
/// ```
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    number_and_unit(text, DURATION_UNITS.into_iter())
        .filter(|milliseconds| *milliseconds > 0)
        .map(Duration::from_millis)
        .ok_or_else(|| "must be a time above 0, such as 250ms, 10s, 5min, 2h or 30d".into())
}

/// A moment. Its year has four digits, as RFC 3339 says: the database does not know every other year.
///
/// # Errors
/// What it must be, where it is none.
///
/// ```
/// use muster_domain::quantity::parse_moment;
///
/// assert!(parse_moment("2026-01-31T09:30:00+01:00").is_ok());
/// for none in ["yesterday", "-10000-01-01T00:00:00Z", "+10000-01-01T00:00:00Z"] {
///     assert!(parse_moment(none).is_err(), "{none}");
/// }
/// ```
pub fn parse_moment(text: &str) -> Result<DateTime<Utc>, String> {
    let moment = text.parse::<DateTime<Utc>>().ok().filter(|moment| (0..=9999).contains(&moment.year()));
    moment.ok_or_else(|| "must be a moment, such as 2026-01-31T09:30:00Z".into())
}

/// A whole number, perhaps blanks, and a unit that must be one of these.
pub fn number_and_unit(text: &str, mut units: impl Iterator<Item = (&'static str, u64)>) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let (_, size) = units.find(|(name, _)| *name == unit.trim_start())?;
    number.parse::<u64>().ok()?.checked_mul(size)
}
