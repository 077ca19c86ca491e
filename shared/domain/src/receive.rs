//! What a received file becomes: chunks, what there is to say of its records, and values that must stand once. Synchronous and without a
//! store: whoever runs it takes what is staged, and the oracle of the tests runs the same.

mod allowance;
mod brake;
mod issue;
mod new_import;

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::chunk::{ChunkCutter, ChunkLimits, CutChunk, LaneHash, SecretKey};
use crate::error::{ErrorCode, FileError};
use crate::fault::{Mutant, mutant};
use crate::formula;
use crate::id::ImportId;
use crate::intake::{Memory, Reading, Repeat};
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

/// Bytes of issues that are gathered before they are written.
const ISSUE_BYTES: usize = 256 * 1024;
/// Keys that are gathered before they are written.
const KEYS: usize = 5_000;

/// Something for the stager to write. The chunks are compressed on the way.
#[derive(Debug)]
pub enum Staged<C = CutChunk> {
    /// A chunk.
    Chunk(C),
    /// What there is to say of records.
    Issues(Vec<Issue>),
    /// Values that must stand once.
    Keys(Vec<UniqueKey>),
    /// Everything was parsed well. Without it, what was staged is worth nothing.
    End,
}

/// Whoever takes what is staged.
pub trait Stager {
    /// Takes it; false if nothing is taken any more.
    fn take(&mut self, staged: Staged) -> bool;
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
}

/// The records of one upload on their way into chunks. A parser gives it what it finds.
#[derive(Debug)]
pub struct Receiving<S> {
    /// The rules of the import and what its names mean.
    pub reading: Reading,
    cutter: ChunkCutter,
    issues: Vec<Issue>,
    issue_bytes: usize,
    /// The warning of the first record that also covers others; it is known when all of them are counted.
    stands_for_repeats: Option<Issue>,
    /// Who writes what is staged, and whether it was gone when it was to take something.
    stager: S,
    stager_gone: bool,
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
pub struct ReceivedRecords<S> {
    /// Those that failed validation.
    pub invalid: u64,
    /// The same by their first error.
    pub codes: BTreeMap<ErrorCode, u64>,
    /// Lanes.
    pub lanes: u32,
    /// The import of which the first record that says so failed before.
    pub mends: Option<ImportId>,
    /// What its names meant.
    pub reading: Reading,
    /// Whoever took what was staged.
    pub stager: S,
}

/// Why the records of an upload came to nothing although no file is at fault.
#[derive(Debug, thiserror::Error)]
pub enum Unstaged {
    /// Nobody takes what is staged.
    #[error("nobody takes what is staged")]
    StagerGone,
    /// A chunk could not be encoded.
    #[error("a chunk could not be encoded: {0}")]
    Unencoded(std::io::Error),
}

impl<S: Stager> Receiving<S> {
    /// `key` seals the secrets of the records.
    pub fn new(rules: Rules, key: Option<SecretKey>, bounds: Bounds, stager: S) -> Self {
        let cutter = ChunkCutter::new(bounds.chunk);
        Self {
            unique: rules.options.duplicates == Duplicates::Refuse,
            reading: Reading::new(rules).telling_repeats(bounds.repeats),
            cutter: match key {
                Some(key) => cutter.sealing(key),
                None => cutter,
            },
            issues: Vec::new(),
            issue_bytes: 0,
            stands_for_repeats: None,
            stager,
            stager_gone: false,
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
            None => self.stager_gone.then_some(Unstaged::StagerGone),
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

    /// Stages what is left, and that everything was parsed well.
    ///
    /// # Errors
    ///
    /// Where nobody takes it, or a chunk cannot be encoded.
    pub fn finish(mut self) -> Result<ReceivedRecords<S>, Unstaged> {
        if let Some(mut issue) = self.stands_for_repeats.take() {
            issue.warnings.extend(self.reading.untold_repeats());
            self.issue_bytes += issue.size();
            self.issues.push(issue);
        }
        let mut names = FieldNames::new();
        for name in self.reading.binding.names() {
            names.push(name);
        }
        let lanes = self.cutter.finish(&names).map_err(Unstaged::Unencoded)?;
        if !self.flush(0, 0) || !self.stager.take(Staged::End) {
            return Err(Unstaged::StagerGone);
        }
        let Self { invalid, codes, mends, reading, stager, .. } = self;
        Ok(ReceivedRecords { invalid, codes, lanes, mends, reading, stager })
    }

    /// Sends what was cut, issues once they are larger than so many bytes, and keys once there are more than so many.
    /// False if nobody takes it.
    fn flush(&mut self, issue_bytes: usize, keys: usize) -> bool {
        let chunks = self.cutter.take_cut().into_iter().map(Staged::Chunk);
        let many = match mutant(Mutant::IssuesByNumber) {
            true => issue_bytes == 0 || self.issues.len() > 1_000,
            false => self.issue_bytes > issue_bytes,
        };
        let issues = many.then(|| {
            self.issue_bytes = 0;
            std::mem::take(&mut self.issues)
        });
        let keys = (self.keys.len() > keys).then(|| std::mem::take(&mut self.keys));
        chunks
            .chain(issues.map(Staged::Issues))
            .chain(keys.map(Staged::Keys))
            .all(|item| self.stager.take(item))
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

/// The unique values of a record, even if it has other errors.
fn keys(validated: &Validated<'_>, record: u64) -> impl Iterator<Item = UniqueKey> {
    let values = [(KeyList::Identifier, &validated.identifier), (KeyList::NewEmail, &validated.new_email)];
    values.into_iter().filter_map(move |(list, value)| Some(UniqueKey::of(list, value.as_deref()?, record)))
}

impl<S: Stager> RecordSink for Receiving<S> {
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
        if self.flush(ISSUE_BYTES, KEYS) {
            return Ok(());
        }
        self.stager_gone = true;
        Err(FileError::new(ErrorCode::UploadIncomplete, "the upload stopped before its end"))
    }
}

impl<S: Stager> Receiving<S> {
    /// Validates a record, and adds it with its errors to a chunk.
    fn stage(&mut self, record: &RawRecord<'_>, names: &FieldNames) -> Result<(), FileError> {
        self.cutter.hide(self.reading.binding.secrets());
        if self.mends.is_none() {
            self.mends = self.reading.binding.origin(record).map(|origin| origin.import);
        }
        let Self {
            reading,
            cutter,
            issues,
            issue_bytes,
            keys: all_keys,
            invalid,
            codes,
            unique,
            brake,
            unencoded,
            ..
        } = self;
        let identifier = reading.record(record, names, |taken| {
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
            if !valid || !taken.warnings.is_empty() {
                let (warnings, source) = (taken.warnings, source_json(record, names, taken.secrets));
                let issue = Issue { record: number, failed: !valid, errors, warnings, source };
                *issue_bytes += issue.size();
                issues.push(issue);
            }
            cutter.push(taken.record, names, taken.identifier, valid).map_err(|error| {
                *unencoded = Some(error);
                FileError::new(ErrorCode::Internal, "a chunk could not be encoded")
            })?;
            Ok(taken.identifier)
        })?;
        self.tell_repeat(identifier, record, names);
        Ok(())
    }

    /// Tells of a staged record that means the user of an earlier one, beside what else there is to say of it.
    fn tell_repeat(&mut self, identifier: Option<LaneHash>, record: &RawRecord<'_>, names: &FieldNames) {
        let number = record.position.record.get();
        let repeat = self.reading.repeat(identifier, number);
        if repeat == Repeat::Nothing {
            return;
        }
        let known = self.issues.pop_if(|issue| issue.record == number);
        self.issue_bytes -= known.as_ref().map_or(0, Issue::size);
        let mut issue = known.unwrap_or_else(|| Issue {
            record: number,
            failed: false,
            errors: Vec::new(),
            warnings: Vec::new(),
            source: source_json(record, names, self.reading.binding.secrets()),
        });
        match repeat {
            Repeat::Told(warning) => issue.warnings.push(warning),
            _ => {
                self.stands_for_repeats = Some(issue);
                return;
            }
        }
        self.issue_bytes += issue.size();
        self.issues.push(issue);
    }
}
