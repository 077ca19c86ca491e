//! How values are parsed from text and printed as text. The printed form can be parsed again.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use muster_domain::quantity::{DURATION_UNITS, number_and_unit, parse_duration};

/// A type that a setting can have.
pub(super) trait Setting: Sized {
    /// `Err` says what the text must be, and does not repeat it.
    fn parse(text: &str) -> Result<Self, String>;
    /// The text; `None` where nothing is set.
    fn show(&self) -> Option<String>;
}

impl<T: Setting> Setting for Option<T> {
    fn parse(text: &str) -> Result<Self, String> {
        T::parse(text).map(Some)
    }

    fn show(&self) -> Option<String> {
        self.as_ref().and_then(T::show)
    }
}

impl Setting for u32 {
    fn parse(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| "must be a whole number".into())
    }

    fn show(&self) -> Option<String> {
        Some(self.to_string())
    }
}

impl Setting for bool {
    fn parse(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| "must be true or false".into())
    }

    fn show(&self) -> Option<String> {
        Some(self.to_string())
    }
}

impl Setting for String {
    fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() { Err("must not be empty".into()) } else { Ok(text.to_owned()) }
    }

    fn show(&self) -> Option<String> {
        Some(self.clone())
    }
}

impl Setting for PathBuf {
    fn parse(text: &str) -> Result<Self, String> {
        String::parse(text).map(Self::from)
    }

    fn show(&self) -> Option<String> {
        Some(self.display().to_string())
    }
}

impl Setting for SocketAddr {
    fn parse(text: &str) -> Result<Self, String> {
        text.parse()
            .map_err(|_| "must be an IP address and a port, such as 127.0.0.1:8080 or [::]:8080".into())
    }

    fn show(&self) -> Option<String> {
        Some(self.to_string())
    }
}

/// A number of bytes, written `512 KiB`.
///
/// ```
/// use muster_runtime::config::ByteSize;
///
/// assert_eq!(ByteSize::kib(512).bytes(), 524_288);
/// assert_eq!(ByteSize::mib(8).to_string(), "8 MiB");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(u64);

impl ByteSize {
    /// So many bytes.
    pub const fn new(bytes: u64) -> Self {
        Self(bytes)
    }

    /// So many KiB.
    pub const fn kib(count: u64) -> Self {
        Self(count * 1024)
    }

    /// So many MiB.
    pub const fn mib(count: u64) -> Self {
        Self(count * 1024 * 1024)
    }

    /// So many GiB.
    pub const fn gib(count: u64) -> Self {
        Self(count * 1024 * 1024 * 1024)
    }

    /// The number of bytes.
    pub const fn bytes(self) -> u64 {
        self.0
    }

    /// The number of bytes, as far as this machine can count in memory.
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

const BINARY_UNITS: [(&str, u64); 4] =
    [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
const DECIMAL_UNITS: [(&str, u64); 4] =
    [("TB", 10u64.pow(12)), ("GB", 10u64.pow(9)), ("MB", 10u64.pow(6)), ("kB", 1000)];

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match BINARY_UNITS.iter().find(|(_, size)| self.0 > 0 && self.0.is_multiple_of(*size)) {
            Some((unit, size)) => write!(f, "{} {unit}", self.0 / size),
            None => write!(f, "{} B", self.0),
        }
    }
}

impl Setting for ByteSize {
    fn parse(text: &str) -> Result<Self, String> {
        let units = BINARY_UNITS.iter().chain(&DECIMAL_UNITS).copied().chain([("B", 1), ("", 1)]);
        number_and_unit(text, units)
            .map(Self)
            .filter(|size| size.0 > 0)
            .ok_or_else(|| "must be a size above 0, such as 512 KiB, 1 MiB or 20 GB".into())
    }

    fn show(&self) -> Option<String> {
        Some(self.to_string())
    }
}

impl Setting for Duration {
    fn parse(text: &str) -> Result<Self, String> {
        parse_duration(text)
    }

    fn show(&self) -> Option<String> {
        let milliseconds = self.as_millis();
        let unit = DURATION_UNITS.iter().find(|(_, size)| milliseconds.is_multiple_of(u128::from(*size)));
        unit.map(|(unit, size)| format!("{}{unit}", milliseconds / u128::from(*size)))
    }
}

/// A part of a whole, from 0 to 1, written `0.25`. In millionths, so that what is shown is what was set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ratio(u32);

impl Ratio {
    /// All of it.
    pub const WHOLE: Self = Self(1_000_000);

    /// So many hundredths, at most all of them.
    pub const fn percent(hundredths: u32) -> Self {
        if hundredths >= 100 { Self::WHOLE } else { Self(hundredths * 10_000) }
    }

    /// Whether this number is among the part, where all numbers are equally likely.
    pub fn takes(self, number: u64) -> bool {
        number % u64::from(Self::WHOLE.0) < u64::from(self.0)
    }
}

impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, millionths) = (self.0 / Self::WHOLE.0, self.0 % Self::WHOLE.0);
        let digits = format!("{millionths:06}");
        match digits.trim_end_matches('0') {
            "" => write!(f, "{whole}"),
            digits => write!(f, "{whole}.{digits}"),
        }
    }
}

impl Setting for Ratio {
    fn parse(text: &str) -> Result<Self, String> {
        let (whole, digits) = text.split_once('.').unwrap_or((text, "0"));
        let number = |text: &str| match text {
            "" => None,
            text if text.len() > 6 || !text.bytes().all(|byte| byte.is_ascii_digit()) => None,
            text => text.parse::<u32>().ok(),
        };
        let read =
            || Some((number(whole)?, number(&format!("{digits:0<6}")).filter(|_| !digits.is_empty())?));
        match read() {
            Some((0, millionths)) => Ok(Self(millionths)),
            Some((1, 0)) => Ok(Self::WHOLE),
            _ => Err("must be a number from 0 to 1 with at most six decimals, such as 0.05".into()),
        }
    }

    fn show(&self) -> Option<String> {
        Some(self.to_string())
    }
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// Text on a terminal, JSON otherwise.
    #[default]
    Auto,
    /// Lines for people.
    Text,
    /// One JSON object a line.
    Json,
}

impl Setting for LogFormat {
    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err("must be auto, text or json".into()),
        }
    }

    fn show(&self) -> Option<String> {
        Some(match self {
            Self::Auto => "auto".into(),
            Self::Text => "text".into(),
            Self::Json => "json".into(),
        })
    }
}

/// Where the Authgear front door puts the result in the response body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Envelope {
    /// Under `result` and at the top as well: readers of either find it.
    #[default]
    Both,
    /// Under `result`, as Authgear's server answers.
    Result,
    /// At the top, as Authgear's documentation shows it.
    Bare,
}

impl Setting for Envelope {
    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "both" => Ok(Self::Both),
            "result" => Ok(Self::Result),
            "bare" => Ok(Self::Bare),
            _ => Err("must be both, result or bare".into()),
        }
    }

    fn show(&self) -> Option<String> {
        Some(match self {
            Self::Both => "both".into(),
            Self::Result => "result".into(),
            Self::Bare => "bare".into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_sizes_read_as_they_are_shown() {
        for (text, milliseconds) in
            [("250ms", 250), ("10s", 10_000), ("5min", 300_000), ("2h", 7_200_000), ("30d", 2_592_000_000)]
        {
            let duration = Duration::parse(text).unwrap();
            assert_eq!(duration, Duration::from_millis(milliseconds));
            assert_eq!(duration.show().unwrap(), text);
        }
        for (text, bytes, shown) in [
            ("1 MiB", 1 << 20, "1 MiB"),
            ("512KiB", 512 << 10, "512 KiB"),
            ("1000", 1000, "1000 B"),
            ("20 GB", 20_000_000_000, "19531250 KiB"),
        ] {
            let size = ByteSize::parse(text).unwrap();
            assert_eq!((size.bytes(), size.to_string().as_str()), (bytes, shown));
            assert_eq!(ByteSize::parse(shown).unwrap(), size);
        }
    }

    #[test]
    fn a_part_of_a_whole_reads_as_it_is_shown_and_takes_as_much() {
        for (text, shown, of_million) in [
            ("0", "0", 0),
            ("0.0", "0", 0),
            ("0.05", "0.05", 50_000),
            ("0.000001", "0.000001", 1),
            ("0.999999", "0.999999", 999_999),
            ("1", "1", 1_000_000),
            ("1.000", "1", 1_000_000),
        ] {
            let ratio = Ratio::parse(text).unwrap();
            assert_eq!(ratio.to_string(), shown);
            assert_eq!(Ratio::parse(shown), Ok(ratio));
            let taken = (0..1_000_000).filter(|number| ratio.takes(*number)).count();
            assert_eq!(taken, of_million, "{text}");
        }
        assert_eq!(Ratio::percent(10), Ratio::parse("0.1").unwrap());
        for text in
            ["", ".", "1.", ".5", "1.1", "2", "-0.5", "+0.5", "0.0000001", "10 %", "0,5", "1e-3", "0.5.5"]
        {
            assert!(Ratio::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_has_no_unit_no_number_or_no_end_is_refused() {
        for text in
            ["", "10", "s", "-1s", "1.5s", "10m", "0s", "99999999999999999999s", "18446744073709551615d"]
        {
            assert!(Duration::parse(text).is_err(), "{text}");
        }
        for text in ["", "0", "MiB", "-1", "1 Mib", "1,5 MiB", "18446744073709551615 KiB"] {
            assert!(ByteSize::parse(text).is_err(), "{text}");
        }
    }
}
