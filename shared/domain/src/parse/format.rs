//! The formats of an upload, and how they are named: in options, by media type, by file name.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Format of an upload. It is declared, never guessed: bytes that are not of it are an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// RFC 4180 with a header line.
    #[default]
    Csv,
    /// One array of objects (RFC 8259).
    Json,
    /// One object a line.
    Ndjson,
    /// A workbook, one of whose sheets is a table. To parse it is to parse the table's text.
    Xlsx,
}

/// The media type of a workbook.
const XLSX: &str = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet";

/// The text names no format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no such format; there are csv, json, ndjson and xlsx")]
pub struct UnknownFormat;

impl Format {
    /// All formats.
    pub const ALL: [Self; 4] = [Self::Csv, Self::Json, Self::Ndjson, Self::Xlsx];

    /// The format's name in options, JSON and on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Json => "json",
            Self::Ndjson => "ndjson",
            Self::Xlsx => "xlsx",
        }
    }

    /// Whether its records are the rows of a table with a header.
    pub fn is_table(self) -> bool {
        matches!(self, Self::Csv | Self::Xlsx)
    }

    /// The media type that Muster sends; [`from_media_type`](Self::from_media_type) takes more.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Csv => "text/csv",
            Self::Json => "application/json",
            Self::Ndjson => "application/x-ndjson",
            Self::Xlsx => XLSX,
        }
    }

    /// The format of a media type, its parameters ignored, or `None` for one that Muster does not take.
    pub fn from_media_type(media_type: &str) -> Option<Self> {
        let essence = media_type.split_once(';').map_or(media_type, |(essence, _)| essence);
        match essence.trim().to_ascii_lowercase().as_str() {
            "text/csv" | "application/csv" | "text/tab-separated-values" | "application/vnd.ms-excel" => {
                Some(Self::Csv)
            }
            "application/json" => Some(Self::Json),
            XLSX => Some(Self::Xlsx),
            "application/x-ndjson" | "application/ndjson" | "application/jsonl" => Some(Self::Ndjson),
            _ => None,
        }
    }

    /// The format of a file extension, given without its dot.
    pub fn from_extension(extension: &str) -> Option<Self> {
        match extension.to_ascii_lowercase().as_str() {
            // Excel's "Unicode Text" and "Text (Tab delimited)" are tables.
            "csv" | "tsv" | "tab" | "txt" => Some(Self::Csv),
            "json" => Some(Self::Json),
            "ndjson" | "jsonl" => Some(Self::Ndjson),
            "xlsx" | "xlsm" => Some(Self::Xlsx),
            _ => None,
        }
    }

    /// What to do about a file whose name says that it is something else, where that can be said.
    pub fn advice_for_name(name: &str) -> Option<&'static str> {
        let (_, extension) = name.rsplit_once('.')?;
        match extension.to_ascii_lowercase().as_str() {
            "zip" | "7z" | "rar" | "tar" | "tgz" => {
                Some("it is an archive: unpack it, and import the file that is in it")
            }
            "xls" | "xlsb" | "ods" | "numbers" => {
                Some("it is a spreadsheet of another kind: save it there as XLSX or CSV")
            }
            "ldif" => Some("it is an LDIF export: export CSV or JSON instead"),
            "html" | "htm" | "xml" | "pdf" | "doc" | "docx" | "rtf" => {
                Some("it is no table: export CSV, JSON or XLSX where it comes from")
            }
            _ => None,
        }
    }

    /// The format of a file name, looking through one `.gz` or `.zst`.
    pub fn from_file_name(name: &str) -> Option<Self> {
        let (stem, extension) = name.rsplit_once('.')?;
        match extension.to_ascii_lowercase().as_str() {
            "gz" | "zst" => Self::from_extension(stem.rsplit_once('.')?.1),
            _ => Self::from_extension(extension),
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Format {
    type Err = UnknownFormat;

    fn from_str(text: &str) -> Result<Self, UnknownFormat> {
        Self::ALL.into_iter().find(|format| format.as_str() == text).ok_or(UnknownFormat)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back() {
        for format in Format::ALL {
            assert_eq!(format.to_string().parse(), Ok(format));
            assert_eq!(Format::from_media_type(format.media_type()), Some(format));
        }
        assert_eq!("xml".parse::<Format>(), Err(UnknownFormat));
    }

    #[test]
    fn media_type_parameters_and_case_are_ignored() {
        assert_eq!(Format::from_media_type("Text/CSV; charset=utf-8; header=present"), Some(Format::Csv));
        assert_eq!(Format::from_media_type("application/jsonl"), Some(Format::Ndjson));
        assert_eq!(Format::from_media_type("text/plain"), None);
    }

    #[test]
    fn file_name_tells_the_format_through_one_compression() {
        assert_eq!(Format::from_file_name("users.2024.CSV"), Some(Format::Csv));
        assert_eq!(Format::from_file_name("users.jsonl.gz"), Some(Format::Ndjson));
        assert_eq!(Format::from_file_name("users.json.zst"), Some(Format::Json));
        assert_eq!(Format::from_file_name("users.csv.gz.gz"), None);
        assert_eq!(Format::from_file_name("csv"), None);
    }
}
