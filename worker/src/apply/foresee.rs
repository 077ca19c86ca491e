//! Plans a chunk of an import with a plan, and later compares what is applied with that plan.

use std::collections::{HashMap, HashSet};

use muster_domain::fault::{self, Mutant, Point};
use muster_domain::field::Field;
use muster_domain::id::ChunkId;
use muster_domain::outcome::{Counts, Outcome, Verdict};
use muster_domain::plan::{Effect, Plan, plan_in_detail};
use muster_domain::planned::{self, Drift, KeptKeys, Maker, PlanUse, PlannedChunk, PlannedRecord};
use muster_domain::record::{FieldNames, Record};
use muster_domain::validate::Binding;
use muster_runtime::clock;
use muster_store::plans::{self as store, NewPlan, Planning, Put};
use muster_store::upsert::{Check, Upserted, upsert_planned};
use muster_store::{StoreError, Transaction};
use uuid::Uuid;

use super::Work;
use crate::deadline_pool::DeadlinePool;

impl Work<'_> {
    /// Finds out what the pending records would come to, and writes it down. Nothing is written to users.
    pub(super) async fn foresee(
        &self,
        transaction: &mut Transaction<'_>,
        pool: &DeadlinePool,
        chunk: ChunkId,
    ) -> Result<Counts, StoreError> {
        let (import, tenant) = (self.locked.import, self.locked.tenant);
        let records: Vec<&Record<'_>> = self.records.valid.iter().map(|(_, record)| record).collect();
        let independent = self.locked.independent;
        let asked = if independent { Vec::new() } else { planned::asked(import, &records) };
        let mut planning = Planning { chunk, import, tenant, asked: &asked, independent, again: false };
        let (identifier, renames) = (self.rules.options.identifier, self.may_rename());
        loop {
            let enrolment = self.rules.options.enrolment;
            let found = store::known(transaction, &planning, &records, enrolment);
            let met = pool.within_longer(found).await?;
            let mut ids = clock::id_source();
            let mut new_id = || ids.next_id();
            let plan = plan_in_detail(&records, &met.known.users, self.rules, clock::now(), &mut new_id);
            fault::point(Point::Planned)?;
            let keys = match independent {
                true => KeptKeys::default(),
                false => planned::kept(import, &records, &met.known.users, &plan, identifier, renames),
            };
            let mut makers = met.known.makers.clone();
            makers.extend(self.makers(chunk, &plan));
            let mut left = met.known.left(&plan);
            for user in left.iter_mut().filter(|user| user.new) {
                user.maker = makers.get(&user.id).copied();
            }
            let new: HashSet<Uuid> = left.iter().filter(|user| user.new).map(|user| user.id).collect();
            let new: HashSet<Uuid> = new.union(&met.known.new).copied().collect();
            let users_met = met.known.met(&plan);
            let planned =
                PlannedChunk { records: self.foreseen(plan, &new, &makers), users: left, left: Vec::new() };
            let mut counts = Counts::default();
            planned.records.iter().for_each(|record| counts.add(record.outcome));
            let written = NewPlan { chunk: &planned, counts, keys: &keys, met: users_met };
            if pool.within_longer(store::put(transaction, &planning, &met, &written)).await? == Put::Kept {
                return Ok(counts);
            }
            planning.again = true;
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
        let mut plan = store::of_chunk(transaction, chunk).await?;
        if let Some(place) = self.rules.options.enrolment {
            plan.records.iter_mut().for_each(|record| record.put_group(place));
        }
        if !plan.waits {
            self.read_made(transaction, chunk, &plan.records).await?;
        }
        self.planned = Some(plan.records.into_iter().map(|record| (record.index, record)).collect());
        Ok(plan.waits)
    }

    /// Reads which users records of other chunks made, where those were to make the users of records of this one. One round trip, if
    /// there are any.
    async fn read_made(
        &mut self,
        transaction: &mut Transaction<'_>,
        chunk: ChunkId,
        records: &[PlannedRecord],
    ) -> Result<(), StoreError> {
        let elsewhere = |record: &PlannedRecord| {
            let maker = record.maker.filter(|maker| maker.chunk != chunk.get())?;
            Some((record.index, maker))
        };
        let elsewhere: Vec<(usize, Maker)> = records.iter().filter_map(elsewhere).collect();
        if elsewhere.is_empty() {
            return Ok(());
        }
        let makers: Vec<Maker> = elsewhere.iter().map(|(_, maker)| *maker).collect();
        let made = store::made(transaction, &makers).await?;
        self.made_elsewhere =
            elsewhere.into_iter().map(|(index, maker)| (index, made.get(&maker).copied())).collect();
        Ok(())
    }

    /// Compares the record at this place of the chunk with its plan.
    fn compare(&self, index: usize, verdict: Verdict, user: Option<Uuid>, effect: &Effect) -> Option<Drift> {
        let Some(planned) = self.planned.as_ref()?.get(&index) else {
            return Drift::without_plan(verdict);
        };
        let drift = planned::drift(planned, verdict, user, effect);
        if drift.is_none() && self.means_a_stranger(planned, user, effect) {
            return Drift::without_plan(verdict);
        }
        drift
    }

    /// Whether a record means a user whom no record of the import made, although by the plan one makes it.
    fn means_a_stranger(&self, planned: &PlannedRecord, user: Option<Uuid>, effect: &Effect) -> bool {
        let Some(maker) = planned.maker.filter(|_| !fault::mutant(Mutant::DriftForgetsMaker)) else {
            return false;
        };
        if let Some(made) = self.made_elsewhere.get(&planned.index) {
            return made.is_none() || *made != user;
        }
        let number = self.raw.get(maker.index).map(|record| record.position.record.get());
        if effect.made_by.is_some() && effect.made_by == number {
            return false;
        }
        // The chunk is written in parts, and the record that makes the user was in one before.
        let inserted = |(verdict, made): (Verdict, Option<Uuid>)| {
            verdict.outcome == Outcome::Inserted && made.is_some() && made == user
        };
        !self.records.sheet.get(maker.index).is_some_and(inserted)
    }

    /// The users that a plan makes, and the records that make them.
    fn makers(&self, chunk: ChunkId, plan: &Plan<'_>) -> HashMap<Uuid, Maker> {
        let maker = |((index, _), (verdict, user)): (&(usize, Record<'_>), &(Verdict, Option<Uuid>))| {
            let user = user.filter(|_| verdict.outcome == Outcome::Inserted)?;
            Some((user, Maker { chunk: chunk.get(), index: *index }))
        };
        self.records.valid.iter().zip(&plan.verdicts).filter_map(maker).collect()
    }

    /// The pending records with what they would come to, those that are invalid among them.
    fn foreseen(
        &self,
        plan: Plan<'_>,
        new: &HashSet<Uuid>,
        makers: &HashMap<Uuid, Maker>,
    ) -> Vec<PlannedRecord> {
        let Plan { verdicts, errors, warnings, effects, .. } = plan;
        let mut records = Vec::with_capacity(self.raw.len());
        let decided = self.records.valid.iter().zip(verdicts).zip(effects);
        for (((index, _), (verdict, user)), effect) in decided {
            let mut record = self.bare(*index, verdict);
            record.user = user.filter(|user| !new.contains(user));
            record.maker = user
                .filter(|user| new.contains(user) && verdict.outcome != Outcome::Inserted)
                .and_then(|user| makers.get(&user).copied());
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
        let valid: HashSet<usize> = self.records.valid.iter().map(|(index, _)| *index).collect();
        for index in (0..self.raw.len()).filter(|index| !valid.contains(index)) {
            records.extend(self.invalid(index));
        }
        records.sort_unstable_by_key(|record| record.index);
        records
    }

    pub(super) fn bare(&self, index: usize, verdict: Verdict) -> PlannedRecord {
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
            maker: None,
            exceptions: None,
        }
    }

    /// A record that was pending and is invalid now: something that it names has left the catalog since.
    pub(super) fn invalid(&self, index: usize) -> Option<PlannedRecord> {
        let (before, _) = self.locked.outcomes.get(index)?;
        if before.outcome != Outcome::Pending {
            return None;
        }
        let mut record = self.bare(index, Verdict::FAILED);
        let issue = self.records.issues.iter().find(|issue| issue.record == record.record);
        record.errors = issue.map(|issue| issue.errors.clone()).unwrap_or_default();
        Some(record)
    }

    /// Whether records of the import may give users another identifier. Where its names are not known, they may.
    fn may_rename(&self) -> bool {
        let Some(columns) = &self.locked.columns else { return true };
        let mut binding = Binding::new(self.rules);
        binding.extend(&FieldNames::from_header(columns));
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
            self.compare(*places.get(at)?, verdict, user, effect)
        };
        let refuse = self.locked.plan != Some(PlanUse::Apply) && !fault::mutant(Mutant::DriftUnseen);
        let check = Check { drift: &drift, refuse };
        let (tenant, exclusive) = (self.locked.tenant, self.locked.exclusive);
        upsert_planned(transaction, tenant, exclusive, records, self.rules, clock::now(), new_id, &check)
            .await
    }
}
