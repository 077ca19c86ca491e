//! What an action in bulk is said to do, against what steering does.

use muster_domain::bulk::Action;
use muster_domain::id::{ImportId, TenantId};
use muster_domain::import::ImportState;
use muster_store::lifecycle::{self, Transition};
use muster_store::problems::Cause;
use muster_store::{Store, tenants};
use muster_testkit::TestDatabase;
use uuid::Uuid;

/// An import in this state, of which nothing is left.
async fn import_in(store: &Store, tenant: TenantId, state: ImportState) -> ImportId {
    let id: Uuid = sqlx::query_scalar(
        "insert into imports (id, tenant_id, state, options, alive_until)
         values (gen_random_uuid(), $1, $2, '{}', now()) returning id",
    )
    .bind(tenant.get())
    .bind(state.as_str())
    .fetch_one(store.pool())
    .await
    .unwrap();
    ImportId::new(id)
}

/// Whether the action does something to an import in this state. Saying once more what is so already does nothing.
async fn does(store: &Store, tenant: TenantId, action: Action, before: ImportState) -> bool {
    let import = import_in(store, tenant, before).await;
    let steered = match action {
        Action::Pause => lifecycle::pause(store, tenant, import).await,
        Action::Resume => lifecycle::resume(store, tenant, import).await,
        Action::Cancel => lifecycle::cancel(store, tenant, import).await,
        Action::Retry | Action::Redrive => {
            lifecycle::retry_cause(store, tenant, import, Cause::default()).await
        }
    };
    match steered.unwrap() {
        // With nothing to drive again the state stays.
        Transition::Done(after) => action.is_about_failures() || after != before,
        Transition::Refused(_) => false,
        other => panic!("{action} of an import that is {before}: {other:?}"),
    }
}

#[tokio::test]
async fn an_action_is_done_in_the_states_that_it_names() {
    let store = TestDatabase::create().await.store().await;
    let tenant = tenants::ensure_default(&store).await.unwrap().into_inner().id;
    for action in Action::ALL.iter().copied() {
        for state in ImportState::ALL.iter().copied() {
            let named = action.can_be_done_in().contains(&state);
            assert_eq!(does(&store, tenant, action, state).await, named, "{action}: {state}");
        }
    }
}
