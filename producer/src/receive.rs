//! Receiving: an upload arrives piece by piece, and is either staged durably as a whole or refused.
//!
//! There are four tasks: one decompresses, a thread parses, validates and cuts, another compresses chunks and looks for
//! repeated users, and one writes to the store. The channels between them are short, so a slow store slows the client
//! down, and memory stays bounded (P7).
//!
//! [`Upload::finish`] answers once everything is durable (P1). An [`Upload`] that is dropped instead aborts its import.

mod compression;
mod days;
mod packing;
mod parsing;

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use muster_domain::chunk::{ChunkLimits, SecretKey};
use muster_domain::error::{ErrorCode, FileError};
use muster_domain::fault::{self, Mutant, Point};
use muster_domain::id::ImportId;
use muster_domain::import::ImportState;
use muster_domain::intake::Memory;
use muster_domain::options::Rows;
use muster_domain::outcome::Counts;
use muster_domain::parse::{Dialect, ParseLimits};
use muster_domain::receive::{Allowance, NewImport, Received, Repeats};
use muster_domain::rules::Rules;
use muster_runtime::retry::{Backoff, Policy};
use muster_runtime::telemetry::traces::{self, Span, Value};
use muster_store::quota::TenantLimits;
use muster_store::receiving::{self as store, Concluded, KnownImport, Opened, Settled};
use muster_store::{Store, StoreError, apply, catalog};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use crate::stage::Stage;
use crate::workbook::BookLimits;
pub use compression::{Compression, UnknownCompression};
pub(crate) use compression::{Decoded, Whole, decode};
pub(crate) use days::Waiting;
use parsing::Intake;

/// How long an upload waits for another one's end where as many are under way as may be.
const BUSY_WAIT: Duration = Duration::from_secs(2);
/// How long an import that came to nothing is tried to be aborted while the store is away, before its lease does it.
const DISCARD_FOR: Duration = Duration::from_secs(10);
/// Pieces waiting between two tasks.
const WAITING: usize = 8;
/// Parts waiting to be packed. Chunks in them are not compressed yet.
const CUT: usize = 3;

/// How an upload is received: its bounds, and how its file is written.
#[derive(Debug, Clone, Copy, Default)]
pub struct ReceiveLimits {
    /// Of the parse step.
    pub parse: ParseLimits,
    /// How the file is written.
    pub dialect: Dialect,
    /// Of the chunks.
    pub chunk: ChunkLimits,
    /// Most bytes after decompression; none means no limit.
    pub decompressed_bytes: Option<u64>,
    /// Most bytes out for a byte in, after the first MiB; none means no limit.
    pub ratio: Option<u64>,
    /// Of a workbook.
    pub book: BookLimits,
    /// More than so many percent of the first records that fail for one cause refuse the file; none or 0: nothing does.
    pub brake: Option<u8>,
    /// Memory to detect that a record is about the user of an earlier one, shared by all uploads. By default
    /// there is none, and it is not detected.
    pub repeats: Memory,
    /// Most records; none means no limit.
    pub records: Option<u64>,
    /// What the tenant may have.
    pub tenant: TenantLimits,
}

/// What an upload came to.
#[derive(Debug, Clone, PartialEq)]
pub struct Receipt {
    /// The import.
    pub import: ImportId,
    /// Its state: running, received (it waits for `proceed`) or refused (it has invalid records and was to refuse them).
    pub state: ImportState,
    /// Records, and those of them that failed validation.
    pub counts: Counts,
}

/// Why an upload came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum ReceiveError {
    /// The file cannot be imported. The import is `refused`.
    #[error("{1}")]
    Refused(ImportId, FileError),
    /// The upload stopped half-way, or went over a limit. The import is `aborted`.
    #[error("{1}")]
    Aborted(ImportId, FileError),
    /// The idempotency key is that of the same request, which was received: this is its import.
    #[error("the idempotency key is in use for this request already")]
    Known(ImportId, ImportState),
    /// A request with the same idempotency key is being received.
    #[error("a request with this idempotency key is being received")]
    InProgress,
    /// As many uploads are under way as may be.
    #[error("too many uploads at a time")]
    Busy,
    /// As many of the tenant's imports are under way as may be.
    #[error("as many imports are under way as the tenant may have; wait until one of them has ended")]
    TooManyImports,
    /// The body of a request with a known idempotency key cannot be read.
    #[error("{0}")]
    Unread(FileError),
    /// The idempotency key is in use for another request.
    #[error("the idempotency key was used for another request")]
    Mismatch,
    /// The store failed. The import, if it was opened, is `aborted` sooner or later.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// An upload under way.
#[derive(Debug)]
pub struct Upload {
    import: ImportId,
    pieces: mpsc::Sender<Piece>,
    task: JoinHandle<Result<Receipt, ReceiveError>>,
}

/// A part of the upload on its way in. Only one that ends with [`Piece::End`] is whole.
#[derive(Debug)]
pub(crate) enum Piece {
    Bytes(Bytes),
    Failed(FileError),
    End,
}

/// Opens an import and gets ready for its bytes.
///
/// Where the import's idempotency key is that of a request that was received, the bytes are compared with that one's, and
/// [`Upload::finish`] says [`ReceiveError::Known`] or [`ReceiveError::Mismatch`].
pub async fn begin(
    store: &Store,
    import: NewImport,
    encoding: Compression,
    limits: ReceiveLimits,
) -> Result<Upload, ReceiveError> {
    let permit = timeout(BUSY_WAIT, store.upload_permit()).await.map_err(|_| ReceiveError::Busy)?;
    let id = import.id;
    let (pieces, incoming) = mpsc::channel(WAITING);
    // A separate task: the request that feeds it may be dropped at any time, and the import must still end.
    match store::open(store, &import, &limits.tenant).await? {
        Opened::New(allowance) => {
            let mut span = traces::span("receive");
            span.about(import.id.get(), Some(import.tenant.get()));
            let context = span.context();
            let run = run(store.clone(), import, encoding, limits, allowance, incoming);
            let task = tokio::spawn(traces::within(context, async move {
                let _permit = permit;
                let received = run.await;
                tell(span, &received);
                received
            }));
            Ok(Upload { import: id, pieces, task })
        }
        Opened::Known(known) => {
            let task = tokio::spawn(compare(known, encoding, limits, incoming));
            Ok(Upload { import: known.id, pieces, task })
        }
        Opened::InProgress => Err(ReceiveError::InProgress),
        Opened::Mismatch => Err(ReceiveError::Mismatch),
        Opened::TooManyImports => Err(ReceiveError::TooManyImports),
    }
}

impl Upload {
    /// The import's id.
    pub fn import(&self) -> ImportId {
        self.import
    }

    /// Takes the next piece; waits while the store is behind. False if the upload has failed: [`Upload::finish`] says why.
    pub async fn push(&self, bytes: Bytes) -> bool {
        bytes.is_empty() || self.pieces.send(Piece::Bytes(bytes)).await.is_ok()
    }

    /// Ends the upload and waits until it is staged durably.
    pub async fn finish(self) -> Result<Receipt, ReceiveError> {
        self.end(Piece::End).await
    }

    /// Ends the upload as failed, for a reason that the transport knows.
    pub async fn fail(self, error: FileError) -> ReceiveError {
        let import = self.import;
        match self.end(Piece::Failed(error.clone())).await {
            Err(error) => error,
            Ok(_) => ReceiveError::Aborted(import, error),
        }
    }

    async fn end(self, last: Piece) -> Result<Receipt, ReceiveError> {
        // If the receiver is gone, the task has ended with its own error.
        let _ = self.pieces.send(last).await;
        match self.task.await {
            Ok(result) => result,
            Err(error) => {
                tracing::error!(%error, "receiving did not end well");
                Err(ReceiveError::Aborted(
                    self.import,
                    FileError::new(ErrorCode::Internal, "receiving failed"),
                ))
            }
        }
    }
}

/// What an upload came to, in its span.
fn tell(mut span: Span, received: &Result<Receipt, ReceiveError>) {
    match received {
        Ok(receipt) => {
            span.set("muster.state", Value::Word(receipt.state.as_str()));
            span.count("muster.records", receipt.counts.total);
            span.count("muster.failed", receipt.counts.failed);
        }
        Err(error) => {
            let code = match error {
                ReceiveError::Refused(_, error) | ReceiveError::Aborted(_, error) => error.code,
                _ => ErrorCode::Unavailable,
            };
            span.set("muster.code", Value::Word(code.as_str()));
            span.fail();
        }
    }
}

async fn run(
    store: Store,
    import: NewImport,
    encoding: Compression,
    limits: ReceiveLimits,
    allowance: Allowance,
    incoming: mpsc::Receiver<Piece>,
) -> Result<Receipt, ReceiveError> {
    let dialect = Dialect { flexible: import.options.rows == Rows::Flexible, ..limits.dialect };
    let limits = ReceiveLimits { dialect, ..limits };
    let (decoded, to_parse) = mpsc::channel(WAITING);
    let (cut, to_pack) = mpsc::channel(CUT);
    let (packed, to_stage) = mpsc::channel(WAITING);
    let decode = tokio::spawn(compression::decode(encoding, limits, incoming, decoded));
    let (rules, key) = match rules(&store, &import).await {
        Ok(found) => found,
        Err(error) => return discard(&store, import.id, Failure::Store(error), Counts::default()).await,
    };
    let repeats = Repeats::new(&rules.options, limits.repeats);
    let parse =
        tokio::task::spawn_blocking(move || Intake::new(rules, key, limits, allowance, cut).run(to_parse));
    let pack = tokio::task::spawn_blocking(move || packing::pack(repeats, to_pack, &packed));
    let staging = traces::span("stage");
    let staged = crate::stage::stage(&store, import.id, import.tenant, to_stage).await;
    staging.end();
    // Each task ends when the one it writes to has gone, so waiting for all of them in this order cannot hang.
    let packed = join(pack).await;
    let parsed = join(parse).await;
    let decoded = join(decode).await;
    let outcome = match (decoded, packed.and_then(|differ| Ok((differ, parsed?))), staged) {
        (_, _, Err(error)) => Err(Failure::Store(error)),
        // Transport errors take precedence: a body that stops early is not an error of the file.
        (Err(failure), _, _) | (_, Err(failure), _) => Err(failure),
        (Ok(()), Ok((differ, parsed)), Ok(Some(stage))) => {
            let independent = parsed.independent && differ;
            Ok((Received { independent, ..parsed }, stage))
        }
        (_, _, Ok(None)) => Err(aborted_by_others()),
    };
    let (failure, counts) = match outcome {
        Ok((parsed, stage)) => {
            let counts = counts(parsed.total, parsed.invalid);
            let committing = traces::span("commit");
            let concluded = conclude(&store, &import, &limits.tenant, parsed, stage).await;
            committing.end();
            match concluded {
                Ok(receipt) => return Ok(receipt),
                Err(failure) => (failure, counts),
            }
        }
        Err(failure) => (failure, Counts::default()),
    };
    discard(&store, import.id, failure, counts).await
}

/// Before anything is applied.
fn counts(total: u64, failed: u64) -> Counts {
    Counts { total, pending: total.saturating_sub(failed), failed, ..Counts::default() }
}

fn aborted_by_others() -> Failure {
    Failure::Abort(FileError::new(
        ErrorCode::UploadIncomplete,
        "the import was aborted while it was received",
    ))
}

/// Reads an upload whose idempotency key is known, keeping none of it: is it the same once more?
async fn compare(
    known: KnownImport,
    encoding: Compression,
    limits: ReceiveLimits,
    incoming: mpsc::Receiver<Piece>,
) -> Result<Receipt, ReceiveError> {
    let (decoded, mut pieces) = mpsc::channel(WAITING);
    let decode = tokio::spawn(compression::decode(encoding, limits, incoming, decoded));
    let mut digest = None;
    while let Some(decoded) = pieces.recv().await {
        if let Decoded::End(whole) = decoded {
            digest = Some(whole.digest);
        }
    }
    match join(decode).await {
        Ok(())
            if digest.is_some_and(|digest| digest[..] == known.digest)
                || fault::mutant(Mutant::KeyWithoutBody) =>
        {
            Err(ReceiveError::Known(known.id, known.state))
        }
        Ok(()) => Err(ReceiveError::Mismatch),
        Err(Failure::Refuse(error) | Failure::Abort(error)) => Err(ReceiveError::Unread(error)),
        Err(Failure::Store(error)) => Err(error.into()),
    }
}

/// The rules of an import, with its tenant's catalog as it is now (before planning they are asked once more), and the key of
/// its secrets.
async fn rules(store: &Store, import: &NewImport) -> Result<(Rules, SecretKey), StoreError> {
    let mut connection = store.pool().acquire().await?;
    let catalog = catalog::index(&mut connection, import.tenant).await?;
    let key = apply::secret_key(&mut connection, import.id).await?;
    let key = key.ok_or_else(|| StoreError::Program("an import has no key for its secrets".into()))?;
    Ok((Rules::new(import.options.clone()).with_catalog(catalog), key))
}

/// Why receiving fails.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The file is at fault.
    Refuse(FileError),
    /// The upload is.
    Abort(FileError),
    /// The store is.
    Store(StoreError),
}

impl From<FileError> for Failure {
    fn from(error: FileError) -> Self {
        match error.code {
            // The disk is full: no fault of the file.
            ErrorCode::Unavailable => Self::Abort(error),
            _ => Self::Refuse(error),
        }
    }
}

async fn join<T>(task: JoinHandle<Result<T, Failure>>) -> Result<T, Failure> {
    task.await.unwrap_or_else(|error| {
        tracing::error!(%error, "a step of receiving did not end well");
        Err(Failure::Abort(FileError::new(ErrorCode::Internal, "receiving failed")))
    })
}

/// A fault on purpose: the upload is answered, and its receipt comes later or never.
fn answer_before_receipt(store: &Store, import: &NewImport, received: Received, mut stage: Stage) -> Receipt {
    let (store, import) = (store.clone(), import.clone());
    let receipt = Receipt { import: import.id, state: ImportState::Running, counts: Counts::default() };
    tokio::spawn(async move {
        if fault::point(Point::BeforeReceipt).is_ok() {
            let (connection, tally) = (&mut stage.connection, &stage.tally);
            let none = TenantLimits::default();
            drop(store::receive(&store, connection, &import, &none, &received, tally).await);
        }
    });
    receipt
}

async fn conclude(
    store: &Store,
    import: &NewImport,
    limits: &TenantLimits,
    received: Received,
    mut stage: Stage,
) -> Result<Receipt, Failure> {
    if fault::mutant(Mutant::AnswerBeforeReceipt) {
        return Ok(answer_before_receipt(store, import, received, stage));
    }
    fault::point(Point::BeforeReceipt).map_err(|fault| Failure::Store(fault.into()))?;
    if fault::mutant(Mutant::ReceiptElsewhere) {
        stage.connection = store.connection().await.map_err(Failure::Store)?;
    }
    let (connection, tally) = (&mut stage.connection, &stage.tally);
    let concluded = store::receive(store, connection, import, limits, &received, tally).await;
    let Settled { state, invalid } = match concluded.map_err(Failure::Store)? {
        Concluded::Settled(settled) => settled,
        Concluded::NotReceiving => return Err(aborted_by_others()),
        Concluded::OverQuota(error) => return Err(Failure::Refuse(error)),
        Concluded::NotStaged => {
            return Err(Failure::Store(StoreError::Unreachable("it forgot what was staged".into())));
        }
    };
    fault::point(Point::AfterReceipt).map_err(|fault| Failure::Store(fault.into()))?;
    let counts = counts(received.total, invalid);
    if !fault::mutant(Mutant::StagedFailuresUncounted) {
        // Counted here and nowhere else: no worker has anything to do with these records.
        metrics::counter!("muster_records_total", "outcome" => "failed").increment(invalid);
        count_codes(&received.codes, invalid.saturating_sub(received.invalid));
    }
    metrics::counter!("muster_uploads_total", "result" => if state == ImportState::Refused { "refused" } else { "received" })
        .increment(1);
    tracing::info!(
        import = %import.id, records = counts.total, invalid = counts.failed, bytes = received.bytes,
        lanes = received.lanes, encoding = %received.encoding, %state, "import received"
    );
    Ok(Receipt { import: import.id, state, counts })
}

/// Counts failures by their codes. Those that repeat a value of their file are found at the receipt.
fn count_codes(codes: &BTreeMap<ErrorCode, u64>, repeated: u64) {
    let repeated = (ErrorCode::DuplicateInFile, repeated);
    for (code, count) in
        codes.iter().map(|(code, count)| (*code, *count)).chain([repeated]).filter(|(_, count)| *count > 0)
    {
        metrics::counter!("muster_failures_total", "code" => code.as_str()).increment(count);
    }
}

/// Whether an import in this state was received, whatever became of it since. (One that is gone counts as aborted.)
fn was_received(state: ImportState) -> bool {
    !matches!(state, ImportState::Receiving | ImportState::Aborted | ImportState::Refused)
}

/// Ends an import that came to nothing. `counts` are those that it has if it turns out to be received all the same.
async fn discard(
    store: &Store,
    import: ImportId,
    failure: Failure,
    counts: Counts,
) -> Result<Receipt, ReceiveError> {
    let (state, error) = match &failure {
        Failure::Refuse(error) => (ImportState::Refused, error.clone()),
        Failure::Abort(error) => (ImportState::Aborted, error.clone()),
        Failure::Store(_) => {
            (ImportState::Aborted, FileError::new(ErrorCode::Unavailable, "the store failed while receiving"))
        }
    };
    tracing::info!(%import, %state, code = %error.code, "import came to nothing");
    let deadline = Instant::now() + DISCARD_FOR;
    let mut backoff = Backoff::new(Policy::RECONNECT);
    while Instant::now() < deadline {
        match store::discard(store, import, state, &error).await {
            // The store did not say whether it committed, and now it is seen that it did.
            Ok(now) if was_received(now) && !fault::mutant(Mutant::CommitAnswerTrusted) => {
                metrics::counter!("muster_uploads_total", "result" => "received").increment(1);
                return Ok(Receipt { import, state: now, counts });
            }
            Ok(_) => break,
            // Should all of them fail, the import's lease runs out and it is aborted then.
            Err(error) => tracing::warn!(%import, %error, "an import could not be discarded now"),
        }
        sleep(backoff.delay()).await;
    }
    let result = match &failure {
        Failure::Refuse(_) => "refused",
        Failure::Abort(_) => "aborted",
        Failure::Store(_) => "failed",
    };
    metrics::counter!("muster_uploads_total", "result" => result).increment(1);
    Err(match failure {
        Failure::Refuse(error) => ReceiveError::Refused(import, error),
        Failure::Abort(error) => ReceiveError::Aborted(import, error),
        Failure::Store(error) => ReceiveError::Store(error),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A small import may have come to its end before the answer of its commit is known.
    #[test]
    fn an_import_that_went_on_meanwhile_was_received() {
        use ImportState::{Aborted, Receiving, Refused};
        for state in ImportState::ALL {
            assert_eq!(was_received(*state), ![Receiving, Aborted, Refused].contains(state), "{state}");
        }
        assert!(was_received(ImportState::Completed) && was_received(ImportState::Paused));
    }
}
