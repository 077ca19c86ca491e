//! Bulk actions on many imports of a tenant: previewed, then started, then executed import by import.
//!
//! The action applies to exactly the imports of the preview: they are stored with the action, and later
//! imports are not included. Each is changed as by a single request, guarded by its state, so two dispatchers
//! on one action, or one that dies, do no harm. Resuming and cancelling skip imports that left the states of
//! the preview. Starting and aborting change a row only from the states that allow it.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use muster_domain::bulk::{Action, Filter, MOST};
use muster_domain::error::ErrorCode;
use muster_domain::fault::{Mutant, mutant};
use muster_domain::id::{ImportId, TenantId};
use muster_domain::import::ImportState;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::types::Json;
use sqlx::{AssertSqlSafe, FromRow};
use uuid::Uuid;

use super::convert::number;
use super::lifecycle::{self, Transition};
use super::problems::Cause;
use super::{ErrorKind, Store, StoreError};

/// How many refused imports are listed.
const REFUSALS: i32 = 20;
/// Imports that are done before another action has its turn.
const AT_A_TIME: usize = 50;
/// How long a dispatcher owns an action: longer than the transition of one import takes.
const CLAIM_SECONDS: f64 = 60.0;
/// How long what was looked at can be started.
const PREVIEW_SECONDS: f64 = 3600.0;
/// Most of a tenant's actions that were looked at and not started.
const PREVIEWS: i64 = 20;
/// Actions that are listed.
const LISTED: i64 = 50;

/// An import that could not be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// Which.
    pub import: Uuid,
    /// Why.
    pub why: String,
}

/// An action on many imports.
#[derive(Debug, Clone, PartialEq)]
pub struct Bulk {
    /// Its id, by which it is started and aborted.
    pub id: Uuid,
    /// Who asked for it.
    pub actor: String,
    /// What is done.
    pub action: Action,
    /// How the imports were chosen, by name.
    pub filter: BTreeMap<String, String>,
    /// How many imports were found.
    pub imports: u64,
    /// How many of their records it is about.
    pub records: u64,
    /// How many imports were in which state.
    pub states: BTreeMap<String, u64>,
    /// The first of them.
    pub first: Vec<ImportId>,
    /// `preview`, `running`, `done` or `aborted`.
    pub state: String,
    /// Imports that are as wanted.
    pub succeeded: u64,
    /// Imports that could not be done.
    pub refused: u64,
    /// The first of these.
    pub refusals: Vec<Refused>,
    /// When it was looked at.
    pub created_at: DateTime<Utc>,
    /// When it was started.
    pub started_at: Option<DateTime<Utc>>,
    /// When it ended.
    pub ended_at: Option<DateTime<Utc>>,
}

impl Bulk {
    /// Whether nothing more comes of it.
    pub fn is_final(&self) -> bool {
        matches!(self.state.as_str(), "done" | "aborted")
    }
}

#[derive(FromRow)]
struct BulkRow {
    id: Uuid,
    actor: String,
    action: String,
    filter: Json<BTreeMap<String, String>>,
    found: i32,
    records: i64,
    states: Json<BTreeMap<String, u64>>,
    first: Vec<Uuid>,
    state: String,
    succeeded: i32,
    refused: i32,
    refusals: Json<Vec<Refused>>,
    created_at: DateTime<Utc>,
    started_at: Option<DateTime<Utc>>,
    ended_at: Option<DateTime<Utc>>,
}

impl TryFrom<BulkRow> for Bulk {
    type Error = StoreError;

    fn try_from(row: BulkRow) -> Result<Self, StoreError> {
        let key = row.id;
        let narrow = |value: i32, column| number(value, ("bulk_actions", column), key);
        Ok(Self {
            action: row.action.parse().map_err(|_| StoreError::corrupt("bulk_actions", "action", row.id))?,
            id: row.id,
            actor: row.actor,
            filter: row.filter.0,
            imports: narrow(row.found, "imports")?,
            records: number(row.records, ("bulk_actions", "records"), key)?,
            states: row.states.0,
            first: row.first.into_iter().map(ImportId::new).collect(),
            state: row.state,
            succeeded: narrow(row.succeeded, "succeeded")?,
            refused: narrow(row.refused, "refused")?,
            refusals: row.refusals.0,
            created_at: row.created_at,
            started_at: row.started_at,
            ended_at: row.ended_at,
        })
    }
}

/// What looking came to.
#[derive(Debug, Clone, PartialEq)]
pub enum Looked {
    /// This is what would be done.
    Found(Box<Bulk>),
    /// More than [`MOST`] imports are like that.
    TooMany,
}

/// The imports that are like the filter, with their state and how many of their records it is about. Those that have ended have their sums
/// with them; of others the chunks are summed.
const MATCHING: &str = "
    select i.id, i.state, case when not $10 then c.pending when named.cause then caused.records else c.failed end as records
      from (select id, state, final_counts, final_chunks
              from imports
             where tenant_id = $1
               and state = any($2)
               and ($3::text is null or state = $3)
               and ($4::float8 is null or created_at < now() - make_interval(secs => $4))
               and ($5::float8 is null or created_at > now() - make_interval(secs => $5))
               and ($6::text is null or strpos(lower(coalesce(filename, '')), lower($6)) > 0)
               and ($11::text is null or profile = $11)) as i
     cross join (select $8::text is not null or $9::text is not null as cause) as named
     cross join lateral (
           select coalesce(sum(failed), (i.final_counts ->> 'failed')::bigint, 0)::bigint as failed,
                  coalesce(sum(pending), (i.final_counts ->> 'pending')::bigint, 0)::bigint as pending,
                  count(*) filter (where chunks.state = 'dead')
                    + coalesce((case when i.final_counts is not null then coalesce(i.final_chunks ->> 'dead', i.final_counts #>> '{chunks,dead}') end)::bigint, 0) as dead
             from chunks
            where chunks.import_id = i.id and (i.final_counts is null or coalesce(i.final_chunks, i.final_counts -> 'chunks') is null)) as c
     cross join lateral (
           select count(*) as records
             from record_issues
            where named.cause and c.failed > 0 and record_issues.import_id = i.id and failed
              and exists (select from json_array_elements(errors) as error
                           where ($8 is null or error->>'code' = $8) and ($9 is null or error->>'field' = $9))) as caused
     where (not $7 or c.dead > 0)
       and (not $10 or c.failed > 0)
       and (not named.cause or caused.records > 0)
     order by i.id";

/// A column of every row.
const COLUMNS: &str = "id, actor, action, filter, cardinality(imports) as found, records, states, imports[1:10] as first, state, succeeded,
    refused, refusals, created_at, started_at, ended_at";

/// Finds the imports that match the filter, and stores them with the action. Nothing is done to them.
pub async fn look(
    store: &Store,
    tenant: TenantId,
    actor: &str,
    action: Action,
    filter: &Filter,
) -> Result<Looked, StoreError> {
    let found = matching(store, tenant, action, filter).await?;
    if found.len() > MOST {
        return Ok(Looked::TooMany);
    }
    let records: i64 = found.iter().map(|(.., records)| *records).sum();
    let mut states = BTreeMap::<&str, u64>::new();
    for (_, state, _) in &found {
        *states.entry(state).or_default() += 1;
    }
    let ids: Vec<Uuid> = found.iter().map(|(id, ..)| *id).collect();
    let pairs: BTreeMap<&str, String> = filter.pairs().into_iter().collect();
    let statement = format!(
        "insert into bulk_actions (id, tenant_id, actor, action, filter, imports, records, states)
         values ($1, $2, $3, $4, $5, $6, $7, $8)
         returning {COLUMNS}"
    );
    let row: BulkRow = sqlx::query_as(AssertSqlSafe(statement))
        .bind(muster_runtime::clock::new_id())
        .bind(tenant.get())
        .bind(actor)
        .bind(action.as_str())
        .bind(Json(pairs))
        .bind(ids)
        .bind(records)
        .bind(Json(states))
        .fetch_one(store.pool())
        .await?;
    sqlx::query(
        "delete from bulk_actions
          where tenant_id = $1 and state = 'preview'
            and id not in (select id from bulk_actions where tenant_id = $1 and state = 'preview' order by id desc limit $2)",
    )
    .bind(tenant.get())
    .bind(PREVIEWS)
    .execute(store.pool())
    .await?;
    Ok(Looked::Found(Box::new(row.try_into()?)))
}

async fn matching(
    store: &Store,
    tenant: TenantId,
    action: Action,
    filter: &Filter,
) -> Result<Vec<(Uuid, String, i64)>, StoreError> {
    let states = if filter.state.is_some() { action.can_be_done_in() } else { action.is_meant_for() };
    let states: Vec<&str> = states.iter().map(|state| state.as_str()).collect();
    let cause = cause(action, filter);
    // One more than there may be says that there are too many.
    let statement = format!(
        "select * from ({MATCHING}) as found where records > 0 or not $10 order by id limit {}",
        MOST + 1
    );
    Ok(sqlx::query_as(AssertSqlSafe(statement))
        .bind(tenant.get())
        .bind(states)
        .bind(filter.state.map(ImportState::as_str))
        .bind(filter.older_than.map(|length| length.as_secs_f64()))
        .bind(filter.newer_than.map(|length| length.as_secs_f64()))
        .bind(filter.file.as_deref())
        .bind(filter.dead || action == Action::Redrive)
        .bind(cause.code)
        .bind(cause.field)
        .bind(action.is_about_failures())
        .bind(filter.profile.as_deref())
        .fetch_all(&mut *store.reading(tenant).await?)
        .await?)
}

/// The failures that an action is about.
fn cause(action: Action, filter: &Filter) -> Cause<'_> {
    let code = if action == Action::Redrive { Some(ErrorCode::ChunkDead) } else { filter.code };
    Cause { code: code.map(ErrorCode::as_str), field: filter.field.as_deref() }
}

/// One action of a tenant.
pub async fn show(store: &Store, tenant: TenantId, id: Uuid) -> Result<Option<Bulk>, StoreError> {
    let statement = format!("select {COLUMNS} from bulk_actions where tenant_id = $1 and id = $2");
    let row: Option<BulkRow> = sqlx::query_as(AssertSqlSafe(statement))
        .bind(tenant.get())
        .bind(id)
        .fetch_optional(&mut *store.reading(tenant).await?)
        .await?;
    row.map(Bulk::try_from).transpose()
}

/// A tenant's last actions, newest first; those that were only looked at are not among them.
pub async fn list(store: &Store, tenant: TenantId) -> Result<Vec<Bulk>, StoreError> {
    let statement = format!(
        "select {COLUMNS} from bulk_actions where tenant_id = $1 and started_at is not null order by id desc limit {LISTED}"
    );
    let rows: Vec<BulkRow> = sqlx::query_as(AssertSqlSafe(statement))
        .bind(tenant.get())
        .fetch_all(&mut *store.reading(tenant).await?)
        .await?;
    rows.into_iter().map(Bulk::try_from).collect()
}

/// Starts what was looked at, and answers with it as it is then. One that was started before, has ended or was aborted stays as it is.
pub async fn start(store: &Store, tenant: TenantId, id: Uuid) -> Result<Option<Bulk>, StoreError> {
    // Whoever looked at it may be another than who starts it.
    sqlx::query(AssertSqlSafe(format!(
        "with begun as (
             update bulk_actions
                set state = case when cardinality(imports) = 0 then 'done' else 'running' end,
                    started_at = now(), touched_at = now(), succeeded = 0, refused = 0, actor = coalesce($4, actor),
                    ended_at = case when cardinality(imports) = 0 then now() end
              where tenant_id = $1 and id = $2 and (state = 'preview' or $3)
             returning tenant_id, actor, id, action, filter, cardinality(imports) as found, records)
         insert into audit (tenant_id, actor, action, subject, name, counts, filter)
         select tenant_id, actor, 'bulk.start', id, action, jsonb_build_object('imports', found, 'records', records), {}
           from begun
          where not $5",
        super::audit::filter_as_kept()
    )))
        .bind(tenant.get())
        .bind(id)
        .bind(mutant(Mutant::BulkBeginsAnew))
        .bind(store.actor())
        .bind(mutant(Mutant::AuditForgets))
        .execute(store.pool())
        .await?;
    show(store, tenant, id).await
}

/// Stops an action, and returns it as it is then. The import that is being done at this moment is done; one action that has
/// ended stays as it is.
pub async fn abort(store: &Store, tenant: TenantId, id: Uuid) -> Result<Option<Bulk>, StoreError> {
    sqlx::query(AssertSqlSafe(format!(
        "with aborted as (
             update bulk_actions set state = 'aborted', ended_at = now()
              where tenant_id = $1 and id = $2 and state in ('preview', 'running')
             returning tenant_id, actor, id, action, filter, succeeded, refused, started_at)
         insert into audit (tenant_id, actor, action, subject, name, counts, filter)
         select tenant_id, coalesce($3, actor), 'bulk.abort', id, action,
                jsonb_build_object('succeeded', succeeded, 'refused', refused), {}
           from aborted
          where started_at is not null and not $4",
        super::audit::filter_as_kept()
    )))
    .bind(tenant.get())
    .bind(id)
    .bind(store.actor())
    .bind(mutant(Mutant::AuditForgets))
    .execute(store.pool())
    .await?;
    show(store, tenant, id).await
}

/// The rest of an action that is being executed.
#[derive(Debug, FromRow)]
pub struct Work {
    id: Uuid,
    tenant_id: i32,
    action: String,
    filter: Json<BTreeMap<String, String>>,
    done: i32,
    next: Vec<Uuid>,
}

/// Works on the action that has waited longest, as far as its turn goes. False where there is none to work on.
pub async fn work(store: &Store) -> Result<bool, StoreError> {
    match next(store).await? {
        Some(work) => go_on(store, &work).await.map(|()| true),
        None => Ok(false),
    }
}

/// Takes the next piece of the action that has waited longest.
pub async fn next(store: &Store) -> Result<Option<Work>, StoreError> {
    Ok(sqlx::query_as(
        "update bulk_actions
            set claimed_until = now() + make_interval(secs => $1), touched_at = now()
          where id = (select id from bulk_actions
                       where state = 'running' and (claimed_until is null or claimed_until < now())
                       order by touched_at
                       limit 1
                         for update skip locked)
         returning id, tenant_id, action, filter, succeeded + refused as done,
                   imports[succeeded + refused + 1 : succeeded + refused + $2] as next",
    )
    .bind(CLAIM_SECONDS)
    .bind(i32::try_from(AT_A_TIME).unwrap_or(i32::MAX))
    .fetch_optional(store.pool())
    .await?)
}

/// Does what was [taken](next).
pub async fn go_on(store: &Store, work: &Work) -> Result<(), StoreError> {
    // Its beginning and end are in the audit, under the name of who began it.
    let store = &store.by_itself();
    let worked = work_on(store, work).await;
    // Should this fail, the claim runs out.
    sqlx::query("update bulk_actions set claimed_until = null where id = $1")
        .bind(work.id)
        .execute(store.pool())
        .await?;
    worked
}

async fn work_on(store: &Store, work: &Work) -> Result<(), StoreError> {
    let corrupt = |column| StoreError::corrupt("bulk_actions", column, work.id);
    let tenant = TenantId::new(work.tenant_id);
    let action: Action = work.action.parse().map_err(|_| corrupt("action"))?;
    let mut filter = Filter::default();
    for (name, text) in &work.filter.0 {
        if !filter.set(name, text).map_err(|_| corrupt("filter"))? {
            return Err(corrupt("filter"));
        }
    }
    let mut imports: Vec<Uuid> = work.next.clone();
    if mutant(Mutant::BulkBeyondPreview) {
        imports = matching(store, tenant, action, &filter).await?.into_iter().map(|(id, ..)| id).collect();
    }
    for (at, import) in (0..).zip(imports) {
        let why = match do_one(store, tenant, ImportId::new(import), action, &filter).await {
            Ok(why) => why,
            // It is tried again; an error that stays is that import's own.
            Err(error) if error.kind() == ErrorKind::Transient => return Err(error),
            Err(error) => Some(error.to_string()),
        };
        if !note(store, work.id, work.done + at, import, why).await? {
            return Ok(()); // Aborted, or somebody else went on with it.
        }
    }
    Ok(())
}

/// Does one import. Returns why it could not be done, where that is so.
async fn do_one(
    store: &Store,
    tenant: TenantId,
    import: ImportId,
    action: Action,
    filter: &Filter,
) -> Result<Option<String>, StoreError> {
    // An import that has left the state of the preview is not changed.
    let from = match &filter.state {
        _ if mutant(Mutant::BulkForgetsStates) => action.can_be_done_in(),
        Some(state) => std::slice::from_ref(state),
        None => action.is_meant_for(),
    };
    let done = match action {
        Action::Pause => lifecycle::pause(store, tenant, import).await?,
        Action::Resume => lifecycle::resume_from(store, tenant, import, from).await?,
        Action::Cancel => lifecycle::cancel_from(store, tenant, import, from).await?,
        Action::Retry | Action::Redrive => {
            lifecycle::retry_cause(store, tenant, import, cause(action, filter)).await?
        }
    };
    Ok(match done {
        Transition::Done(_) => None,
        Transition::Refused(state) => Some(format!("it is {state}")),
        Transition::Undone(refusal) => Some(refusal.code().to_string()),
        Transition::NotFound => Some("it is gone".into()),
    })
}

/// Counts an import that was done. False where nothing more is to be done: somebody aborted the action, or went on with it.
async fn note(
    store: &Store,
    id: Uuid,
    done: i32,
    import: Uuid,
    why: Option<String>,
) -> Result<bool, StoreError> {
    let refused = why.is_some();
    let refusal: Option<Value> = why.map(|why| serde_json::json!([Refused { import, why }]));
    let state: Option<String> = sqlx::query_scalar(AssertSqlSafe(format!(
        "with counted as (
             update bulk_actions
                set succeeded = succeeded + case when $3 then 0 else 1 end,
                    refused = refused + case when $3 then 1 else 0 end,
                    refusals = case when $3 and refused < $5 then refusals || $4::jsonb else refusals end,
                    claimed_until = now() + make_interval(secs => $6),
                    state = case when succeeded + refused + 1 = cardinality(imports) and state = 'running' then 'done' else state end,
                    ended_at = case when succeeded + refused + 1 = cardinality(imports) and state = 'running' then now() else ended_at end
              where id = $1 and succeeded + refused = $2 and state in ('running', 'aborted')
             returning tenant_id, actor, id, action, filter, succeeded, refused, state),
         told as (
             insert into audit (tenant_id, actor, action, subject, name, counts, filter)
             select tenant_id, actor, 'bulk.end', id, action, jsonb_build_object('succeeded', succeeded, 'refused', refused), {}
               from counted
              where state = 'done' and not $7)
         select state from counted",
        super::audit::filter_as_kept()
    )))
        .bind(id)
        .bind(done)
        .bind(refused)
        .bind(refusal)
        .bind(REFUSALS)
        .bind(CLAIM_SECONDS)
        .bind(mutant(Mutant::AuditForgets))
        .fetch_optional(store.pool())
        .await?;
    Ok(state.is_some_and(|state| state != "aborted" || mutant(Mutant::BulkGoesOn)))
}

/// Deletes what was looked at and not started, and actions that ended longer ago than that.
pub async fn forget(store: &Store, seconds: f64) -> Result<u64, StoreError> {
    let deleted = sqlx::query(
        "delete from bulk_actions
          where state = 'preview' and created_at < now() - make_interval(secs => $1)
             or ended_at < now() - make_interval(secs => $2)",
    )
    .bind(PREVIEW_SECONDS)
    .bind(seconds)
    .execute(store.pool())
    .await?;
    Ok(deleted.rows_affected())
}
