//! Bisects a chunk that the database refuses, until each record at fault is isolated (P5).
//!
//! An error of one record and an error of everything can have the same SQLSTATE. So the difference is found
//! by trying. A record that is refused by itself fails if the database accepts others at the same time: other
//! records of the chunk, or a probe user, which is rolled back. If the database accepts nothing, the chunk
//! waits.

use std::time::{Duration, Instant};

use muster_domain::fault::{self, Mutant};
use muster_runtime::clock;
use muster_store::apply::Limits;
use muster_store::upsert::{check_deferred, probe};
use muster_store::{ErrorKind, StoreError, Transaction};

use crate::apply::{Work, Written};
use crate::deadline_pool::DeadlinePool;

/// Refusals in a row, with nothing taken so far and the probe refused, after which no more is tried. Halving the largest
/// chunk down to its first record takes 17.
const ENOUGH: usize = 32;

/// Whether the statement was ended because it took too long, rather than refused: something is held or slow.
pub(crate) fn waited(error: &StoreError, took: Duration, limits: &Limits) -> bool {
    let limit = match error.sqlstate() {
        Some("55P03") => limits.lock,
        Some("57014") => limits.statement,
        _ => return false,
    };
    took >= limit.mul_f64(0.8)
}

/// What was found so far.
#[derive(Default)]
struct Search {
    /// Users of the chunk were written.
    taken: bool,
    /// The probe was taken at least once.
    probed: bool,
    refusals: usize,
    /// Records that were refused by themselves while the probe user was refused too.
    doubtful: Vec<(usize, StoreError)>,
}

impl Work<'_> {
    /// Bisects what the database refuses until each record at fault is isolated, and only these fail. Left halves come
    /// first, so that later records see what earlier ones did. The inner error says that the database refuses everything.
    pub(crate) async fn bisect(
        &mut self,
        transaction: &mut Transaction<'_>,
        pool: &DeadlinePool,
    ) -> Result<Result<(), StoreError>, StoreError> {
        let mut search = Search::default();
        let mut stack: Vec<(usize, usize)> = vec![(0, self.len())];
        while let Some((start, end)) = stack.pop() {
            if start >= end {
                continue;
            }
            let began = Instant::now();
            let refusal = match self.piece(transaction, pool, start, end).await? {
                Ok(written) => {
                    search.taken |= written.wrote();
                    self.note(written);
                    continue;
                }
                Err(refusal) => refusal,
            };
            if waited(&refusal, began.elapsed(), &pool.limits()) {
                return Ok(Err(refusal));
            }
            search.refusals += 1;
            if end - start > 1 {
                let hopeless = !search.taken && !search.probed && search.refusals >= ENOUGH;
                if hopeless && refusal.kind() != ErrorKind::Data {
                    return Ok(Err(refusal));
                }
                let middle = start + (end - start) / 2;
                stack.push((middle, end));
                stack.push((start, middle));
            } else if refusal.kind() == ErrorKind::Data
                || fault::mutant(Mutant::RefusedWithoutProbe)
                || self.probe(transaction, pool).await?
            {
                search.probed |= refusal.kind() != ErrorKind::Data;
                self.refuse(start, &refusal);
            } else if search.probed || !search.taken && search.refusals >= ENOUGH {
                // It took the probe before and does not now: whatever happened, it is not this record.
                return Ok(Err(refusal));
            } else {
                search.doubtful.push((start, refusal));
            }
        }
        self.doubtful(transaction, pool, search).await
    }

    /// What becomes of the records that were refused alone while the probe was refused too.
    async fn doubtful(
        &mut self,
        transaction: &mut Transaction<'_>,
        pool: &DeadlinePool,
        mut search: Search,
    ) -> Result<Result<(), StoreError>, StoreError> {
        match search.doubtful.pop() {
            None => Ok(Ok(())),
            Some((_, refusal)) if !search.taken => Ok(Err(refusal)),
            // It takes now what it refused then: what refused everything has ended meanwhile, and nothing is wrong with the records.
            Some((_, refusal))
                if !fault::mutant(Mutant::DoubtfulFail) && self.probe(transaction, pool).await? =>
            {
                Ok(Err(refusal))
            }
            Some(last) => {
                for (at, refusal) in search.doubtful.into_iter().chain([last]) {
                    self.refuse(at, &refusal);
                }
                Ok(Ok(()))
            }
        }
    }

    /// Writes some records under a savepoint. The inner error is what the database said, and nothing of them is written; the
    /// outer one says that the transaction is lost, or that the chunk is to be planned again.
    async fn piece(
        &self,
        transaction: &mut Transaction<'_>,
        pool: &DeadlinePool,
        start: usize,
        end: usize,
    ) -> Result<Result<Written, StoreError>, StoreError> {
        let which: Vec<usize> = (start..end).collect();
        let mut savepoint = pool.within(muster_store::savepoint(transaction)).await?;
        let mut written = pool.within(self.write(&mut savepoint, &which)).await;
        if written.is_ok()
            && !fault::mutant(Mutant::DeferredUnchecked)
            && let Err(error) = pool.within(check_deferred(&mut savepoint)).await
        {
            written = Err(error);
        }
        match written {
            Ok(written) => {
                pool.within(async { Ok(savepoint.commit().await?) }).await?;
                Ok(Ok(written))
            }
            // Somebody else was faster, unless nobody else writes.
            Err(error) if error.kind() == ErrorKind::Conflict && !self.locked.exclusive => Err(error),
            Err(error) if error.is_answer() => {
                // Only a session that lives can roll back, whatever the error's code says.
                pool.within(async { Ok(savepoint.rollback().await?) }).await?;
                Ok(Err(error))
            }
            Err(error) => Err(error),
        }
    }

    /// Whether the database accepts a probe user, or refuses it as a record at fault. Nothing of it is left.
    async fn probe(
        &self,
        transaction: &mut Transaction<'_>,
        pool: &DeadlinePool,
    ) -> Result<bool, StoreError> {
        let mut savepoint = pool.within(muster_store::savepoint(transaction)).await?;
        let taken = pool.within(probe(&mut savepoint, self.locked.tenant, clock::new_id())).await;
        let taken = match taken {
            Ok(()) => true,
            Err(error) if error.is_answer() => {
                matches!(error.kind(), ErrorKind::Data | ErrorKind::Conflict)
            }
            Err(error) => return Err(error),
        };
        pool.within(async { Ok(savepoint.rollback().await?) }).await?;
        Ok(taken)
    }
}
