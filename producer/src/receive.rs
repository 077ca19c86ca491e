//! Receiving: one upload goes in piece by piece, and comes out staged durably or refused, never half.
//!
//! Three tasks carry it: one undoes the compression, a thread of its own parses, validates and cuts, one writes chunks to
//! the store. The channels between them are short, so a slow store slows the client down and memory stays flat (P7).
//!
//! [`Upload::finish`] answers once everything is durable (P1). An [`Upload`] that is dropped instead aborts its import.

mod encoding;
mod intake;

use bytes::Bytes;
use muster_shared::chunk::{ChunkLimits, SecretKey};
use muster_shared::error::{ErrorCode, FileError};
use muster_shared::fault;
use muster_shared::id::ImportId;
use muster_shared::import::ImportState;
use muster_shared::options::Rows;
use muster_shared::outcome::Counts;
use muster_shared::parse::ParseLimits;
use muster_shared::rules::Rules;
use muster_shared::store::intake::{self as store, NewImport, Opened, Received, Settled};
use muster_shared::store::{Store, StoreError, apply, catalog};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

pub use encoding::{Encoding, UnknownEncoding};
use intake::Intake;
pub(crate) use intake::Staged;

/// How long an import may be without a sign of life from its receiver.
const LEASE_SECONDS: f64 = 60.0;
/// Pieces waiting between two tasks.
const WAITING: usize = 8;

/// Bounds of an upload.
#[derive(Debug, Clone, Copy, Default)]
pub struct ReceiveLimits {
    /// Of the parse step.
    pub parse: ParseLimits,
    /// Of the chunks.
    pub chunk: ChunkLimits,
    /// Most bytes after decompression; none means no limit.
    pub decompressed_bytes: Option<u64>,
    /// Most bytes out for a byte in, after the first MiB; none means no limit.
    pub ratio: Option<u64>,
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
    /// The idempotency key is in use for the same request: this is its import.
    #[error("the idempotency key is in use for this request already")]
    Known(ImportId, ImportState),
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
enum Piece {
    Bytes(Bytes),
    Failed(FileError),
    End,
}

/// Opens an import and gets ready for its bytes.
pub async fn begin(
    store: &Store,
    import: NewImport,
    encoding: Encoding,
    limits: ReceiveLimits,
) -> Result<Upload, ReceiveError> {
    let id = import.id;
    match store::open(store, &import, LEASE_SECONDS).await? {
        Opened::New => {}
        Opened::Known(known, state) => return Err(ReceiveError::Known(known, state)),
        Opened::Mismatch => return Err(ReceiveError::Mismatch),
    }
    let (pieces, incoming) = mpsc::channel(WAITING);
    // A task of its own: the request that feeds it may vanish at any time, and the import must end all the same.
    let task = tokio::spawn(run(store.clone(), import, encoding, limits, incoming));
    Ok(Upload { import: id, pieces, task })
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
        // If nobody listens, the task has ended with an error of its own.
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

async fn run(
    store: Store,
    import: NewImport,
    encoding: Encoding,
    limits: ReceiveLimits,
    incoming: mpsc::Receiver<Piece>,
) -> Result<Receipt, ReceiveError> {
    let parse = ParseLimits { flexible: import.options.rows == Rows::Flexible, ..limits.parse };
    let limits = ReceiveLimits { parse, ..limits };
    let (decoded, to_parse) = mpsc::channel(WAITING);
    let (sealed, to_stage) = mpsc::channel::<Staged>(WAITING);
    let decode = tokio::spawn(encoding::decode(encoding, limits, incoming, decoded));
    let (rules, key) = match rules(&store, &import).await {
        Ok(found) => found,
        Err(error) => return discard(&store, import.id, Failure::Store(error)).await,
    };
    let parse = tokio::task::spawn_blocking(move || Intake::new(rules, key, limits, sealed).run(to_parse));
    let staged = crate::stage::stage(&store, import.id, import.tenant, LEASE_SECONDS, to_stage).await;
    // Each task ends when the one it writes to has gone, so waiting for all of them in this order cannot hang.
    let parsed = join(parse).await;
    let decoded = join(decode).await;
    let outcome = match (decoded, parsed, staged) {
        (_, _, Err(error)) => Err(Failure::Store(error)),
        // What the transport saw comes first: a body that stops is no fault of the file.
        (Err(failure), _, _) | (_, Err(failure), _) => Err(failure),
        (Ok(()), Ok(parsed), Ok(true)) => Ok(parsed),
        (_, _, Ok(false)) => Err(Failure::Abort(FileError::new(
            ErrorCode::UploadIncomplete,
            "the import was aborted while it was received",
        ))),
    };
    let failure = match outcome {
        Ok(parsed) => match conclude(&store, &import, parsed).await {
            Ok(receipt) => return Ok(receipt),
            Err(failure) => failure,
        },
        Err(failure) => failure,
    };
    discard(&store, import.id, failure).await
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

async fn join<T>(task: JoinHandle<Result<T, Failure>>) -> Result<T, Failure> {
    task.await.unwrap_or_else(|error| {
        tracing::error!(%error, "a step of receiving did not end well");
        Err(Failure::Abort(FileError::new(ErrorCode::Internal, "receiving failed")))
    })
}

async fn conclude(store: &Store, import: &NewImport, received: Received) -> Result<Receipt, Failure> {
    fault::point(fault::Point::BeforeReceipt).map_err(|fault| Failure::Store(fault.into()))?;
    match store::receive(store, import.id, &import.options, &received).await {
        Ok(Some(Settled { state, invalid })) => {
            fault::point(fault::Point::AfterReceipt).map_err(|fault| Failure::Store(fault.into()))?;
            let counts = Counts {
                total: received.total,
                pending: received.total - invalid,
                failed: invalid,
                ..Counts::default()
            };
            tracing::info!(
                import = %import.id, records = counts.total, invalid = counts.failed, bytes = received.bytes,
                lanes = received.lanes, encoding = %received.encoding, %state, "import received"
            );
            Ok(Receipt { import: import.id, state, counts })
        }
        Ok(None) => Err(Failure::Abort(FileError::new(
            ErrorCode::UploadIncomplete,
            "the import was aborted while it was received",
        ))),
        Err(error) => Err(Failure::Store(error)),
    }
}

async fn discard(store: &Store, import: ImportId, failure: Failure) -> Result<Receipt, ReceiveError> {
    let (state, error) = match &failure {
        Failure::Refuse(error) => (ImportState::Refused, error.clone()),
        Failure::Abort(error) => (ImportState::Aborted, error.clone()),
        Failure::Store(_) => {
            (ImportState::Aborted, FileError::new(ErrorCode::Unavailable, "the store failed while receiving"))
        }
    };
    tracing::info!(%import, %state, code = %error.code, "import came to nothing");
    // Should this fail too, the import's lease runs out and it is aborted then.
    if let Err(error) = store::discard(store, import, state, &error).await {
        tracing::warn!(%import, %error, "an import could not be discarded now");
    }
    Err(match failure {
        Failure::Refuse(error) => ReceiveError::Refused(import, error),
        Failure::Abort(error) => ReceiveError::Aborted(import, error),
        Failure::Store(error) => ReceiveError::Store(error),
    })
}
