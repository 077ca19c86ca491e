//! Records → chunks: bounded by records and by bytes, each of one lane, encoded for the store and the broker.

mod codec;
mod cut;
mod fingerprints;
mod lane;

pub use codec::{BrokenChunk, ChunkRecords, VERSION, body_hash, decode};
pub use cut::{ChunkCutter, ChunkLimits, SealedChunk};
pub use fingerprints::{Fingerprints, fingerprint};
pub use lane::{LaneCount, lane_of};
