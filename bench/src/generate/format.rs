//! Records in the three formats.

use std::io::{self, Write};

use super::people::{COLUMNS, Person};

/// What a file is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// RFC 4180, a header first.
    Csv,
    /// One JSON object a line.
    Ndjson,
    /// One JSON array of objects.
    Json,
}

impl Format {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Ndjson => "ndjson",
            Self::Json => "json",
        }
    }
}

/// Writes records, and counts the bytes.
pub(crate) struct RecordWriter<W> {
    out: W,
    format: Format,
    line: Vec<u8>,
    records: u64,
    bytes: u64,
}

impl<W: Write> RecordWriter<W> {
    pub(crate) fn new(out: W, format: Format) -> io::Result<Self> {
        let mut writer = Self { out, format, line: Vec::with_capacity(512), records: 0, bytes: 0 };
        match format {
            Format::Csv => {
                writer.line.extend_from_slice(COLUMNS.join(",").as_bytes());
                writer.line.push(b'\n');
            }
            Format::Json => writer.line.push(b'['),
            Format::Ndjson => {}
        }
        writer.put_line()?;
        Ok(writer)
    }

    pub(crate) fn write(&mut self, person: &Person) -> io::Result<()> {
        match self.format {
            Format::Csv => csv_line(&mut self.line, person),
            Format::Ndjson => {
                json_object(&mut self.line, person);
                self.line.push(b'\n');
            }
            Format::Json => {
                self.line.extend_from_slice(if self.records == 0 { b"\n" } else { b",\n" });
                json_object(&mut self.line, person);
            }
        }
        self.records += 1;
        self.put_line()
    }

    /// Ends the file. How many bytes it has.
    pub(crate) fn finish(mut self) -> io::Result<u64> {
        if self.format == Format::Json {
            self.line.extend_from_slice(b"\n]\n");
            self.put_line()?;
        }
        self.out.flush()?;
        Ok(self.bytes)
    }

    fn put_line(&mut self) -> io::Result<()> {
        self.out.write_all(&self.line)?;
        self.bytes += self.line.len() as u64;
        self.line.clear();
        Ok(())
    }
}

fn csv_line(line: &mut Vec<u8>, person: &Person) {
    for (column, cell) in person.cells().into_iter().enumerate() {
        if column > 0 {
            line.push(b',');
        }
        if cell.iter().any(|byte| matches!(byte, b',' | b'"' | b'\n' | b'\r')) {
            quoted(line, cell, |byte| (byte == b'"').then_some(b'"'));
        } else {
            line.extend_from_slice(cell);
        }
    }
    line.push(b'\n');
}

/// An empty value is left out: that is what an empty cell means.
fn json_object(line: &mut Vec<u8>, person: &Person) {
    line.push(b'{');
    let mut first = true;
    for (name, value) in COLUMNS.into_iter().zip(person.cells()).filter(|(_, value)| !value.is_empty()) {
        if !std::mem::take(&mut first) {
            line.push(b',');
        }
        quoted(line, name.as_bytes(), |_| None);
        line.push(b':');
        // No value holds a control character.
        quoted(line, value, |byte| matches!(byte, b'"' | b'\\').then_some(b'\\'));
    }
    line.push(b'}');
}

/// The text between quotes, with what `escape` says before a byte.
fn quoted(line: &mut Vec<u8>, text: &[u8], escape: impl Fn(u8) -> Option<u8>) {
    line.push(b'"');
    for byte in text {
        line.extend(escape(*byte));
        line.push(*byte);
    }
    line.push(b'"');
}
