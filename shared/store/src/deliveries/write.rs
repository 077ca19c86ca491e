//! Deliveries are written for what happened: for each event and webhook one, and one for an import with too many failed records.

use muster_domain::id::ImportId;
use muster_domain::outcome::Counts;
use muster_domain::webhook::{self, Happening};
use muster_runtime::clock;
use serde_json::Value;
use sqlx::postgres::PgConnection;
use uuid::Uuid;

use crate::{Store, StoreError};

/// Webhooks looked after in one go, and events of one of them.
const WEBHOOKS: i64 = 100;
const EVENTS: i64 = 200;

/// Writes deliveries for what happened since. Returns whether there may be more to write; a webhook that the store refuses stops no other.
pub async fn write_new(store: &Store) -> Result<bool, StoreError> {
    let behind = sqlx::query_scalar!(
        "select w.id
           from webhooks as w
          where w.enabled and exists (select from events as e where e.tenant_id = w.tenant_id and e.number > w.seen)
          order by w.id
          limit $1",
        WEBHOOKS,
    )
    .fetch_all(store.pool())
    .await?;
    let (mut more, mut problem) = (behind.len() as i64 == WEBHOOKS, None);
    for id in behind {
        match write_for(store, id).await {
            Ok(all) => more |= !all,
            Err(error) => {
                problem.get_or_insert(error);
            }
        }
    }
    problem.map_or(Ok(more), Err)
}

/// The same for one webhook. Returns whether all is written.
async fn write_for(store: &Store, id: Uuid) -> Result<bool, StoreError> {
    let mut transaction = store.pool().begin().await?;
    // Another producer that writes for it is waited for; what it wrote is seen then.
    let Some(webhook) = sqlx::query!(
        "select w.tenant_id, w.events, w.failed_above, w.seen, t.slug
           from webhooks as w
           join tenants as t on t.id = w.tenant_id
          where w.id = $1 and w.enabled
            for no key update of w",
        id,
    )
    .fetch_optional(&mut *transaction)
    .await?
    else {
        return Ok(true);
    };
    let happened = happened_since(&mut transaction, webhook.tenant_id, webhook.seen).await?;
    let Some(last) = happened.last().map(|event| event.number) else { return Ok(true) };
    let mut ids = clock::id_source();
    let mut rows = Rows::default();
    for event in &happened {
        if let Some(name) = event.told_as(&webhook.events) {
            rows.ids.push(ids.next_id());
            rows.events.push(event.number);
            rows.imports.push(event.import.get());
            rows.payloads.push(event.payload(&name, &webhook.slug));
            rows.names.push(name);
        }
        if let (Some(above), Some(counts), true) =
            (percent(webhook.failed_above), &event.counts, event.is_completion())
            && webhook::is_failing(counts, above)
        {
            let payload = webhook::failing_payload(&webhook.slug, event.import, counts, above, event.at);
            write_failing(&mut transaction, id, webhook.tenant_id, event.import, &payload).await?;
        }
    }
    write(&mut transaction, id, webhook.tenant_id, &rows).await?;
    sqlx::query!("update webhooks set seen = $2 where id = $1", id, last).execute(&mut *transaction).await?;
    transaction.commit().await?;
    Ok((happened.len() as i64) < EVENTS)
}

fn percent(stored: Option<i16>) -> Option<u8> {
    stored.and_then(|percent| u8::try_from(percent).ok())
}

async fn happened_since(
    connection: &mut PgConnection,
    tenant: i32,
    seen: i64,
) -> Result<Vec<Happening>, StoreError> {
    let rows = sqlx::query!(
        r#"select e.number as "number!", e.import_id, e.at, e.kind, e.data, i.error ->> 'code' as error, i.final_counts as "counts?"
             from events as e
             left join imports as i on i.id = e.import_id
            where e.tenant_id = $1 and e.number > $2
            order by e.number
            limit $3"#,
        tenant,
        seen,
        EVENTS,
    )
    .fetch_all(connection)
    .await?;
    let happening =
        |(number, import, at, kind, data, error, counts): (_, _, _, _, _, _, Option<Value>)| Happening {
            number,
            import: ImportId::new(import),
            at,
            kind,
            data,
            error,
            counts: counts.and_then(|counts| serde_json::from_value(counts).ok()),
        };
    Ok(rows
        .into_iter()
        .map(|row| happening((row.number, row.import_id, row.at, row.kind, row.data, row.error, row.counts)))
        .collect())
}

/// Deliveries to be written, a column each.
#[derive(Default)]
struct Rows {
    ids: Vec<Uuid>,
    events: Vec<i64>,
    imports: Vec<Uuid>,
    names: Vec<String>,
    payloads: Vec<String>,
}

async fn write(
    connection: &mut PgConnection,
    webhook: Uuid,
    tenant: i32,
    rows: &Rows,
) -> Result<(), StoreError> {
    sqlx::query!(
        "insert into webhook_deliveries (id, webhook_id, tenant_id, event, import_id, type, payload)
         select t.id, $1, $2, t.event, t.import_id, t.type, t.payload
           from unnest($3::uuid[], $4::bigint[], $5::uuid[], $6::text[], $7::text[]) as t (id, event, import_id, type, payload)
             on conflict do nothing",
        webhook,
        tenant,
        &rows.ids,
        &rows.events,
        &rows.imports,
        &rows.names,
        &rows.payloads,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Once an import and webhook, however often it is found.
async fn write_failing(
    connection: &mut PgConnection,
    webhook: Uuid,
    tenant: i32,
    import: ImportId,
    payload: &str,
) -> Result<(), StoreError> {
    sqlx::query!(
        "insert into webhook_deliveries (id, webhook_id, tenant_id, import_id, type, payload)
         values ($1, $2, $3, $4, 'import.failing', $5)
             on conflict do nothing",
        clock::new_id(),
        webhook,
        tenant,
        import.get(),
        payload,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Writes deliveries for imports that run and of which too many records have failed already.
pub async fn write_failing_imports(store: &Store) -> Result<(), StoreError> {
    let found = sqlx::query!(
        r#"select w.id, w.tenant_id, t.slug, w.failed_above as "above!", i.id as import_id, s.total as "total!",
                  s.pending as "pending!", s.inserted as "inserted!", s.updated as "updated!", s.skipped as "skipped!",
                  s.failed as "failed!"
             from webhooks as w
             join tenants as t on t.id = w.tenant_id
             join imports as i on i.tenant_id = w.tenant_id and i.state in ('running', 'paused')
            cross join lateral (
                  select coalesce(sum(records), 0) as total, coalesce(sum(pending), 0) as pending,
                         coalesce(sum(inserted), 0) as inserted, coalesce(sum(updated), 0) as updated,
                         coalesce(sum(skipped), 0) as skipped, coalesce(sum(failed), 0) as failed
                    from chunks
                   where import_id = i.id) as s
            where w.enabled and w.failed_above is not null
              and s.failed * 100 > (s.total - s.pending) * w.failed_above
              and not exists (select from webhook_deliveries as d
                               where d.webhook_id = w.id and d.import_id = i.id and d.type = 'import.failing')"#,
    )
    .fetch_all(store.pool())
    .await?;
    for row in found {
        let counts = Counts {
            total: row.total.unsigned_abs(),
            pending: row.pending.unsigned_abs(),
            inserted: row.inserted.unsigned_abs(),
            updated: row.updated.unsigned_abs(),
            skipped: row.skipped.unsigned_abs(),
            failed: row.failed.unsigned_abs(),
        };
        let Some(above) = percent(Some(row.above)).filter(|above| webhook::is_failing(&counts, *above))
        else {
            continue;
        };
        let import = ImportId::new(row.import_id);
        let payload = webhook::failing_payload(&row.slug, import, &counts, above, clock::now());
        let mut connection = store.pool().acquire().await?;
        write_failing(&mut connection, row.id, row.tenant_id, import, &payload).await?;
    }
    Ok(())
}
