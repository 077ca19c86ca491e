//! Records → chunks: bounded by records and by bytes, each of one lane, encoded for the store and the broker.

mod codec;
mod cut;
mod erase;
mod fingerprints;
mod lane;
mod seal;

pub(crate) use codec::Encoder;
pub use codec::{
    BrokenChunk, ChunkRecords, Compressor, VERSION, body_hash, decode, decode_with, decoded_bytes, is_sealed,
};
pub use cut::{ChunkCutter, ChunkLimits, CutChunk, PackedChunk};
pub use erase::{Erased, Fate, erase};
pub use fingerprints::{Fingerprints, fingerprint};
pub use lane::{LaneCount, LaneHash, lane_of};
pub use seal::SecretKey;
