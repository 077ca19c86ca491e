//! Days as people write them → `YYYY-MM-DD`.

use chrono::NaiveDate;

use crate::options::Dates;

/// The day as `YYYY-MM-DD`.
pub(crate) fn day(text: &str, order: Dates) -> Option<String> {
    date(text, order).map(|date| date.format("%Y-%m-%d").to_string())
}

/// The day, where the order of its parts is known: year first, or as the options say.
pub(crate) fn date(text: &str, order: Dates) -> Option<NaiveDate> {
    if matches!(order, Dates::Iso | Dates::Auto) {
        return None;
    }
    let text = text.trim();
    let day = text.split([' ', 'T']).next().unwrap_or_default();
    // A time of the day is dropped only where it says nothing.
    let time = text.get(day.len()..).unwrap_or_default().trim_start_matches([' ', 'T']).trim_end_matches('Z');
    if !time.bytes().all(|byte| matches!(byte, b'0' | b':' | b'.')) {
        return None;
    }
    let mut parts = day.split(['/', '.', '-']);
    let (first, second, third) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    let number = |text: &str, least: usize, most: usize| {
        let fits = (least..=most).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
        fits.then(|| text.parse::<u32>().ok())?
    };
    let (year, month, day) = if first.len() == 4 {
        (number(first, 4, 4)?, number(second, 1, 2)?, number(third, 1, 2)?)
    } else if order == Dates::Dmy {
        (number(third, 4, 4)?, number(second, 1, 2)?, number(first, 1, 2)?)
    } else {
        (number(third, 4, 4)?, number(first, 1, 2)?, number(second, 1, 2)?)
    };
    NaiveDate::from_ymd_opt(i32::try_from(year).ok()?, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_read_in_the_order_that_is_said() {
        for (text, order, wanted) in [
            ("31/12/1990", Dates::Dmy, Some("1990-12-31")),
            ("5.1.1990", Dates::Dmy, Some("1990-01-05")),
            ("12/31/1990", Dates::Mdy, Some("1990-12-31")),
            ("12/31/1990", Dates::Dmy, None),
            ("1990-1-5", Dates::Dmy, Some("1990-01-05")),
            ("1990-12-31 00:00:00", Dates::Mdy, Some("1990-12-31")),
            ("1990-12-31 10:00:00", Dates::Mdy, None),
            ("31/12/90", Dates::Dmy, None),
            ("31/12/1990", Dates::Iso, None),
            ("33238", Dates::Dmy, None),
            ("31.02.1990", Dates::Dmy, None),
        ] {
            assert_eq!(day(text, order).as_deref(), wanted, "{text}");
        }
    }
}
