//! What claiming a chunk gives.

use muster_domain::id::{ChunkId, ImportId, TenantId};
use uuid::Uuid;

/// A chunk claimed for publishing.
#[derive(Debug, Clone)]
pub struct ClaimedChunk {
    /// Id.
    pub id: ChunkId,
    /// Its import.
    pub import: ImportId,
    /// Its tenant.
    pub tenant: TenantId,
    /// The attempt that its delivery will begin.
    pub attempt: u32,
    /// The encoded records.
    pub body: Vec<u8>,
    /// The trace context of its import, as a header has it.
    pub traceparent: Option<String>,
}

/// The same as the store has it.
pub(super) struct ClaimedRow {
    pub(super) id: i64,
    pub(super) import_id: Uuid,
    pub(super) tenant_id: i32,
    pub(super) attempts: i32,
    pub(super) body: Vec<u8>,
    pub(super) traceparent: Option<String>,
}

impl From<ClaimedRow> for ClaimedChunk {
    fn from(row: ClaimedRow) -> Self {
        Self {
            id: ChunkId::new(row.id),
            import: ImportId::new(row.import_id),
            tenant: TenantId::new(row.tenant_id),
            attempt: u32::try_from(row.attempts).unwrap_or(0) + 1,
            body: row.body,
            traceparent: row.traceparent,
        }
    }
}
