//! Rows in the binary format of PostgreSQL's COPY (documented under "COPY", section "Binary Format").

use uuid::Uuid;

/// Signature, flags, length of the header extension.
const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

/// Collects rows to be sent.
#[derive(Debug)]
pub(super) struct CopyBuffer {
    bytes: Vec<u8>,
}

impl CopyBuffer {
    pub(super) fn with_capacity(bytes: usize) -> Self {
        let mut buffer = Vec::with_capacity(HEADER.len() + bytes);
        buffer.extend_from_slice(HEADER);
        Self { bytes: buffer }
    }

    /// Begins a row of so many fields.
    pub(super) fn row(&mut self, fields: i16) {
        self.bytes.extend_from_slice(&fields.to_be_bytes());
    }

    pub(super) fn uuid(&mut self, value: Uuid) {
        self.field(value.as_bytes());
    }

    pub(super) fn int(&mut self, value: i32) {
        self.field(&value.to_be_bytes());
    }

    pub(super) fn long(&mut self, value: i64) {
        self.field(&value.to_be_bytes());
    }

    pub(super) fn text(&mut self, value: Option<&str>) {
        match value {
            Some(text) => self.field(text.as_bytes()),
            None => self.null(),
        }
    }

    /// The binary form of jsonb is a version byte and the text.
    pub(super) fn jsonb(&mut self, value: Option<&str>) {
        match value {
            Some(text) => {
                self.length(text.len() + 1);
                self.bytes.push(1);
                self.bytes.extend_from_slice(text.as_bytes());
            }
            None => self.null(),
        }
    }

    /// The rows with their trailer.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.bytes.extend_from_slice(&(-1i16).to_be_bytes());
        self.bytes
    }

    fn null(&mut self) {
        self.bytes.extend_from_slice(&(-1i32).to_be_bytes());
    }

    fn field(&mut self, value: &[u8]) {
        self.length(value.len());
        self.bytes.extend_from_slice(value);
    }

    fn length(&mut self, length: usize) {
        // Validation bounds every value far below this; should one slip through, the server refuses the row.
        self.bytes.extend_from_slice(&i32::try_from(length).unwrap_or(i32::MAX).to_be_bytes());
    }
}
