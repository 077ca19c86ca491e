//! Limits the bytes of the chunks that a worker applies at once, since a chunk takes many times its size in memory.

use muster_domain::chunk::decoded_bytes;
use muster_domain::fault::{self, Mutant};
use tokio::sync::{Semaphore, SemaphorePermit};

/// Unit of the room.
const KIB: usize = 1024;
/// The size that is assumed for a chunk whose size is unknown before decoding: the limit of a chunk.
const UNKNOWN: usize = 1024 * KIB;

/// Room for chunks in work.
#[derive(Debug)]
pub(crate) struct MemoryBudget {
    free: Semaphore,
    all: u32,
}

impl MemoryBudget {
    /// Room for so many decoded bytes.
    pub(crate) fn new(bytes: usize) -> Self {
        let all = units(bytes).min(Semaphore::MAX_PERMITS.try_into().unwrap_or(u32::MAX));
        Self { free: Semaphore::new(all as usize), all }
    }

    /// Waits until there is room for a chunk, first come, first served. A chunk that is larger than the room takes all of it.
    pub(crate) async fn take(&self, body: &[u8]) -> Option<SemaphorePermit<'_>> {
        if fault::mutant(Mutant::RoomForAll) {
            return None;
        }
        let wanted = units(decoded_bytes(body).unwrap_or(UNKNOWN)).min(self.all);
        // Never closed.
        self.free.acquire_many(wanted).await.ok()
    }
}

fn units(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(KIB)).unwrap_or(u32::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use muster_domain::chunk::{ChunkCutter, ChunkLimits};
    use muster_domain::record::{FieldNames, Position, RawField, RawRecord, RawValue, RecordNumber};

    use super::*;

    /// The body of a chunk with one record whose value has so many bytes.
    fn body(bytes: usize) -> Vec<u8> {
        let value = "x".repeat(bytes);
        let fields = [RawField { name: 0, value: RawValue::Text(&value) }];
        let position = Position { record: RecordNumber::new(1).unwrap(), line: 1, byte: 0 };
        let record = RawRecord { position, fields: &fields, defect: None, raw: None };
        let names = FieldNames::from_header(["email"]);
        let mut cutter = ChunkCutter::new(ChunkLimits::default());
        cutter.push(&record, &names, None, true).unwrap();
        cutter.finish(&names).unwrap();
        cutter.take().unwrap().remove(0).body
    }

    #[test]
    fn large_chunks_wait_for_room_and_small_ones_do_not() {
        let (large, small, huge) = (body(600 * KIB), body(100 * KIB), body(3_000 * KIB));
        assert!(large.len() < 10 * KIB, "what counts is not what is sent");
        let budget = MemoryBudget::new(1024 * KIB);
        let first = budget.take(&large).now_or_never().unwrap();
        let beside = budget.take(&small).now_or_never().unwrap();
        assert!(budget.take(&large).now_or_never().is_none(), "two large ones at once");
        drop(first);
        let second = budget.take(&large).now_or_never().unwrap();
        assert!(budget.take(&huge).now_or_never().is_none(), "the largest beside others");
        drop((beside, second));
        let all = budget.take(&huge).now_or_never().unwrap();
        assert!(budget.take(&small).now_or_never().is_none(), "another beside the largest");
        drop(all);
        assert!(budget.take(&small).now_or_never().is_some());
    }

    #[test]
    fn what_does_not_tell_its_size_counts_as_a_whole_chunk() {
        let budget = MemoryBudget::new(2 * UNKNOWN);
        let held =
            (budget.take(b"").now_or_never().unwrap(), budget.take(b"no chunk").now_or_never().unwrap());
        assert!(budget.take(b"").now_or_never().is_none());
        drop(held);
    }
}
