//! Commits whose answer can be lost, if the connection ends between the server's commit and its answer.
//!
//! Guarantee: [`commit`] returns `Ok` only if the transaction is committed, and any error but
//! [`StoreError::Unknown`] only if it is not committed and never will be. To find out, another connection waits
//! until the transaction has ended, and then looks for the mark that it wrote. Its number alone proves nothing: a
//! server that crashed has forgotten the numbers that had not reached its disk, and gives them to others.

use std::time::Duration;

use muster_domain::fault::{self, Mutant, Point};
use muster_runtime::clock;
use muster_runtime::retry::{Backoff, Policy};
use sqlx::postgres::PgConnection;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::{Store, StoreError, Transaction};
use crate::ErrorKind;

/// How long the server is asked before the end of a transaction counts as unknown.
const ASKED_FOR: Duration = Duration::from_secs(30);
/// How long one question may take: a commit that waits for a standby is ended by no limit of the server.
const ASK_WITHIN: Duration = Duration::from_secs(10);
/// How long a mark is kept. Nothing bounds how long a commit waits for a standby: later, a mark that is not there proves nothing.
const MARKS_KEPT: Duration = Duration::from_secs(15 * 60);
/// How often, while the server has not noticed yet that its client has gone.
const ASK_AGAIN: Policy = Policy { longest: Duration::from_secs(1), ..Policy::RECONNECT };

/// Commits a transaction. Costs one statement more than a bare commit.
///
/// # Errors
/// [`StoreError::Unknown`] where the store stayed away for too long to tell; any other error means that nothing was written.
pub async fn commit(store: &Store, mut transaction: Transaction<'_>) -> Result<(), StoreError> {
    let (token, began) = (clock::new_id(), Instant::now());
    let number = sqlx::query_scalar!(
        r#"insert into commit_marks (token) values ($1) returning pg_current_xact_id()::text as "number!""#,
        token,
    )
    .fetch_one(&mut *transaction)
    .await?;
    fault::point(Point::StoreCommit)?;
    match transaction.commit().await.map_err(StoreError::from) {
        // What the server itself refuses (a constraint that is checked at the end) is not committed.
        Err(error) if error.kind() == ErrorKind::Transient && !fault::mutant(Mutant::CommitAnswerTrusted) => {
            tracing::warn!(%error, "the answer to a commit was lost; asking what became of it");
            Box::pin(settle(store, &Committing { number, token, began }, error)).await
        }
        answer => answer,
    }
}

/// Deletes marks that nobody looks for any more.
pub async fn forget_commit_marks(store: &Store) -> Result<u64, StoreError> {
    let forgotten = sqlx::query!(
        "delete from commit_marks where at < now() - make_interval(secs => $1)",
        MARKS_KEPT.as_secs_f64()
    )
    .execute(store.pool())
    .await?;
    Ok(forgotten.rows_affected())
}

/// A transaction whose commit was sent.
struct Committing {
    /// Its number on the server to which it was sent.
    number: String,
    /// Its mark.
    token: Uuid,
    /// When it was about to be marked.
    began: Instant,
}

async fn settle(store: &Store, committing: &Committing, lost: StoreError) -> Result<(), StoreError> {
    let deadline = Instant::now() + ASKED_FOR;
    let mut backoff = Backoff::new(ASK_AGAIN);
    while Instant::now() < deadline {
        // On one connection: two of them may lead to two servers, while one takes over from the other.
        let asked = Store::within(ASK_WITHIN, async {
            outcome(&mut *store.pool().acquire().await?, committing).await
        });
        match asked.await {
            Ok(Outcome::Committed) => return Ok(()),
            Ok(Outcome::NotCommitted) if committing.began.elapsed() > MARKS_KEPT / 2 => break,
            Ok(Outcome::NotCommitted) => return Err(lost),
            // The server has not noticed yet that the connection is gone.
            Ok(Outcome::InProgress) => {}
            Err(error) => tracing::debug!(%error, "the store cannot be asked now"),
        }
        sleep(backoff.delay()).await;
    }
    Err(StoreError::Unknown)
}

enum Outcome {
    Committed,
    NotCommitted,
    InProgress,
}

/// What became of it. The mark is looked for in a statement of its own, which sees what ended before it.
async fn outcome(connection: &mut PgConnection, committing: &Committing) -> Result<Outcome, StoreError> {
    let status = sqlx::query_scalar!("select pg_xact_status($1::text::xid8)", committing.number)
        .fetch_one(&mut *connection)
        .await
        .map_err(StoreError::from);
    let status = match status {
        // A number that is still to come: this server took over from one that it did not hear everything of.
        Err(error) if error.sqlstate() == Some("22023") => None,
        status => status?,
    };
    if status.as_deref() == Some("in progress") {
        return Ok(Outcome::InProgress);
    }
    if fault::mutant(Mutant::CommitNumberTrusted) {
        let committed = status.as_deref() == Some("committed");
        return Ok(if committed { Outcome::Committed } else { Outcome::NotCommitted });
    }
    // Written and not only read: so it is as durable as the server is set to make a commit, on its standbys too, before anybody is
    // told; and a standby that still replays what it heard refuses to write, and is asked again.
    let marked =
        sqlx::query!("update commit_marks set at = clock_timestamp() where token = $1", committing.token)
            .execute(connection)
            .await?;
    Ok(if marked.rows_affected() == 1 { Outcome::Committed } else { Outcome::NotCommitted })
}
