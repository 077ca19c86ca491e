//! A case on the real pipeline: played, observed, and compared.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use muster_domain::chunk::decode;
use muster_domain::id::ImportId;
use muster_domain::import::ImportState;
use muster_domain::options::{Enrolment, ImportOptions};
use muster_domain::outcome::{Outcome, Verdict};
use muster_domain::plan::ExistingUser;
use muster_store::lifecycle::{self, Transition};
use muster_store::{catalog, dispatch, tenants};
use muster_testkit::hostile;
use muster_testkit::oracle::{Fields, Observed, Oracle, Plain, seen};
use serde_json::Value;
use sqlx::Row;
use uuid::Uuid;

use super::asks::{self, Ask};
use super::case::{Case, Import};
use super::copies::{Copies, message, send_late_copies};
use super::order::{self, Decided};
use super::search::{Lane, Piece, Step, identifier, serial};
use super::watch::Watch;
use crate::harness::Pipeline;
use crate::witness::{self, Application};

/// Plays a case on a new tenant. Returns how many records it had, or what is wrong.
pub(super) async fn play(pipeline: &mut Pipeline, case: &Case) -> Result<usize, String> {
    let slug = format!("t{}", muster_runtime::clock::new_id().simple()).parse().unwrap();
    pipeline.tenant = tenants::create(&pipeline.store, &slug, "Case").await.unwrap().into_inner().id;
    catalog::apply(&pipeline.store, pipeline.tenant, &hostile::catalog()).await.unwrap();
    let places = Places::read(pipeline).await;
    let mut oracle = Oracle::default();
    if case.together {
        let all: Vec<&Import> = case.imports.iter().collect();
        round(pipeline, &places, &mut oracle, &all).await?;
    } else {
        for import in &case.imports {
            round(pipeline, &places, &mut oracle, &[import]).await?;
        }
    }
    Ok(case.imports.iter().map(|import| import.upload.lines.len()).sum())
}

/// Some imports at once, from upload to end, and compared.
async fn round(
    pipeline: &mut Pipeline,
    places: &Places,
    oracle: &mut Oracle,
    imports: &[&Import],
) -> Result<(), String> {
    let mut running = Vec::new();
    for import in imports {
        let mut options = import.upload.options.clone();
        options.enrolment = options.enrolment.map(|place| places.resolve(place));
        pipeline.limits.chunk = import.limits;
        let bytes = import.upload.bytes();
        let receipt =
            pipeline.upload(&bytes, &options).await.map_err(|error| format!("not received: {error}"))?;
        running.push((receipt.import, *import, options));
    }
    let ids: Vec<(ImportId, &Import)> = running.iter().map(|(id, import, _)| (*id, *import)).collect();
    let watched = ids.iter().map(|(id, import)| (*id, import.upload.lines.len() as u64)).collect();
    let watch = Watch::start(pipeline, watched);
    let copies = Copies::start(pipeline);
    let worked = work(pipeline, &ids, &copies).await;
    copies.stop().await;
    watch.stop().await;
    worked?;
    send_late_copies(pipeline, &ids).await;
    let mut outcomes = Vec::new();
    for (id, ..) in &running {
        outcomes.push(observed(pipeline, *id).await);
    }
    let mut lanes: Vec<Lane<'_>> = Vec::new();
    for ((id, import, options), outcomes) in running.iter().zip(&outcomes) {
        if outcomes.len() != import.upload.lines.len() {
            return Err(format!("{} outcomes of {} records", outcomes.len(), import.upload.lines.len()));
        }
        lanes.extend(pieces(pipeline, *id, import, options, outcomes).await?);
    }
    *oracle = serial(oracle, lanes, &users(pipeline, places).await)?;
    Ok(())
}

/// What was done for an import, lane by lane in the order in which it was: each application of a chunk with the records that it
/// decided for good.
async fn pieces<'a>(
    pipeline: &Pipeline,
    id: ImportId,
    import: &'a Import,
    options: &'a ImportOptions,
    outcomes: &'a [Observed],
) -> Result<Vec<Lane<'a>>, String> {
    let mut applications = witness::applications(&pipeline.store, id).await;
    let mut lanes: BTreeMap<i32, BTreeMap<(i64, i64), Vec<Step<'a>>>> = BTreeMap::new();
    let mut decided = Vec::new();
    for (chunk, lane, numbers) in chunks(pipeline, id).await {
        let applied = applications.remove(&chunk).unwrap_or_default();
        for (index, number) in numbers.into_iter().enumerate() {
            let open = |application: &&Application| {
                let verdict = application.sheet.get(index).map(|(verdict, _)| verdict.outcome);
                matches!(verdict, None | Some(Outcome::Pending | Outcome::Failed))
            };
            // What did not fail was not decided again; what failed was tried each time.
            let by = applied.iter().find(|application| !open(application)).or(applied.last());
            let place = by.map_or(0, |application| application.place);
            let at = usize::try_from(number).unwrap() - 1;
            let (line, observed) = (&import.upload.lines[at], &outcomes[at]);
            let record = Decided { number, identifier: identifier(line, options), place, observed };
            if !record.is_excused() {
                let step = Step { number, line, observed };
                lanes.entry(lane).or_default().entry((place, chunk)).or_default().push(step);
            }
            decided.push(record);
        }
    }
    order::check(&decided)?;
    let piece = |((applied, _), steps)| Piece { options, steps, applied };
    Ok(lanes.into_values().map(|lane| lane.into_iter().map(piece).collect()).collect())
}

/// Runs dispatchers and workers, some of which die, until the imports have ended.
async fn work(
    pipeline: &mut Pipeline,
    imports: &[(ImportId, &Import)],
    copies: &Copies,
) -> Result<(), String> {
    let trouble = imports[0].1.trouble;
    if trouble.copies > 0 {
        send_copies(pipeline, trouble.copies).await;
    }
    for _ in 0..trouble.dying_dispatchers {
        let (dispatcher, worker) = (pipeline.dispatcher(), pipeline.worker(trouble.concurrency));
        some_progress(pipeline, imports).await;
        drop(dispatcher);
        worker.stop().await;
        expire_leases(pipeline).await;
    }
    let dispatcher = pipeline.dispatcher();
    for _ in 0..trouble.dying_workers {
        let worker = pipeline.worker(trouble.concurrency);
        some_progress(pipeline, imports).await;
        // Not stopped: its tasks are cut off wherever they are.
        drop(worker);
    }
    let mut workers: Vec<_> = (0..trouble.workers).map(|_| pipeline.worker(trouble.concurrency)).collect();
    for (id, import) in imports {
        for ask in &import.asks {
            asks::perform(pipeline, *id, *ask).await?;
            some_progress(pipeline, imports).await;
        }
    }
    asks::mend(pipeline).await;
    for (id, import) in imports {
        end(pipeline, *id, import).await?;
    }
    copies.pause();
    let last = workers.pop().unwrap();
    for worker in workers {
        worker.stop().await;
    }
    dispatcher.stop().await;
    pipeline.settle(last).await;
    Ok(())
}

/// Until the import has ended for good.
async fn end(pipeline: &mut Pipeline, id: ImportId, import: &Import) -> Result<(), String> {
    let mut report = pipeline.ended(id).await;
    for _ in 0..import.retries {
        asks::perform(pipeline, id, Ask::Retry).await?;
        if import.cancelled {
            lifecycle::cancel(&pipeline.store, pipeline.tenant, id).await.unwrap();
        }
        report = pipeline.ended(id).await;
        if report.state == ImportState::Cancelled {
            let refused = lifecycle::retry(&pipeline.store, pipeline.tenant, id).await.unwrap();
            return match refused {
                Transition::Refused(ImportState::Cancelled) => Ok(()),
                other => Err(format!("retry of a cancelled import came to {other:?}")),
            };
        }
    }
    let may_be_dead = import.asks.contains(&Ask::Die);
    if report.state != ImportState::Completed || report.chunks.dead > 0 && !may_be_dead {
        return Err(format!("the import ended as {report:?}"));
    }
    Ok(())
}

/// Until something more is decided, or nothing is left to be.
async fn some_progress(pipeline: &Pipeline, imports: &[(ImportId, &Import)]) {
    let mut before = None;
    loop {
        let mut pending = 0;
        for (import, _) in imports {
            pending += pipeline.report(*import).await.counts.pending;
        }
        if pending == 0 || before.is_some_and(|before| pending < before) {
            return;
        }
        before = Some(pending);
        tokio::task::yield_now().await;
    }
}

async fn send_copies(pipeline: &Pipeline, copies: usize) {
    let heads = dispatch::lane_heads(&pipeline.store).await.unwrap();
    let chunks: Vec<_> = heads.iter().map(|head| head.chunk).collect();
    for chunk in dispatch::claim(&pipeline.store, &chunks, 60.0).await.unwrap() {
        for _ in 0..=copies {
            let copy = message(chunk.tenant.get(), chunk.import.get(), chunk.id.get(), chunk.body.clone());
            pipeline.queue.publish(copy).await.unwrap();
        }
    }
}

async fn expire_leases(pipeline: &Pipeline) {
    let mut connection = pipeline.store.connection().await.unwrap();
    sqlx::query("update chunks set leased_until = now() where state = 'dispatched' and tenant_id = $1")
        .bind(pipeline.tenant.get())
        .execute(&mut connection)
        .await
        .unwrap();
}

pub(crate) async fn observed(pipeline: &Pipeline, import: ImportId) -> Vec<Observed> {
    let records = pipeline.records(import, None).await;
    let observed = records.into_iter().map(|record| {
        let mut warnings = record.warnings;
        warnings.sort();
        let verdict = Verdict { outcome: record.outcome, reason: record.reason };
        Observed { verdict, user: record.user_id, errors: record.errors, warnings }
    });
    observed.collect()
}

/// Id, lane and record numbers of each chunk.
async fn chunks(pipeline: &Pipeline, import: ImportId) -> Vec<(i64, i32, Vec<u64>)> {
    let mut connection = pipeline.store.connection().await.unwrap();
    let rows = sqlx::query("select id, lane, body from chunks where import_id = $1 order by lane, seq")
        .bind(import.get())
        .fetch_all(&mut connection)
        .await
        .unwrap();
    rows.into_iter()
        .map(|row| {
            let records = decode(row.get::<&[u8], _>(2)).unwrap();
            let fields = records.fields();
            let numbers = records.records(&fields).map(|record| record.position.record.get());
            (row.get(0), row.get(1), numbers.collect())
        })
        .collect()
}

/// What a tenant's names have for ids.
pub(crate) struct Places {
    organizations: Vec<i32>,
    groups: Vec<i32>,
    names: Arc<HashMap<i32, String>>,
}

impl Places {
    pub(crate) async fn read(pipeline: &Pipeline) -> Self {
        let mut connection = pipeline.store.connection().await.unwrap();
        let organizations =
            sqlx::query_scalar("select id from organizations where tenant_id = $1 order by slug")
                .bind(pipeline.tenant.get())
                .fetch_all(&mut connection)
                .await
                .unwrap();
        let names: Vec<(i32, String, String)> =
            sqlx::query_as("select id, kind, key from catalog_names where tenant_id = $1 order by key")
                .bind(pipeline.tenant.get())
                .fetch_all(&mut connection)
                .await
                .unwrap();
        let groups = names.iter().filter(|(_, kind, _)| kind == "group").map(|(id, ..)| *id).collect();
        let names = names.into_iter().map(|(id, _, key)| (id, key)).collect();
        Self { organizations, groups, names: Arc::new(names) }
    }

    /// The ids of a place that a case names by number.
    pub(crate) fn resolve(&self, place: Enrolment) -> Enrolment {
        let organization_id = self.organizations[usize::try_from(place.organization_id).unwrap()];
        let group_id = if place.group_id == 0 { 0 } else { self.groups[0] };
        Enrolment { organization_id, group_id }
    }
}

/// Every user of the tenant, by id, in the oracle's form.
pub(crate) async fn users(pipeline: &Pipeline, places: &Places) -> Vec<Plain> {
    let mut connection = pipeline.store.connection().await.unwrap();
    let rows = sqlx::query(
        "select u.id, u.version, u.email, u.phone_number, u.preferred_username, u.given_name, u.family_name,
                u.attributes::text, u.metadata::text, u.profile::text,
                c.password_hash, c.password_expires_at, c.mfa_password_hash, c.totp_secret,
                array(select (organization_id::bigint << 32) + group_id from memberships where user_id = u.id)
           from users u left join user_credentials c on c.user_id = u.id
          where u.tenant_id = $1 order by u.id",
    )
    .bind(pipeline.tenant.get())
    .fetch_all(&mut connection)
    .await
    .unwrap();
    rows.into_iter()
        .map(|row| {
            let profile = row.get::<Option<String>, _>(9);
            let user = ExistingUser {
                id: row.get::<Uuid, _>(0),
                version: row.get(1),
                email: row.get(2),
                phone_number: row.get(3),
                preferred_username: row.get(4),
                given_name: row.get(5),
                family_name: row.get(6),
                attributes: row.get(7),
                metadata: row.get(8),
                profile: profile.map(|json| serde_json::from_str(&json).unwrap()),
                enrolled: false,
            };
            let mut fields: Fields = seen(&user, &|id| places.names[&id].clone());
            let expires = row.get::<Option<chrono::DateTime<chrono::Utc>>, _>(11);
            let secrets = [
                ("password_hash", row.get::<Option<String>, _>(10)),
                ("password_expire_after", expires.map(|moment| moment.to_rfc3339())),
                ("mfa_password_hash", row.get(12)),
                ("mfa_totp_secret", row.get(13)),
            ];
            fields.extend(
                secrets.into_iter().filter_map(|(key, text)| Some((key.to_owned(), Value::from(text?)))),
            );
            let enrolled = row
                .get::<Vec<i64>, _>(14)
                .into_iter()
                .map(|both| (i32::try_from(both >> 32).unwrap(), i32::try_from(both & 0xffff_ffff).unwrap()));
            Plain { id: user.id, version: user.version, fields, enrolled: enrolled.collect() }
        })
        .collect()
}
