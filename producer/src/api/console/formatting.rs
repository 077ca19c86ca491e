//! Numbers, times and people's values as text.

use chrono::{DateTime, TimeDelta, Utc};
use maud::{Markup, html};

pub(super) use crate::api::params::thousands as number;

/// A number and what it counts: `1 record`, `2 records`.
pub(super) fn count(number_of: u64, one: &str, many: &str) -> String {
    format!("{} {}", number(number_of), if number_of == 1 { one } else { many })
}

/// The part in hundredths, rounded down so that only the whole is 100.
pub(super) fn percent(part: u64, whole: u64) -> u64 {
    if whole == 0 { 0 } else { u64::try_from(u128::from(part) * 100 / u128::from(whole)).unwrap_or(100) }
}

/// Bytes in the unit that fits.
pub(super) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["kB", "MB", "GB", "TB"];
    if bytes < 1_000 {
        return format!("{bytes} B");
    }
    let (mut tenths, mut unit) = (bytes / 100, 0);
    while tenths >= 10_000 && unit + 1 < UNITS.len() {
        (tenths, unit) = (tenths / 1_000, unit + 1);
    }
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
}

/// A moment, to the minute.
pub(super) fn moment(at: DateTime<Utc>) -> Markup {
    html! {
        time datetime=(at.format("%Y-%m-%dT%H:%M:%SZ")) { (at.format("%-d %b %Y, %H:%M")) " UTC" }
    }
}

/// How long ago something was, and the moment where one points at it.
pub(super) fn ago(now: DateTime<Utc>, at: DateTime<Utc>) -> Markup {
    html! {
        time datetime=(at.format("%Y-%m-%dT%H:%M:%SZ")) title=(at.format("%-d %b %Y, %H:%M:%S UTC")) {
            @if now - at < TimeDelta::seconds(1) { "just now" } @else { (span(now - at)) " ago" }
        }
    }
}

/// A length of time in its two largest units.
pub(super) fn span(length: TimeDelta) -> String {
    let seconds = u64::try_from(length.num_seconds()).unwrap_or(0);
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, 1..10) if seconds % 60 > 0 => format!("{minutes} min {} s", seconds % 60),
        (0, 0, _) => format!("{minutes} min"),
        (0, _, _) if minutes % 60 > 0 => format!("{hours} h {} min", minutes % 60),
        (0, ..) => format!("{hours} h"),
        (1, ..) => "1 day".into(),
        _ => format!("{days} days"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_their_thousands_apart() {
        for (plain, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(number(plain), text);
        }
        assert_eq!(count(1, "record", "records"), "1 record");
        assert_eq!(count(1_500, "record", "records"), "1,500 records");
    }

    #[test]
    fn only_the_whole_is_a_hundred() {
        assert_eq!(percent(999_999, 1_000_000), 99);
        assert_eq!(percent(7, 7), 100);
        assert_eq!(percent(0, 0), 0);
        assert_eq!(percent(u64::MAX, u64::MAX), 100);
    }

    #[test]
    fn bytes_are_in_the_unit_that_fits() {
        for (plain, text) in [
            (12, "12 B"),
            (1_250, "1.2 kB"),
            (999_999, "999.9 kB"),
            (1_500_000, "1.5 MB"),
            (u64::MAX, "18446744.0 TB"),
        ] {
            assert_eq!(bytes(plain), text);
        }
    }

    #[test]
    fn lengths_of_time_have_two_units_at_the_most() {
        for (seconds, text) in [
            (-5, "0 s"),
            (59, "59 s"),
            (60, "1 min"),
            (95, "1 min 35 s"),
            (900, "15 min"),
            (3_600, "1 h"),
            (5_400, "1 h 30 min"),
            (90_000, "1 day"),
            (200_000, "2 days"),
        ] {
            assert_eq!(span(TimeDelta::seconds(seconds)), text, "{seconds}");
        }
    }
}
