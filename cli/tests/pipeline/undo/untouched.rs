//! Users that an undo deletes without reading them first: whoever is in the way meanwhile, and what becomes of the others of their chunk.

use std::time::{Duration, Instant};

use muster_domain::chunk::ChunkLimits;
use muster_domain::error::ErrorCode;
use muster_domain::options::{Enrolment, ImportOptions, Start};
use muster_domain::outcome::{Counts, Outcome, Reason};
use muster_domain::planned::OnDrift;
use muster_store::catalog;
use muster_store::undo::NewUndo;

use super::story::execute;
use super::{opened, orphans, plain, users, whole};
use crate::harness::{Backend, Pipeline, people};
use crate::plan::{applied, records, work_on_plan};
use crate::refusals::holder;

/// All in one chunk.
const ONE: ChunkLimits = ChunkLimits { records: 10, bytes: 64 * 1024, lanes: 1 };

async fn emails(pipeline: &Pipeline) -> Vec<String> {
    sqlx::query_scalar("select email from users order by email")
        .fetch_all(pipeline.store.pool())
        .await
        .unwrap()
}

/// One change is as planned although its user is kept, another one is not as planned, and both are behind some that are deleted unread.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn users_that_are_deleted_unread_leave_the_others_of_their_chunk_at_their_places() {
    let mut pipeline = Pipeline::new(Backend::Postgres).await;
    let import = pipeline.import(&people(5), &plain()).await.id;
    let slug = "default".parse().unwrap();
    let found = catalog::find_organization(pipeline.store.pool(), pipeline.tenant, &slug).await.unwrap();
    let enrolment = Some(Enrolment { organization_id: found.unwrap().0.get(), group_id: 0 });
    pipeline.import("email\nuser3@example.com\n", &ImportOptions { enrolment, ..plain() }).await;
    let new = NewUndo { start: Start::Plan, chunk: ONE, ..whole(&pipeline, import) };
    opened(&pipeline, &new).await;
    work_on_plan(&mut pipeline, new.id).await;
    let foreseen = records(&pipeline, new.id).await;
    let kept: Vec<u64> = foreseen
        .iter()
        .filter(|(_, record)| record.reason == Some(Reason::ChangedSince))
        .map(|(number, _)| *number)
        .collect();
    assert_eq!((foreseen.len(), kept.len()), (5, 1), "{foreseen:?}");
    execute(&pipeline, "delete from memberships").await;
    execute(
        &pipeline,
        "update users set given_name = 'Edited', version = version + 1 where email = 'user2@example.com'",
    )
    .await;
    let report = applied(&mut pipeline, new.id, OnDrift::Refuse).await;
    assert_eq!(report.counts, Counts { total: 5, updated: 3, skipped: 1, failed: 1, ..Counts::default() });
    assert_eq!(emails(&pipeline).await, ["user2@example.com", "user3@example.com"]);
    let failed = pipeline.records(new.id, Some(Outcome::Failed)).await;
    let told: Vec<(u64, ErrorCode)> =
        failed.iter().map(|record| (record.record, record.errors[0].code)).collect();
    assert_eq!(told, [(kept[0], ErrorCode::ChangedSincePlan)]);
    pipeline.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_touches_a_user_while_it_is_deleted_unread_keeps_it() {
    let mut pipeline = Pipeline::new(Backend::Postgres).await;
    let hash = "$2b$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy";
    let csv: String = (0..4).map(|at| format!("user{at}@example.com,{hash}\n")).collect();
    let import = pipeline.import(&format!("email,password_hash\n{csv}"), &plain()).await.id;
    let before = users(&pipeline, true).await;
    let mut session = holder(
        &pipeline,
        "update users set version = version + 1 where email = 'user1@example.com';
         insert into memberships (user_id, organization_id, group_id, tenant_id)
         select u.id, o.id, 0, u.tenant_id
           from (select * from users where email = 'user2@example.com' for key share) as u
           join organizations as o on o.tenant_id = u.tenant_id and o.slug = 'default'",
    )
    .await;
    let new = NewUndo { chunk: ONE, ..whole(&pipeline, import) };
    opened(&pipeline, &new).await;
    let (dispatcher, worker) = (pipeline.dispatcher(), pipeline.worker(1));
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let waits: bool = sqlx::query_scalar(
            "select exists (select from pg_stat_activity
                             where datname = current_database() and wait_event_type = 'Lock' and query like '%delete from users%')",
        )
        .fetch_one(pipeline.store.pool())
        .await
        .unwrap();
        if waits {
            break;
        }
        assert!(Instant::now() < deadline, "nobody waits for the users that are held");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    sqlx::raw_sql("commit").execute(&mut session).await.unwrap();
    let report = pipeline.ended(new.id).await;
    worker.stop().await;
    dispatcher.stop().await;
    assert_eq!(report.counts, Counts { total: 4, updated: 2, skipped: 2, ..Counts::default() });
    assert_eq!(emails(&pipeline).await, ["user1@example.com", "user2@example.com"]);
    assert_eq!(orphans(&pipeline).await, 0);
    let left = users(&pipeline, true).await;
    assert!(left.contains(&before[1]) && left[1].contains("\"memberships\": [["), "{left:?}");
    pipeline.finish().await;
}
