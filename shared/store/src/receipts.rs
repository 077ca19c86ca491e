//! Receipts of imports, and the key that signs them. Memory: one digest for each chunk.

use futures_util::TryStreamExt;
use muster_domain::id::{ImportId, TenantId};
use muster_domain::import::ImportState;
use muster_domain::receipt::{
    FileLine, ImportLine, Lineage, OutcomeDigests, ProblemLine, Receipt, SigningKey, Times, VERSION,
};
use muster_runtime::clock;
use sqlx::postgres::PgConnection;
use uuid::Uuid;

use super::reports::{self, ImportReport};
use super::{Store, StoreError, problems};

/// Most causes that a receipt names.
const CAUSES: i64 = 200;
/// Most imports of a kind that its lineage names.
const NAMED: i64 = 100;

/// What asking for a receipt came to.
#[derive(Debug, Clone, PartialEq)]
pub enum Found {
    /// The import has ended, and this is what happened.
    Receipt(Box<Receipt>),
    /// It goes on, so there is nothing to sign yet.
    NotEnded(ImportState),
    /// The tenant has no such import.
    NotFound,
}

/// What a receipt of a tenant's import says now. `program` is who makes it.
pub async fn read(
    store: &Store,
    tenant: TenantId,
    import: ImportId,
    program: &str,
) -> Result<Found, StoreError> {
    let mut reading = store.reading_one_moment(tenant).await?;
    let Some(report) = reports::import_in(&mut *reading, tenant, import).await? else {
        return Ok(Found::NotFound);
    };
    if !report.state.is_final() {
        return Ok(Found::NotEnded(report.state));
    }
    let digests = digests(&mut reading, tenant, import).await?;
    let file = file(&mut reading, &report).await?;
    let lineage = lineage(&mut reading, tenant, import).await?;
    let slug = sqlx::query_scalar!("select slug from tenants where id = $1", tenant.get())
        .fetch_one(&mut *reading)
        .await?;
    let causes = problems::problems_in(&mut reading, tenant, import, CAUSES).await?.problems;
    reading.commit().await?;
    let problems = causes.into_iter().map(|cause| ProblemLine {
        code: cause.code,
        field: cause.field,
        count: cause.count,
    });
    Ok(Found::Receipt(Box::new(Receipt {
        version: VERSION,
        issued_at: clock::now(),
        program: program.to_owned(),
        tenant: slug,
        import: ImportLine { id: import.get(), state: report.state },
        file,
        // The resolved ids are not shown.
        options: report.options.as_given(),
        counts: report.counts,
        problems: problems.collect(),
        outcomes: OutcomeDigests::of(&digests),
        times: Times {
            created_at: report.created_at,
            received_at: report.received_at,
            started_at: report.started_at,
            completed_at: report.completed_at,
        },
        lineage,
    })))
}

/// SHA-256 of each chunk's number and its sheet, made where the sheets are.
async fn digests(
    connection: &mut PgConnection,
    tenant: TenantId,
    import: ImportId,
) -> Result<Vec<[u8; 32]>, StoreError> {
    let mut rows = sqlx::query_scalar!(
        r#"select sha256(int8send(row_number() over (order by id)) || coalesce(outcomes, ''::bytea)) as "digest!"
             from chunks
            where import_id = $1 and tenant_id = $2
            order by id"#,
        import.get(),
        tenant.get(),
    )
    .fetch(connection);
    let mut digests = Vec::new();
    while let Some(digest) = rows.try_next().await? {
        digests
            .push(digest.try_into().map_err(|_| StoreError::Program("a digest has another length".into()))?);
    }
    Ok(digests)
}

/// What is known of the import's file. An undo has none, and neither has what was never received whole.
async fn file(connection: &mut PgConnection, report: &ImportReport) -> Result<Option<FileLine>, StoreError> {
    let kept = sqlx::query!(
        r#"select digest, reading as "reading: sqlx::types::Json<muster_domain::parse::ReadAs>", total
             from imports
            where id = $1 and tenant_id = $2"#,
        report.id.get(),
        report.tenant.get(),
    )
    .fetch_optional(connection)
    .await?;
    let Some(kept) = kept else { return Ok(None) };
    Ok(kept.digest.map(|digest| FileLine {
        name: report.filename.clone(),
        sha256: hex::encode(digest),
        bytes: report.bytes,
        records: kept.total.unsigned_abs(),
        read_as: kept.reading.map(|json| json.0),
    }))
}

async fn lineage(
    connection: &mut PgConnection,
    tenant: TenantId,
    import: ImportId,
) -> Result<Lineage, StoreError> {
    let own = sqlx::query!(
        "select mends, undoes from imports where id = $1 and tenant_id = $2",
        import.get(),
        tenant.get(),
    )
    .fetch_one(&mut *connection)
    .await?;
    let others = sqlx::query!(
        r#"select id, undoes is not null as "is_undo!"
             from imports
            where (mends = $1 or undoes = $1) and tenant_id = $2
              and state not in ('receiving', 'aborted', 'refused')
              -- One that was only planned, or was cancelled before it did something, made no difference.
              and exists (select from chunks as c where c.import_id = imports.id and c.inserted + c.updated > 0)
            order by id
            limit $3"#,
        import.get(),
        tenant.get(),
        NAMED,
    )
    .fetch_all(connection)
    .await?;
    let of = |undo: bool| -> Vec<Uuid> {
        others.iter().filter(|other| other.is_undo == undo).map(|other| other.id).collect()
    };
    Ok(Lineage { mends: own.mends, mended_by: of(false), undoes: own.undoes, undone_by: of(true) })
}

/// The key of this installation; the first that asks makes it.
pub async fn key(store: &Store) -> Result<SigningKey, StoreError> {
    loop {
        let kept = sqlx::query_scalar!("select pkcs8 from receipt_keys").fetch_optional(store.pool()).await?;
        if let Some(kept) = kept {
            return SigningKey::from_kept(&kept)
                .ok_or_else(|| StoreError::corrupt("receipt_keys", "pkcs8", 1));
        }
        let new = SigningKey::generate()
            .ok_or_else(|| StoreError::Program("the system gives no random bytes for a key".into()))?;
        let public = SigningKey::from_kept(&new)
            .ok_or_else(|| StoreError::Program("a new key cannot be read".into()))?
            .public();
        // Of two that make one at the same time the first counts.
        sqlx::query!(
            "insert into receipt_keys (pkcs8, public_key) values ($1, $2) on conflict (id) do nothing",
            new,
            &public.bytes()[..],
        )
        .execute(store.pool())
        .await?;
    }
}
