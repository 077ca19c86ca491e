//! Planning a chunk of an undo: what taking its changes back would come to, without writing it.

use std::collections::HashMap;

use muster_domain::fault::{self, Point};
use muster_domain::id::ChunkId;
use muster_domain::outcome::{Counts, Outcome, Reason};
use muster_domain::planned::{PlannedChunk, PlannedRecord, kept_of_undo};
use muster_domain::undo::{self, Change, Planned, Undo};
use muster_store::plans::{self as store, NewPlan, Planning, Put};
use muster_store::take_back::{self, ChangedBy};
use muster_store::{StoreError, Transaction};
use uuid::Uuid;

use super::Work;
use super::take_back::warnings;
use crate::deadline_pool::DeadlinePool;

impl Work<'_> {
    /// Finds out what taking the pending changes back would come to, and writes it down. Nothing is written to users.
    pub(super) async fn foresee_undo(
        &self,
        transaction: &mut Transaction<'_>,
        pool: &DeadlinePool,
        chunk: ChunkId,
        undo: &Undo,
    ) -> Result<Counts, StoreError> {
        let (import, tenant) = (self.locked.import, self.locked.tenant);
        let changes: Vec<Change> = self.to_take_back.iter().map(|(_, change)| change.clone()).collect();
        let mut again = false;
        loop {
            let found = store::met_by_undo(transaction, (chunk, import, tenant), &changes, undo);
            let undoing = pool.within_longer(found).await?;
            let plan = undo::plan(&changes, &undoing.found, &undoing.lost, undo);
            fault::point(Point::Planned)?;
            let others = take_back::changed_by_others(transaction, tenant, import, undo, &changes, &plan);
            let changed_by = pool.within(others).await?;
            let left = undo::left(&undoing.found, &plan, |step| take_back::is_remembered(step, undo));
            let keys = kept_of_undo(import, &undoing.found, &left);
            let met = undoing.users_met(&plan);
            let mut records = self.foreseen_undo(plan, &changed_by);
            let unreadable = (0..self.raw.len()).filter(|index| !self.is_to_take_back(*index));
            records.extend(unreadable.filter_map(|index| self.invalid(index)));
            records.sort_unstable_by_key(|record| record.index);
            let mut counts = Counts::default();
            records.iter().for_each(|record| counts.add(record.outcome));
            let planned = PlannedChunk { records, users: Vec::new(), left };
            let planning =
                Planning { chunk, import, tenant, asked: &undoing.asked, independent: false, again };
            let written = NewPlan { chunk: &planned, counts, keys: &keys, met };
            let put = store::put(transaction, &planning, &undoing.met, &written);
            if pool.within_longer(put).await? == Put::Kept {
                return Ok(counts);
            }
            again = true;
        }
    }

    fn is_to_take_back(&self, index: usize) -> bool {
        self.to_take_back.binary_search_by_key(&index, |(at, _)| *at).is_ok()
    }

    /// The changes with what taking them back would come to. What a chunk does to a user is told with its last record that does something.
    fn foreseen_undo(&self, plan: Planned, changed_by: &HashMap<Uuid, ChangedBy>) -> Vec<PlannedRecord> {
        let mut effects: HashMap<Uuid, Change> =
            plan.changes.into_iter().map(|change| (change.user, change)).collect();
        let mut records = Vec::with_capacity(self.raw.len());
        for ((index, change), told) in self.to_take_back.iter().zip(plan.told) {
            let mut record = self.bare(*index, told.verdict);
            let by = changed_by.get(&change.user);
            record.warnings = warnings(&told, by);
            record.errors.extend(told.error);
            record.exceptions = Some(told.exceptions);
            let there = !matches!(record.outcome, Outcome::Failed | Outcome::Inserted);
            record.user = Some(change.user).filter(|_| there);
            records.push(record);
        }
        // From the last one backwards: earlier ones of the same user find nothing any more.
        for record in records.iter_mut().rev() {
            let tells = record.outcome == Outcome::Updated && record.reason != Some(Reason::Deleted);
            let Some(effect) = record.user.filter(|_| tells).and_then(|user| effects.remove(&user)) else {
                continue;
            };
            let differing: Vec<String> = effect.differing().into_iter().map(str::to_owned).collect();
            let Change { mut before, mut after, .. } = effect;
            before.retain(|path, _| differing.contains(path));
            after.retain(|path, _| differing.contains(path));
            (record.before, record.after) = (before, after);
        }
        records
    }
}
