//! What changes between a plan and its being applied, beside users: the catalog, and the family of the import.

use muster_domain::catalog::{Catalog, Organization};
use muster_domain::chunk::ChunkLimits;
use muster_domain::error::ErrorCode;
use muster_domain::id::GroupId;
use muster_domain::import::ImportState;
use muster_domain::options::{Enrolment, ImportOptions};
use muster_domain::outcome::Counts;
use muster_domain::outcome::{Outcome, Reason};
use muster_domain::planned::OnDrift;
use muster_store::catalog;
use muster_store::lifecycle::{self, Transition};
use muster_store::plans::{self, PlannedPage};

use super::foreseen::{BEFORE, small};
use super::{applied, everything, first, plan, records, summary, verdicts, work_on_plan};
use crate::harness::{Backend, Pipeline, people};
use crate::undo::taken_back;

/// A group that the catalog lacks is made when the plan is applied, and records come to what was planned all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_that_is_not_there_yet_is_planned_and_made_when_the_plan_is_applied() {
    let mut pipeline = small(Backend::Postgres).await;
    pipeline.import(BEFORE, &ImportOptions::default()).await;
    let organizations = Organization { slug: "org".into(), name: "Org".into() };
    let new = Catalog { organizations: vec![organizations], ..Catalog::default() };
    catalog::apply(&pipeline.store, pipeline.tenant, &new).await.unwrap();
    let slug = "org".parse().unwrap();
    let found = catalog::find_organization(pipeline.store.pool(), pipeline.tenant, &slug).await.unwrap();
    let options = ImportOptions {
        organization: Some("org".into()),
        group: Some("Readers".into()),
        enrolment: Some(Enrolment {
            organization_id: found.unwrap().0.get(),
            group_id: GroupId::PLANNED.get(),
        }),
        ..ImportOptions::default()
    };
    let before = everything(&pipeline).await;
    // The first is there, the others are new, and each is named twice.
    let csv =
        "email,given_name\na@example.com,Ann\nx@example.com,Xan\na@example.com,Ann\nx@example.com,Xan\n";
    let import = plan(&mut pipeline, csv, &options).await;
    let other = plan(&mut pipeline, csv, &options).await;
    assert_eq!(everything(&pipeline).await, before, "a plan writes nothing");
    let foreseen = records(&pipeline, import).await;
    // It is shown by its name, in pages and in the table, and found by it.
    let organization = options.enrolment.unwrap().organization_id;
    let group = format!("memberships.{organization}.Readers");
    let after = &foreseen[&1].after;
    assert!(after.contains_key(&group) && !after.keys().any(|path| path.ends_with(".-1")), "{after:?}");
    let table = plans::chunk_after(&pipeline.store, pipeline.tenant, import, 0).await.unwrap().unwrap().1;
    assert!(table.iter().any(|record| record.after.contains_key(&group)), "{table:?}");
    let wanted = PlannedPage { field: Some(&group), limit: 7, ..PlannedPage::default() };
    let page = plans::page(&pipeline.store, pipeline.tenant, import, wanted).await.unwrap();
    assert!(page.records.iter().any(|record| record.record == 1), "{page:?}");
    let foreseen = verdicts(&foreseen);
    assert_eq!(foreseen[0].0, Outcome::Updated);
    applied(&mut pipeline, import, OnDrift::Refuse).await;
    assert_eq!(pipeline.outcomes(import).await, foreseen);
    let enrolled: (i64, bool) = sqlx::query_as(
        "select count(*), bool_and(g.name = 'Readers') from memberships m left join catalog_names g on g.id = m.group_id",
    )
    .fetch_one(pipeline.store.pool())
    .await
    .unwrap();
    assert_eq!(enrolled, (2, true));
    // The other plan saw none of them in the group; made anew, it does.
    assert_eq!(
        lifecycle::plan(&pipeline.store, pipeline.tenant, other).await.unwrap(),
        Transition::Done(ImportState::Planning)
    );
    work_on_plan(&mut pipeline, other).await;
    let foreseen = verdicts(&records(&pipeline, other).await);
    assert_eq!(foreseen, [(Outcome::Skipped, Some(Reason::Unchanged)); 4]);
    applied(&mut pipeline, other, OnDrift::Refuse).await;
    assert_eq!(pipeline.outcomes(other).await, foreseen);
    pipeline.finish().await;
}

/// What a record names may have left the catalog since its plan was made: it fails by that, and nothing else changes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plan_is_applied_by_the_catalog_of_that_moment() {
    let mut pipeline = small(Backend::Postgres).await;
    let roles = |roles: &[&str]| Catalog {
        roles: roles.iter().map(|role| (*role).to_owned()).collect(),
        ..Catalog::default()
    };
    catalog::apply(&pipeline.store, pipeline.tenant, &roles(&["Agent"])).await.unwrap();
    let csv = "email,roles\nx@example.com,Agent\ny@example.com,\n";
    let import = plan(&mut pipeline, csv, &ImportOptions::default()).await;
    let foreseen = verdicts(&records(&pipeline, import).await);
    assert_eq!(foreseen, [(Outcome::Inserted, None), (Outcome::Inserted, None)]);
    catalog::apply(&pipeline.store, pipeline.tenant, &roles(&[])).await.unwrap();
    assert_eq!(
        applied(&mut pipeline, import, OnDrift::Refuse).await.counts,
        Counts { total: 2, inserted: 1, failed: 1, ..Counts::default() }
    );
    let failed = pipeline.records(import, Some(Outcome::Failed)).await;
    assert_eq!((failed[0].record, failed[0].errors[0].field.as_deref()), (1, Some("roles.0")));
    assert_ne!(failed[0].errors[0].code, ErrorCode::ChangedSincePlan);
    pipeline.finish().await;
}

/// A mended file was planned; then the import that it mends was undone. What the plan saw is there no more, and the records say so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plan_whose_family_was_undone_meanwhile_is_compared_as_any_other() {
    let mut pipeline = small(Backend::Postgres).await;
    let options = ImportOptions::default();
    let parent = pipeline.import("email,given_name\na@example.com,Ann\nnobody,Bob\n", &options).await.id;
    let csv = "email,given_name\na@example.com,Anna\nb@example.com,Bob\n";
    let import = pipeline.accepted(csv, &first(&options)).await;
    sqlx::query("update imports set mends = $2 where id = $1")
        .bind(import.get())
        .bind(parent.get())
        .execute(pipeline.store.pool())
        .await
        .unwrap();
    work_on_plan(&mut pipeline, import).await;
    taken_back(&mut pipeline, parent).await;
    assert_eq!(summary(&pipeline, import).await.since.map(|since| since.changed), Some(1));
    assert_eq!(
        applied(&mut pipeline, import, OnDrift::Refuse).await.counts,
        Counts { total: 2, inserted: 1, failed: 1, ..Counts::default() }
    );
    let failed = pipeline.records(import, Some(Outcome::Failed)).await;
    assert_eq!((failed[0].record, failed[0].errors[0].code), (1, ErrorCode::ChangedSincePlan));
    pipeline.finish().await;
}

/// A filter that nothing fits does not read the whole plan in one request.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_ends_after_some_chunks_although_nothing_in_them_is_wanted() {
    let mut pipeline = Pipeline::new(Backend::Postgres).await;
    pipeline.limits.chunk = ChunkLimits { records: 1, bytes: 64 * 1024, lanes: 1 };
    pipeline.import(&people(60), &ImportOptions::default()).await;
    let rome = people(60).replace("Milan", "Rome");
    let import = plan(&mut pipeline, &rome, &ImportOptions::default()).await;
    let mut wanted =
        PlannedPage { field: Some("metadata.office.street"), limit: 7, ..PlannedPage::default() };
    let page = plans::page(&pipeline.store, pipeline.tenant, import, wanted).await.unwrap();
    assert!(page.records.is_empty());
    wanted.after = page.next.unwrap();
    let page = plans::page(&pipeline.store, pipeline.tenant, import, wanted).await.unwrap();
    assert_eq!((page.records.len(), page.next), (0, None));
    pipeline.finish().await;
}
