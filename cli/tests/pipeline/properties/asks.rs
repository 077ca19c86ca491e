//! What operators ask for while imports run, and what befalls these meanwhile.

use muster_domain::id::{ChunkId, ImportId};
use muster_domain::import::ImportState;
use muster_store::apply;
use muster_store::lifecycle::{self, Transition};
use muster_testkit::random::Random;

use crate::harness::Pipeline;

/// One of these things.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ask {
    /// Retry, twice at once.
    Retry,
    /// Pause and resume.
    Pause,
    /// Pause, retry, resume.
    RetryPaused,
    /// A chunk that has not ended dies.
    Die,
    /// From now on the database refuses some users.
    Sicken,
    /// It does so no more.
    Mend,
}

const ASKS: [Ask; 7] =
    [Ask::Retry, Ask::Retry, Ask::Pause, Ask::RetryPaused, Ask::Die, Ask::Sicken, Ask::Mend];

pub(super) fn some(random: &mut Random) -> Vec<Ask> {
    let most = *random.pick(&[0, 0, 3, 8]);
    (0..most).map(|_| *random.pick(&ASKS)).collect()
}

/// A rule of the database that can be switched on for one tenant.
const SICKNESS: &str = "
    create table witness.sick (tenant_id integer primary key);
    create function witness.refuse() returns trigger language plpgsql as $$
    begin
        if exists (select from witness.sick where tenant_id = new.tenant_id)
           and hashtext(concat(new.email, new.phone_number, new.preferred_username)) % 3 = 0 then
            raise check_violation using message = 'refused for a test';
        end if;
        return new;
    end $$;
    create trigger sickness before insert or update on public.users for each row execute function witness.refuse();";

pub(super) async fn install(pipeline: &Pipeline) {
    let mut connection = pipeline.store.connection().await.unwrap();
    sqlx::raw_sql(SICKNESS).execute(&mut connection).await.unwrap();
}

pub(super) async fn perform(pipeline: &Pipeline, import: ImportId, ask: Ask) -> Result<(), String> {
    let (store, tenant) = (&pipeline.store, pipeline.tenant);
    match ask {
        Ask::Retry => {
            let (one, other) = tokio::join!(
                lifecycle::retry(store, tenant, import),
                lifecycle::retry(store, tenant, import)
            );
            done(one.unwrap())?;
            done(other.unwrap())?;
        }
        Ask::Pause | Ask::RetryPaused => {
            // Refused where it has ended.
            lifecycle::pause(store, tenant, import).await.unwrap();
            if ask == Ask::RetryPaused {
                done(lifecycle::retry(store, tenant, import).await.unwrap())?;
            }
            lifecycle::resume(store, tenant, import).await.unwrap();
        }
        Ask::Die => die(pipeline, import).await,
        Ask::Sicken => sick(pipeline, "insert into witness.sick values ($1) on conflict do nothing").await,
        Ask::Mend => mend(pipeline).await,
    }
    Ok(())
}

pub(super) async fn mend(pipeline: &Pipeline) {
    sick(pipeline, "delete from witness.sick where tenant_id = $1").await;
}

async fn sick(pipeline: &Pipeline, statement: &'static str) {
    let mut connection = pipeline.store.connection().await.unwrap();
    sqlx::query(statement).bind(pipeline.tenant.get()).execute(&mut connection).await.unwrap();
}

/// Retry is never refused to an import that was not cancelled.
fn done(steered: Transition) -> Result<(), String> {
    match steered {
        Transition::Done(ImportState::Running | ImportState::Paused | ImportState::Completed) => Ok(()),
        other => Err(format!("retry came to {other:?}")),
    }
}

/// As if a chunk's attempts were spent.
async fn die(pipeline: &Pipeline, import: ImportId) {
    let mut connection = pipeline.store.connection().await.unwrap();
    let open: Option<i64> = sqlx::query_scalar(
        "select id from chunks
          where import_id = $1 and state in ('staged', 'dispatched', 'retryable') order by seq, lane limit 1",
    )
    .bind(import.get())
    .fetch_optional(&mut connection)
    .await
    .unwrap();
    if let Some(chunk) = open {
        apply::mark_dead(&pipeline.store, ChunkId::new(chunk), "for a test").await.unwrap();
    }
}
