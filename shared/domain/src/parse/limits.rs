//! How much of one upload the parse step takes at a time.

/// Bounds of the parse step. All apply to the decompressed upload as UTF-8, and all are inclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParseLimits {
    /// Bytes of one record, without its line end.
    pub record_bytes: usize,
    /// Bytes of the CSV header, without its line end.
    pub header_bytes: usize,
    /// Columns of a CSV header, and fields of a JSON record.
    pub fields: usize,
    /// Different field names in all records of a JSON upload.
    pub names: usize,
    /// Bytes of one JSON field name: a longer one is unknown in any case, and every name met is kept.
    pub name_bytes: usize,
    /// Levels of JSON nesting in a record; the record's own object is the first.
    pub depth: usize,
}

impl Default for ParseLimits {
    fn default() -> Self {
        Self {
            record_bytes: 1024 * 1024,
            header_bytes: 64 * 1024,
            fields: 256,
            names: 1024,
            name_bytes: 1024,
            depth: 8,
        }
    }
}
