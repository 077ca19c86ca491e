//! Undoing hostile imports: with nobody in between the database is as before, and undoing the undo is as the import left it; with people
//! in between it is as the reference says. Planned first, each change comes to what was planned or says that it does not.
//!
//! The environment says which cases there are, and for how long they go on ([`repeat`]; `make properties`).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use muster_domain::chunk::ChunkLimits;
use muster_domain::error::ErrorCode;
use muster_domain::id::ImportId;
use muster_domain::import::ImportState;
use muster_domain::options::{Enrolment, Start};
use muster_domain::outcome::Outcome;
use muster_domain::plan::ExistingUser;
use muster_domain::planned::{APPLIED_ALTHOUGH, OnDrift, PlannedRecord};
use muster_domain::undo::{Flat, flat_user};
use muster_store::{catalog, lifecycle, tenants};
use muster_testkit::hostile::{self, Shape, Upload};
use muster_testkit::random::Random;
use muster_testkit::undo::{Reference, Seen};
use serde_json::Value;
use sqlx::Row;
use uuid::Uuid;

use super::{orphans, users, whole};
use crate::harness::{Backend, Pipeline};
use crate::plan::{everything, records};
use crate::properties::repeat::{Run, repeat};
use crate::properties::world::Places;

/// The longest run that is not told how long or how many.
const PLAIN: Duration = Duration::from_secs(60);

/// Organizations and groups by their place: the ids are known once a tenant is there.
const PLACES: [Enrolment; 3] = [
    Enrolment { organization_id: 0, group_id: 0 },
    Enrolment { organization_id: 0, group_id: 1 },
    Enrolment { organization_id: 1, group_id: 0 },
];

/// What the database itself sees of users.
const SEEN: &str = "
    create table witness.users (
        place bigint generated always as identity,
        transaction xid8 not null default pg_current_xact_id(),
        id uuid not null, old jsonb, new jsonb);
    create function witness.see() returns trigger language plpgsql as $$
    begin
        insert into witness.users (id, old, new)
        values (case when tg_op = 'DELETE' then old.id else new.id end, case when tg_op <> 'INSERT' then to_jsonb(old) end,
                case when tg_op <> 'DELETE' then to_jsonb(new) end);
        return null;
    end $$;
    create trigger see after insert or update or delete on public.users for each row execute function witness.see();";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_import_can_be_undone() {
    run(Backend::Postgres, 20).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_import_can_be_undone_over_rabbit() {
    run(Backend::Rabbit, 5).await;
}

async fn run(backend: Backend, cases: u64) {
    let mut pipeline = Pipeline::new(backend).await;
    sqlx::raw_sql(SEEN).execute(pipeline.store.pool()).await.unwrap();
    let run = Run {
        test: "any_import_can_be_undone",
        backend,
        cases,
        longest: PLAIN,
        seconds_a_minute: 30,
        repeats: 1,
    };
    repeat(&run, &mut pipeline, play).await;
    pipeline.finish().await;
}

async fn play(pipeline: &mut Pipeline, seed: u64) -> Result<(), String> {
    let mut random = Random::new(seed);
    let slug = format!("t{}", muster_runtime::clock::new_id().simple()).parse().unwrap();
    pipeline.tenant = tenants::create(&pipeline.store, &slug, "Case").await.unwrap().into_inner().id;
    catalog::apply(&pipeline.store, pipeline.tenant, &hostile::catalog()).await.unwrap();
    let places = Places::read(pipeline).await;
    for _ in 0..random.between(0, 2) {
        imported(pipeline, &places, &mut random).await?;
    }
    let (before, secrets) = (users(pipeline, true).await, users(pipeline, false).await);
    let from = last_seen(pipeline).await;
    let import = imported(pipeline, &places, &mut random).await?;
    let (left, until) = (users(pipeline, false).await, last_seen(pipeline).await);
    let mut edited = random.percent(60);
    if edited {
        edit(pipeline, &mut random, from, until).await;
    }
    let mut new = whole(pipeline, import);
    new.chunk = limits(&mut random);
    let planned_first = random.percent(50);
    if planned_first {
        new.start = Start::Plan;
    }
    if matches!(
        muster_store::undo::open(&pipeline.store, &new).await.unwrap(),
        muster_store::undo::OpenedUndo::Refused(_)
    ) {
        return if secrets == left {
            Ok(())
        } else {
            Err("an import that changed something is refused".into())
        };
    }
    let planned = if planned_first { Some(plan(pipeline, new.id).await?) } else { None };
    let late = planned_first && random.percent(40);
    if late {
        edit(pipeline, &mut random, from, until).await;
        edited = true;
    }
    let reference = reference(pipeline, from, until).await;
    let on_drift = if late && random.percent(50) { OnDrift::Apply } else { OnDrift::Refuse };
    match planned {
        Some(planned) if late => work_after_edits(pipeline, new.id, &planned, on_drift).await?,
        Some(planned) => work_as_planned(pipeline, new.id, &planned).await?,
        None => work(pipeline, new.id).await?,
    }
    let refused = late && on_drift == OnDrift::Refuse;
    if refused {
        // What failed waited whole, user by user, so a retry comes to what an undo without a plan comes to.
        lifecycle::retry(&pipeline.store, pipeline.tenant, new.id).await.unwrap();
        work(pipeline, new.id).await?;
    }
    let expected = reference.undone();
    let found = flat(pipeline).await;
    // Where a value that a user would get back is kept by another who was inserted and edited, more than one user matters.
    let moved: bool = sqlx::query_scalar(
        "select coalesce(bool_or(gives_up), false) from before_images where import_id = $1",
    )
    .bind(import.get())
    .fetch_one(pipeline.store.pool())
    .await
    .unwrap();
    if found != expected && !(moved && (reference.keeps_inserted() || refused)) {
        return Err(differences(&expected, &found));
    }
    if orphans(pipeline).await != 0 {
        return Err("something is left of users that were deleted".into());
    }
    if edited {
        return Ok(());
    }
    if users(pipeline, true).await != before {
        return Err("the rows are not as before".into());
    }
    let again = whole(pipeline, new.id);
    match muster_store::undo::open(&pipeline.store, &again).await.unwrap() {
        muster_store::undo::OpenedUndo::New { .. } => work(pipeline, again.id).await?,
        other => return Err(format!("the undo cannot be undone: {other:?}")),
    }
    if users(pipeline, false).await != left {
        return Err("the rows are not as the import left them".into());
    }
    Ok(())
}

fn limits(random: &mut Random) -> ChunkLimits {
    ChunkLimits {
        records: u32::try_from(random.between(1, 9)).unwrap(),
        bytes: 64 * 1024,
        lanes: u32::try_from(random.between(1, 4)).unwrap(),
    }
}

/// A hostile import from upload to end.
async fn imported(pipeline: &mut Pipeline, places: &Places, random: &mut Random) -> Result<ImportId, String> {
    let shape = Shape { records: *random.pick(&[3, 12, 40]), fields: *random.pick(&[2, 5, 9]) };
    let upload = Upload::make(random, shape, &PLACES);
    let mut options = upload.options.clone();
    options.enrolment = options.enrolment.map(|place| places.resolve(place));
    pipeline.limits.chunk = limits(random);
    let receipt = pipeline.upload(&upload.bytes(), &options).await;
    let import = receipt.map_err(|error| format!("not received: {error}"))?.import;
    work(pipeline, import).await?;
    Ok(import)
}

async fn work(pipeline: &mut Pipeline, import: ImportId) -> Result<(), String> {
    let (dispatcher, worker) = (pipeline.dispatcher(), pipeline.worker(3));
    let report = pipeline.ended(import).await;
    worker.stop().await;
    dispatcher.stop().await;
    let failed = pipeline.records(import, Some(Outcome::Failed)).await;
    match report.state {
        ImportState::Completed if report.options.undo.is_none() || failed.is_empty() => Ok(()),
        _ => Err(format!("it ended as {report:?} with {failed:?}")),
    }
}

/// Plans an undo, which writes nothing.
async fn plan(pipeline: &mut Pipeline, undo: ImportId) -> Result<BTreeMap<u64, PlannedRecord>, String> {
    let before = everything(pipeline).await;
    let (dispatcher, worker) = (pipeline.dispatcher(), pipeline.worker(3));
    let report = pipeline.planned(undo).await;
    worker.stop().await;
    dispatcher.stop().await;
    if report.state != ImportState::Planned || everything(pipeline).await != before {
        return Err(format!("the plan wrote something, or ended as {report:?}"));
    }
    Ok(records(pipeline, undo).await)
}

/// Does what was planned: each change comes to just that.
async fn work_as_planned(
    pipeline: &mut Pipeline,
    undo: ImportId,
    planned: &BTreeMap<u64, PlannedRecord>,
) -> Result<(), String> {
    lifecycle::proceed(&pipeline.store, pipeline.tenant, undo).await.unwrap();
    work(pipeline, undo).await?;
    for record in pipeline.records(undo, None).await {
        let plan = planned.get(&record.record);
        let foreseen = plan.map(|plan| (plan.outcome, plan.reason));
        if foreseen != Some((record.outcome, record.reason)) {
            return Err(format!("a change comes to something else than planned: {record:?}\n{plan:?}"));
        }
    }
    Ok(())
}

/// Does what was planned after people changed users: each change comes to what was planned, or is reported.
async fn work_after_edits(
    pipeline: &mut Pipeline,
    undo: ImportId,
    planned: &BTreeMap<u64, PlannedRecord>,
    on_drift: OnDrift,
) -> Result<(), String> {
    lifecycle::proceed_with(&pipeline.store, pipeline.tenant, undo, on_drift).await.unwrap();
    let (dispatcher, worker) = (pipeline.dispatcher(), pipeline.worker(3));
    let report = pipeline.ended(undo).await;
    worker.stop().await;
    dispatcher.stop().await;
    if report.state != ImportState::Completed {
        return Err(format!("it ended as {report:?}"));
    }
    for record in pipeline.records(undo, None).await {
        let plan = planned.get(&record.record);
        let as_planned =
            plan.is_some_and(|plan| (plan.outcome, plan.reason) == (record.outcome, record.reason));
        let refused = record.errors.iter().any(|error| error.code == ErrorCode::ChangedSincePlan);
        let marked = record.warnings.iter().any(|warning| warning.starts_with(APPLIED_ALTHOUGH));
        let told = match on_drift {
            OnDrift::Refuse => refused && record.outcome == Outcome::Failed,
            OnDrift::Apply => marked && record.outcome != Outcome::Failed,
        };
        if !as_planned && !told && record.outcome != Outcome::Skipped {
            return Err(format!("a change comes to something else than planned: {record:?}\n{plan:?}"));
        }
        if (refused || marked) != told {
            return Err(format!("a change is told wrongly of: {record:?}\n{plan:?}"));
        }
    }
    Ok(())
}

async fn last_seen(pipeline: &Pipeline) -> i64 {
    sqlx::query_scalar("select coalesce(max(place), 0) from witness.users")
        .fetch_one(pipeline.store.pool())
        .await
        .unwrap()
}

/// People change some users: to something new, to what they were at some time, and not at all but for the version.
async fn edit(pipeline: &Pipeline, random: &mut Random, from: i64, until: i64) {
    let ids: Vec<Uuid> = sqlx::query_scalar("select id from users where tenant_id = $1 order by id")
        .bind(pipeline.tenant.get())
        .fetch_all(pipeline.store.pool())
        .await
        .unwrap();
    for id in ids {
        if random.percent(50) {
            continue;
        }
        let change = match random.below(5) {
            0 => "given_name = 'Edited'",
            1 => "metadata = coalesce(metadata, '{}') || '{\"edited\": 1}'",
            2 => "given_name = u.given_name",
            3 => {
                "profile = case when u.email is null then u.profile
                                else coalesce(u.profile, '{}') || '{\"email_verified\": true}' end"
            }
            _ => {
                "family_name = s.old ->> 'family_name', given_name = s.old ->> 'given_name',
                 metadata = nullif(s.old -> 'metadata', 'null'), attributes = nullif(s.old -> 'attributes', 'null')"
            }
        };
        let sql = format!(
            "update users as u set version = u.version + 1, {change}
               from (select old from witness.users where id = $1 and place > $2 and place <= $3
                     union all select null order by 1 nulls last limit 1) as s
              where u.id = $1"
        );
        sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(id)
            .bind(from)
            .bind(until)
            .execute(pipeline.store.pool())
            .await
            .unwrap();
    }
}

/// Everything that the reference has to know.
async fn reference(pipeline: &Pipeline, from: i64, until: i64) -> Reference {
    let mut reference = Reference { now: flat(pipeline).await, ..Reference::default() };
    let rows = sqlx::query(
        "select place, transaction::text, id, old, new from witness.users where place > $1 order by place",
    )
    .bind(from)
    .fetch_all(pipeline.store.pool())
    .await
    .unwrap();
    let mut last: BTreeMap<Uuid, String> = BTreeMap::new();
    for row in rows {
        let (place, transaction, id): (i64, String, Uuid) = (row.get(0), row.get(1), row.get(2));
        if place > until {
            reference.touched.insert(id);
            continue;
        }
        let (old, new) = (row.get::<Option<Value>, _>(3), row.get::<Option<Value>, _>(4));
        let seen: Seen = (old.map(flat_of), new.map(flat_of));
        let history = reference.history.entry(id).or_default();
        if last.insert(id, transaction.clone()).as_ref() == Some(&transaction) {
            history.last_mut().unwrap().1 = seen.1;
        } else {
            history.push(seen);
        }
    }
    reference
}

/// The fields of a user's row, memberships apart.
fn flat_of(row: Value) -> Flat {
    let text = |key: &str| row[key].as_str().map(str::to_owned);
    let json = |key: &str| (!row[key].is_null()).then(|| row[key].to_string());
    let user = ExistingUser {
        email: text("email"),
        phone_number: text("phone_number"),
        preferred_username: text("preferred_username"),
        given_name: text("given_name"),
        family_name: text("family_name"),
        attributes: json("attributes"),
        metadata: json("metadata"),
        profile: json("profile").map(|json| serde_json::from_str(&json).unwrap()),
        ..ExistingUser::default()
    };
    flat_user(&user, &[]).unwrap()
}

/// Every user of the tenant.
async fn flat(pipeline: &Pipeline) -> BTreeMap<Uuid, Flat> {
    let rows = sqlx::query("select id, to_jsonb(u) from users as u where tenant_id = $1")
        .bind(pipeline.tenant.get())
        .fetch_all(pipeline.store.pool())
        .await
        .unwrap();
    rows.into_iter().map(|row| (row.get(0), flat_of(row.get(1)))).collect()
}

fn differences(expected: &BTreeMap<Uuid, Flat>, found: &BTreeMap<Uuid, Flat>) -> String {
    let ids: BTreeSet<&Uuid> = expected.keys().chain(found.keys()).collect();
    let differing = ids.into_iter().filter(|id| expected.get(id) != found.get(id));
    let lines = differing
        .map(|id| format!("{id}\n  expected {:?}\n  found    {:?}", expected.get(id), found.get(id)));
    lines.collect::<Vec<_>>().join("\n")
}
