//! Bytes → chunks: parse, validate and cut, one record at a time, on a thread of its own.

use std::borrow::Cow;
use std::collections::BTreeMap;

use bytes::Bytes;
use muster_domain::chunk::{ChunkCutter, SecretKey};
use muster_domain::error::{ErrorCode, FileError};
use muster_domain::fault::{Mutant, mutant};
use muster_domain::formula;
use muster_domain::id::ImportId;
use muster_domain::intake::Reading;
use muster_domain::options::{Dates, Duplicates, EmptyFile};
use muster_domain::parse::{Dialect, Format, ParseLimits, Parser, ReadAs, RecordSink};
use muster_domain::record::{Names, RawField, RawRecord, RawValue, Secrets, source_json};
use muster_domain::rules::Rules;
use muster_domain::unique::{KeyList, UniqueKey};
use muster_domain::validate::Validated;
use muster_store::intake::{Issue, Received};
use muster_store::quota::Allowance;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;

use super::brake::Brake;
use super::{Failure, ReceiveLimits, Waiting};
use crate::stage::Staged;
use crate::workbook::{BookLimits, Spool};

/// Bytes of issues that are gathered before they are written.
const ISSUE_BYTES: usize = 256 * 1024;
/// Keys that are gathered before they are written.
const KEYS: usize = 5_000;

/// The pure half of receiving one upload.
pub(super) struct Intake {
    parser: Parser,
    sink: Sink,
    digest: Sha256,
    bytes: u64,
    book: BookLimits,
    parse: ParseLimits,
    dialect: Dialect,
    /// The order of days, once it is found out.
    dates: Option<Dates>,
}

struct Sink {
    reading: Reading,
    cutter: ChunkCutter,
    issues: Vec<Issue>,
    issue_bytes: usize,
    /// What there is to say of the first record that stands for others as well: that is known when all of them are counted.
    stands_for_repeats: Option<Issue>,
    /// Who writes what is staged, and whether it was gone when it was to take something.
    stager: mpsc::Sender<Staged>,
    stager_gone: bool,
    /// What must stand once in the file, where the import wants that.
    keys: Vec<UniqueKey>,
    invalid: u64,
    /// The same by their first error.
    codes: BTreeMap<ErrorCode, u64>,
    /// Most records of a file, and what the tenant may send.
    records: Option<u64>,
    allowance: Allowance,
    /// Some values must stand once in the file.
    unique: bool,
    brake: Option<Brake>,
    /// The import of which the first record that says so failed before.
    mends: Option<ImportId>,
}

impl Intake {
    /// `key` seals the secrets of the records; `allowance` is what the tenant's quotas leave for the import.
    pub(super) fn new(
        rules: Rules,
        key: SecretKey,
        limits: ReceiveLimits,
        allowance: Allowance,
        stager: mpsc::Sender<Staged>,
    ) -> Self {
        Self {
            parser: Parser::in_dialect(rules.options.format, limits.parse, limits.dialect)
                .at(rules.options.at.as_deref())
                .reshaping(rules.table()),
            sink: Sink {
                unique: rules.options.duplicates == Duplicates::Refuse,
                reading: Reading::new(rules).telling_repeats(limits.repeats),
                cutter: ChunkCutter::new(limits.chunk).sealing(key),
                issues: Vec::new(),
                issue_bytes: 0,
                stands_for_repeats: None,
                stager,
                stager_gone: false,
                keys: Vec::new(),
                invalid: 0,
                codes: BTreeMap::new(),
                brake: Brake::new(limits.brake, limits.chunk.records),
                records: limits.records,
                allowance,
                mends: None,
            },
            digest: Sha256::new(),
            bytes: 0,
            book: limits.book,
            parse: limits.parse,
            dialect: limits.dialect,
            dates: None,
        }
    }

    /// Where a workbook is kept until it is whole.
    fn spool(&self) -> Result<Option<Spool>, Failure> {
        let options = &self.sink.reading.rules.options;
        let book = options.format == Format::Xlsx;
        Ok(book.then(|| Spool::new(self.book, options.sheet.as_deref())).transpose()?)
    }

    fn feed(&mut self, piece: &[u8]) -> Result<(), Failure> {
        let parsed = self.parser.feed(piece, &mut self.sink);
        self.sink.checked(parsed)
    }

    /// Takes a piece of the text: it waits, or is parsed.
    fn take(&mut self, piece: &[u8], waiting: &mut Option<Waiting>) -> Result<(), Failure> {
        match waiting {
            Some(waiting) => waiting.write(piece).map_err(Failure::from),
            None => self.feed(piece),
        }
    }

    /// Parses what has waited, in the order of days that it proves.
    fn take_waiting(&mut self, waiting: Waiting) -> Result<(), Failure> {
        let (dates, pieces) = waiting.end()?;
        self.sink.reading.rules.options.dates = dates;
        self.dates = Some(dates);
        pieces.each(|piece| self.feed(piece))
    }

    /// Takes pieces until `None` says that the upload is whole, and sends what is to be staged.
    pub(super) fn run(mut self, mut pieces: mpsc::Receiver<Option<Bytes>>) -> Result<Received, Failure> {
        let mut spool = self.spool()?;
        let mut waiting =
            Waiting::new(&self.sink.reading.rules.options, (self.parse, self.dialect), self.book.bytes)?;
        loop {
            match pieces.blocking_recv() {
                Some(Some(piece)) => {
                    self.digest.update(&piece);
                    self.bytes += piece.len() as u64;
                    self.sink.allowance.check(0, self.bytes).map_err(Failure::Refuse)?;
                    match &mut spool {
                        Some(spool) => spool.write(&piece)?,
                        None => self.take(&piece, &mut waiting)?,
                    }
                }
                Some(None) => break,
                // The decoder failed, and its error is the one that counts.
                None => return Err(stager_gone()),
            }
        }
        if let Some(spool) = spool {
            spool.rows(&mut |piece| self.take(piece, &mut waiting))?;
        }
        if let Some(waiting) = waiting {
            self.take_waiting(waiting)?;
        }
        let parsed = self.parser.finish(&mut self.sink);
        let end = self.sink.checked(parsed)?;
        if let Some(brake) = &self.sink.brake {
            brake.end().map_err(Failure::Refuse)?;
        }
        if end.records == 0 && self.sink.reading.rules.options.empty_file == EmptyFile::Refuse {
            return Err(Failure::Refuse(FileError::new(ErrorCode::FileEmpty, "The file has no records.")));
        }
        let lanes = self.sink.finish()?;
        if !self.sink.flush(0, 0) || self.sink.stager.blocking_send(Staged::End).is_err() {
            return Err(stager_gone());
        }
        Ok(Received {
            total: end.records,
            invalid: self.sink.invalid,
            codes: self.sink.codes,
            bytes: self.bytes,
            digest: self.digest.finalize().into(),
            columns: self.sink.reading.binding.names().map(str::to_owned).collect(),
            lanes,
            encoding: end.encoding,
            reading: ReadAs::new(&self.dialect, &end),
            mends: self.sink.mends,
            dates: self.dates,
        })
    }
}

fn stager_gone() -> Failure {
    Failure::Abort(FileError::new(ErrorCode::UploadIncomplete, "the upload stopped before its end"))
}

impl Sink {
    /// Sends what was sealed, issues once they are larger than so many bytes, and keys once there are more than so many.
    /// False if nobody takes it.
    fn flush(&mut self, issue_bytes: usize, keys: usize) -> bool {
        let chunks = self.cutter.take().into_iter().map(Staged::Chunk);
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
            .all(|item| self.stager.blocking_send(item).is_ok())
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

    /// What parsing gave. Where it stopped because nobody takes what is staged, it is not the file's fault.
    fn checked<T>(&self, parsed: Result<T, FileError>) -> Result<T, Failure> {
        parsed.map_err(|error| if self.stager_gone { stager_gone() } else { Failure::Refuse(error) })
    }

    fn finish(&mut self) -> Result<u32, Failure> {
        if let Some(mut issue) = self.stands_for_repeats.take() {
            issue.warnings.extend(self.reading.untold_repeats());
            self.issue_bytes += issue.size();
            self.issues.push(issue);
        }
        let mut names = Names::new();
        for name in self.reading.binding.names() {
            names.push(name);
        }
        self.cutter.finish(&names).map_err(|error| Failure::Abort(encoding_failed(&error)))
    }
}

/// The text of a cell of a file of failed records, without what was put into it against spreadsheets. What stands at its
/// start is for validation, which knows what an empty cell means.
fn unguarded_cell<'r>(field: &RawField<'r>) -> Option<Cow<'r, str>> {
    match field.value {
        RawValue::Text(text) => Some(formula::unguard_inside(text)),
        RawValue::Null | RawValue::Json(_) => None,
    }
}

fn with_text<'r>(field: &RawField<'r>, text: &'r Option<Cow<'r, str>>) -> RawField<'r> {
    let value = text.as_deref().map_or(field.value, RawValue::Text);
    RawField { name: field.name, value }
}

fn encoding_failed(error: &std::io::Error) -> FileError {
    tracing::error!(%error, "a chunk could not be encoded");
    FileError::new(ErrorCode::Internal, "a chunk could not be encoded")
}

/// What of a record must stand once, whatever else is wrong with it.
fn keys(validated: &Validated<'_>, record: u64) -> impl Iterator<Item = UniqueKey> {
    let values = [(KeyList::Identifier, &validated.identifier), (KeyList::NewEmail, &validated.new_email)];
    values.into_iter().filter_map(move |(list, value)| Some(UniqueKey::of(list, value.as_deref()?, record)))
}

impl RecordSink for Sink {
    fn header(&mut self, names: &Names) -> Result<(), FileError> {
        self.reading.header(names)
    }

    fn knows(&self, name: &str) -> bool {
        self.reading.binding.knows(name)
    }

    fn beyond_ascii(&mut self) {
        self.reading.beyond_ascii();
    }

    fn record(&mut self, record: &RawRecord<'_>, names: &Names) -> Result<(), FileError> {
        self.check_number(record.position.record.get())?;
        self.reading.binding.extend(names);
        let (cells, fields);
        let unguarded;
        let record = if self.reading.binding.is_guarded() {
            cells = record.fields.iter().map(unguarded_cell).collect::<Vec<_>>();
            fields = record
                .fields
                .iter()
                .zip(&cells)
                .map(|(field, cell)| with_text(field, cell))
                .collect::<Vec<_>>();
            unguarded = RawRecord { fields: &fields, ..*record };
            &unguarded
        } else {
            record
        };
        // What cannot be told from a secret is not even staged.
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

impl Sink {
    /// Validates a record, and puts it into a chunk with what is wrong with it.
    fn stage(&mut self, record: &RawRecord<'_>, names: &Names) -> Result<(), FileError> {
        self.cutter.hide(self.reading.binding.secrets());
        if self.mends.is_none() {
            self.mends = self.reading.binding.origin(record).map(|origin| origin.import);
        }
        let Self {
            reading,
            cutter,
            issues,
            issue_bytes,
            stands_for_repeats,
            keys: all_keys,
            invalid,
            codes,
            unique,
            brake,
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
            if !valid || !taken.warnings.is_empty() || taken.stands_for_repeats {
                let (warnings, source) = (taken.warnings, source_json(record, names, taken.secrets));
                let issue = Issue { record: number, failed: !valid, errors, warnings, source };
                if taken.stands_for_repeats {
                    *stands_for_repeats = Some(issue);
                } else {
                    *issue_bytes += issue.size();
                    issues.push(issue);
                }
            }
            cutter.push(taken.record, names, taken.identifier, valid).map_err(|error| encoding_failed(&error))
        })
    }
}
