//! Dead letters: messages that a worker, or the broker after too many deliveries, gave up.

use muster_domain::fault::{Mutant, mutant};
use muster_domain::id::{ChunkId, ImportId};

use crate::{Store, StoreError};

/// What to do with a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeadLetterOf {
    /// A chunk that has attempts left: it is staged again, or was already.
    Innocent,
    /// A chunk whose attempts are spent.
    Spent,
    /// A chunk that somebody has locked at the moment.
    Locked,
    /// No open chunk.
    Nothing,
}

/// Looks whose dead letter it is. A chunk of another import than the message names is not meant: a restored database gives the numbers of
/// chunks away again, and a message can be forged. A chunk that has attempts left is not at fault, and is dispatched again. A worker that
/// died over it spent one, as for the workers.
pub async fn dead_letter(
    store: &Store,
    chunk: ChunkId,
    import: ImportId,
    attempts: u32,
) -> Result<DeadLetterOf, StoreError> {
    let row = sqlx::query!(
        r#"with open as materialized (
               select id, attempts + case when $3 then 0 else cardinality(begun) end as spent
                 from chunks
                where id = $1 and state in ('staged', 'dispatched', 'retryable') and (import_id = $4 or $5)
                  for no key update skip locked
           ), again as (
               update chunks
                  set state = 'staged', leased_until = null, claim_until = null
                 from open
                where chunks.id = open.id and chunks.state = 'dispatched' and open.spent < $2
           )
           select (select spent from open) as spent,
                  exists (select from chunks
                           where id = $1 and state in ('staged', 'dispatched', 'retryable') and (import_id = $4 or $5)) as "open!""#,
        chunk.get(),
        i32::try_from(attempts).unwrap_or(i32::MAX),
        mutant(Mutant::BegunIsInnocent),
        import.get(),
        mutant(Mutant::LettersOfAnyImport),
    )
    .fetch_one(store.pool())
    .await?;
    Ok(match row.spent {
        Some(spent) if u32::try_from(spent).unwrap_or(0) >= attempts => DeadLetterOf::Spent,
        Some(_) => DeadLetterOf::Innocent,
        None if row.open => DeadLetterOf::Locked,
        None => DeadLetterOf::Nothing,
    })
}
