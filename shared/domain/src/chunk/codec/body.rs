//! The body of a chunk: a version byte, then zstd.

use std::io::Write;

/// The newest version of the format that this program writes and reads: that of chunks with sealed secrets.
pub const VERSION: u8 = 2;
/// Version of chunks without secrets.
pub(super) const PLAIN_VERSION: u8 = 1;
/// Level 1: the body is written and read once, so speed counts for more than size.
const ZSTD_LEVEL: i32 = 1;
/// No chunk is larger when decoded; a body that says otherwise is broken or hostile.
const MAX_DECODED: usize = 256 * 1024 * 1024;

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
    pub(in crate::chunk) fn pack(&self) -> std::io::Result<Vec<u8>> {
        pack(self.version, &[&self.head, &self.records])
    }
}

/// A body of this version, of these pieces one after the other.
pub(in crate::chunk) fn pack(version: u8, pieces: &[&[u8]]) -> std::io::Result<Vec<u8>> {
    let size: usize = pieces.iter().map(|piece| piece.len()).sum();
    let mut body = Vec::with_capacity(size / 3 + 64);
    body.push(version);
    let mut zstd = zstd::Encoder::new(&mut body, ZSTD_LEVEL)?;
    zstd.set_pledged_src_size(Some(size as u64))?;
    for piece in pieces {
        zstd.write_all(piece)?;
    }
    zstd.finish()?;
    Ok(body)
}

/// Version and content of a body.
pub(in crate::chunk) fn unpack(body: &[u8]) -> Result<(u8, Vec<u8>), BrokenChunk> {
    let (version, compressed) = body.split_first().ok_or(BrokenChunk::Damaged("it is empty"))?;
    if !matches!(*version, PLAIN_VERSION | VERSION) {
        return Err(BrokenChunk::Version(*version));
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
