//! Undoing an import: what can be undone, and opening the undo, which is an import too.
//!
//! An undo is opened in one transaction: its row and all its chunks, or nothing. Its records are copies of
//! the changes of the import that it undoes, so their retention does not matter. The last change comes first.
//! Memory depends on the size of a chunk, not on the size of the undo (P7).
//!
//! A record's lane is that of its user, so the changes of one user are undone in reverse order. If users
//! gave up unique values, the order between users matters too. Such an undo has one lane, runs exactly
//! backwards, and undoes together what was done together.

mod hindrance;
mod seen;
mod staging;

use chrono::{DateTime, Utc};
use muster_domain::chunk::ChunkLimits;
use muster_domain::error::ErrorCode;
use muster_domain::fault::{Mutant, mutant};
use muster_domain::id::{ImportId, TenantId};
use muster_domain::import::ImportState;
use muster_domain::options::{ImportOptions, Start};
use muster_domain::outcome::Outcome;
use muster_domain::undo::{RecordRanges, Undo, UndoCode, names};
use serde::Serialize;
use sqlx::postgres::PgConnection;

pub(super) use self::hindrance::hindrance;
use self::hindrance::other_undo;
use self::staging::{Staging, page};
use super::audit::{self, Did, Entry};
use super::convert::{small, wide};
use super::{Store, StoreError};

/// Most later imports that are named.
const NAMED: i64 = 20;

/// What is asked for.
#[derive(Debug, Clone)]
pub struct NewUndo {
    /// Id of the undo.
    pub id: ImportId,
    /// Whose it is.
    pub tenant: TenantId,
    /// The import that is to be undone.
    pub of: ImportId,
    /// Limits the undo to the fields with these paths; empty for everything.
    pub fields: Vec<String>,
    /// Limits the undo to the changes of these records.
    pub records: Option<RecordRanges>,
    /// Limits the undo to records with this outcome.
    pub outcome: Option<Outcome>,
    /// What was told of the records whose changes alone are taken back.
    pub code: Option<UndoCode>,
    /// When it starts.
    pub start: Start,
    /// How large its chunks may become.
    pub chunk: ChunkLimits,
    /// Who asks for it: `token:` and the id of the token, or `operator`.
    pub actor: Option<String>,
}

impl NewUndo {
    /// What of the import is taken back, as the audit has it; none where everything is.
    fn as_filter(&self) -> Option<serde_json::Value> {
        let mut given = serde_json::Map::new();
        if !self.fields.is_empty() {
            given.insert("field".into(), self.fields.join(",").into());
        }
        if let Some(records) = &self.records {
            given.insert("records".into(), records.to_string().chars().take(200).collect::<String>().into());
        }
        if let Some(outcome) = self.outcome {
            given.insert("outcome".into(), serde_json::json!(outcome));
        }
        if let Some(code) = self.code {
            given.insert("code".into(), code.as_str().into());
        }
        (!given.is_empty()).then_some(given.into())
    }
}

/// Why an import cannot be undone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// It has not ended.
    State(ImportState),
    /// It changed nothing, or nothing within the limits.
    NotApplied,
    /// This import undid it, or is about to.
    Undone(ImportId),
    /// What it changed is not kept any more.
    Gone,
}

impl Refusal {
    /// The stable code.
    pub fn code(self) -> ErrorCode {
        match self {
            Self::State(_) => ErrorCode::StateConflict,
            Self::NotApplied => ErrorCode::NotApplied,
            Self::Undone(_) => ErrorCode::AlreadyUndone,
            Self::Gone => ErrorCode::BeforeImagesGone,
        }
    }
}

/// What opening an undo came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenedUndo {
    /// It is open.
    New {
        /// Changes that it undoes.
        records: u64,
        /// Changes of the import that it cannot take back, since what was before is not known.
        gone: u64,
    },
    /// The import cannot be undone.
    Refused(Refusal),
    /// The tenant has no such import.
    NotFound,
}

/// What an undo of an import could do.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Preview {
    /// The import.
    pub import: ImportId,
    /// Why it cannot be undone; none if it can be.
    pub refused: Option<ErrorCode>,
    /// The undo that there is already.
    pub undone_by: Option<ImportId>,
    /// Records that inserted a user.
    pub inserted: u64,
    /// Records that changed a user.
    pub updated: u64,
    /// Of these the ones that can no longer be undone, since the earlier values are not kept.
    pub gone: u64,
    /// When the import ended: from then on it counts how long before-images are kept.
    pub ended_at: Option<DateTime<Utc>>,
    /// Imports that changed users after this one began to, newest first, at most 20. What they changed of the same users is left as
    /// it is. Undos of parts of this one are not among them.
    pub later: Vec<ImportId>,
}

/// The current state of the import to undo.
struct Source {
    state: ImportState,
    filename: Option<String>,
    options: ImportOptions,
    since: DateTime<Utc>,
    undone_by: Option<ImportId>,
    /// Records that changed users, and those of them of which it is not known how.
    inserted: u64,
    updated: u64,
    gone: u64,
    /// Applications of chunks of which it is known, and whether unique values moved.
    images: i64,
    gives_up: bool,
    takes: bool,
    ended_at: Option<DateTime<Utc>>,
}

impl Source {
    fn refusal(&self) -> Option<Refusal> {
        match self.state {
            ImportState::Completed | ImportState::Cancelled => {}
            ImportState::Aborted | ImportState::Refused => return Some(Refusal::NotApplied),
            state => return Some(Refusal::State(state)),
        }
        match (self.undone_by, self.images, self.inserted + self.updated) {
            (Some(undo), ..) if !mutant(Mutant::UndoTwice) => Some(Refusal::Undone(undo)),
            (_, 0, 0) => Some(Refusal::NotApplied),
            (_, 0, _) => Some(Refusal::Gone),
            _ => None,
        }
    }

    /// Whether the undo has to go exactly backwards: somebody gets a unique value back. An undo's own changes
    /// are undone in the other direction, since it deleted users whose values are needed again.
    fn goes_by_one_lane(&self) -> bool {
        (self.gives_up || self.takes && self.options.undo.is_some()) && !mutant(Mutant::UndoManyLanes)
    }
}

async fn source(
    connection: &mut PgConnection,
    tenant: TenantId,
    import: ImportId,
) -> Result<Option<Source>, StoreError> {
    let row = sqlx::query!(
        r#"select i.state, i.filename, i.options, i.created_at, i.started_at, i.completed_at,
                  c.inserted as "inserted!", c.updated as "updated!", c.gone as "gone!",
                  b.images as "images!", b.gives_up as "gives_up!", b.takes as "takes!"
             from imports as i
            cross join lateral (
                  select coalesce(sum(inserted), 0)::bigint as inserted, coalesce(sum(updated), 0)::bigint as updated,
                         coalesce(sum(inserted + updated) filter (
                             where not exists (select from before_images as b where b.chunk_id = chunks.id)
                         ), 0)::bigint as gone
                    from chunks
                   where chunks.import_id = i.id and inserted + updated > 0) as c
            cross join lateral (
                  select count(*) as images, coalesce(bool_or(gives_up), false) as gives_up,
                         coalesce(bool_or(takes), false) as takes
                    from before_images
                   where before_images.import_id = i.id) as b
            where i.id = $1 and i.tenant_id = $2"#,
        import.get(),
        tenant.get(),
    )
    .fetch_optional(&mut *connection)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let undone_by = other_undo(connection, tenant, import, None).await?;
    let options = ImportOptions::from_stored(row.options).map_err(|_| StoreError::Newer {
        table: "import",
        column: "options",
        key: import.to_string(),
    })?;
    let began = row.started_at.unwrap_or(row.created_at);
    Ok(Some(Source {
        state: row.state.parse().map_err(|_| StoreError::corrupt("imports", "state", import))?,
        filename: row.filename,
        since: options.undo.as_ref().map_or(began, |undo| undo.since.min(began)),
        options,
        undone_by,
        inserted: row.inserted.unsigned_abs(),
        updated: row.updated.unsigned_abs(),
        gone: row.gone.unsigned_abs(),
        images: row.images,
        gives_up: row.gives_up,
        takes: row.takes,
        ended_at: row.completed_at,
    }))
}

/// What an undo of a tenant's import could do. `None` if the tenant has no such import.
pub async fn preview(
    store: &Store,
    tenant: TenantId,
    import: ImportId,
) -> Result<Option<Preview>, StoreError> {
    let mut reading = store.reading_one_moment(tenant).await?;
    let Some(source) = source(&mut reading, tenant, import).await? else { return Ok(None) };
    let later = sqlx::query_scalar!(
        r#"select distinct b.import_id
             from before_images as b
            where b.tenant_id = $1 and b.import_id <> $2
              and b.id > (select min(own.id) from before_images as own where own.import_id = $2)
              and not exists (select from imports as part where part.id = b.import_id and part.undoes = $2)
            order by b.import_id desc
            limit $3"#,
        tenant.get(),
        import.get(),
        NAMED,
    )
    .fetch_all(&mut *reading)
    .await?;
    Ok(Some(Preview {
        import,
        refused: source.refusal().map(Refusal::code),
        undone_by: source.undone_by,
        inserted: source.inserted,
        updated: source.updated,
        gone: source.gone,
        ended_at: source.ended_at,
        later: later.into_iter().map(ImportId::new).collect(),
    }))
}

/// The undos of an import with their states, the first one first.
pub async fn undos(
    store: &Store,
    tenant: TenantId,
    import: ImportId,
) -> Result<Vec<(ImportId, ImportState)>, StoreError> {
    let rows = sqlx::query!(
        "select id, state from imports where undoes = $1 and tenant_id = $2 order by id",
        import.get(),
        tenant.get(),
    )
    .fetch_all(&mut *store.reading(tenant).await?)
    .await?;
    let undo = |id, state: String| match state.parse() {
        Ok(state) => Ok((ImportId::new(id), state)),
        Err(_) => Err(StoreError::corrupt("imports", "state", id)),
    };
    rows.into_iter().map(|row| undo(row.id, row.state)).collect()
}

/// First key of the advisory locks that undos of a tenant share while they are opened; the second is the tenant. "UNDO".
const OPENING_LOCK: i32 = 0x554e_444f;

/// Waits for the undos of a tenant that are being opened: all of them are there then, or none is.
pub(crate) async fn none_is_being_opened(store: &Store, tenant: TenantId) -> Result<(), StoreError> {
    if mutant(Mutant::ErasureOvertakesUndo) {
        return Ok(());
    }
    let mut transaction = store.pool().begin().await?;
    sqlx::query!("select pg_advisory_xact_lock($1, $2)", OPENING_LOCK, tenant.get())
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await?;
    Ok(())
}

/// Opens an undo: with `start = auto` it runs from then on. Of two at once one is refused.
pub async fn open(store: &Store, new: &NewUndo) -> Result<OpenedUndo, StoreError> {
    let mut transaction = store.pool().begin().await?;
    sqlx::query!("select pg_advisory_xact_lock_shared($1, $2)", OPENING_LOCK, new.tenant.get())
        .execute(&mut *transaction)
        .await?;
    // Concurrent undoing, retrying and cancelling of the import wait for each other here.
    sqlx::query!(
        "select from imports where id = $1 and tenant_id = $2 for no key update",
        new.of.get(),
        new.tenant.get(),
    )
    .execute(&mut *transaction)
    .await?;
    let Some(source) = source(&mut transaction, new.tenant, new.of).await? else {
        return Ok(OpenedUndo::NotFound);
    };
    if let Some(refusal) = source.refusal() {
        return Ok(OpenedUndo::Refused(refusal));
    }
    let undo = Undo {
        fields: new.fields.clone(),
        records: new.records.clone(),
        outcome: new.outcome,
        code: new.code,
        ..Undo::whole(new.of, source.since)
    };
    let mut staging = Staging::new(new, &source, undo);
    let mut before = i64::MAX;
    let mut forwards = Vec::new();
    loop {
        let page = page(&mut transaction, new.of, before).await?;
        let Some(last) = page.last() else { break };
        before = last.id;
        if mutant(Mutant::UndoForwards) {
            forwards.splice(0..0, page.into_iter().rev());
            continue;
        }
        for kept in page {
            staging.take(&mut transaction, kept).await?;
        }
    }
    for kept in forwards {
        staging.take(&mut transaction, kept).await?;
    }
    let lanes = staging.finish(&mut transaction).await?;
    staging.undo.once = staging.seen.all_differ();
    staging.undo.inserts = staging.inserts;
    let (records, gone) = (staging.records, source.gone + staging.unknown);
    if records == 0 {
        return Ok(OpenedUndo::Refused(Refusal::NotApplied));
    }
    insert(&mut transaction, new, &source, staging.undo, records, lanes).await?;
    if let Some(actor) = &new.actor {
        let entry =
            Entry::of_import(Did::ImportUndo, new.of).counting(serde_json::json!({ "records": records }));
        audit::write(&mut transaction, new.tenant, actor, entry.chosen(new.as_filter())).await?;
    }
    super::commit(store, transaction).await?;
    Ok(OpenedUndo::New { records, gone })
}

async fn insert(
    connection: &mut PgConnection,
    new: &NewUndo,
    source: &Source,
    undo: Undo,
    records: u64,
    lanes: u32,
) -> Result<(), StoreError> {
    let options = ImportOptions { start: new.start, undo: Some(undo), ..ImportOptions::default() };
    let json = |error: serde_json::Error| StoreError::Program(error.to_string());
    let state = match new.start {
        Start::Auto => ImportState::Running,
        Start::Manual => ImportState::Received,
        Start::Plan => ImportState::Planning,
    };
    let filename = source.filename.as_ref().map(|name| format!("undo of {name}"));
    sqlx::query!(
        // The transaction may have begun before the import that is undone had ended; what counts is when its row was locked.
        "insert into imports (id, tenant_id, state, filename, options, columns, lanes, total, undoes, alive_until, received_at,
                              started_at, created_at, secret_key, actor, traceparent, plan)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, now(), now(), case when $3 = 'running' then now() end, clock_timestamp(), null,
                 $10, $11, case when $3 = 'planning' then 'make' end)",
        new.id.get(),
        new.tenant.get(),
        state.as_str(),
        filename,
        serde_json::to_value(&options).map_err(json)?,
        serde_json::to_value(names().iter().collect::<Vec<_>>()).map_err(json)?,
        small(lanes)?,
        wide(records),
        new.of.get(),
        new.actor,
        crate::trace_of_work(),
    )
    .execute(connection)
    .await?;
    Ok(())
}
