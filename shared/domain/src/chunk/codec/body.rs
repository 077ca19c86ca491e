//! The body of a chunk: a version byte, then zstd.

/// The newest version of the format that this program writes and reads: that of chunks with sealed secrets.
pub const VERSION: u8 = 2;
/// Version of chunks without secrets.
pub(super) const PLAIN_VERSION: u8 = 1;
/// Level 1: the body is written and read once, so speed counts for more than size.
const ZSTD_LEVEL: i32 = 1;
/// No chunk is larger when decoded; a body that says otherwise is broken or hostile.
const MAX_DECODED: usize = 256 * 1024 * 1024;
/// How many times its size a body may say that it is when decoded, for the room to be made at once.
const TRUSTED_RATIO: usize = 64;
/// Bytes that a compressor keeps in each of its two buffers between two chunks.
const KEPT: usize = 4 * 1024 * 1024;

/// The bytes are not a chunk of a version that this program can read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BrokenChunk {
    /// Written by a newer (or no) version.
    #[error("the chunk has format version {0}, this program reads versions {PLAIN_VERSION} to {VERSION}")]
    Version(u8),
    /// Cut short, damaged, or never a chunk.
    #[error("the chunk cannot be read: {0}")]
    Damaged(&'static str),
}

/// An encoded chunk before it is compressed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::chunk) struct Uncompressed {
    pub(super) version: u8,
    pub(super) head: Vec<u8>,
    pub(super) records: Vec<u8>,
}

impl Uncompressed {
    /// The body of the chunk.
    pub(in crate::chunk) fn pack(&self, compressor: &mut Compressor) -> std::io::Result<Vec<u8>> {
        compressor.pack(self.version, &[&self.head, &self.records])
    }
}

/// Compresses bodies. What it works in is allocated once, so one is kept for many chunks.
pub struct Compressor {
    zstd: zstd::bulk::Compressor<'static>,
    plain: Vec<u8>,
    packed: Vec<u8>,
}

impl Compressor {
    /// Gets ready.
    ///
    /// # Errors
    ///
    /// If zstd does not take its settings.
    pub fn new() -> std::io::Result<Self> {
        let zstd = zstd::bulk::Compressor::new(ZSTD_LEVEL)?;
        Ok(Self { zstd, plain: Vec::new(), packed: Vec::new() })
    }

    /// A body of this version, of these pieces one after the other.
    pub(in crate::chunk) fn pack(&mut self, version: u8, pieces: &[&[u8]]) -> std::io::Result<Vec<u8>> {
        pieces.iter().for_each(|piece| self.plain.extend_from_slice(piece));
        self.packed.reserve(zstd::zstd_safe::compress_bound(self.plain.len()));
        let compressed = self.zstd.compress_to_buffer(&self.plain, &mut self.packed);
        let body = compressed.map(|_| [&[version][..], &self.packed].concat());
        // Also after an error: nothing of this chunk may get into the next one.
        for buffer in [&mut self.plain, &mut self.packed] {
            buffer.clear();
            buffer.shrink_to(KEPT);
        }
        body
    }
}

impl std::fmt::Debug for Compressor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Compressor")
    }
}

/// A single body.
pub(in crate::chunk) fn pack(version: u8, pieces: &[&[u8]]) -> std::io::Result<Vec<u8>> {
    Compressor::new()?.pack(version, pieces)
}

/// Version and content of a body.
pub(in crate::chunk) fn unpack(body: &[u8]) -> Result<(u8, Vec<u8>), BrokenChunk> {
    let (version, compressed) = body.split_first().ok_or(BrokenChunk::Damaged("it is empty"))?;
    if !matches!(*version, PLAIN_VERSION | VERSION) {
        return Err(BrokenChunk::Version(*version));
    }
    if let Some(bytes) = decoded_bytes(body).and_then(|size| unpack_at_once(compressed, size)) {
        return Ok((*version, bytes));
    }
    let mut bytes = Vec::with_capacity((compressed.len() * 4).min(MAX_DECODED));
    let reader = zstd::Decoder::new(compressed).map_err(|_| BrokenChunk::Damaged("it is not zstd"))?;
    std::io::Read::read_to_end(&mut std::io::Read::take(reader, MAX_DECODED as u64 + 1), &mut bytes)
        .map_err(|_| BrokenChunk::Damaged("its compressed bytes are damaged"))?;
    if bytes.len() > MAX_DECODED {
        return Err(BrokenChunk::Damaged("it is larger than any chunk"));
    }
    Ok((*version, bytes))
}

/// The size of a chunk after decoding, if its header has it; chunks of older programs do not.
pub fn decoded_bytes(body: &[u8]) -> Option<usize> {
    let size = zstd::zstd_safe::get_frame_content_size(body.get(1..)?).ok().flatten()?;
    usize::try_from(size).ok()
}

/// The content of a body that says that it has this size. `None` where that cannot be believed, or the body is damaged.
fn unpack_at_once(compressed: &[u8], size: usize) -> Option<Vec<u8>> {
    if size > compressed.len().saturating_mul(TRUSTED_RATIO).min(MAX_DECODED) {
        return None;
    }
    let mut bytes = Vec::with_capacity(size);
    zstd::bulk::Decompressor::new().ok()?.decompress_to_buffer(compressed, &mut bytes).ok()?;
    Some(bytes)
}
