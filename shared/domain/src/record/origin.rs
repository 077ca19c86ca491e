//! The origin of a record of a corrected file: the import in which it failed, and its number there.

use std::fmt;
use std::str::FromStr;

use crate::id::ImportId;

/// The key of an object with a record's [`Origin`]; in a table it is in the column that marks the file.
pub const ORIGIN_KEY: &str = "_error_import";

/// A failed record of an import. As text `0198…#12`: no spreadsheet takes that for a number, a date or a formula.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Origin {
    /// The import in which it failed.
    pub import: ImportId,
    /// Its number there.
    pub record: u64,
}

/// The text names no failed record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be the id of an import, `#` and the number of a record")]
pub struct NoOrigin;

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.import, self.record)
    }
}

impl FromStr for Origin {
    type Err = NoOrigin;

    fn from_str(text: &str) -> Result<Self, NoOrigin> {
        let (import, record) = text.trim().split_once('#').ok_or(NoOrigin)?;
        // As it is written: a UUID in another form is none of ours.
        let import = import.parse().ok().filter(|_| import.len() == 36).ok_or(NoOrigin)?;
        let record = record.parse().ok().filter(|number| *number > 0).ok_or(NoOrigin)?;
        Ok(Self { import, record })
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn an_origin_comes_back_from_its_text() {
        let origin = Origin { import: ImportId::new(Uuid::from_u128(7)), record: 12 };
        assert_eq!(origin.to_string(), "00000000-0000-0000-0000-000000000007#12");
        assert_eq!(format!(" {origin} ").parse(), Ok(origin));
        for text in [
            "",
            "1",
            "#1",
            "x#1",
            "00000000-0000-0000-0000-000000000007#0",
            "00000000000000000000000000000007#1",
        ] {
            assert_eq!(text.parse::<Origin>(), Err(NoOrigin), "{text}");
        }
    }
}
