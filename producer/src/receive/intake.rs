//! Bytes → chunks: parse, validate and cut, one record at a time, on a thread of its own.

use bytes::Bytes;
use muster_shared::chunk::{ChunkCutter, SealedChunk, SecretKey};
use muster_shared::error::{ErrorCode, FileError};
use muster_shared::options::{Duplicates, EmptyFile};
use muster_shared::parse::{Parser, RecordSink};
use muster_shared::record::{Names, RawRecord, Secrets, source_json};
use muster_shared::rules::Rules;
use muster_shared::store::intake::{Issue, Received};
use muster_shared::unique::{KeyList, UniqueKey};
use muster_shared::validate::{Binding, Validated, validate};
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;

use super::{Failure, ReceiveLimits};

/// Issues that are gathered before they are written.
const ISSUES: usize = 1_000;
/// Keys that are gathered before they are written.
const KEYS: usize = 5_000;

/// Something for the stager to write.
#[derive(Debug)]
pub(crate) enum Staged {
    Chunk(SealedChunk),
    Issues(Vec<Issue>),
    Keys(Vec<UniqueKey>),
    /// Everything was parsed well. Without it, what was staged is worth nothing.
    End,
}

/// The pure half of receiving one upload.
pub(super) struct Intake {
    parser: Parser,
    sink: Sink,
    digest: Sha256,
    bytes: u64,
}

struct Sink {
    rules: Rules,
    binding: Binding,
    cutter: ChunkCutter,
    issues: Vec<Issue>,
    /// What must stand once in the file, where the import wants that.
    keys: Vec<UniqueKey>,
    invalid: u64,
}

impl Intake {
    /// `key` seals the secrets of the records.
    pub(super) fn new(rules: Rules, key: SecretKey, limits: ReceiveLimits) -> Self {
        Self {
            parser: Parser::new(rules.options.format, limits.parse),
            sink: Sink {
                binding: Binding::new(&rules),
                rules,
                cutter: ChunkCutter::new(limits.chunk).sealing(key),
                issues: Vec::new(),
                keys: Vec::new(),
                invalid: 0,
            },
            digest: Sha256::new(),
            bytes: 0,
        }
    }

    /// Takes pieces until `None` says that the upload is whole, and sends what is to be staged.
    pub(super) fn run(
        mut self,
        mut pieces: mpsc::Receiver<Option<Bytes>>,
        staged: mpsc::Sender<Staged>,
    ) -> Result<Received, Failure> {
        loop {
            match pieces.blocking_recv() {
                Some(Some(piece)) => {
                    self.digest.update(&piece);
                    self.bytes += piece.len() as u64;
                    self.parser.feed(&piece, &mut self.sink).map_err(Failure::Refuse)?;
                    if !self.sink.flush(&staged, ISSUES, KEYS) {
                        return Err(stager_gone());
                    }
                }
                Some(None) => break,
                // The decoder failed, and its error is the one that counts.
                None => return Err(stager_gone()),
            }
        }
        let end = self.parser.finish(&mut self.sink).map_err(Failure::Refuse)?;
        if end.records == 0 && self.sink.rules.options.empty_file == EmptyFile::Refuse {
            return Err(Failure::Refuse(FileError::new(ErrorCode::FileEmpty, "The file has no records.")));
        }
        let lanes = self.sink.finish()?;
        if !self.sink.flush(&staged, 0, 0) || staged.blocking_send(Staged::End).is_err() {
            return Err(stager_gone());
        }
        Ok(Received {
            total: end.records,
            invalid: self.sink.invalid,
            bytes: self.bytes,
            digest: self.digest.finalize().into(),
            columns: self.sink.binding.names().map(str::to_owned).collect(),
            lanes,
            encoding: end.encoding,
        })
    }
}

fn stager_gone() -> Failure {
    Failure::Abort(FileError::new(ErrorCode::UploadIncomplete, "the upload stopped before its end"))
}

impl Sink {
    /// Sends what was sealed, and issues and keys once there are more than so many. False if nobody takes it.
    fn flush(&mut self, staged: &mpsc::Sender<Staged>, issues: usize, keys: usize) -> bool {
        let chunks = self.cutter.take().into_iter().map(Staged::Chunk);
        let issues = (self.issues.len() > issues).then(|| std::mem::take(&mut self.issues));
        let keys = (self.keys.len() > keys).then(|| std::mem::take(&mut self.keys));
        chunks
            .chain(issues.map(Staged::Issues))
            .chain(keys.map(Staged::Keys))
            .all(|item| staged.blocking_send(item).is_ok())
    }

    fn finish(&mut self) -> Result<u32, Failure> {
        let mut names = Names::new();
        for name in self.binding.names() {
            names.push(name);
        }
        self.cutter.finish(&names).map_err(|error| Failure::Abort(encoding_failed(&error)))
    }
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
        self.binding.extend(names);
        self.binding.check_header(&self.rules.options)
    }

    fn record(&mut self, record: &RawRecord<'_>, names: &Names) -> Result<(), FileError> {
        self.binding.extend(names);
        // What cannot be told from a secret is not even staged.
        let hidden;
        let record = if self.binding.secrets().hide_whole(record) {
            hidden = Secrets::hidden(record);
            &hidden
        } else {
            record
        };
        let validated = validate(record, &self.binding, &self.rules);
        if self.rules.options.duplicates == Duplicates::Refuse {
            self.keys.extend(keys(&validated, record.position.record.get()));
        }
        let valid = match validated.result {
            Ok(_) => true,
            Err(errors) => {
                self.invalid += 1;
                self.issues.push(Issue {
                    record: record.position.record.get(),
                    failed: true,
                    errors,
                    warnings: Vec::new(),
                    source: source_json(record, names, self.binding.secrets()),
                });
                false
            }
        };
        self.cutter.hide(self.binding.secrets());
        self.cutter
            .push(record, names, validated.identifier.as_deref(), valid)
            .map_err(|error| encoding_failed(&error))
    }
}
