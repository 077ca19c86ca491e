//! The table of bad inputs (`shared/test_data/input/table.json`): what is sent, and what it must come to through every door.
//! docs/input.md is made of it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One kind of bad input.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// Its number: B1 to B72.
    pub row: String,
    /// What comes in.
    pub input: String,
    /// What becomes of it.
    pub holds: String,
    /// Files that are sent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cases: Vec<Case>,
    /// Tests by name, where it is no file.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tests: Vec<String>,
}

/// One file.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// csv, json or ndjson.
    #[serde(default = "csv", skip_serializing_if = "is_csv")]
    pub format: String,
    /// The media type that it is sent with, where it is not that of its format.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// Options of the import.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub options: BTreeMap<String, String>,
    /// Headers of the request.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// Its bytes.
    pub send: Vec<Part>,
    /// What it comes to.
    #[serde(default)]
    pub comes: Value,
    /// Parts of users that are there once it was applied.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub users: Vec<Value>,
}

fn csv() -> String {
    "csv".into()
}

fn is_csv(format: &str) -> bool {
    format == "csv"
}

/// Bytes of a file.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Part {
    /// A text.
    Text(String),
    /// A file of the parser's corpus.
    File {
        /// Its name in `shared/test_data`.
        file: String,
    },
    /// Bytes, two digits each.
    Hex {
        /// The digits.
        hex: String,
    },
    /// A text many times.
    Repeat {
        /// The text.
        repeat: String,
        /// How many times.
        times: usize,
    },
    /// Bytes as a member of a gzip file, which stores them as they are.
    Gzip {
        /// The bytes.
        gzip: Vec<Self>,
    },
}

/// `shared/test_data`.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../test_data")
}

fn path() -> PathBuf {
    folder().join("input/table.json")
}

/// The table.
///
/// # Panics
///
/// Where it cannot be read.
pub fn rows() -> Vec<Row> {
    let text = fs::read_to_string(path()).expect("the table of inputs");
    serde_json::from_str(&text).expect("a table")
}

/// Writes the table anew.
///
/// # Panics
///
/// Where it cannot be written.
pub fn write(rows: &[Row]) {
    let lines: Vec<String> = rows.iter().map(|row| serde_json::to_string(row).expect("JSON")).collect();
    fs::write(path(), format!("[\n{}\n]\n", lines.join(",\n"))).expect("a table that can be written");
}

impl Case {
    /// The bytes of the file.
    pub fn bytes(&self) -> Vec<u8> {
        bytes(&self.send)
    }

    /// Whether it can be given to a command as a file, too.
    pub fn is_plain(&self) -> bool {
        let about_the_request = |name: &str| matches!(name, "filename" | "tenant");
        !self.options.keys().any(|name| about_the_request(name))
            && self.media_type.is_none()
            && (self.headers.is_empty() || self.is_gzip())
    }

    /// Whether it is compressed on its way.
    pub fn is_gzip(&self) -> bool {
        self.headers.get("content-encoding").is_some_and(|encoding| encoding == "gzip")
    }
}

fn bytes(parts: &[Part]) -> Vec<u8> {
    let mut all = Vec::new();
    for part in parts {
        match part {
            Part::Text(text) => all.extend_from_slice(text.as_bytes()),
            Part::File { file } => all.extend(fs::read(folder().join(file)).expect("a file of the corpus")),
            Part::Hex { hex } => all.extend(hex.as_bytes().chunks(2).map(|pair| {
                std::str::from_utf8(pair)
                    .ok()
                    .and_then(|pair| u8::from_str_radix(pair, 16).ok())
                    .expect("digits")
            })),
            Part::Repeat { repeat, times } => all.extend(repeat.repeat(*times).into_bytes()),
            Part::Gzip { gzip } => all.extend(stored(&bytes(gzip))),
        }
    }
    all
}

/// A gzip member of blocks that are stored and not compressed.
fn stored(plain: &[u8]) -> Vec<u8> {
    let mut member = b"\x1f\x8b\x08\0\0\0\0\0\0\xff".to_vec();
    let mut blocks = plain.chunks(0xffff).peekable();
    if blocks.peek().is_none() {
        member.extend([1, 0, 0, 0xff, 0xff]);
    }
    while let Some(block) = blocks.next() {
        let length = u16::try_from(block.len()).unwrap_or(u16::MAX);
        member.push(u8::from(blocks.peek().is_none()));
        member.extend(length.to_le_bytes());
        member.extend((!length).to_le_bytes());
        member.extend(block);
    }
    let mut crc = u32::MAX;
    for byte in plain {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 };
        }
    }
    member.extend((!crc).to_le_bytes());
    member.extend(u32::try_from(plain.len()).unwrap_or(u32::MAX).to_le_bytes());
    member
}
