//! What a received file becomes: chunks, what there is to say of its records, and values that must stand once. Synchronous and without a
//! store, in two halves: [`Receiving`] cuts, and [`Packing`] makes of that what is staged. The oracle of the tests runs the same.

mod allowance;
mod brake;
mod issue;
mod new_import;
mod packing;
mod repeats;

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::chunk::{ChunkCutter, ChunkLimits, CutChunk, PackedChunk, SecretKey};
use crate::error::{ErrorCode, FileError};
use crate::fault::{Mutant, mutant};
use crate::field::Field;
use crate::formula;
use crate::id::ImportId;
use crate::intake::{Memory, Reading};
use crate::options::{Dates, Duplicates, EmptyFile};
use crate::parse::{ReadAs, RecordSink, TextEncoding};
use crate::record::{FieldNames, RawField, RawRecord, RawValue, Secrets, source_json};
use crate::rules::Rules;
use crate::unique::{KeyList, UniqueKey};
use crate::validate::Validated;

pub use allowance::Allowance;
use brake::Brake;
pub use issue::Issue;
pub use new_import::{NewImport, Provenance};
pub use packing::{Packing, RecordNotes};
pub use repeats::{REPEATS_TOLD, Repeats};

/// Bytes of the notes on records before they are handed on. A user takes 16 of them.
const NOTES_BYTES: usize = 64 * 1024;
/// Keys that are gathered before they are written.
const KEYS: usize = 5_000;

/// A part of the file, for [`Packing`].
#[derive(Debug)]
pub enum Cut {
    /// A chunk.
    Chunk(CutChunk),
    /// What there is to say of records.
    Records(RecordNotes),
    /// Values that must stand once.
    Keys(Vec<UniqueKey>),
    /// Everything was parsed well.
    End,
}

/// Whoever takes what is cut.
pub trait CutTaker {
    /// Takes it; false if nothing is taken any more.
    fn take(&mut self, cut: Cut) -> bool;
}

/// Something to write to the store.
#[derive(Debug)]
pub enum Staged {
    /// A chunk.
    Chunk(PackedChunk),
    /// What there is to say of records.
    Issues(Vec<Issue>),
    /// Values that must stand once.
    Keys(Vec<UniqueKey>),
    /// Everything was parsed well. Without it, what was staged is worth nothing.
    End,
}

/// What an upload may have, and how it is cut.
#[derive(Debug, Clone, Copy, Default)]
pub struct Bounds {
    /// Of the chunks.
    pub chunk: ChunkLimits,
    /// More than so many percent of the first records that fail for one cause refuse the file; none or 0: nothing does.
    pub brake: Option<u8>,
    /// Memory for telling that a record means the user of an earlier one.
    pub repeats: Memory,
    /// Most records.
    pub records: Option<u64>,
    /// What the tenant's quotas leave.
    pub allowance: Allowance,
}

/// What was received.
#[derive(Debug, Clone)]
pub struct Received {
    /// Records.
    pub total: u64,
    /// Records that failed validation.
    pub invalid: u64,
    /// The same by their first error.
    pub codes: BTreeMap<ErrorCode, u64>,
    /// Bytes, decompressed.
    pub bytes: u64,
    /// SHA-256 of the bytes, decompressed.
    pub digest: [u8; 32],
    /// Field names in the order of the upload.
    pub columns: Vec<String>,
    /// Lanes.
    pub lanes: u32,
    /// What the text was in.
    pub encoding: TextEncoding,
    /// How it was read beside the options.
    pub reading: ReadAs,
    /// The import of which the first record that says so failed before; whether the tenant has such a one is seen here.
    pub mends: Option<ImportId>,
    /// The order of its days, where that was to be found out.
    pub dates: Option<Dates>,
    /// Each record means another user and names no other unique value, so none meets what another one leaves.
    pub independent: bool,
}

/// The records of one upload on their way into chunks. A parser gives it what it finds.
#[derive(Debug)]
pub struct Receiving<T> {
    /// The rules of the import and what its names mean.
    pub reading: Reading,
    cutter: ChunkCutter,
    /// What there is to say of the last records.
    notes: RecordNotes,
    /// The users of records are handed on too, to find those that are repeated.
    counts_users: bool,
    /// Who takes what is cut, and whether it was gone when it was to take something.
    taker: T,
    taker_gone: bool,
    /// Why a chunk could not be encoded.
    unencoded: Option<std::io::Error>,
    /// The values that must be unique in the file, if the import asks for it.
    keys: Vec<UniqueKey>,
    invalid: u64,
    /// The same by their first error.
    codes: BTreeMap<ErrorCode, u64>,
    /// Most records of a file, and what the tenant may send.
    records: Option<u64>,
    allowance: Allowance,
    /// Some values must be unique in the file.
    unique: bool,
    brake: Option<Brake>,
    /// The import of which the first record that says so failed before.
    mends: Option<ImportId>,
}

/// What the records of an upload came to.
#[derive(Debug)]
pub struct ReceivedRecords<T> {
    /// Those that failed validation.
    pub invalid: u64,
    /// The same by their first error.
    pub codes: BTreeMap<ErrorCode, u64>,
    /// Lanes.
    pub lanes: u32,
    /// The import of which the first record that says so failed before.
    pub mends: Option<ImportId>,
    /// No name means a unique value other than the identifier.
    pub names_one_unique: bool,
    /// What its names meant.
    pub reading: Reading,
    /// Whoever took what was cut.
    pub taker: T,
}

/// Why the records of an upload came to nothing although no file is at fault.
#[derive(Debug, thiserror::Error)]
pub enum Unstaged {
    /// Nobody takes what is cut.
    #[error("nobody takes what is cut")]
    TakerGone,
    /// A chunk could not be encoded.
    #[error("a chunk could not be encoded: {0}")]
    Unencoded(std::io::Error),
}

impl<T: CutTaker> Receiving<T> {
    /// `key` seals the secrets of the records.
    pub fn new(rules: Rules, key: Option<SecretKey>, bounds: Bounds, taker: T) -> Self {
        let cutter = ChunkCutter::new(bounds.chunk);
        Self {
            unique: rules.options.duplicates == Duplicates::Refuse,
            counts_users: Repeats::are_counted(&rules.options, bounds.repeats),
            reading: Reading::new(rules),
            cutter: match key {
                Some(key) => cutter.sealing(key),
                None => cutter,
            },
            notes: RecordNotes::default(),
            taker,
            taker_gone: false,
            unencoded: None,
            keys: Vec::new(),
            invalid: 0,
            codes: BTreeMap::new(),
            brake: Brake::new(bounds.brake, bounds.chunk.records),
            records: bounds.records,
            allowance: bounds.allowance,
            mends: None,
        }
    }

    /// Whether so many bytes may come.
    ///
    /// # Errors
    ///
    /// Where they are more than the tenant's quotas leave.
    pub fn check_bytes(&self, bytes: u64) -> Result<(), FileError> {
        self.allowance.check(0, bytes)
    }

    /// Why parsing stopped, where that is not the file's fault.
    pub fn unstaged(&mut self) -> Option<Unstaged> {
        match self.unencoded.take() {
            Some(error) => Some(Unstaged::Unencoded(error)),
            None => self.taker_gone.then_some(Unstaged::TakerGone),
        }
    }

    /// Whether a whole file of so many records can be imported.
    ///
    /// # Errors
    ///
    /// Where most of its records fail for one cause, or it has none and must have some.
    pub fn check_end(&self, records: u64) -> Result<(), FileError> {
        if let Some(brake) = &self.brake {
            brake.end()?;
        }
        if records == 0 && self.reading.rules.options.empty_file == EmptyFile::Refuse {
            return Err(FileError::new(ErrorCode::FileEmpty, "The file has no records."));
        }
        Ok(())
    }

    /// Hands on what is left, and that everything was parsed well.
    ///
    /// # Errors
    ///
    /// Where nobody takes it, or a chunk cannot be encoded.
    pub fn finish(mut self) -> Result<ReceivedRecords<T>, Unstaged> {
        let mut names = FieldNames::new();
        for name in self.reading.binding.names() {
            names.push(name);
        }
        let lanes = self.cutter.finish(&names).map_err(Unstaged::Unencoded)?;
        if !self.flush(0, 0) || !self.taker.take(Cut::End) {
            return Err(Unstaged::TakerGone);
        }
        let Self { invalid, codes, mends, reading, taker, .. } = self;
        let names_one_unique = names_one_unique(&reading);
        Ok(ReceivedRecords { invalid, codes, lanes, mends, names_one_unique, reading, taker })
    }

    /// Hands on what was cut, the notes on records once they are larger than so many bytes, and keys once there are more than so many.
    /// False if nobody takes it.
    fn flush(&mut self, notes_bytes: usize, keys: usize) -> bool {
        let chunks = self.cutter.take_cut().into_iter().map(Cut::Chunk);
        let notes = (self.notes.bytes() > notes_bytes).then(|| std::mem::take(&mut self.notes));
        let keys = (self.keys.len() > keys).then(|| std::mem::take(&mut self.keys));
        chunks.chain(notes.map(Cut::Records)).chain(keys.map(Cut::Keys)).all(|cut| self.taker.take(cut))
    }

    /// Whether there may be a record of this number.
    fn check_number(&self, number: u64) -> Result<(), FileError> {
        match self.records {
            Some(most) if number > most && !mutant(Mutant::AnyRecords) => Err(FileError::new(
                ErrorCode::TooManyRecords,
                format!("the file has more records than the limit of {most}"),
            )
            .at_record(number)),
            _ => self.allowance.check(number, 0),
        }
    }
}

/// The text of a cell of a file of failed records, without what was put into it against spreadsheets. The
/// apostrophe at its start is left to validation, which knows what an empty cell means.
fn unescaped_cell<'r>(field: &RawField<'r>) -> Option<Cow<'r, str>> {
    match field.value {
        RawValue::Text(text) => Some(formula::unescape_inside(text)),
        RawValue::Null | RawValue::Json(_) => None,
    }
}

fn with_text<'r>(field: &RawField<'r>, text: &'r Option<Cow<'r, str>>) -> RawField<'r> {
    let value = text.as_deref().map_or(field.value, RawValue::Text);
    RawField { name: field.name, value }
}

/// Whether no name means a unique value other than the identifier.
fn names_one_unique(reading: &Reading) -> bool {
    let identifier = reading.rules.options.identifier.as_str();
    let unique = [Field::Email, Field::PhoneNumber, Field::PreferredUsername, Field::NewEmail];
    let others = unique.iter().filter(|field| field.as_str() != identifier);
    others.filter_map(|field| reading.binding.name_of(*field)).next().is_none()
        || mutant(Mutant::OtherNamesUnseen)
}

/// The unique values of a record, even if it has other errors.
fn keys(validated: &Validated<'_>, record: u64) -> impl Iterator<Item = UniqueKey> {
    let values = [(KeyList::Identifier, &validated.identifier), (KeyList::NewEmail, &validated.new_email)];
    values.into_iter().filter_map(move |(list, value)| Some(UniqueKey::of(list, value.as_deref()?, record)))
}

impl<T: CutTaker> RecordSink for Receiving<T> {
    fn header(&mut self, names: &FieldNames) -> Result<(), FileError> {
        self.reading.header(names)
    }

    fn knows(&self, name: &str) -> bool {
        self.reading.binding.knows(name)
    }

    fn beyond_ascii(&mut self) {
        self.reading.beyond_ascii();
    }

    fn record(&mut self, record: &RawRecord<'_>, names: &FieldNames) -> Result<(), FileError> {
        self.check_number(record.position.record.get())?;
        self.reading.binding.extend(names);
        let (cells, fields);
        let unescaped;
        let record = if self.reading.binding.is_escaped() {
            cells = record.fields.iter().map(unescaped_cell).collect::<Vec<_>>();
            fields = record
                .fields
                .iter()
                .zip(&cells)
                .map(|(field, cell)| with_text(field, cell))
                .collect::<Vec<_>>();
            unescaped = RawRecord { fields: &fields, ..*record };
            &unescaped
        } else {
            record
        };
        // Text that may contain a secret is not even staged.
        let hidden;
        let record = if self.reading.binding.secrets().hide_whole(record) {
            hidden = Secrets::hidden(record);
            &hidden
        } else {
            record
        };
        self.stage(record, names)?;
        // After each record and not after each piece: one piece may hold many records, and much may be wrong with each.
        if self.flush(NOTES_BYTES, KEYS) {
            return Ok(());
        }
        self.taker_gone = true;
        Err(FileError::new(ErrorCode::UploadIncomplete, "the upload stopped before its end"))
    }
}

impl<T: CutTaker> Receiving<T> {
    /// Validates a record, and adds it with its errors to a chunk.
    fn stage(&mut self, record: &RawRecord<'_>, names: &FieldNames) -> Result<(), FileError> {
        self.cutter.hide(self.reading.binding.secrets());
        if self.mends.is_none() {
            self.mends = self.reading.binding.origin(record).map(|origin| origin.import);
        }
        let Self {
            reading,
            cutter,
            notes,
            counts_users,
            keys: all_keys,
            invalid,
            codes,
            unique,
            brake,
            unencoded,
            ..
        } = self;
        reading.record(record, names, |taken| {
            let (validated, number) = (taken.validated, record.position.record.get());
            if *unique {
                all_keys.extend(keys(&validated, number));
            }
            let (valid, errors) = match validated.result {
                Ok(_) => (true, Vec::new()),
                Err(errors) => (false, errors),
            };
            *invalid += u64::from(!valid);
            if let Some(first) = errors.first() {
                *codes.entry(first.code).or_default() += 1;
            }
            if let Some(brake) = brake {
                brake.record(&errors, record.position)?;
            }
            if let Some(user) = taken.identifier.filter(|_| *counts_users) {
                notes.user(number, user);
            }
            if !valid || !taken.warnings.is_empty() {
                let source = (!valid).then(|| source_json(record, names, taken.secrets));
                let warnings = taken.warnings;
                notes.issue(Issue { record: number, failed: !valid, errors, warnings, source });
            }
            cutter.push(taken.record, names, taken.identifier, valid).map_err(|error| {
                *unencoded = Some(error);
                FileError::new(ErrorCode::Internal, "a chunk could not be encoded")
            })
        })
    }
}
