//! Planning a chunk of an import that is planned, and comparing with the plan what is applied then.

use std::collections::HashSet;

use muster_domain::fault::{self, Mutant, Point};
use muster_domain::field::Field;
use muster_domain::id::ChunkId;
use muster_domain::outcome::{Counts, Outcome, Verdict};
use muster_domain::plan::{Effect, Plan, plan_in_detail};
use muster_domain::planned::{self, Drift, PlanUse, PlannedChunk, PlannedRecord};
use muster_domain::record::{Names, Record};
use muster_domain::validate::Binding;
use muster_runtime::clock;
use muster_store::plans::{self as store, NewPlan, Planning, Put};
use muster_store::upsert::{Check, Upserted, upsert_planned};
use muster_store::{StoreError, Transaction};
use uuid::Uuid;

use super::Work;
use crate::slots::Slots;

impl Work<'_> {
    /// Finds out what the pending records would come to, and writes it down. Nothing is written to users.
    pub(super) async fn foresee(
        &self,
        transaction: &mut Transaction<'_>,
        slots: &Slots,
        chunk: ChunkId,
    ) -> Result<Counts, StoreError> {
        let (import, tenant) = (self.locked.import, self.locked.tenant);
        let records: Vec<&Record<'_>> = self.valid.iter().map(|(_, record)| record).collect();
        let asked = planned::asked(import, &records);
        let planning = Planning { chunk, import, tenant, asked: &asked };
        let (identifier, renames) = (self.rules.options.identifier, self.may_rename());
        loop {
            let enrolment = self.rules.options.enrolment;
            let found = store::known(transaction, &planning, &records, enrolment);
            let met = slots.within_longer(found).await?;
            let mut ids = clock::id_source();
            let mut new_id = || ids.next_id();
            let plan = plan_in_detail(&records, &met.known.users, self.rules, clock::now(), &mut new_id);
            fault::point(Point::Planned)?;
            let keys = planned::kept(import, &records, &met.known.users, &plan, identifier, renames);
            let left = met.known.left(&plan);
            let new: HashSet<Uuid> = left.iter().filter(|user| user.new).map(|user| user.id).collect();
            let new: HashSet<Uuid> = new.union(&met.known.new).copied().collect();
            let users_met = met.known.met(&plan);
            let planned = PlannedChunk { records: self.foreseen(plan, &new), users: left };
            let mut counts = Counts::default();
            planned.records.iter().for_each(|record| counts.add(record.outcome));
            let written = NewPlan { chunk: &planned, counts, keys: &keys, met: users_met };
            if slots.within_longer(store::put(transaction, &planning, &met, &written)).await? == Put::Kept {
                return Ok(counts);
            }
        }
    }

    /// Reads what was planned for the records, where they are applied after a plan. True: another chunk is applied first. Records that a
    /// retry drives once more are applied as things are now.
    pub(super) async fn read_plan(
        &mut self,
        transaction: &mut Transaction<'_>,
        chunk: ChunkId,
    ) -> Result<bool, StoreError> {
        if self.locked.plan.is_none() || self.locked.reopened {
            return Ok(false);
        }
        let plan = store::of_chunk(transaction, chunk).await?;
        self.planned = plan.records.into_iter().map(|record| (record.index, record)).collect();
        Ok(plan.waits)
    }

    /// The pending records with what they would come to, those that are invalid among them.
    fn foreseen(&self, plan: Plan<'_>, new: &HashSet<Uuid>) -> Vec<PlannedRecord> {
        let Plan { verdicts, errors, warnings, effects, .. } = plan;
        let mut records = Vec::with_capacity(self.raw.len());
        let decided = self.valid.iter().zip(verdicts).zip(effects);
        for (((index, _), (verdict, user)), effect) in decided {
            let mut record = self.bare(*index, verdict);
            record.user = user.filter(|user| !new.contains(user));
            (record.before, record.after, record.inserts) = (effect.before, effect.after, effect.inserts);
            records.push(record);
        }
        for (at, mut error) in errors {
            // A user that is not there yet has no id that anybody could look for.
            error.user_id = error.user_id.filter(|user| !new.contains(user));
            if let Some(record) = records.get_mut(at) {
                record.errors.push(error);
            }
        }
        for (at, warning) in warnings {
            if let Some(record) = records.get_mut(at) {
                record.warnings.push(warning.to_string());
            }
        }
        let valid: HashSet<usize> = self.valid.iter().map(|(index, _)| *index).collect();
        for index in (0..self.raw.len()).filter(|index| !valid.contains(index)) {
            records.extend(self.invalid(index));
        }
        records.sort_unstable_by_key(|record| record.index);
        records
    }

    fn bare(&self, index: usize, verdict: Verdict) -> PlannedRecord {
        let position = self.raw.get(index).map(|record| record.position);
        PlannedRecord {
            index,
            record: position.map_or(0, |position| position.record.get()),
            line: position.map_or(0, |position| position.line),
            outcome: verdict.outcome,
            reason: verdict.reason,
            user: None,
            errors: Vec::new(),
            warnings: Vec::new(),
            before: serde_json::Map::new(),
            after: serde_json::Map::new(),
            inserts: None,
        }
    }

    /// A record that was pending and is invalid now: something that it names has left the catalog since.
    fn invalid(&self, index: usize) -> Option<PlannedRecord> {
        let (before, _) = self.locked.outcomes.get(index)?;
        if before.outcome != Outcome::Pending {
            return None;
        }
        let mut record = self.bare(index, Verdict::FAILED);
        let issue = self.issues.iter().find(|issue| issue.record == record.record);
        record.errors = issue.map(|issue| issue.errors.clone()).unwrap_or_default();
        Some(record)
    }

    /// Whether records of the import may give users another identifier. Where its names are not known, they may.
    fn may_rename(&self) -> bool {
        let Some(columns) = &self.locked.columns else { return true };
        let mut binding = Binding::new(self.rules);
        binding.extend(&Names::from_header(columns));
        binding.name_of(Field::NewEmail).is_some()
    }

    /// Plans and writes records that were planned before, at these places of the chunk.
    pub(super) async fn write_planned(
        &self,
        transaction: &mut Transaction<'_>,
        records: &[&Record<'_>],
        places: &[usize],
        new_id: &mut (dyn FnMut() -> Uuid + Send),
    ) -> Result<(Upserted, Vec<(usize, Drift)>), StoreError> {
        let drift = |at: usize, verdict: Verdict, user: Option<Uuid>, effect: &Effect| {
            planned::drift(self.planned.get(places.get(at)?)?, verdict, user, effect)
        };
        let refuse = self.locked.plan != Some(PlanUse::Apply) && !fault::mutant(Mutant::DriftUnseen);
        let check = Check { drift: &drift, refuse };
        let (tenant, alone) = (self.locked.tenant, self.locked.alone);
        upsert_planned(transaction, tenant, alone, records, self.rules, clock::now(), new_id, &check).await
    }
}
