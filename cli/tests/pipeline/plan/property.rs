//! Planning hostile imports: with nobody in between each record comes to what its plan says; with people in between it comes to that
//! too, or says that something changed.
//!
//! The environment says which cases there are, and for how long they go on ([`repeat`]; `make properties`).

use std::time::Duration;

use muster_domain::chunk::ChunkLimits;
use muster_domain::error::ErrorCode;
use muster_domain::id::ImportId;
use muster_domain::import::ImportState;
use muster_domain::intake::Memory;
use muster_domain::options::Enrolment;
use muster_domain::outcome::Outcome;
use muster_domain::planned::{OnDrift, PlannedRecord};
use muster_store::records::RecordReport;
use muster_store::{catalog, lifecycle, tenants};
use muster_testkit::hostile::{self, Shape, Upload};
use muster_testkit::random::Random;

use super::{everything, first, records};
use crate::harness::{Backend, Pipeline};
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_import_comes_to_its_plan() {
    run(Backend::Postgres, 30).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_import_comes_to_its_plan_over_rabbit() {
    run(Backend::Rabbit, 5).await;
}

async fn run(backend: Backend, cases: u64) {
    let mut pipeline = Pipeline::new(backend).await;
    let run = Run {
        test: "any_import_comes_to_its_plan",
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
        let import = received(pipeline, &places, &mut random, false).await?;
        work(pipeline, import, &mut random).await;
    }
    let import = received(pipeline, &places, &mut random, true).await?;
    let before = everything(pipeline).await;
    work(pipeline, import, &mut random).await;
    if everything(pipeline).await != before {
        return Err("the plan wrote something".into());
    }
    let planned = records(pipeline, import).await;
    let edited = random.percent(40);
    if edited {
        edit(pipeline, &mut random).await;
    }
    lifecycle::proceed_with(&pipeline.store, pipeline.tenant, import, OnDrift::Refuse).await.unwrap();
    work(pipeline, import, &mut random).await;
    let came = pipeline.records(import, None).await;
    for record in &came {
        let plan = planned.get(&record.record);
        check(plan, record, edited)
            .map_err(|problem| format!("record {}: {problem}\n{plan:?}\n{record:?}", record.record))?;
    }
    Ok(())
}

/// Each record is as it was planned, or says what changed; with nobody in between nothing did.
fn check(plan: Option<&PlannedRecord>, record: &RecordReport, edited: bool) -> Result<(), &'static str> {
    let Some(plan) = plan else {
        // It failed before it could be planned.
        return if record.outcome == Outcome::Failed { Ok(()) } else { Err("has no plan") };
    };
    let drifted = record.errors.iter().any(|error| error.code == ErrorCode::ChangedSincePlan);
    if edited && record.outcome == Outcome::Failed {
        return Ok(());
    }
    if drifted {
        return Err("is told to have changed");
    }
    if (plan.outcome, plan.reason) != (record.outcome, record.reason) {
        return Err("comes to something else");
    }
    if plan.user.is_some() && plan.user != record.user_id {
        return Err("means another user");
    }
    let places = |errors: &[muster_domain::error::RecordError]| -> Vec<(ErrorCode, Option<String>)> {
        errors.iter().map(|error| (error.code, error.field.clone())).collect()
    };
    if places(&plan.errors) != places(&record.errors) {
        return Err("fails for another reason");
    }
    Ok(())
}

/// People change, rename and delete some users.
async fn edit(pipeline: &Pipeline, random: &mut Random) {
    let edit = match random.below(4) {
        0 => "update users set given_name = 'Edited', version = version + 1",
        1 => "update users set metadata = '{\"edited\": 1}', version = version + 1",
        2 => "update users set phone_number = null, version = version + 1",
        _ => "delete from users",
    };
    let sql = format!("{edit} where tenant_id = $1 and random() < 0.4");
    sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(pipeline.tenant.get())
        .execute(pipeline.store.pool())
        .await
        .unwrap();
    sqlx::raw_sql(
        "delete from memberships where user_id not in (select id from users);
         delete from user_credentials where user_id not in (select id from users)",
    )
    .execute(pipeline.store.pool())
    .await
    .unwrap();
}

async fn received(
    pipeline: &mut Pipeline,
    places: &Places,
    random: &mut Random,
    planned: bool,
) -> Result<ImportId, String> {
    let shape = Shape { records: *random.pick(&[3, 12, 40]), fields: *random.pick(&[2, 5, 9]) };
    let upload = Upload::make(random, shape, &PLACES);
    let mut options = upload.options.clone();
    options.enrolment = options.enrolment.map(|place| places.resolve(place));
    if planned {
        options = first(&options);
        // In half of the cases it is known where records are independent.
        pipeline.limits.repeats = if random.percent(50) { Memory::of(1 << 20) } else { Memory::default() };
    }
    pipeline.limits.chunk = ChunkLimits {
        records: u32::try_from(random.between(1, 9)).unwrap(),
        bytes: 64 * 1024,
        lanes: u32::try_from(random.between(1, 4)).unwrap(),
    };
    let receipt = pipeline.upload(&upload.bytes(), &options).await;
    Ok(receipt.map_err(|error| format!("not received: {error}"))?.import)
}

/// Works until the import is planned or has ended; workers are cut off on the way.
async fn work(pipeline: &mut Pipeline, import: ImportId, random: &mut Random) {
    let dispatcher = pipeline.dispatcher();
    for _ in 0..random.below(3) {
        let worker = pipeline.worker(3);
        for _ in 0..random.below(40) {
            tokio::task::yield_now().await;
        }
        drop(worker);
    }
    let worker = pipeline.worker(3);
    let report = pipeline.planned(import).await;
    worker.stop().await;
    dispatcher.stop().await;
    assert!(matches!(report.state, ImportState::Planned | ImportState::Completed), "{report:?}");
}
