//! Figures of all imports for the metrics: numbers alone, of no tenant by itself.

use muster_domain::fault::{Mutant, mutant};
use muster_domain::import::{ChunkState, ImportState};
use muster_domain::progress::Surroundings;

use super::status::{self, Bounds};
use super::{Store, StoreError};

/// What there is at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Figures {
    /// Imports that are kept, by state; a state without any is not among them.
    pub imports: Vec<(ImportState, u64)>,
    /// Chunks of imports that have not ended, by state.
    pub chunks: Vec<(ChunkState, u64)>,
    /// Seconds since the oldest running import began to run; those of disabled tenants wait for as long as somebody wants.
    pub oldest_seconds: f64,
    /// Chunks whose message is published and not settled, as far as the store knows.
    pub published: u64,
    /// The window and who lives.
    pub around: Surroundings,
}

/// Reads them. Costs a look at the chunks of the imports that have not ended, and at the index of imports by state.
pub async fn read(store: &Store, bounds: &Bounds) -> Result<Figures, StoreError> {
    let mut transaction = store.pool().begin_with("begin isolation level repeatable read, read only").await?;
    let imports = sqlx::query!(r#"select state, count(*) as "count!" from imports group by state"#)
        .fetch_all(&mut *transaction)
        .await?;
    let chunks = sqlx::query!(
        r#"select c.state, count(*) as "count!"
             from imports i
             join chunks c on c.import_id = i.id
            where i.state in ('receiving', 'received', 'planning', 'planned', 'running', 'paused')
            group by c.state"#
    )
    .fetch_all(&mut *transaction)
    .await?;
    let row = sqlx::query!(
        r#"select coalesce((select extract(epoch from now() - min(coalesce(i.started_at, i.created_at)))::float8
                              from imports i
                              join tenants t on t.id = i.tenant_id
                             where i.state in ('planning', 'running') and (t.disabled_at is null or $1)), 0) as "oldest!",
                  (select count(*) from chunks where state = 'dispatched' and claim_until is null) as "published!""#,
        mutant(Mutant::DisabledGrowOld),
    )
    .fetch_one(&mut *transaction)
    .await?;
    let around = status::surroundings(&mut *transaction, bounds).await?;
    transaction.commit().await?;
    let import = |state: String, count: i64| match state.parse() {
        Ok(state) => Ok((state, count.unsigned_abs())),
        Err(_) => Err(StoreError::corrupt("imports", "state", state)),
    };
    let chunk = |state: String, count: i64| match state.parse() {
        Ok(state) => Ok((state, count.unsigned_abs())),
        Err(_) => Err(StoreError::corrupt("chunks", "state", state)),
    };
    Ok(Figures {
        imports: imports.into_iter().map(|row| import(row.state, row.count)).collect::<Result<_, _>>()?,
        chunks: chunks.into_iter().map(|row| chunk(row.state, row.count)).collect::<Result<_, _>>()?,
        oldest_seconds: row.oldest.max(0.0),
        published: row.published.unsigned_abs(),
        around,
    })
}
