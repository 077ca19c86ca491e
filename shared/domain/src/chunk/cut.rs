//! Cutting a stream of records into chunks, lane by lane.
//!
//! The number of lanes is chosen from the import's size, which a stream does not tell. So the first records
//! are collected without a lane, until the import has more than `lanes * chunk_records` records (it then gets
//! all lanes) or ends (it then gets one lane for each full chunk). Memory is bounded by lanes times the chunk
//! limits, never by the file.

use super::codec::{Compressor, Encoder, Seal, Uncompressed, body_hash, encode, encoded_bytes};
use super::lane::{LaneCount, LaneHash, lane_of};
use super::seal::SecretKey;
use crate::fault::{Mutant, mutant};
use crate::record::{FieldNames, Position, RawRecord, Secrets};

/// How large a chunk may become, and how many lanes an import may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkLimits {
    /// Records a chunk, at the most.
    pub records: u32,
    /// Encoded bytes a chunk, before compression; a single larger record is a chunk of its own.
    pub bytes: usize,
    /// Lanes an import, at the most.
    pub lanes: u32,
}

impl Default for ChunkLimits {
    fn default() -> Self {
        Self { records: 2_000, bytes: 1024 * 1024, lanes: 16 }
    }
}

/// Most that is gathered before the number of lanes is known, whatever the limits make together.
const PILE_BYTES: usize = 8 * 1024 * 1024;

/// A chunk ready to be staged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackedChunk {
    /// Its lane.
    pub lane: u32,
    /// Its place in the lane, from 0.
    pub seq: u32,
    /// Number of its first record.
    pub first_record: u64,
    /// Number of its last record.
    pub last_record: u64,
    /// How many records it has.
    pub records: u32,
    /// Indexes in the chunk of the records that failed validation, ascending.
    pub invalid: Vec<u32>,
    /// The encoded records.
    pub body: Vec<u8>,
    /// Fingerprint of the body.
    pub body_hash: i64,
}

/// A chunk that is cut, but not compressed yet: another thread can do that while records go on being cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CutChunk {
    lane: u32,
    seq: u32,
    first_record: u64,
    last_record: u64,
    records: u32,
    invalid: Vec<u32>,
    encoded: Uncompressed,
}

impl CutChunk {
    /// Compresses the chunk.
    ///
    /// # Errors
    ///
    /// If the compressor fails.
    pub fn pack(self, compressor: &mut Compressor) -> std::io::Result<PackedChunk> {
        let body = self.encoded.pack(compressor)?;
        Ok(PackedChunk {
            lane: self.lane,
            seq: self.seq,
            first_record: self.first_record,
            last_record: self.last_record,
            records: self.records,
            invalid: self.invalid,
            body_hash: body_hash(&body),
            body,
        })
    }
}

#[derive(Debug, Default)]
struct LaneBuffer {
    encoder: Encoder,
    seq: u32,
    first: u64,
    last: u64,
    invalid: Vec<u32>,
}

impl LaneBuffer {
    /// The next record is one at this position.
    fn count(&mut self, position: Position, valid: bool) {
        if self.encoder.count() == 0 {
            self.first = position.record.get();
        }
        self.last = position.record.get();
        if !valid {
            self.invalid.push(self.encoder.count());
        }
    }
}

/// Cuts records into chunks, which wait until [`ChunkCutter::take`] or [`ChunkCutter::take_cut`] takes them.
///
/// ```
/// use muster_domain::chunk::{ChunkCutter, ChunkLimits, LaneHash, decode};
/// use muster_domain::record::{FieldNames, Position, RawField, RawRecord, RawValue, RecordNumber};
///
/// let names = FieldNames::from_header(["email"]);
/// let fields = [RawField { name: 0, value: RawValue::Text("ada@example.com") }];
/// let position = Position { record: RecordNumber::FIRST, line: 2, byte: 6 };
/// let record = RawRecord { position, fields: &fields, defect: None, raw: None };
///
/// let mut cutter = ChunkCutter::new(ChunkLimits::default());
/// cutter.push(&record, &names, Some(LaneHash::of("ada@example.com")), true).unwrap();
/// assert_eq!(cutter.finish(&names).unwrap(), 1, "one lane");
/// let chunks = cutter.take().unwrap();
/// assert_eq!(decode(&chunks[0].body).unwrap().len(), 1);
/// ```
#[derive(Debug)]
pub struct ChunkCutter {
    limits: ChunkLimits,
    lanes: Vec<LaneBuffer>,
    /// While the import's size is unknown: the first records, without a lane, with their lane hashes.
    unassigned: Option<Unassigned>,
    cut: Vec<CutChunk>,
    /// What secrets are sealed with, and which names have them.
    key: Option<SecretKey>,
    secrets: Secrets,
}

/// Records that are encoded, and wait for their lanes.
#[derive(Debug, Default)]
struct Unassigned {
    encoded: Vec<u8>,
    records: Vec<UnassignedRecord>,
    fields: usize,
}

#[derive(Debug)]
struct UnassignedRecord {
    position: Position,
    /// Hash of the identifier, if it has one, so that its lane can be worked out later.
    identifier: Option<LaneHash>,
    valid: bool,
    sealed: bool,
    fields: usize,
    /// Where its bytes end; they begin where those of the record before end.
    end: usize,
}

impl Unassigned {
    /// What the records cost in a chunk.
    fn bytes(&self) -> usize {
        encoded_bytes(self.encoded.len(), self.fields)
    }

    /// What they cost here.
    fn memory(&self) -> usize {
        self.bytes() + self.records.len() * size_of::<UnassignedRecord>()
    }

    fn push(
        &mut self,
        record: &RawRecord<'_>,
        seal: Option<Seal<'_>>,
        identifier: Option<LaneHash>,
        valid: bool,
    ) -> std::io::Result<()> {
        let sealed = encode(&mut self.encoded, record, seal)?;
        let fields = record.fields.len();
        self.fields += fields;
        let (position, end) = (record.position, self.encoded.len());
        self.records.push(UnassignedRecord { position, identifier, valid, sealed, fields, end });
        Ok(())
    }
}

impl ChunkCutter {
    /// A cutter for one import.
    pub fn new(limits: ChunkLimits) -> Self {
        Self {
            limits,
            lanes: Vec::new(),
            unassigned: Some(Unassigned::default()),
            cut: Vec::new(),
            key: None,
            secrets: Secrets::default(),
        }
    }

    /// Seals the secrets of all records with this key.
    #[must_use]
    pub fn sealing(mut self, key: SecretKey) -> Self {
        self.key = (!mutant(Mutant::PlainSecrets)).then_some(key);
        self
    }

    /// Puts all records into one lane, in the order in which they come.
    #[must_use]
    pub fn in_one_lane(mut self) -> Self {
        (self.unassigned, self.lanes) = (None, vec![LaneBuffer::default()]);
        self
    }

    /// Says which of the names met so far have secrets.
    pub fn hide(&mut self, secrets: &Secrets) {
        if self.secrets.len() != secrets.len() {
            self.secrets = secrets.clone();
        }
    }

    /// Adds one record. `identifier` is the hash of its normalised identifier if it has a valid one; `valid` whether it passed validation.
    pub fn push(
        &mut self,
        record: &RawRecord<'_>,
        names: &FieldNames,
        identifier: Option<LaneHash>,
        valid: bool,
    ) -> std::io::Result<()> {
        let seal = self.key.as_ref().filter(|_| self.secrets.any());
        let seal = seal.map(|key| Seal { key, secrets: &self.secrets, names });
        if let Some(unassigned) = &mut self.unassigned {
            unassigned.push(record, seal, identifier, valid)?;
            let most = u64::from(self.limits.lanes) * u64::from(self.limits.records);
            let most_bytes = self.limits.bytes.saturating_mul(self.limits.lanes as usize);
            let full = unassigned.bytes() >= most_bytes || unassigned.memory() >= PILE_BYTES;
            if unassigned.records.len() as u64 > most || full {
                self.assign_lanes(LaneCount::new(self.limits.lanes), names);
            }
            return Ok(());
        }
        let lanes = LaneCount::new(u32::try_from(self.lanes.len()).unwrap_or(u32::MAX));
        let lane = lane_of(identifier, record.position.record.get(), lanes) as usize;
        if let Some(buffer) = self.lanes.get_mut(lane) {
            buffer.count(record.position, valid);
            buffer.encoder.push(record, seal)?;
            self.cut_full(lane, names);
        }
        Ok(())
    }

    /// Ends all chunks that have begun, where the lanes are known: the next record begins another chunk.
    pub fn cut_all(&mut self, names: &FieldNames) {
        (0..self.lanes.len()).for_each(|lane| self.cut(lane, names));
    }

    /// Ends the last chunks. Returns the number of lanes.
    pub fn finish(&mut self, names: &FieldNames) -> std::io::Result<u32> {
        if let Some(unassigned) = &self.unassigned {
            let records = unassigned.records.len() as u64;
            let lanes = LaneCount::for_records(records, self.limits.records, self.limits.lanes);
            self.assign_lanes(lanes, names);
        }
        self.cut_all(names);
        Ok(u32::try_from(self.lanes.len()).unwrap_or(u32::MAX))
    }

    /// The chunks that were cut since the last call, compressed.
    pub fn take(&mut self) -> std::io::Result<Vec<PackedChunk>> {
        let cut = self.take_cut();
        if cut.is_empty() {
            return Ok(Vec::new());
        }
        let mut compressor = Compressor::new()?;
        cut.into_iter().map(|chunk| chunk.pack(&mut compressor)).collect()
    }

    /// The chunks that were cut since the last call.
    pub fn take_cut(&mut self) -> Vec<CutChunk> {
        std::mem::take(&mut self.cut)
    }

    fn assign_lanes(&mut self, lanes: LaneCount, names: &FieldNames) {
        let Some(unassigned) = self.unassigned.take() else { return };
        self.lanes.resize_with(lanes.get() as usize, LaneBuffer::default);
        let mut start = 0;
        for record in &unassigned.records {
            let bytes = unassigned.encoded.get(start..record.end).unwrap_or_default();
            start = record.end;
            let lane = lane_of(record.identifier, record.position.record.get(), lanes) as usize;
            let Some(buffer) = self.lanes.get_mut(lane) else { continue };
            buffer.count(record.position, record.valid);
            buffer.encoder.push_encoded(record.position, bytes, record.fields, record.sealed);
            self.cut_full(lane, names);
        }
    }

    /// Cuts the chunk of a lane if it is full.
    fn cut_full(&mut self, lane: usize, names: &FieldNames) {
        let full = self.lanes.get(lane).is_some_and(|buffer| {
            buffer.encoder.count() >= self.limits.records || buffer.encoder.bytes() >= self.limits.bytes
        });
        if full {
            self.cut(lane, names);
        }
    }

    fn cut(&mut self, lane: usize, names: &FieldNames) {
        let Some(buffer) = self.lanes.get_mut(lane) else { return };
        let records = buffer.encoder.count();
        if records == 0 {
            return;
        }
        self.cut.push(CutChunk {
            lane: u32::try_from(lane).unwrap_or(u32::MAX),
            seq: buffer.seq,
            first_record: buffer.first,
            last_record: buffer.last,
            records,
            invalid: std::mem::take(&mut buffer.invalid),
            encoded: buffer.encoder.cut(names),
        });
        buffer.seq += 1;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::super::codec::decode;
    use super::*;
    use crate::record::{Position, RawField, RawValue, RecordNumber};

    fn cut(keys: &[u8], limits: ChunkLimits) -> Vec<PackedChunk> {
        let names = FieldNames::from_header(["email"]);
        let mut cutter = ChunkCutter::new(limits);
        let mut compressor = Compressor::new().unwrap();
        let mut chunks = Vec::new();
        for (at, key) in keys.iter().enumerate() {
            let text = format!("{key}@example.com");
            let fields = [RawField { name: 0, value: RawValue::Text(&text) }];
            let number = at as u64 + 1;
            let position =
                Position { record: RecordNumber::new(number).unwrap(), line: number, byte: number };
            let record = RawRecord { position, fields: &fields, defect: None, raw: None };
            let identifier = (*key != 0).then(|| LaneHash::of(&text));
            cutter.push(&record, &names, identifier, *key != 0).unwrap();
            chunks.extend(cutter.take_cut().into_iter().map(|chunk| chunk.pack(&mut compressor).unwrap()));
        }
        cutter.finish(&names).unwrap();
        chunks.extend(cutter.take().unwrap());
        chunks
    }

    proptest! {
        #[test]
        fn nothing_is_lost_and_lanes_keep_order(
            keys in prop::collection::vec(0u8..20, 0..300), records in 1u32..20, lanes in 1u32..6, bytes in 16usize..4096,
        ) {
            let chunks = cut(&keys, ChunkLimits { records, bytes, lanes });
            let mut seen = vec![false; keys.len()];
            let mut lane_of_key: HashMap<u8, u32> = HashMap::new();
            let mut last_in_lane: HashMap<u32, (u32, u64)> = HashMap::new();
            for chunk in &chunks {
                prop_assert!(chunk.records <= records && chunk.lane < lanes);
                let (seq, after) = last_in_lane.get(&chunk.lane).map_or((0, 0), |(seq, last)| (seq + 1, *last));
                prop_assert_eq!(chunk.seq, seq);
                prop_assert!(chunk.first_record > after);
                last_in_lane.insert(chunk.lane, (chunk.seq, chunk.last_record));
                let decoded = decode(&chunk.body).unwrap();
                prop_assert_eq!(decoded.len(), chunk.records as usize);
                let fields = decoded.fields();
                for (at, record) in decoded.records(&fields).enumerate() {
                    let number = usize::try_from(record.position.record.get()).unwrap();
                    let key = keys[number - 1];
                    prop_assert!(!std::mem::replace(&mut seen[number - 1], true));
                    prop_assert_eq!(key == 0, chunk.invalid.contains(&u32::try_from(at).unwrap()));
                    if key != 0 {
                        prop_assert_eq!(*lane_of_key.entry(key).or_insert(chunk.lane), chunk.lane);
                    }
                }
            }
            prop_assert!(seen.iter().all(|seen| *seen));
        }
    }

    #[test]
    fn a_small_import_is_one_chunk() {
        let chunks = cut(&[1, 2, 3, 0, 1], ChunkLimits::default());
        assert_eq!(chunks.len(), 1);
        assert_eq!(
            (chunks[0].first_record, chunks[0].last_record, chunks[0].invalid.as_slice()),
            (1, 5, &[3][..])
        );
    }
}
