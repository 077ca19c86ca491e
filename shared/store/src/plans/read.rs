//! Reading plans: their sums without looking at any record, and their records a chunk at a time.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use muster_domain::fault::{Mutant, mutant};
use muster_domain::id::{ImportId, TenantId};
use muster_domain::import::ImportState;
use muster_domain::outcome::{Counts, Outcome, Reason};
use muster_domain::planned::{OTHER, PlannedRecord, Sums, field_of};
use muster_domain::undo::names_field;
use sqlx::postgres::PgConnection;

use super::super::{Store, StoreError};
use super::decoded;
use super::group::name_group;

/// The plan of an import, without its records.
#[derive(Debug, Clone, PartialEq)]
pub struct PlanSummary {
    /// The import's state.
    pub state: ImportState,
    /// When the plan was whole. None: it is being made.
    pub planned_at: Option<DateTime<Utc>>,
    /// The planned outcomes; records that are not planned yet are pending.
    pub counts: Counts,
    /// The same by field, kind and cause.
    pub sums: Sums,
    /// How many users the tenant has. No more are counted than it takes to know that the plan changes few of them, and 2,000,000 at the
    /// most.
    pub tenant_users: u64,
    /// How many of the users that it would change were changed since, if it is not applied yet.
    pub since: Option<Since>,
}

/// How many users of a plan somebody else changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Since {
    /// Users that were looked at: the first of the plan.
    pub looked_at: u64,
    /// Those of them that are another version now, or gone.
    pub changed: u64,
}

/// One part of the users that may change before a plan is worth a warning.
pub const WORTH_A_WARNING: u64 = 20;
/// Users that are counted at the most: counting takes time. A plan that changes a twentieth of so many is worth a warning anyway.
const MOST_COUNTED: u64 = 2_000_000;

/// The plan of an import. `None` if the tenant has no such import; the inner one if the import has no plan.
pub async fn summary(
    store: &Store,
    tenant: TenantId,
    import: ImportId,
) -> Result<Option<Option<PlanSummary>>, StoreError> {
    let mut reading = store.reading(tenant).await?;
    match has_plan(&mut reading, tenant, import).await? {
        None => return Ok(None),
        Some(false) => return Ok(Some(None)),
        Some(true) => {}
    }
    let row = sqlx::query!(
        r#"select state, planned_at, total,
                  (select coalesce(sum(failed), 0) from chunks where import_id = $1) as "failed!"
             from imports
            where id = $1 and tenant_id = $2"#,
        import.get(),
        tenant.get(),
    )
    .fetch_optional(&mut *reading)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let state = row.state.parse().map_err(|_| StoreError::corrupt("imports", "state", import))?;
    let (mut counts, sums) = sums(&mut reading, tenant, import).await?;
    let total = row.total.unsigned_abs();
    let rest = total.saturating_sub(counts.total);
    // Records that failed before they could be planned have no plan. Once it is whole, they are what is missing.
    let failed = if row.planned_at.is_some() { rest } else { row.failed.unsigned_abs().min(rest) };
    counts.failed += failed;
    counts.pending = rest - failed;
    counts.total = total;
    let waits = matches!(state, ImportState::Planning | ImportState::Planned);
    let since = if waits { Some(since(&mut reading, tenant, import).await?) } else { None };
    let enough = counts.updated.saturating_mul(WORTH_A_WARNING).min(MOST_COUNTED);
    let tenant_users = users(&mut reading, tenant, enough).await?;
    Ok(Some(Some(PlanSummary { state, planned_at: row.planned_at, counts, sums, tenant_users, since })))
}

async fn has_plan(
    connection: &mut PgConnection,
    tenant: TenantId,
    import: ImportId,
) -> Result<Option<bool>, StoreError> {
    Ok(sqlx::query_scalar!(
        r#"select plan is not null and (plan <> 'make' or state in ('planning', 'planned')) as "has_plan!"
             from imports
            where id = $1 and tenant_id = $2"#,
        import.get(),
        tenant.get(),
    )
    .fetch_optional(connection)
    .await?)
}

/// Whether an import has a plan, without reading it. `None` if the tenant has no such import.
pub async fn is_there(store: &Store, tenant: TenantId, import: ImportId) -> Result<Option<bool>, StoreError> {
    let mut reading = store.reading(tenant).await?;
    has_plan(&mut reading, tenant, import).await
}

/// Chunks of a plan whose fields are named.
const NAMED: i64 = 100;

/// The fields that the first chunks of a plan change, as they are summed.
pub async fn fields(store: &Store, tenant: TenantId, import: ImportId) -> Result<Vec<String>, StoreError> {
    let mut reading = store.reading(tenant).await?;
    Ok(sqlx::query_scalar!(
        r#"select distinct summed.field as "field!"
             from (select sums from plans where import_id = $1 and tenant_id = $2 order by id limit $3) as first
            cross join lateral jsonb_object_keys(first.sums -> 'fields') as summed (field)
            order by 1"#,
        import.get(),
        tenant.get(),
        NAMED,
    )
    .fetch_all(&mut *reading)
    .await?)
}

/// Sums read at a time.
const SUMS_AT_A_TIME: i64 = 500;

/// The counts of what was planned, and the sums.
async fn sums(
    connection: &mut PgConnection,
    tenant: TenantId,
    import: ImportId,
) -> Result<(Counts, Sums), StoreError> {
    let (mut counts, mut all, mut after) = (Counts::default(), Sums::default(), 0);
    loop {
        let rows = sqlx::query!(
            "select id, inserted, updated, skipped, failed, sums
               from plans
              where import_id = $1 and tenant_id = $2 and id > $3
              order by id
              limit $4",
            import.get(),
            tenant.get(),
            after,
            SUMS_AT_A_TIME,
        )
        .fetch_all(&mut *connection)
        .await?;
        let Some(last) = rows.last() else { break };
        after = last.id;
        for row in rows {
            let sums: Sums =
                serde_json::from_value(row.sums).map_err(|_| StoreError::corrupt("plans", "sums", row.id))?;
            all.add(&sums);
            counts.inserted += u64::from(row.inserted.unsigned_abs());
            counts.updated += u64::from(row.updated.unsigned_abs());
            counts.skipped += u64::from(row.skipped.unsigned_abs());
            counts.failed += u64::from(row.failed.unsigned_abs());
        }
    }
    counts.total = counts.inserted + counts.updated + counts.skipped + counts.failed;
    Ok((counts, all))
}

/// Chunks whose users are looked at.
const LOOKED_AT: i64 = 20;

async fn since(
    connection: &mut PgConnection,
    tenant: TenantId,
    import: ImportId,
) -> Result<Since, StoreError> {
    let row = sqlx::query!(
        r#"select count(*) as "looked_at!",
                  count(*) filter (where u.id is null or u.version <> met.version) as "changed!"
             from (select users, versions
                     from plans
                    where import_id = $1 and tenant_id = $2 and cardinality(users) > 0
                    order by id
                    limit $3) as p
            cross join lateral unnest(p.users, p.versions) as met (id, version)
             left join users u on u.id = met.id and u.tenant_id = $2"#,
        import.get(),
        tenant.get(),
        LOOKED_AT,
    )
    .fetch_one(connection)
    .await?;
    Ok(Since { looked_at: row.looked_at.unsigned_abs(), changed: row.changed.unsigned_abs() })
}

async fn users(connection: &mut PgConnection, tenant: TenantId, most: u64) -> Result<u64, StoreError> {
    let found = sqlx::query_scalar!(
        r#"select count(*) as "count!" from (select from users where tenant_id = $1 limit $2) as counted"#,
        tenant.get(),
        i64::try_from(most).unwrap_or(i64::MAX),
    )
    .fetch_one(connection)
    .await?;
    Ok(found.unsigned_abs())
}

/// The place of a record in a plan.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cursor {
    plan: i64,
    /// The place of its record in the chunk, from 1. 0: before the first.
    record: u64,
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.plan, self.record)
    }
}

/// The text is no place in a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be `next` of the page before")]
pub struct NoCursor;

impl FromStr for Cursor {
    type Err = NoCursor;

    fn from_str(text: &str) -> Result<Self, NoCursor> {
        let (plan, record) = text.split_once('.').ok_or(NoCursor)?;
        Ok(Self { plan: plan.parse().map_err(|_| NoCursor)?, record: record.parse().map_err(|_| NoCursor)? })
    }
}

/// Which planned records are wanted.
#[derive(Debug, Clone, Copy, Default)]
pub struct PlannedPage<'a> {
    /// Those that change this field only; of an undo also those that leave it as it is, and those that delete their user.
    pub field: Option<&'a str>,
    /// Those with this outcome only.
    pub outcome: Option<Outcome>,
    /// Those after this one only.
    pub after: Cursor,
    /// So many at the most.
    pub limit: usize,
}

/// Some planned records.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PlannedRecords {
    /// They, in the order in which their chunks were planned.
    pub records: Vec<PlannedRecord>,
    /// What the next page comes after; `None` where there is none.
    pub next: Option<Cursor>,
}

/// A page ends after the chunk with which its records are larger than this, in bytes of their JSON.
const MOST_BYTES: usize = 1024 * 1024;

/// A page ends after so many chunks, however few of their records are wanted.
const MOST_CHUNKS: usize = 50;

/// Planned records. A page may have fewer than are wanted and not be the last, and the last may have none.
pub async fn page(
    store: &Store,
    tenant: TenantId,
    import: ImportId,
    wanted: PlannedPage<'_>,
) -> Result<PlannedRecords, StoreError> {
    let mut reading = store.reading(tenant).await?;
    let mut found = PlannedRecords::default();
    let (mut after, mut last, mut bytes, mut chunks) = (wanted.after, None, 0, 0);
    while let Some((plan, records)) = next(&mut reading, tenant, import, &wanted, after).await? {
        let behind = if plan == after.plan { after.record } else { 0 };
        for (place, record) in (1..).zip(records).filter(|(place, _)| *place > behind) {
            if !wanted.fits(&record) {
                continue;
            }
            if found.records.len() >= wanted.limit {
                return Ok(PlannedRecords { next: last, ..found });
            }
            bytes += serde_json::to_vec(&record).map_or(0, |json| json.len());
            last = Some(Cursor { plan, record: place });
            found.records.push(record);
        }
        if bytes > MOST_BYTES && !mutant(Mutant::PlannedPagesByNumber) {
            return Ok(PlannedRecords { next: last, ..found });
        }
        after = Cursor { plan, record: u64::MAX };
        chunks += 1;
        if chunks >= MOST_CHUNKS && !mutant(Mutant::PlannedPagesByNumber) {
            return Ok(PlannedRecords { next: Some(after), ..found });
        }
    }
    Ok(found)
}

impl PlannedPage<'_> {
    fn fits(&self, record: &PlannedRecord) -> bool {
        let changes = |field: &str| {
            let of = |path: &String| {
                if mutant(Mutant::FieldsAsSummed) {
                    return field_of(path) == field;
                }
                names_field(field, path)
            };
            let left = record.exceptions.iter().flatten();
            // What concerns the user as a whole concerns each of its fields.
            let is_whole = match record.reason {
                Some(Reason::Deleted) => true,
                Some(Reason::ChangedSince) => record.exceptions.as_ref().is_none_or(Vec::is_empty),
                _ => false,
            };
            is_whole || record.before.keys().chain(record.after.keys()).chain(left).any(of)
        };
        self.outcome.is_none_or(|outcome| record.outcome == outcome) && self.field.is_none_or(changes)
    }
}

/// The next chunk of a plan that may have wanted records; the one at which `after` stands first.
async fn next(
    connection: &mut PgConnection,
    tenant: TenantId,
    import: ImportId,
    wanted: &PlannedPage<'_>,
    after: Cursor,
) -> Result<Option<(i64, Vec<PlannedRecord>)>, StoreError> {
    let outcome = wanted.outcome.map(|outcome| match outcome {
        Outcome::Inserted => "inserted",
        Outcome::Updated => "updated",
        Outcome::Skipped => "skipped",
        Outcome::Failed | Outcome::Pending => "failed",
    });
    let row = sqlx::query!(
        "select id, records
           from plans
          where import_id = $1 and tenant_id = $2 and (id > $3 or id = $3 and $4)
            -- Elements of sets are summed as the set, and a whole may be asked for of which the parts are summed. What an undo leaves as it is
            -- is not summed.
            and ($5::text is null or exists (select from imports where id = $1 and undoes is not null)
                 or exists (select from jsonb_object_keys(sums -> 'fields') as summed (field)
                             where field in ($5, $6) or starts_with(field, $5 || '.') or starts_with($5, field || '.')))
            and ($7::text is null
                 or case $7 when 'inserted' then inserted when 'updated' then updated when 'skipped' then skipped else failed end > 0)
          order by id
          limit 1",
        import.get(),
        tenant.get(),
        after.plan,
        after.record != u64::MAX,
        wanted.field,
        OTHER,
        outcome,
    )
    .fetch_optional(&mut *connection)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let mut records = decoded(&row.records, row.id)?.records;
    name_group(connection, tenant, import, &mut records).await?;
    Ok(Some((row.id, records)))
}

/// The planned records of the chunk after that one, and which it is: for reading a whole plan.
pub async fn chunk_after(
    store: &Store,
    tenant: TenantId,
    import: ImportId,
    after: i64,
) -> Result<Option<(i64, Vec<PlannedRecord>)>, StoreError> {
    let mut reading = store.reading(tenant).await?;
    let after = Cursor { plan: after, record: u64::MAX };
    next(&mut reading, tenant, import, &PlannedPage::default(), after).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_read_as_it_is_written() {
        let place = Cursor { plan: 70, record: 3 };
        assert_eq!(place.to_string().parse(), Ok(place));
        for text in ["", "7", "7.", ".3", "a.b", "7.-1", "99999999999999999999.1"] {
            assert_eq!(text.parse::<Cursor>(), Err(NoCursor), "{text}");
        }
    }
}
