//! How a file is written: what ends its cells, what its text is in, and how strictly it is read.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{ParseEnd, TextEncoding};

/// How a file is written, as far as its format leaves that open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dialect {
    /// What ends a CSV cell; `None` to tell it from the header line.
    pub delimiter: Option<Delimiter>,
    /// Encoding of the text; `None` to tell it from the byte order mark, without which it is UTF-8.
    pub encoding: Option<TextEncoding>,
    /// The file was made by people: titles, empty rows and bytes of another encoding are detected. Otherwise
    /// it is a program's, and taken at its word.
    pub handmade: bool,
    /// What to skip before the header of a handmade table.
    pub skip_lines: SkipLines,
    /// A CSV record may have fewer cells than the header has columns (the missing ones are null) or more (those are left
    /// out). Otherwise it has a defect.
    pub flexible: bool,
    /// A CSV file is read as Python's csv module reads it: a quote inside an unquoted cell is text, as is what follows a closing quote, and
    /// names of columns keep the blanks around them. Otherwise such a record has a defect.
    pub lax_quotes: bool,
}

impl Default for Dialect {
    /// A program's file, as RFC 4180 and RFC 8259 have it.
    fn default() -> Self {
        Self {
            delimiter: Some(Delimiter::Comma),
            encoding: None,
            handmade: false,
            skip_lines: SkipLines::Refuse,
            flexible: false,
            lax_quotes: false,
        }
    }
}

/// How a file was read, beside what its import's options say: read in the same way its records are the same, and as many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadAs {
    /// What ended the cells of a table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delimiter: Option<Delimiter>,
    /// What its text was in.
    pub encoding: TextEncoding,
    /// People made the file ([`Dialect::handmade`]).
    pub handmade: bool,
    /// Lines that were skipped before a table's header because that was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skip_lines: Option<u32>,
    /// Titles and comments were skipped because that was asked.
    #[serde(default)]
    pub skip_titles: bool,
    /// Stray quotes in cells were text.
    pub lax_quotes: bool,
}

impl ReadAs {
    /// How a file was read that was said to be in this dialect.
    pub fn new(dialect: &Dialect, end: &ParseEnd) -> Self {
        // All fields are named, so that a new one is not forgotten: a receipt is verified by this.
        let Dialect { delimiter: _, encoding: _, handmade, skip_lines, flexible: _, lax_quotes } = *dialect;
        Self {
            delimiter: end.delimiter,
            encoding: end.encoding,
            handmade,
            skip_lines: match skip_lines {
                SkipLines::Lines(lines) => Some(lines),
                SkipLines::Refuse | SkipLines::Auto => None,
            },
            skip_titles: skip_lines == SkipLines::Auto,
            lax_quotes,
        }
    }

    /// The dialect in which it is read in the same way. `flexible`: as the import's options say.
    pub fn dialect(self, flexible: bool) -> Dialect {
        let skip_lines = match (self.skip_lines, self.skip_titles) {
            (Some(lines), _) => SkipLines::Lines(lines),
            (None, true) => SkipLines::Auto,
            (None, false) => SkipLines::Refuse,
        };
        Dialect {
            delimiter: self.delimiter.or(Dialect::default().delimiter),
            encoding: Some(self.encoding),
            handmade: self.handmade,
            skip_lines,
            flexible,
            lax_quotes: self.lax_quotes,
        }
    }
}

/// What to skip before a table's header, besides what is certainly none of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SkipLines {
    /// Nothing: titles and comments are reported.
    #[default]
    Refuse,
    /// That many lines.
    Lines(u32),
    /// Titles and comments.
    Auto,
}

/// The text says not how many lines to skip.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be auto, or a number of lines from 0 to 1000")]
pub struct UnknownSkip;

impl FromStr for SkipLines {
    type Err = UnknownSkip;

    fn from_str(text: &str) -> Result<Self, UnknownSkip> {
        if text == "auto" {
            return Ok(Self::Auto);
        }
        match text.parse() {
            Ok(lines @ 0..=1000) => Ok(Self::Lines(lines)),
            _ => Err(UnknownSkip),
        }
    }
}

/// What ends a CSV cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Delimiter {
    /// `,`
    Comma,
    /// `;`
    Semicolon,
    /// The tab character.
    Tab,
    /// `|`
    Pipe,
}

/// The text names no delimiter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no such delimiter; there are comma, semicolon, tab and pipe")]
pub struct UnknownDelimiter;

impl Delimiter {
    /// All delimiters; where two are equally likely, the earlier one is meant.
    pub const ALL: [Self; 4] = [Self::Comma, Self::Semicolon, Self::Tab, Self::Pipe];

    /// The one byte that it is.
    pub fn byte(self) -> u8 {
        match self {
            Self::Comma => b',',
            Self::Semicolon => b';',
            Self::Tab => b'\t',
            Self::Pipe => b'|',
        }
    }

    /// Its name in options and on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Comma => "comma",
            Self::Semicolon => "semicolon",
            Self::Tab => "tab",
            Self::Pipe => "pipe",
        }
    }
}

impl fmt::Display for Delimiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Delimiter {
    type Err = UnknownDelimiter;

    /// Takes the name or the character itself.
    fn from_str(text: &str) -> Result<Self, UnknownDelimiter> {
        Self::ALL
            .into_iter()
            .find(|delimiter| delimiter.as_str() == text || [delimiter.byte()] == *text.as_bytes())
            .ok_or(UnknownDelimiter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delimiters_read_by_name_and_by_character() {
        for delimiter in Delimiter::ALL {
            assert_eq!(delimiter.to_string().parse(), Ok(delimiter));
            assert_eq!(char::from(delimiter.byte()).to_string().parse(), Ok(delimiter));
        }
        assert_eq!("".parse::<Delimiter>(), Err(UnknownDelimiter));
    }
}
