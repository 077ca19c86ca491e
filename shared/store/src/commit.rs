//! Commits whose answer can be lost, if the connection ends between the server's commit and its answer.
//!
//! Guarantee: [`commit`] returns `Ok` only if the transaction is committed, and any error but
//! [`StoreError::Unknown`] only if it is not committed and never will be. To find out, another connection
//! asks the server for the outcome of the transaction id.

use std::time::Duration;

use muster_domain::fault::{self, Mutant};
use muster_runtime::retry::{Backoff, Policy};
use tokio::time::{Instant, sleep};

use super::{Store, StoreError, Transaction};
use crate::ErrorKind;

/// How long the server is asked before the end of a transaction counts as unknown.
const ASKED_FOR: Duration = Duration::from_secs(30);
/// How often, while the server has not noticed yet that its client has gone.
const ASK_AGAIN: Policy = Policy { longest: Duration::from_secs(1), ..Policy::RECONNECT };

/// Commits a transaction that has written. Costs one question more than a bare commit.
///
/// # Errors
/// [`StoreError::Unknown`] where the store stayed away for too long to tell; any other error means that nothing was written.
pub async fn commit(store: &Store, mut transaction: Transaction<'_>) -> Result<(), StoreError> {
    let number = sqlx::query_scalar!(r#"select pg_current_xact_id()::text as "number!""#)
        .fetch_one(&mut *transaction)
        .await?;
    commit_numbered(store, transaction, &number).await
}

/// The same for a transaction whose number (`pg_current_xact_id()::text`) is known already.
pub(super) async fn commit_numbered(
    store: &Store,
    transaction: Transaction<'_>,
    number: &str,
) -> Result<(), StoreError> {
    match transaction.commit().await.map_err(StoreError::from) {
        // What the server itself refuses (a constraint that is checked at the end) is not committed.
        Err(error) if error.kind() == ErrorKind::Transient && !fault::mutant(Mutant::CommitAnswerTrusted) => {
            tracing::warn!(%error, "the answer to a commit was lost; asking what became of it");
            settle(store, number, error).await
        }
        answer => answer,
    }
}

async fn settle(store: &Store, number: &str, lost: StoreError) -> Result<(), StoreError> {
    let deadline = Instant::now() + ASKED_FOR;
    let mut backoff = Backoff::new(ASK_AGAIN);
    while Instant::now() < deadline {
        match status(store, number).await {
            Ok(Some(status)) if status == "committed" => return Ok(()),
            Ok(Some(status)) if status == "aborted" => return Err(lost),
            // The server has not noticed yet that the connection is gone.
            Ok(Some(_)) => {}
            // So old that the server has forgotten it: it cannot be ours.
            Ok(None) => return Err(lost),
            // A number that is still to come: this server took over from one that it did not hear everything of.
            Err(error) if error.sqlstate() == Some("22023") => return Err(lost),
            Err(error) => tracing::debug!(%error, "the store cannot be asked now"),
        }
        sleep(backoff.delay()).await;
    }
    Err(StoreError::Unknown)
}

/// `committed`, `aborted` or `in progress`.
async fn status(store: &Store, number: &str) -> Result<Option<String>, StoreError> {
    Ok(sqlx::query_scalar!("select pg_xact_status($1::text::xid8)", number).fetch_one(store.pool()).await?)
}
