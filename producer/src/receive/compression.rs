//! Decompresses the upload, all members of it, limits the size of the result, and computes its digest.

use std::io;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_compression::tokio::bufread::{GzipDecoder, ZstdDecoder};
use async_compression::zstd::DParameter;
use bytes::{Bytes, BytesMut};
use muster_domain::error::{ErrorCode, FileError};
use muster_domain::fault::{self, Mutant, mutant};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncRead, AsyncReadExt};
use tokio::sync::mpsc;
use tokio_util::io::StreamReader;

use super::{Failure, Piece, ReceiveLimits};

/// Bytes a piece that comes out.
const PIECE: usize = 256 * 1024;
/// Largest window of zstd that is taken: 8 MiB, what its levels up to 19 use and every reader has to take (RFC 8878).
const WINDOW_LOG: u32 = 23;
/// What zstd says of a frame whose window is larger. It has a number for it, which does not come through to here.
const WINDOW_TOO_LARGE: &str = "Frame requires too much memory for decoding";
/// How gzip and zstd begin.
const GZIP_MARK: [u8; 2] = [0x1F, 0x8B];
const ZSTD_MARK: [u8; 4] = [0x28, 0xB5, 0x2F, 0xFD];
/// A ratio says nothing before this much came out.
const RATIO_FROM: u64 = 1024 * 1024;

/// How an upload is compressed (`Content-Encoding`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compression {
    /// Not at all.
    #[default]
    Identity,
    /// gzip, one member or several.
    Gzip,
    /// zstd, one frame or several.
    Zstd,
    /// The file itself, as its first bytes show: browsers send what is on the disk, and say nothing of its compression.
    Shown,
}

/// The text names no encoding that is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no such content encoding; there are identity, gzip and zstd")]
pub struct UnknownCompression;

impl FromStr for Compression {
    type Err = UnknownCompression;

    fn from_str(text: &str) -> Result<Self, UnknownCompression> {
        match text.trim().to_ascii_lowercase().as_str() {
            "" | "identity" => Ok(Self::Identity),
            "gzip" | "x-gzip" => Ok(Self::Gzip),
            "zstd" => Ok(Self::Zstd),
            _ => Err(UnknownCompression),
        }
    }
}

impl Compression {
    /// The compression by a file name's extension.
    pub fn from_file_name(name: &str) -> Self {
        match name.rsplit_once('.').map(|(_, ending)| ending.to_ascii_lowercase()).as_deref() {
            Some("gz") => Self::Gzip,
            Some("zst") => Self::Zstd,
            _ => Self::Identity,
        }
    }
}

impl Compression {
    /// That of an upload whose request says nothing of it, by the file's name.
    pub(crate) fn of_upload(name: Option<&str>) -> Self {
        let compressed = name.is_some_and(|name| Self::from_file_name(name) != Self::Identity);
        if compressed && !mutant(Mutant::NamedCompressionKept) { Self::Shown } else { Self::Identity }
    }
}

/// Pieces on their way in, of which the first may have been looked at.
struct Incoming {
    start: Option<Bytes>,
    /// The event after the start that is not bytes.
    end: Option<Piece>,
    rest: mpsc::Receiver<Piece>,
}

impl Incoming {
    async fn recv(&mut self) -> Option<Piece> {
        match self.start.take().map(Piece::Bytes).or_else(|| self.end.take()) {
            Some(piece) => Some(piece),
            None => self.rest.recv().await,
        }
    }

    /// The compression that the first bytes show.
    async fn shown(&mut self) -> Compression {
        let mut start = BytesMut::new();
        while start.len() < ZSTD_MARK.len() {
            match self.rest.recv().await {
                Some(Piece::Bytes(bytes)) => start.extend_from_slice(&bytes),
                end => {
                    self.end = end;
                    break;
                }
            }
        }
        let start = start.freeze();
        let encoding = if start.starts_with(&GZIP_MARK) {
            Compression::Gzip
        } else if start.starts_with(&ZSTD_MARK) {
            Compression::Zstd
        } else {
            Compression::Identity
        };
        self.start = Some(start).filter(|start| !start.is_empty());
        encoding
    }
}

/// What comes of an upload once it is decompressed.
#[derive(Debug)]
pub(crate) enum Decoded {
    /// The next bytes.
    Bytes(Bytes),
    /// That was all. Without it, the upload is not whole.
    End(Whole),
}

/// A whole upload, decompressed.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Whole {
    /// How many bytes it has.
    pub(crate) bytes: u64,
    /// Their SHA-256.
    pub(crate) digest: [u8; 32],
}

/// Hands on decoded bytes. The digest is computed here, since parsing keeps a thread busy already.
struct Outgoing {
    decoded: mpsc::Sender<Decoded>,
    bytes: u64,
    digest: Sha256,
}

impl Outgoing {
    fn to(decoded: mpsc::Sender<Decoded>) -> Self {
        Self { decoded, bytes: 0, digest: Sha256::new() }
    }

    /// False if nobody takes them.
    async fn send(&mut self, bytes: Bytes) -> bool {
        self.bytes += bytes.len() as u64;
        self.digest.update(&bytes);
        self.decoded.send(Decoded::Bytes(bytes)).await.is_ok()
    }

    async fn end(self) {
        let whole = Whole { bytes: self.bytes, digest: self.digest.finalize().into() };
        let _ = self.decoded.send(Decoded::End(whole)).await;
    }
}

/// Carries decoded pieces from `incoming` to `decoded` until the upload ends.
pub(crate) async fn decode(
    encoding: Compression,
    limits: ReceiveLimits,
    incoming: mpsc::Receiver<Piece>,
    decoded: mpsc::Sender<Decoded>,
) -> Result<(), Failure> {
    let mut outgoing = Outgoing::to(decoded);
    let mut incoming = Incoming { start: None, end: None, rest: incoming };
    let encoding = if encoding == Compression::Shown { incoming.shown().await } else { encoding };
    let result = match encoding {
        Compression::Identity | Compression::Shown => copy(limits, incoming, &mut outgoing).await,
        Compression::Gzip => {
            let mut inflated = Inflated::new(limits, &mut outgoing);
            let taken = gunzip(reader(incoming, inflated.taken.clone()), &mut inflated).await;
            inflated.finish(taken).await
        }
        Compression::Zstd => {
            let mut inflated = Inflated::new(limits, &mut outgoing);
            let bound =
                [DParameter::window_log_max(if mutant(Mutant::WideWindow) { 31 } else { WINDOW_LOG })];
            let mut decoder = ZstdDecoder::with_params(reader(incoming, inflated.taken.clone()), &bound);
            decoder.multiple_members(true);
            let taken = inflated.take(decoder).await;
            inflated.finish(taken).await
        }
    };
    if result.is_ok() {
        // Only now does the parser know that it has seen everything.
        outgoing.end().await;
    }
    result
}

async fn copy(limits: ReceiveLimits, mut incoming: Incoming, outgoing: &mut Outgoing) -> Result<(), Failure> {
    let mut total = 0;
    loop {
        match incoming.recv().await {
            Some(Piece::Bytes(bytes)) => {
                total += bytes.len() as u64;
                check_size(total, limits)?;
                // The parser has ended: its error takes precedence.
                if !outgoing.send(bytes).await {
                    return Ok(());
                }
            }
            Some(Piece::Failed(error)) => return Err(Failure::Abort(error)),
            Some(Piece::End) => return Ok(()),
            None if fault::mutant(Mutant::HalfIsWhole) => return Ok(()),
            None => return Err(Failure::Abort(incomplete())),
        }
    }
}

/// One member after another, as `cat a.gz b.gz` and parallel compressors make them.
///
/// The decoder's own way through members takes whatever follows one for the next, and so refuses the zeros that a file
/// has at its end when it was copied in blocks (tapes, tar).
async fn gunzip(mut input: impl AsyncBufRead + Unpin, inflated: &mut Inflated<'_>) -> Result<bool, Failure> {
    loop {
        if !inflated.take(GzipDecoder::new(&mut input)).await? {
            return Ok(false);
        }
        if fault::mutant(Mutant::FirstGzipMemberOnly) || !another_member(&mut input).await.map_err(failure)? {
            return Ok(true);
        }
    }
}

/// Whether something other than zeros follows a member. After zeros nothing else may.
async fn another_member(input: &mut (impl AsyncBufRead + Unpin)) -> io::Result<bool> {
    let mut padded = false;
    loop {
        let bytes = input.fill_buf().await?;
        let (length, zeros) = (bytes.len(), bytes.iter().all(|byte| *byte == 0));
        match bytes.first() {
            None => return Ok(false),
            Some(first) if !padded && *first != 0 => return Ok(true),
            Some(_) if !zeros => return Err(io::ErrorKind::InvalidData.into()),
            Some(_) => padded = true,
        }
        input.consume(length);
    }
}

/// What comes out of decompressing, in pieces of a good size, counted against the limits.
struct Inflated<'d> {
    limits: ReceiveLimits,
    outgoing: &'d mut Outgoing,
    piece: BytesMut,
    total: u64,
    /// Compressed bytes so far.
    taken: Arc<AtomicU64>,
}

impl<'d> Inflated<'d> {
    fn new(limits: ReceiveLimits, outgoing: &'d mut Outgoing) -> Self {
        Self { limits, outgoing, piece: BytesMut::with_capacity(PIECE), total: 0, taken: Arc::default() }
    }

    /// Takes everything that the decoder gives. False if the parser has ended: its error takes precedence.
    async fn take(&mut self, mut decoder: impl AsyncRead + Unpin) -> Result<bool, Failure> {
        loop {
            let read = decoder.read_buf(&mut self.piece).await.map_err(failure)?;
            if read == 0 {
                return Ok(true);
            }
            self.total += read as u64;
            check_size(self.total, self.limits)?;
            check_ratio(self.total, self.taken.load(Ordering::Relaxed), self.limits)?;
            if self.piece.len() >= PIECE && !self.flush().await {
                return Ok(false);
            }
        }
    }

    /// Sends the rest at the end.
    async fn finish(mut self, taken: Result<bool, Failure>) -> Result<(), Failure> {
        if taken? {
            self.flush().await;
        }
        Ok(())
    }

    async fn flush(&mut self) -> bool {
        let piece = std::mem::replace(&mut self.piece, BytesMut::with_capacity(PIECE)).freeze();
        piece.is_empty() || self.outgoing.send(piece).await
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
        None if error.to_string() == WINDOW_TOO_LARGE => Failure::Refuse(FileError::new(
            ErrorCode::CompressionWindow,
            "the upload was compressed with a window of more than 8 MiB; `zstd` up to level 19 without `--long` needs less",
        )),
        None => Failure::Refuse(FileError::new(
            ErrorCode::CompressionCorrupt,
            "the compressed stream is cut short, damaged, or followed by something else",
        )),
    }
}

fn incomplete() -> FileError {
    FileError::new(ErrorCode::UploadIncomplete, "the upload stopped before its end")
}

fn reader(incoming: Incoming, taken: Arc<AtomicU64>) -> impl AsyncBufRead + Unpin {
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

#[cfg(test)]
mod tests {
    use async_compression::tokio::bufread::GzipEncoder;

    use super::*;

    async fn gzip(text: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        GzipEncoder::new(text).read_to_end(&mut out).await.unwrap();
        out
    }

    async fn gunzipped(upload: &[u8], piece: usize) -> Result<Vec<u8>, ErrorCode> {
        decompressed(Compression::Gzip, upload, piece).await
    }

    #[tokio::test]
    async fn a_file_whose_name_says_it_is_compressed_is_as_its_first_bytes_show() {
        let text = b"email\na@example.com\n".as_slice();
        for piece in [1, 3, 1_000] {
            let packed = gzip(text).await;
            assert_eq!(decompressed(Compression::Shown, &packed, piece).await.as_deref(), Ok(text));
            // Only called so.
            for plain in [text, b"e".as_slice(), b"".as_slice()] {
                assert_eq!(decompressed(Compression::Shown, plain, piece).await.as_deref(), Ok(plain));
            }
        }
        let of = |name| Compression::of_upload(Some(name));
        assert_eq!(
            (of("a.csv.gz"), of("a.json.ZST"), of("a.csv")),
            (Compression::Shown, Compression::Shown, Compression::Identity)
        );
        assert_eq!(Compression::of_upload(None), Compression::Identity);
    }

    /// What an upload comes to that arrives in pieces of this size; the code where it is refused.
    async fn decompressed(encoding: Compression, upload: &[u8], piece: usize) -> Result<Vec<u8>, ErrorCode> {
        let (pieces, incoming) = mpsc::channel(upload.len() + 1);
        for bytes in upload.chunks(piece) {
            pieces.send(Piece::Bytes(Bytes::copy_from_slice(bytes))).await.unwrap();
        }
        pieces.send(Piece::End).await.unwrap();
        let (decoded, mut whole) = mpsc::channel(100);
        match decode(encoding, ReceiveLimits::default(), incoming, decoded).await {
            Ok(()) => {}
            Err(Failure::Refuse(error)) => return Err(error.code),
            Err(other) => panic!("{other:?}"),
        }
        let mut text = Vec::new();
        while let Some(decoded) = whole.recv().await {
            match decoded {
                Decoded::Bytes(bytes) => text.extend_from_slice(&bytes),
                Decoded::End(whole) => {
                    assert_eq!(whole.bytes, text.len() as u64);
                    assert_eq!(whole.digest[..], Sha256::digest(&text)[..]);
                    return Ok(text);
                }
            }
        }
        panic!("it did not end");
    }

    #[tokio::test]
    async fn a_window_of_zstd_may_have_8_mib_and_no_more() {
        use async_compression::zstd::CParameter;
        for (log, expected) in [
            (22, Ok(())),
            (23, Ok(())),
            (24, Err(ErrorCode::CompressionWindow)),
            (27, Err(ErrorCode::CompressionWindow)),
        ] {
            let params = [CParameter::window_log(log)];
            let quality = async_compression::Level::Default;
            let mut upload = Vec::new();
            // A stream: its frame does not say how long the text is.
            let mut encoder = async_compression::tokio::bufread::ZstdEncoder::with_quality_and_params(
                &b"email\n"[..],
                quality,
                &params,
            );
            encoder.read_to_end(&mut upload).await.unwrap();
            let taken = decompressed(Compression::Zstd, &upload, 3).await;
            assert_eq!(taken.map(|text| assert_eq!(text, b"email\n")), expected, "2^{log}");
        }
    }

    #[tokio::test]
    async fn zeros_at_the_end_are_padding_and_anything_else_is_refused() {
        let (one, two) = (gzip(b"one").await, gzip(b"two").await);
        let zeros = vec![0; 600];
        let garbage = Err(ErrorCode::CompressionCorrupt);
        for (parts, expected) in [
            (vec![&one[..]], Ok(b"one".to_vec())),
            (vec![&one, &two], Ok(b"onetwo".to_vec())),
            (vec![&one, &[0]], Ok(b"one".to_vec())),
            (vec![&one, &two, &zeros], Ok(b"onetwo".to_vec())),
            (vec![&one, b"x"], garbage.clone()),
            (vec![&one, &two[..9]], garbage.clone()),
            (vec![&one, &zeros, b"x"], garbage.clone()),
            (vec![&one, &zeros, &two], garbage.clone()),
            (vec![&one[..one.len() - 8], &zeros], garbage.clone()),
            (vec![&zeros], garbage.clone()),
            (vec![&zeros, &one], garbage.clone()),
            (vec![], garbage),
        ] {
            let upload = parts.concat();
            for piece in [1, 7, upload.len().max(1)] {
                assert_eq!(gunzipped(&upload, piece).await, expected, "{parts:?} in pieces of {piece}");
            }
        }
    }
}
