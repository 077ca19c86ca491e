//! Undoing imports: everything back as it was, people's own edits kept, once and for all whatever dies.

mod again;
mod left_out;
mod planned;
mod property;
mod story;
mod untouched;
mod values;

use muster_domain::chunk::ChunkLimits;
use muster_domain::id::ImportId;
use muster_domain::options::{ImportOptions, Start};
use muster_runtime::clock;
use muster_store::reports::ImportReport;
use muster_store::undo::{self, NewUndo, OpenedUndo};

use crate::harness::Pipeline;

/// A request to undo a whole import.
pub(super) fn whole(pipeline: &Pipeline, of: ImportId) -> NewUndo {
    NewUndo {
        id: ImportId::new(clock::new_id()),
        tenant: pipeline.tenant,
        of,
        fields: Vec::new(),
        records: None,
        outcome: None,
        code: None,
        start: Start::Auto,
        chunk: ChunkLimits { records: 7, bytes: 64 * 1024, lanes: 3 },
        actor: None,
    }
}

/// Opens an undo. Returns its id, how many changes it takes back, and how many it cannot.
pub(super) async fn opened(pipeline: &Pipeline, new: &NewUndo) -> (u64, u64) {
    match undo::open(&pipeline.store, new).await.unwrap() {
        OpenedUndo::New { records, gone } => (records, gone),
        other => panic!("{other:?}"),
    }
}

/// Undoes an import from beginning to end.
pub(super) async fn undone(pipeline: &mut Pipeline, new: &NewUndo) -> ImportReport {
    let (records, _) = opened(pipeline, new).await;
    let (dispatcher, worker) = (pipeline.dispatcher(), pipeline.worker(3));
    let report = pipeline.ended(new.id).await;
    worker.stop().await;
    dispatcher.stop().await;
    assert_eq!((report.counts.total, report.counts.pending), (records, 0));
    report
}

/// Undoes an import whole: nothing is left as it is. Returns the id of the undo.
pub(super) async fn taken_back(pipeline: &mut Pipeline, of: ImportId) -> ImportId {
    let new = whole(pipeline, of);
    let counts = undone(pipeline, &new).await.counts;
    assert_eq!((counts.skipped, counts.failed), (0, 0), "{counts:?}");
    new.id
}

/// Every user with its memberships and credentials, as the store has them, times apart. With `credentials` without theirs.
pub(super) async fn users(pipeline: &Pipeline, credentials: bool) -> Vec<String> {
    sqlx::query_scalar(
        "select jsonb_build_object(
                    'user', to_jsonb(u) - 'version' - 'created_at' - 'updated_at',
                    'memberships', (select jsonb_agg(jsonb_build_array(m.organization_id, m.group_id) order by m)
                                      from memberships as m where m.user_id = u.id),
                    'credentials', (select to_jsonb(c) - 'created_at' from user_credentials as c
                                     where c.user_id = u.id and $2))::text
           from users as u
          where u.tenant_id = $1
          order by u.id",
    )
    .bind(pipeline.tenant.get())
    .bind(credentials)
    .fetch_all(pipeline.store.pool())
    .await
    .unwrap()
}

/// Memberships and credentials of users that are not there.
pub(super) async fn orphans(pipeline: &Pipeline) -> i64 {
    sqlx::query_scalar(
        "select (select count(*) from memberships where user_id not in (select id from users))
              + (select count(*) from user_credentials where user_id not in (select id from users))",
    )
    .fetch_one(pipeline.store.pool())
    .await
    .unwrap()
}

/// Options that change nothing but what they name.
pub(super) fn plain() -> ImportOptions {
    ImportOptions::default()
}
