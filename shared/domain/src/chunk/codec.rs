//! The encoded form of a chunk, the same in the store and in a message.
//!
//! A version byte, then zstd over:
//!
//! ```text
//! names    count, then each name (length, bytes)
//! records  count, then each record:
//!          number, line and byte as differences from the record before,
//!          flags (bit 0: a defect follows the fields, bit 1: raw text follows),
//!          field count, then each field: name index, kind (0 null, 1 text, 2 JSON), length, bytes
//! ```
//!
//! In version 2, secrets are sealed: kind 3 is a sealed text, kind 4 what may be shown of a JSON value (length, bytes) and then
//! the value sealed. A chunk without secrets is of version 1, which older programs read.
//!
//! All numbers are LEB128. Records are encoded as they stood in the upload; what they mean is worked out by validate on
//! both sides, so that a message says no more than the upload did.

mod body;

use std::ops::Range;

use xxhash_rust::xxh3::xxh3_64;

use super::seal::SecretKey;
use crate::error::RecordError;
use crate::record::{FieldNames, Position, REDACTED, RawField, RawRecord, RawValue, RecordNumber, Secrets};
use body::PLAIN_VERSION;
pub use body::{BrokenChunk, Compressor, VERSION, decoded_bytes};
pub(super) use body::{Uncompressed, pack, unpack};

/// What a field costs beside its bytes.
const FIELD_BYTES: usize = 8;
pub(super) const HAS_DEFECT: u8 = 1;
pub(super) const HAS_RAW: u8 = 2;

/// Fingerprint of an encoded chunk: a message whose body has another one is not what was staged.
pub fn body_hash(body: &[u8]) -> i64 {
    i64::from_ne_bytes(xxh3_64(body).to_ne_bytes())
}

/// Encodes records one after the other.
#[derive(Debug, Default)]
pub(crate) struct Encoder {
    records: Vec<u8>,
    count: u32,
    fields: usize,
    last: Option<Position>,
    sealed: bool,
}

/// How secrets are sealed while records are encoded.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seal<'a> {
    pub(super) key: &'a SecretKey,
    pub(super) secrets: &'a Secrets,
    pub(super) names: &'a FieldNames,
}

/// What so many bytes of records with so many fields cost: a decoded field takes memory even where it has no value.
pub(super) fn encoded_bytes(bytes: usize, fields: usize) -> usize {
    bytes + fields * FIELD_BYTES
}

impl Encoder {
    pub(super) fn count(&self) -> u32 {
        self.count
    }

    /// What the records cost: their bytes, and something for each field.
    pub(super) fn bytes(&self) -> usize {
        encoded_bytes(self.records.len(), self.fields)
    }

    /// Adds a record that has no secrets.
    pub(crate) fn push_plain(&mut self, record: &RawRecord<'_>) -> std::io::Result<()> {
        self.push(record, None)
    }

    /// Adds a record, its secrets sealed where there is a seal.
    pub(super) fn push(&mut self, record: &RawRecord<'_>, seal: Option<Seal<'_>>) -> std::io::Result<()> {
        self.place(record.position, record.fields.len());
        self.sealed |= encode(&mut self.records, record, seal)?;
        Ok(())
    }

    /// Adds a record that [`encode`] encoded: its bytes, how many fields it has, and whether secrets were sealed.
    pub(super) fn push_encoded(&mut self, position: Position, bytes: &[u8], fields: usize, sealed: bool) {
        self.place(position, fields);
        self.records.extend_from_slice(bytes);
        self.sealed |= sealed;
    }

    /// Begins a record by what differs between its position and that of the record before.
    fn place(&mut self, position: Position, fields: usize) {
        let out = &mut self.records;
        let (number, line, byte) = self.last.map_or((0, 0, 0), |at| (at.record.get(), at.line, at.byte));
        put(out, position.record.get().wrapping_sub(number));
        put(out, position.line.wrapping_sub(line));
        put(out, position.byte.wrapping_sub(byte));
        self.last = Some(position);
        self.count += 1;
        self.fields += fields;
    }

    /// The encoded chunk; the encoder is as new afterwards.
    pub(crate) fn finish(&mut self, names: &FieldNames) -> std::io::Result<Vec<u8>> {
        let chunk = self.uncompressed(names);
        body::pack(chunk.version, &[&chunk.head, &chunk.records])
    }

    /// The encoded chunk before it is compressed; the encoder is as new afterwards, with room for as much again.
    pub(super) fn cut(&mut self, names: &FieldNames) -> Uncompressed {
        let chunk = self.uncompressed(names);
        self.records.reserve(chunk.records.len());
        chunk
    }

    fn uncompressed(&mut self, names: &FieldNames) -> Uncompressed {
        let mut head = Vec::with_capacity(64);
        put(&mut head, names.len() as u64);
        for name in names.iter() {
            put_text(&mut head, name);
        }
        put(&mut head, u64::from(self.count));
        let Self { records, sealed, .. } = std::mem::take(self);
        Uncompressed { version: if sealed { VERSION } else { PLAIN_VERSION }, head, records }
    }
}

/// Encodes a record without its position, its secrets sealed where there is a seal. True if any were sealed.
pub(super) fn encode(
    out: &mut Vec<u8>,
    record: &RawRecord<'_>,
    seal: Option<Seal<'_>>,
) -> std::io::Result<bool> {
    let mut sealed = false;
    let flags =
        if record.defect.is_some() { HAS_DEFECT } else { 0 } | if record.raw.is_some() { HAS_RAW } else { 0 };
    out.push(flags);
    put(out, record.fields.len() as u64);
    for (place, field) in record.fields.iter().enumerate() {
        put(out, u64::from(field.name));
        if let Some(seal) = seal.filter(|seal| seal.secrets.hides(field.name))
            && push_sealed(out, record, place, field, seal)?
        {
            sealed = true;
            continue;
        }
        match field.value {
            RawValue::Null => out.push(0),
            RawValue::Text(text) => {
                out.push(1);
                put_text(out, text);
            }
            RawValue::Json(text) => {
                out.push(2);
                put_text(out, text);
            }
        }
    }
    if let Some(defect) = record.defect {
        // A defect is rare, so it travels as JSON. It has no field that could fail to serialise.
        put_text(out, &serde_json::to_string(defect).unwrap_or_default());
    }
    if let Some(raw) = record.raw {
        put_text(out, raw);
    }
    Ok(sealed)
}

/// Adds a secret. False, and nothing added, for a value that says nothing.
fn push_sealed(
    out: &mut Vec<u8>,
    record: &RawRecord<'_>,
    place: usize,
    field: &RawField<'_>,
    seal: Seal<'_>,
) -> std::io::Result<bool> {
    let place = u32::try_from(place).map_err(std::io::Error::other)?;
    let number = record.position.record.get();
    match field.value {
        RawValue::Null | RawValue::Text("") => return Ok(false),
        RawValue::Text(text) => {
            out.push(3);
            put_bytes(out, &seal.key.seal(number, place, text)?);
        }
        RawValue::Json(json) => {
            let shown = seal.secrets.shown(field, seal.names);
            out.push(4);
            put_text(out, shown.as_deref().unwrap_or("null"));
            put_bytes(out, &seal.key.seal(number, place, json)?);
        }
    }
    Ok(true)
}

pub(super) fn put(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    out.push((number & 0x7f) as u8);
}

pub(super) fn put_text(out: &mut Vec<u8>, text: &str) {
    put_bytes(out, text.as_bytes());
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// A decoded chunk: owns the bytes that its records borrow from.
#[derive(Debug)]
pub struct ChunkRecords {
    text: String,
    names: FieldNames,
    fields: Vec<StoredField>,
    records: Vec<StoredRecord>,
}

#[derive(Debug, Clone, Copy)]
struct StoredField {
    name: u32,
    kind: u8,
    start: u32,
    end: u32,
}

#[derive(Debug)]
struct StoredRecord {
    position: Position,
    fields: Range<u32>,
    defect: Option<Box<RecordError>>,
    raw: Option<Range<u32>>,
}

impl ChunkRecords {
    /// The names that the records' fields refer to.
    pub fn names(&self) -> &FieldNames {
        &self.names
    }

    /// How many records the chunk has.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether the chunk has no records.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// All fields of all records, in order: the records borrow slices of this.
    pub fn fields(&self) -> Vec<RawField<'_>> {
        self.fields
            .iter()
            .map(|field| {
                let text = self.text.get(field.start as usize..field.end as usize).unwrap_or_default();
                let value = match field.kind {
                    0 => RawValue::Null,
                    1 => RawValue::Text(text),
                    _ => RawValue::Json(text),
                };
                RawField { name: field.name, value }
            })
            .collect()
    }

    /// The records, over the fields that [`Self::fields`] gave.
    pub fn records<'a>(&'a self, fields: &'a [RawField<'a>]) -> impl ExactSizeIterator<Item = RawRecord<'a>> {
        self.records.iter().map(move |record| RawRecord {
            position: record.position,
            fields: fields.get(record.fields.start as usize..record.fields.end as usize).unwrap_or_default(),
            defect: record.defect.as_deref(),
            raw: record.raw.as_ref().and_then(|raw| self.text.get(raw.start as usize..raw.end as usize)),
        })
    }
}

/// Whether a chunk has secrets, which only [`decode_with`] the key of their import reads.
pub fn is_sealed(body: &[u8]) -> bool {
    body.first() == Some(&VERSION)
}

/// Reads an encoded chunk. Sealed secrets are replaced by what may be shown of them.
pub fn decode(body: &[u8]) -> Result<ChunkRecords, BrokenChunk> {
    decode_with(body, None)
}

/// Reads an encoded chunk and opens its secrets. Without a key (it is gone when the import has ended) they stay hidden.
pub fn decode_with(body: &[u8], key: Option<&SecretKey>) -> Result<ChunkRecords, BrokenChunk> {
    let (_, bytes) = unpack(body)?;
    Reader { bytes: &bytes, at: 0, key }.chunk()
}

pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    pub(super) at: usize,
    key: Option<&'a SecretKey>,
}

const SHORT: BrokenChunk = BrokenChunk::Damaged("it is cut short");
const WILD: BrokenChunk = BrokenChunk::Damaged("a number in it is out of range");

impl<'a> Reader<'a> {
    /// Reads what [`unpack`] gave, without a key.
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, key: None }
    }

    /// What was read since a place.
    pub(super) fn since(&self, place: usize) -> &'a [u8] {
        self.bytes.get(place..self.at).unwrap_or_default()
    }

    /// Passes over the kind and the value of a field.
    pub(super) fn skip_value(&mut self) -> Result<(), BrokenChunk> {
        let pieces = match self.byte()? {
            0 => 0,
            1..=3 => 1,
            4 => 2,
            _ => return Err(BrokenChunk::Damaged("a field has an unknown kind")),
        };
        for _ in 0..pieces {
            self.bytes()?;
        }
        Ok(())
    }

    /// The texts stay where they are in the decoded bytes, which become the chunk's one string: they are
    /// checked to be UTF-8 piece by piece, and the bytes between them (numbers) are replaced so that the
    /// whole is UTF-8 too.
    fn chunk(mut self) -> Result<ChunkRecords, BrokenChunk> {
        let mut text = String::with_capacity(self.bytes.len());
        let mut names = FieldNames::new();
        for _ in 0..self.small()? {
            let range = self.text(&mut text)?;
            names.push(&text[range.start as usize..range.end as usize]);
        }
        let count = self.small()?;
        self.records(text, names, count)
    }

    fn records(mut self, text: String, names: FieldNames, count: u32) -> Result<ChunkRecords, BrokenChunk> {
        let mut chunk = ChunkRecords {
            text,
            names,
            fields: Vec::with_capacity((count as usize * 6).min(self.bytes.len())),
            records: Vec::with_capacity((count as usize).min(self.bytes.len())),
        };
        let (mut number, mut line, mut byte) = (0u64, 0u64, 0u64);
        for _ in 0..count {
            number = number.wrapping_add(self.number()?);
            line = line.wrapping_add(self.number()?);
            byte = byte.wrapping_add(self.number()?);
            let position = Position { record: RecordNumber::new(number).ok_or(WILD)?, line, byte };
            let record = self.record(position, &mut chunk)?;
            chunk.records.push(record);
        }
        if self.at == self.bytes.len() {
            Ok(chunk)
        } else {
            Err(BrokenChunk::Damaged("something follows its end"))
        }
    }

    fn record(&mut self, position: Position, chunk: &mut ChunkRecords) -> Result<StoredRecord, BrokenChunk> {
        let flags = self.byte()?;
        let start = u32::try_from(chunk.fields.len()).map_err(|_| WILD)?;
        for _ in 0..self.small()? {
            let name = self.small()?;
            if name as usize >= chunk.names.len() {
                return Err(BrokenChunk::Damaged("a field has no name"));
            }
            let place = u32::try_from(chunk.fields.len()).map_err(|_| WILD)? - start;
            let (kind, value) = match self.byte()? {
                0 => (0, 0..0),
                kind @ (1 | 2) => (kind, self.text(&mut chunk.text)?),
                kind @ (3 | 4) => {
                    (kind - 2, self.sealed(kind, position.record.get(), place, &mut chunk.text)?)
                }
                _ => return Err(BrokenChunk::Damaged("a field has an unknown kind")),
            };
            chunk.fields.push(StoredField { name, kind, start: value.start, end: value.end });
        }
        let end = u32::try_from(chunk.fields.len()).map_err(|_| WILD)?;
        let defect = if flags & HAS_DEFECT == 0 {
            None
        } else {
            let range = self.text(&mut chunk.text)?;
            let json = &chunk.text[range.start as usize..range.end as usize];
            Some(serde_json::from_str(json).map_err(|_| BrokenChunk::Damaged("a defect cannot be read"))?)
        };
        let raw = if flags & HAS_RAW == 0 { None } else { Some(self.text(&mut chunk.text)?) };
        Ok(StoredRecord { position, fields: start..end, defect, raw })
    }

    pub(super) fn byte(&mut self) -> Result<u8, BrokenChunk> {
        let byte = *self.bytes.get(self.at).ok_or(SHORT)?;
        self.at += 1;
        Ok(byte)
    }

    pub(super) fn number(&mut self) -> Result<u64, BrokenChunk> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(WILD)
    }

    pub(super) fn small(&mut self) -> Result<u32, BrokenChunk> {
        u32::try_from(self.number()?).map_err(|_| WILD)
    }

    pub(super) fn bytes(&mut self) -> Result<&'a [u8], BrokenChunk> {
        let length = self.small()? as usize;
        let end = self.at.checked_add(length).ok_or(WILD)?;
        let bytes = self.bytes.get(self.at..end).ok_or(SHORT)?;
        self.at = end;
        Ok(bytes)
    }

    fn text(&mut self, into: &mut String) -> Result<Range<u32>, BrokenChunk> {
        let bytes = self.bytes()?;
        let text =
            std::str::from_utf8(bytes).map_err(|_| BrokenChunk::Damaged("a text in it is not UTF-8"))?;
        append(into, text)
    }

    /// A sealed value: itself with the key, without it what may be shown.
    fn sealed(
        &mut self,
        kind: u8,
        record: u64,
        place: u32,
        into: &mut String,
    ) -> Result<Range<u32>, BrokenChunk> {
        let mut shown = String::new();
        if kind == 4 {
            self.text(&mut shown)?;
        } else {
            shown.push_str(REDACTED);
        }
        let key = self.key;
        let sealed = self.bytes()?;
        match key {
            None => append(into, &shown),
            Some(key) => {
                let text = key.open(record, place, sealed);
                append(into, &text.ok_or(BrokenChunk::Damaged("a secret in it is sealed with another key"))?)
            }
        }
    }
}

fn append(into: &mut String, text: &str) -> Result<Range<u32>, BrokenChunk> {
    let start = u32::try_from(into.len()).map_err(|_| WILD)?;
    into.push_str(text);
    Ok(start..u32::try_from(into.len()).map_err(|_| WILD)?)
}

#[cfg(test)]
mod tests;
