//! Undoing the upload's compression, all members of it, and bounding what comes out.

use std::io;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_compression::tokio::bufread::{GzipDecoder, ZstdDecoder};
use bytes::{Bytes, BytesMut};
use muster_shared::error::{ErrorCode, FileError};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::mpsc;
use tokio_util::io::StreamReader;

use super::{Failure, Piece, ReceiveLimits};

/// Bytes a piece that comes out.
const PIECE: usize = 256 * 1024;
/// A ratio says nothing before this much came out.
const RATIO_FROM: u64 = 1024 * 1024;

/// How an upload is compressed (`Content-Encoding`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Encoding {
    /// Not at all.
    #[default]
    Identity,
    /// gzip, one member or several.
    Gzip,
    /// zstd, one frame or several.
    Zstd,
}

/// The text names no encoding that is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no such content encoding; there are identity, gzip and zstd")]
pub struct UnknownEncoding;

impl FromStr for Encoding {
    type Err = UnknownEncoding;

    fn from_str(text: &str) -> Result<Self, UnknownEncoding> {
        match text.trim().to_ascii_lowercase().as_str() {
            "" | "identity" => Ok(Self::Identity),
            "gzip" | "x-gzip" => Ok(Self::Gzip),
            "zstd" => Ok(Self::Zstd),
            _ => Err(UnknownEncoding),
        }
    }
}

impl Encoding {
    /// The encoding that a file name's ending tells.
    pub fn from_file_name(name: &str) -> Self {
        match name.rsplit_once('.').map(|(_, ending)| ending.to_ascii_lowercase()).as_deref() {
            Some("gz") => Self::Gzip,
            Some("zst") => Self::Zstd,
            _ => Self::Identity,
        }
    }
}

/// Carries decoded pieces from `incoming` to `decoded` until the upload ends.
pub(super) async fn decode(
    encoding: Encoding,
    limits: ReceiveLimits,
    incoming: mpsc::Receiver<Piece>,
    decoded: mpsc::Sender<Option<Bytes>>,
) -> Result<(), Failure> {
    let result = match encoding {
        Encoding::Identity => copy(limits, incoming, &decoded).await,
        Encoding::Gzip => {
            let taken = Arc::new(AtomicU64::new(0));
            let mut decoder = GzipDecoder::new(reader(incoming, taken.clone()));
            decoder.multiple_members(true);
            inflate(decoder, &taken, limits, &decoded).await
        }
        Encoding::Zstd => {
            let taken = Arc::new(AtomicU64::new(0));
            let mut decoder = ZstdDecoder::new(reader(incoming, taken.clone()));
            decoder.multiple_members(true);
            inflate(decoder, &taken, limits, &decoded).await
        }
    };
    if result.is_ok() {
        // Only now does the parser know that it has seen everything.
        let _ = decoded.send(None).await;
    }
    result
}

async fn copy(
    limits: ReceiveLimits,
    mut incoming: mpsc::Receiver<Piece>,
    decoded: &mpsc::Sender<Option<Bytes>>,
) -> Result<(), Failure> {
    let mut total = 0;
    loop {
        match incoming.recv().await {
            Some(Piece::Bytes(bytes)) => {
                total += bytes.len() as u64;
                check_size(total, limits)?;
                // The parser has gone: its error is the one that counts.
                if decoded.send(Some(bytes)).await.is_err() {
                    return Ok(());
                }
            }
            Some(Piece::Failed(error)) => return Err(Failure::Abort(error)),
            Some(Piece::End) => return Ok(()),
            None => return Err(Failure::Abort(incomplete())),
        }
    }
}

async fn inflate(
    mut decoder: impl AsyncRead + Unpin,
    taken: &AtomicU64,
    limits: ReceiveLimits,
    decoded: &mpsc::Sender<Option<Bytes>>,
) -> Result<(), Failure> {
    let mut total = 0;
    loop {
        let mut piece = BytesMut::with_capacity(PIECE);
        while piece.len() < PIECE {
            if decoder.read_buf(&mut piece).await.map_err(failure)? == 0 {
                break;
            }
        }
        if piece.is_empty() {
            return Ok(());
        }
        total += piece.len() as u64;
        check_size(total, limits)?;
        check_ratio(total, taken.load(Ordering::Relaxed), limits)?;
        if decoded.send(Some(piece.freeze())).await.is_err() {
            return Ok(());
        }
    }
}

fn check_size(total: u64, limits: ReceiveLimits) -> Result<(), Failure> {
    match limits.decompressed_bytes {
        Some(limit) if total > limit => Err(Failure::Refuse(FileError::new(
            ErrorCode::DecompressedTooLarge,
            format!("the upload, decompressed, is larger than the limit of {limit} bytes"),
        ))),
        _ => Ok(()),
    }
}

/// A bomb shows by its ratio long before it reaches a limit of size.
fn check_ratio(total: u64, taken: u64, limits: ReceiveLimits) -> Result<(), Failure> {
    match limits.ratio {
        Some(ratio) if total > RATIO_FROM && total > taken.saturating_mul(ratio) => {
            Err(Failure::Refuse(FileError::new(
                ErrorCode::DecompressedTooLarge,
                format!("the upload grows more than {ratio} times when it is decompressed"),
            )))
        }
        _ => Ok(()),
    }
}

/// The transport's own errors travel through the decoder inside an I/O error.
#[derive(Debug, thiserror::Error)]
#[error("the transport failed")]
struct Transport(FileError);

fn failure(error: io::Error) -> Failure {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<Transport>()) {
        Some(Transport(error)) => Failure::Abort(error.clone()),
        None => Failure::Refuse(FileError::new(
            ErrorCode::CompressionCorrupt,
            "the compressed stream is cut short, damaged, or followed by something else",
        )),
    }
}

fn incomplete() -> FileError {
    FileError::new(ErrorCode::UploadIncomplete, "the upload stopped before its end")
}

fn reader(incoming: mpsc::Receiver<Piece>, taken: Arc<AtomicU64>) -> impl tokio::io::AsyncBufRead + Unpin {
    let stream = futures_util::stream::unfold(Some(incoming), move |incoming| {
        let taken = taken.clone();
        async move {
            let mut incoming = incoming?;
            match incoming.recv().await {
                Some(Piece::Bytes(bytes)) => {
                    taken.fetch_add(bytes.len() as u64, Ordering::Relaxed);
                    Some((Ok(bytes), Some(incoming)))
                }
                Some(Piece::Failed(error)) => Some((Err(io::Error::other(Transport(error))), None)),
                Some(Piece::End) => None,
                None => Some((Err(io::Error::other(Transport(incomplete()))), None)),
            }
        }
    });
    StreamReader::new(Box::pin(stream))
}
