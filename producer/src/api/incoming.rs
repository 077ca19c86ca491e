//! The body of an upload: limited in size and in pauses. Its own error is kept where a parser would hide it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, header};
use bytes::Bytes;
use futures_util::stream::{self, Stream, StreamExt};
use muster_domain::error::{ErrorCode, FileError};
use muster_domain::fault::{Mutant, mutant};
use muster_domain::record::Origin;
use tokio::time::{Instant, timeout};

use super::error::ApiError;
use super::params::invalid;
use crate::mending::Beginning;
use crate::receive::Compression;

/// Most that is read and thrown away after an upload was refused, so that its client comes to read the answer.
const DRAINED_BYTES: u64 = 64 * 1024 * 1024;
/// How long that may take.
const DRAINED_FOR: Duration = Duration::from_secs(5);
/// Most bytes between two things that a form's parser finds: part headers are small.
const UNSEEN_BYTES: u64 = 8 * 1024 * 1024;

/// Bounds of a body.
#[derive(Debug, Clone, Copy)]
pub(super) struct BodyLimits {
    /// Most bytes; none means no limit.
    pub(super) bytes: Option<u64>,
    /// How it has to come.
    pub(super) pace: Pace,
}

/// How a body has to come.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// Longest pause.
    pub(super) pause: Duration,
    /// Fewest bytes a second, while the client is waited for.
    pub(super) rate: u64,
    /// How long a client is waited for in all before its rate counts.
    pub(super) after: Duration,
}

/// How much has come of a body, and how long its client was waited for in all. The time that the store takes is not the
/// client's.
#[derive(Debug, Clone, Copy, Default)]
struct Arrived {
    total: u64,
    waited: Duration,
}

impl Pace {
    /// Whether the body arrives too slowly.
    fn is_too_slow(&self, arrived: Arrived) -> bool {
        let least = arrived.waited.as_secs_f64() * self.rate as f64;
        arrived.waited > self.after && (arrived.total as f64) < least && !mutant(Mutant::AnyRate)
    }
}

/// The error of a body, and how much of it the reader has not seen yet.
#[derive(Debug, Clone, Default)]
pub(super) struct Watch(Arc<Watched>);

#[derive(Debug, Default)]
struct Watched {
    error: Mutex<Option<FileError>>,
    unseen: AtomicU64,
}

impl Watch {
    /// The body's own error, if it had one.
    pub(super) fn error(&self) -> Option<FileError> {
        self.0.error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Something was found in the body.
    pub(super) fn seen(&self) {
        self.0.unseen.store(0, Ordering::Relaxed);
    }

    fn fail(&self, error: FileError) -> std::io::Error {
        let message = error.to_string();
        *self.0.error.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        std::io::Error::other(message)
    }
}

/// The body's bytes within the limits. After an error nothing comes any more.
pub(super) fn bounded(
    body: Body,
    limits: BodyLimits,
    watch: Watch,
) -> impl Stream<Item = Result<Bytes, std::io::Error>> + Send + Unpin {
    let state = Some((body.into_data_stream(), Arrived::default()));
    let pieces = stream::unfold(state, move |state| {
        let watch = watch.clone();
        async move {
            let (mut body, mut arrived) = state?;
            match next(&mut body, &mut arrived, limits, &watch).await? {
                Ok(bytes) => Some((Ok(bytes), Some((body, arrived)))),
                Err(error) => {
                    drain(&mut body).await;
                    Some((Err(watch.fail(error)), None))
                }
            }
        }
    });
    // Who drains it may ask once more after its end.
    Box::pin(pieces.fuse())
}

type Data = axum::body::BodyDataStream;

async fn next(
    body: &mut Data,
    arrived: &mut Arrived,
    limits: BodyLimits,
    watch: &Watch,
) -> Option<Result<Bytes, FileError>> {
    let (pace, started) = (limits.pace, Instant::now());
    let Ok(piece) = timeout(pace.pause, body.next()).await else {
        let message = format!("the upload paused for longer than {} seconds", pace.pause.as_secs_f64());
        return Some(Err(FileError::new(ErrorCode::UploadTimeout, message)));
    };
    arrived.waited += started.elapsed();
    let Ok(bytes) = piece? else {
        return Some(Err(FileError::new(ErrorCode::UploadIncomplete, "the upload stopped before its end")));
    };
    let size = bytes.len() as u64;
    if let Some(limit) = limits.bytes
        && arrived.total + size > limit
    {
        return Some(Err(too_large(limit)));
    }
    arrived.total += size;
    metrics::counter!("muster_upload_bytes_total").increment(size);
    if pace.is_too_slow(*arrived) {
        let message = format!("the upload came more slowly than {} bytes a second", pace.rate);
        return Some(Err(FileError::new(ErrorCode::UploadTimeout, message)));
    }
    if watch.0.unseen.fetch_add(size, Ordering::Relaxed) > UNSEEN_BYTES {
        return Some(Err(FileError::new(ErrorCode::MultipartInvalid, "the headers of a part have no end")));
    }
    Some(Ok(bytes))
}

/// The error of a body beyond the limit.
pub(super) fn too_large(limit: u64) -> FileError {
    FileError::new(ErrorCode::UploadTooLarge, format!("the upload is larger than the limit of {limit} bytes"))
}

/// The pieces of a body that have to be there before it is known how it is read, with the first failed record that it brings again.
pub(super) async fn held_back<T>(
    body: &mut (impl Stream<Item = Result<Bytes, T>> + Unpin),
    mut beginning: Beginning,
    watch: &Watch,
) -> (Vec<Result<Bytes, T>>, Option<Origin>) {
    let mut failed = None;
    while beginning.wants_more() && failed.is_none() {
        let Some(piece) = body.next().await else { break };
        watch.seen();
        match piece {
            Ok(bytes) => beginning.push(bytes),
            Err(error) => failed = Some(error),
        }
    }
    let (held, origin) = beginning.end();
    (held.into_iter().map(Ok).chain(failed.map(Err)).collect(), origin)
}

/// Reads on for a while without keeping anything: a client that still sends would not read the answer.
pub(super) async fn drain<T>(body: &mut (impl Stream<Item = Result<Bytes, T>> + Unpin)) {
    let reading = async {
        let mut total = 0;
        while let Some(Ok(bytes)) = body.next().await {
            total += bytes.len() as u64;
            if total > DRAINED_BYTES {
                return;
            }
        }
    };
    // An unread rest closes the connection.
    let _ = timeout(DRAINED_FOR, reading).await;
}

/// The one value of a header, if it is there.
pub(super) fn single<'h>(headers: &'h HeaderMap, name: &'static str) -> Result<Option<&'h str>, ApiError> {
    let mut values = headers.get_all(name).iter();
    let (value, more) = (values.next(), values.next());
    if more.is_some() {
        return Err(invalid(name, "is given twice"));
    }
    value.map(|value| value.to_str().map_err(|_| invalid(name, "is not plain text"))).transpose()
}

/// How the body is compressed, where the request says so.
pub(super) fn encoding(headers: &HeaderMap) -> Result<Option<Compression>, ApiError> {
    let refused = || ApiError::UnsupportedMediaType("the content encoding must be identity, gzip or zstd");
    let said = single(headers, header::CONTENT_ENCODING.as_str())?;
    said.map(|text| text.parse().map_err(|_| refused())).transpose()
}
