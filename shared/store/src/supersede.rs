//! The content of later chunks of a lane, for a chunk that `retry` reopened. A retried record must not undo
//! what a later record of the file did.

use muster_domain::chunk::{ChunkRecords, Fingerprints, decode};
use muster_domain::id::ChunkId;
use muster_domain::outcome::OutcomeSheet;
use sqlx::postgres::PgConnection;

use super::StoreError;

/// How many later chunks are read at a time: only their fingerprints are kept in memory.
const AT_A_TIME: i64 = 64;

/// A later chunk of the lane of which some records were applied.
#[derive(Debug)]
pub struct LaterChunk {
    /// Id.
    pub id: ChunkId,
    /// Its place in the lane.
    pub seq: i32,
    /// Of its records' identifiers, if they were worked out before.
    pub fingerprints: Option<Fingerprints>,
}

/// Some chunks after a place in the lane of a chunk, in order. None left: an empty list.
pub async fn later(
    connection: &mut PgConnection,
    chunk: ChunkId,
    after: i32,
) -> Result<Vec<LaterChunk>, StoreError> {
    let rows = sqlx::query!(
        r#"select later.id, later.seq, kept.fingerprints as "fingerprints?"
             from chunks this
             join chunks later on later.import_id = this.import_id and later.lane = this.lane
             left join chunk_identifiers kept on kept.chunk_id = later.id
            where this.id = $1 and later.seq > greatest(this.seq, $2)
              and later.inserted + later.updated + later.skipped > 0
            order by later.seq
            limit $3"#,
        chunk.get(),
        after,
        AT_A_TIME,
    )
    .fetch_all(connection)
    .await?;
    let chunk = |id, seq, kept: Option<Vec<u8>>| LaterChunk {
        id: ChunkId::new(id),
        seq,
        fingerprints: kept.as_deref().map(Fingerprints::decode),
    };
    Ok(rows.into_iter().map(|row| chunk(row.id, row.seq, row.fingerprints)).collect())
}

/// The records of a chunk and their outcomes.
pub async fn applied(
    connection: &mut PgConnection,
    chunk: ChunkId,
) -> Result<(ChunkRecords, OutcomeSheet), StoreError> {
    let row = sqlx::query!("select records, body, outcomes from chunks where id = $1", chunk.get())
        .fetch_one(connection)
        .await?;
    let records = decode(&row.body).map_err(|_| StoreError::corrupt("chunks", "body", chunk))?;
    Ok((records, super::convert::read_sheet(chunk, row.records, row.outcomes.as_deref())?))
}

/// Keeps the fingerprints of a chunk, so that the next chunk that asks need not decode it.
pub async fn keep(
    connection: &mut PgConnection,
    chunk: ChunkId,
    fingerprints: &Fingerprints,
) -> Result<(), StoreError> {
    sqlx::query!(
        "insert into chunk_identifiers (chunk_id, fingerprints) values ($1, $2) on conflict do nothing",
        chunk.get(),
        fingerprints.encode(),
    )
    .execute(connection)
    .await?;
    Ok(())
}
