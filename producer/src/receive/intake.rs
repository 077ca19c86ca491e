//! Bytes → chunks: parse, validate and cut, one record at a time, on a thread of its own.

use bytes::Bytes;
use muster_shared::chunk::{ChunkCutter, SealedChunk};
use muster_shared::error::{ErrorCode, FileError};
use muster_shared::parse::{Parser, RecordSink};
use muster_shared::record::{Names, RawRecord, source_json};
use muster_shared::rules::Rules;
use muster_shared::store::intake::{Issue, Received};
use muster_shared::validate::{Binding, validate};
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;

use super::{Failure, ReceiveLimits};

/// Issues that are gathered before they are written.
const ISSUES: usize = 1_000;

/// Something for the stager to write.
#[derive(Debug)]
pub(crate) enum Staged {
    Chunk(SealedChunk),
    Issues(Vec<Issue>),
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
    invalid: u64,
}

impl Intake {
    pub(super) fn new(rules: Rules, limits: ReceiveLimits) -> Self {
        Self {
            parser: Parser::new(rules.options.format, limits.parse),
            sink: Sink {
                binding: Binding::new(&rules),
                rules,
                cutter: ChunkCutter::new(limits.chunk),
                issues: Vec::new(),
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
                    if !self.sink.flush(&staged, ISSUES) {
                        return Err(stager_gone());
                    }
                }
                Some(None) => break,
                // The decoder failed, and its error is the one that counts.
                None => return Err(stager_gone()),
            }
        }
        let end = self.parser.finish(&mut self.sink).map_err(Failure::Refuse)?;
        let lanes = self.sink.finish()?;
        if !self.sink.flush(&staged, 0) || staged.blocking_send(Staged::End).is_err() {
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
    /// Sends what was sealed, and the issues once there are more than `most`. False if nobody takes it.
    fn flush(&mut self, staged: &mpsc::Sender<Staged>, most: usize) -> bool {
        let chunks = self.cutter.take().into_iter().map(Staged::Chunk);
        let issues = if self.issues.len() > most { Some(std::mem::take(&mut self.issues)) } else { None };
        chunks.chain(issues.map(Staged::Issues)).all(|item| staged.blocking_send(item).is_ok())
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

impl RecordSink for Sink {
    fn header(&mut self, names: &Names) -> Result<(), FileError> {
        self.binding.extend(names);
        self.binding.check_header(&self.rules.options)
    }

    fn record(&mut self, record: &RawRecord<'_>, names: &Names) -> Result<(), FileError> {
        self.binding.extend(names);
        let validated = validate(record, &self.binding, &self.rules);
        let valid = match validated.result {
            Ok(_) => true,
            Err(errors) => {
                self.invalid += 1;
                self.issues.push(Issue {
                    record: record.position.record.get(),
                    failed: true,
                    errors,
                    warnings: Vec::new(),
                    source: source_json(record, names),
                });
                false
            }
        };
        self.cutter
            .push(record, names, validated.identifier.as_deref(), valid)
            .map_err(|error| encoding_failed(&error))
    }
}
