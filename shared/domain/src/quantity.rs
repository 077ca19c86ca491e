//! Numbers with a unit, as people write them: `250ms`, `90d`, `64MiB`.

use std::time::Duration;

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

/// A whole number, perhaps blanks, and a unit that must be one of these.
pub fn number_and_unit(text: &str, mut units: impl Iterator<Item = (&'static str, u64)>) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let (_, size) = units.find(|(name, _)| *name == unit.trim_start())?;
    number.parse::<u64>().ok()?.checked_mul(size)
}
