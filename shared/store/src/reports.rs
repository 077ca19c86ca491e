//! Reports on imports: their state, counts and chunks. Counts are always read by one statement, so they are consistent (P2).

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, Utc};
use muster_domain::error::FileError;
use muster_domain::fault::{self, Mutant, mutant};
use muster_domain::id::{ChunkId, ImportId, TenantId};
use muster_domain::import::{ChunkState, ImportState};
use muster_domain::options::{ImportOptions, NewerOptions};
use muster_domain::outcome::{Counts, Outcome, Reason, Verdict};
use muster_domain::parse::{Delimiter, TextEncoding};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::PgExecutor;
use sqlx::postgres::PgConnection;
use uuid::Uuid;

use super::convert::number;
use super::{Store, StoreError};

/// How many chunks of an import are in which state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "each is the number of chunks in the state of its name")]
pub struct ChunkCounts {
    pub staged: u64,
    pub dispatched: u64,
    pub retryable: u64,
    #[serde(default)]
    pub planned: u64,
    pub applied: u64,
    pub dead: u64,
    pub cancelled: u64,
}

/// An import as it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct ImportReport {
    /// Id.
    pub id: ImportId,
    /// Small whole number.
    pub number: i64,
    /// Whose it is.
    pub tenant: TenantId,
    /// State.
    pub state: ImportState,
    /// Name of the file.
    pub filename: Option<String>,
    /// What its text was in, where that was not UTF-8.
    pub encoding: Option<TextEncoding>,
    /// What ends the cells of its table, where that is not the comma.
    pub delimiter: Option<Delimiter>,
    /// What it was asked to do.
    pub options: ImportOptions,
    /// What of the options this program does not know, since a newer one wrote it; `options` is the rest then.
    pub newer: Option<NewerOptions>,
    /// Field names in the order of the upload.
    pub columns: Vec<String>,
    /// Bytes of the upload, decompressed.
    pub bytes: u64,
    /// Outcomes so far; they add up.
    pub counts: Counts,
    /// Of the failed records, those that imports of its family corrected, as last counted.
    pub mended: u64,
    /// Chunks by state.
    pub chunks: ChunkCounts,
    /// The import whose failed records it brought again.
    pub mends: Option<ImportId>,
    /// Why it was refused or aborted.
    pub error: Option<FileError>,
    /// When it was opened.
    pub created_at: DateTime<Utc>,
    /// When everything was staged.
    pub received_at: Option<DateTime<Utc>>,
    /// When it began to run.
    pub started_at: Option<DateTime<Utc>>,
    /// When it reached its end.
    pub completed_at: Option<DateTime<Utc>>,
}

/// One import of a tenant. `None` if the tenant has no such import.
pub async fn import(
    store: &Store,
    tenant: TenantId,
    import: ImportId,
) -> Result<Option<ImportReport>, StoreError> {
    let mut tenant = tenant;
    if fault::mutant(Mutant::MissingTenantFilter) {
        let owner = sqlx::query_scalar("select tenant_id from imports where id = $1").bind(import.get());
        tenant = TenantId::new(owner.fetch_optional(store.pool()).await?.unwrap_or(tenant.get()));
    }
    import_in(&mut *store.reading(tenant).await?, tenant, import).await
}

/// The same over a connection of the caller's.
pub async fn import_in(
    executor: impl PgExecutor<'_>,
    tenant: TenantId,
    import: ImportId,
) -> Result<Option<ImportReport>, StoreError> {
    let rows = select(executor, tenant, Some(&[import.get()]), None, None, 1).await?;
    rows.into_iter().next().map(whole).transpose()
}

impl ImportReport {
    /// The failed records that no import of its family has corrected.
    pub fn open_failed(&self) -> u64 {
        self.counts.failed.saturating_sub(self.mended)
    }

    /// What a list shows for an import that a newer program wrote.
    pub fn problem(&self) -> Option<String> {
        let newer = self.newer.as_ref()?;
        Some(format!("a newer version of Muster wrote this import: {newer}; ask that version"))
    }
}

/// A program must know all options of an import to work on it.
fn whole(report: ImportReport) -> Result<ImportReport, StoreError> {
    match report.newer {
        None => Ok(report),
        Some(_) => Err(newer_options(report.id.get())),
    }
}

/// The id of an import by its number.
pub async fn import_by_number(
    store: &Store,
    tenant: TenantId,
    number: i64,
) -> Result<Option<ImportId>, StoreError> {
    Ok(sqlx::query_scalar!(
        "select id from imports where tenant_id = $1 and number = $2",
        tenant.get(),
        number
    )
    .fetch_optional(&mut *store.reading(tenant).await?)
    .await?
    .map(ImportId::new))
}

/// The import whose upload had this idempotency key, as a list shows it.
pub async fn import_by_key(
    store: &Store,
    tenant: TenantId,
    key: &str,
) -> Result<Option<ImportReport>, StoreError> {
    let id = sqlx::query_scalar!(
        "select id from imports where tenant_id = $1 and idempotency_key = $2",
        tenant.get(),
        key
    )
    .fetch_optional(&mut *store.reading(tenant).await?)
    .await?;
    match id {
        Some(id) => {
            let rows = select(&mut *store.reading(tenant).await?, tenant, Some(&[id]), None, None, 1).await?;
            rows.into_iter().next().map(listed).transpose()
        }
        None => Ok(None),
    }
}

/// These imports of a tenant as a list shows them, in the same order: also those that a newer program wrote.
pub(super) async fn listed_imports(
    connection: &mut PgConnection,
    tenant: TenantId,
    imports: &[Uuid],
) -> Result<Vec<ImportReport>, StoreError> {
    if imports.is_empty() {
        return Ok(Vec::new());
    }
    let found = select(connection, tenant, Some(imports), None, None, imports.len() as i64).await?;
    let mut found: HashMap<Uuid, ImportReport> =
        found.into_iter().map(|report| (report.id.get(), report)).collect();
    imports.iter().filter_map(|import| found.remove(import)).map(listed).collect()
}

fn listed(report: ImportReport) -> Result<ImportReport, StoreError> {
    if fault::mutant(Mutant::NewerStopsTheList) { whole(report) } else { Ok(report) }
}

/// A tenant's imports, newest first, those older than `before` only, in one state only where asked. One that a newer program wrote
/// is among them and [says so](ImportReport::newer).
pub async fn imports(
    store: &Store,
    tenant: TenantId,
    state: Option<ImportState>,
    before: Option<ImportId>,
    limit: i64,
) -> Result<Vec<ImportReport>, StoreError> {
    let rows = select(&mut *store.reading(tenant).await?, tenant, None, state, before, limit).await?;
    rows.into_iter().map(listed).collect()
}

/// The same of those whose file has `text` in its name, in any case, or whose id begins with it, or whose number it is.
pub async fn imports_named(
    store: &Store,
    tenant: TenantId,
    text: &str,
    state: Option<ImportState>,
    before: Option<ImportId>,
    limit: i64,
) -> Result<Vec<ImportReport>, StoreError> {
    let mut reading = store.reading(tenant).await?;
    let ids = sqlx::query_scalar!(
        "select id
           from imports
          where tenant_id = $1
            and (strpos(lower(filename), lower($2)) > 0 or starts_with(id::text, lower($2)) or number::text = $2)
            and ($3::text is null or state = $3)
            and ($4::uuid is null or id < $4)
          order by id desc
          limit $5",
        tenant.get(),
        text,
        state.map(ImportState::as_str),
        before.map(ImportId::get),
        limit,
    )
    .fetch_all(&mut *reading)
    .await?;
    listed_imports(&mut reading, tenant, &ids).await
}

/// The imports of a tenant that ended last, at most `limit`.
pub async fn ended(store: &Store, tenant: TenantId, limit: i64) -> Result<Vec<ImportReport>, StoreError> {
    let mut reading = store.reading(tenant).await?;
    let ids = sqlx::query_scalar!(
        "select id from imports where tenant_id = $1 and completed_at is not null order by completed_at desc, id desc limit $2",
        tenant.get(),
        limit,
    )
    .fetch_all(&mut *reading)
    .await?;
    listed_imports(&mut reading, tenant, &ids).await
}

/// The imports of a tenant in these states: of each the newest, at most so many, one state after the other.
pub async fn newest_in(
    store: &Store,
    tenant: TenantId,
    states: &[ImportState],
    of_each: i64,
) -> Result<Vec<ImportReport>, StoreError> {
    let mut reading = store.reading(tenant).await?;
    let states: Vec<String> = states.iter().map(|state| state.as_str().to_owned()).collect();
    let ids = sqlx::query_scalar!(
        r#"select id as "id!"
             from (select id, state, row_number() over (partition by state order by id desc) as place
                     from imports
                    where tenant_id = $1 and state = any($2)) as import
            where place <= $3
            order by array_position($2, state), id desc"#,
        tenant.get(),
        &states,
        of_each,
    )
    .fetch_all(&mut *reading)
    .await?;
    listed_imports(&mut reading, tenant, &ids).await
}

/// Ids of a tenant's imports that begin or end with `part`, at most `limit`, newest first. Imports of one day begin alike.
pub async fn ids_with(
    store: &Store,
    tenant: TenantId,
    part: &str,
    limit: i64,
) -> Result<Vec<ImportId>, StoreError> {
    let ids = sqlx::query_scalar!(
        "select id
           from imports
          where tenant_id = $1 and (starts_with(id::text, $2) or right(id::text, length($2)) = $2)
          order by id desc
          limit $3",
        tenant.get(),
        part,
        limit,
    )
    .fetch_all(&mut *store.reading(tenant).await?)
    .await?;
    Ok(ids.into_iter().map(ImportId::new).collect())
}

/// How many records of an import were skipped, by reason. Reads the outcomes of every chunk that has skipped some.
pub async fn skipped_by_reason(
    connection: &mut PgConnection,
    tenant: TenantId,
    import: ImportId,
) -> Result<Vec<(Reason, u64)>, StoreError> {
    let mut counts: BTreeMap<&'static str, (Reason, u64)> = BTreeMap::new();
    let mut after = 0_i64;
    loop {
        // A few chunks at a time: memory must not grow with the import.
        let rows = sqlx::query!(
            "select id, state, records, outcomes
               from chunks
              where import_id = $1 and id > $2 and skipped > 0 and tenant_id = $3
              order by id
              limit 50",
            import.get(),
            after,
            tenant.get(),
        )
        .fetch_all(&mut *connection)
        .await?;
        let Some(last) = rows.last() else { break };
        after = last.id;
        for row in rows {
            let mut sheet =
                super::convert::read_sheet(ChunkId::new(row.id), row.records, row.outcomes.as_deref())?;
            if row.state == ChunkState::Cancelled.as_str() {
                sheet.turn(Outcome::Pending, Verdict::CANCELLED);
            }
            let reasons = sheet.iter().filter(|(verdict, _)| verdict.outcome == Outcome::Skipped);
            for reason in reasons.filter_map(|(verdict, _)| verdict.reason) {
                counts.entry(reason.as_str()).or_insert((reason, 0)).1 += 1;
            }
        }
    }
    Ok(counts.into_values().collect())
}

async fn select(
    executor: impl PgExecutor<'_>,
    tenant: TenantId,
    ids: Option<&[Uuid]>,
    state: Option<ImportState>,
    before: Option<ImportId>,
    limit: i64,
) -> Result<Vec<ImportReport>, StoreError> {
    let rows = sqlx::query_as!(
        ImportRow,
        r#"select i.id, i.number, i.tenant_id, i.state, i.filename, i.encoding, i.reading ->> 'delimiter' as delimiter,
                  i.options, i.columns, i.bytes, i.mends, i.mended, i.error, i.final_counts, i.final_chunks, i.created_at, i.received_at, i.started_at, i.completed_at,
                  c.total as "total!", c.pending as "pending!", c.inserted as "inserted!",
                  c.updated as "updated!", c.skipped as "skipped!", c.failed as "failed!",
                  c.staged as "staged!", c.dispatched as "dispatched!", c.retryable as "retryable!",
                  c.planned as "planned!", c.applied as "applied!", c.dead as "dead!", c.cancelled as "cancelled!"
             from (select *
                     from imports
                    where tenant_id = $1
                      and ($2::uuid[] is null or id = any($2))
                      and ($3::text is null or state = $3)
                      and ($4::uuid is null or id < $4)
                    order by id desc
                    limit $5) as i
            cross join lateral (
                  select coalesce(sum(records), 0)  as total,    coalesce(sum(pending), 0) as pending,
                         coalesce(sum(inserted), 0) as inserted, coalesce(sum(updated), 0) as updated,
                         coalesce(sum(skipped), 0)  as skipped,  coalesce(sum(failed), 0)  as failed,
                         count(*) filter (where chunks.state = 'staged')     as staged,
                         count(*) filter (where chunks.state = 'dispatched') as dispatched,
                         count(*) filter (where chunks.state = 'retryable')  as retryable,
                         count(*) filter (where chunks.state = 'planned')    as planned,
                         count(*) filter (where chunks.state = 'applied')    as applied,
                         count(*) filter (where chunks.state = 'dead')       as dead,
                         count(*) filter (where chunks.state = 'cancelled')  as cancelled
                    from chunks
                   where chunks.import_id = i.id
                     -- What is left of one that came to nothing is on its way out, and no part of it.
                     and not i.leftovers
                     -- One that has ended has its sums with it. (Those of before kept no numbers of chunks.)
                     and (i.final_counts is null or coalesce(i.final_chunks, i.final_counts -> 'chunks') is null or $6)) as c
            order by i.id desc"#,
        tenant.get(),
        ids,
        state.map(ImportState::as_str),
        before.map(ImportId::get),
        limit,
        mutant(Mutant::SumAgain),
    )
    .fetch_all(executor)
    .await?;
    rows.into_iter().map(ImportReport::try_from).collect()
}

/// Only Muster writes the options of an import, so unknown words come from a newer version.
fn newer_options(import: Uuid) -> StoreError {
    if fault::mutant(Mutant::NewerOptionsCorrupt) {
        return StoreError::corrupt("imports", "options", import);
    }
    StoreError::Newer { table: "import", column: "options", key: import.to_string() }
}

struct ImportRow {
    id: Uuid,
    number: i64,
    tenant_id: i32,
    state: String,
    filename: Option<String>,
    encoding: Option<String>,
    delimiter: Option<String>,
    options: Value,
    columns: Option<Value>,
    bytes: i64,
    mends: Option<Uuid>,
    mended: i64,
    error: Option<Value>,
    final_counts: Option<Value>,
    final_chunks: Option<Value>,
    created_at: DateTime<Utc>,
    received_at: Option<DateTime<Utc>>,
    started_at: Option<DateTime<Utc>>,
    completed_at: Option<DateTime<Utc>>,
    total: i64,
    pending: i64,
    inserted: i64,
    updated: i64,
    skipped: i64,
    failed: i64,
    staged: i64,
    dispatched: i64,
    retryable: i64,
    planned: i64,
    applied: i64,
    dead: i64,
    cancelled: i64,
}

/// The sums over the chunks of an import: records by outcome, and chunks by state.
fn sums(row: &ImportRow) -> Result<(Counts, ChunkCounts), StoreError> {
    let wide = |value: i64, column| number(value, ("imports", column), row.id);
    let summed = Counts {
        total: wide(row.total, "total")?,
        pending: wide(row.pending, "pending")?,
        inserted: wide(row.inserted, "inserted")?,
        updated: wide(row.updated, "updated")?,
        skipped: wide(row.skipped, "skipped")?,
        failed: wide(row.failed, "failed")?,
    };
    let chunks = ChunkCounts {
        staged: wide(row.staged, "staged")?,
        dispatched: wide(row.dispatched, "dispatched")?,
        retryable: wide(row.retryable, "retryable")?,
        planned: wide(row.planned, "planned")?,
        applied: wide(row.applied, "applied")?,
        dead: wide(row.dead, "dead")?,
        cancelled: wide(row.cancelled, "cancelled")?,
    };
    Ok((summed, chunks))
}

impl TryFrom<ImportRow> for ImportReport {
    type Error = StoreError;

    fn try_from(row: ImportRow) -> Result<Self, StoreError> {
        let id = row.id;
        let wrong = |column| StoreError::corrupt("imports", column, id);
        let (summed, mut chunks) = sums(&row)?;
        let counts: Counts = match row.final_counts {
            Some(mut json) => {
                // Those of before have it among the counts.
                let among = json.get_mut("chunks").map(Value::take);
                if let Some(kept) = row.final_chunks.or(among) {
                    chunks = serde_json::from_value(kept).map_err(|_| wrong("final_chunks"))?;
                }
                serde_json::from_value(json).map_err(|_| wrong("final_counts"))?
            }
            None => summed,
        };
        if !counts.add_up() {
            return Err(wrong("counts"));
        }
        let (options, newer) = ImportOptions::known_of_stored(row.options);
        Ok(Self {
            id: ImportId::new(id),
            number: row.number,
            tenant: TenantId::new(row.tenant_id),
            state: row.state.parse().map_err(|_| wrong("state"))?,
            filename: row.filename,
            encoding: row.encoding.map(|name| name.parse()).transpose().map_err(|_| wrong("encoding"))?,
            delimiter: match row.delimiter.map(|name| name.parse()).transpose() {
                Ok(delimiter) => delimiter.filter(|delimiter| *delimiter != Delimiter::Comma),
                Err(_) => return Err(wrong("reading")),
            },
            options,
            newer,
            columns: match row.columns {
                Some(json) => serde_json::from_value(json).map_err(|_| wrong("columns"))?,
                None => Vec::new(),
            },
            bytes: number(row.bytes, ("imports", "bytes"), id)?,
            counts,
            mended: row.mended.unsigned_abs().min(counts.failed),
            chunks,
            mends: row.mends.map(ImportId::new),
            error: row.error.map(serde_json::from_value).transpose().map_err(|_| wrong("error"))?,
            created_at: row.created_at,
            received_at: row.received_at,
            started_at: row.started_at,
            completed_at: row.completed_at,
        })
    }
}
