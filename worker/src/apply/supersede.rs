//! Superseded records. Later records of the file were applied before a retried record. If one of them has the
//! same identifier, the planner is told, and the retried record changes nothing, so that the order of the
//! file holds (P4).
//!
//! Only chunks that `retry` reopened pay for this. Records with the same identifier share a lane, so the
//! later chunks of the lane are checked one at a time. Each is decoded once, and afterwards its fingerprints
//! are used. No other chunk of the lane is applied meanwhile, since each lane has only one chunk with the
//! workers.

use std::collections::HashMap;

use muster_domain::chunk::{Fingerprints, fingerprint};
use muster_domain::fault::{self, Mutant};
use muster_domain::id::ChunkId;
use muster_domain::options::IdentifierField;
use muster_domain::outcome::{Outcome, OutcomeSheet, Reason};
use muster_domain::record::{FieldNames, PassedBy, Patch, RawRecord, Record};
use muster_domain::rules::Rules;
use muster_domain::validate::{Binding, validate};
use muster_store::{StoreError, Transaction, supersede as store};

use super::Work;

/// Identifiers that are looked for.
struct Wanted<'r> {
    /// Of each identifier, the places in the chunk of the records that have it.
    waiting: HashMap<&'r str, Vec<usize>>,
    found: HashMap<usize, PassedBy>,
}

impl Work<'_> {
    /// Marks the records that a later one passed.
    pub(super) async fn mark_superseded(
        &mut self,
        transaction: &mut Transaction<'_>,
        chunk: ChunkId,
    ) -> Result<(), StoreError> {
        if !self.locked.reopened
            || self.records.valid.is_empty()
            || fault::mutant(Mutant::RetryOverwritesLaterRecords)
        {
            return Ok(());
        }
        let mut wanted = Wanted::of(&self.records.valid, self.rules.options.identifier);
        let mut binding = Binding::new(self.rules);
        binding.extend(self.names);
        for (at, record) in self.raw.iter().enumerate() {
            let Some(later) = applied(record, &self.locked.outcomes, at) else { continue };
            if let Some(identifier) = validate(record, &binding, self.rules).identifier {
                wanted.find(&identifier, later, at);
            }
        }
        wanted.look_into_later_chunks(transaction, chunk, self.rules).await?;
        let found = wanted.found;
        for (index, record) in &mut self.records.valid {
            record.passed_by = found.get(index).copied();
        }
        Ok(())
    }
}

impl<'r> Wanted<'r> {
    fn of(valid: &'r [(usize, Record<'_>)], field: IdentifierField) -> Self {
        let mut waiting: HashMap<&'r str, Vec<usize>> = HashMap::new();
        for (index, record) in valid {
            if let Patch::Value(identifier) = record.identity(field) {
                waiting.entry(identifier).or_default().push(*index);
            }
        }
        Self { waiting, found: HashMap::new() }
    }

    /// A record at this position of the chunk was applied: records before it need not be searched any more.
    fn find(&mut self, identifier: &str, later: PassedBy, at: usize) {
        let Some(waiting) = self.waiting.get_mut(identifier) else { return };
        for index in waiting.extract_if(.., |index| *index < at) {
            self.found.insert(index, later);
        }
        if waiting.is_empty() {
            self.waiting.remove(identifier);
        }
    }

    async fn look_into_later_chunks(
        &mut self,
        transaction: &mut Transaction<'_>,
        chunk: ChunkId,
        rules: &Rules,
    ) -> Result<(), StoreError> {
        let mut after = -1;
        while !self.waiting.is_empty() {
            let page = store::later(transaction, chunk, after).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = last.seq;
            for later in page {
                let among = |known: &Fingerprints| {
                    self.waiting.keys().any(|identifier| known.contains(fingerprint(identifier)))
                };
                if later.fingerprints.as_ref().is_none_or(among) {
                    let known = later.fingerprints.is_some();
                    let fingerprints = self.look_into(transaction, later.id, rules).await?;
                    if !known {
                        store::keep(transaction, later.id, &fingerprints).await?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Looks into one later chunk. Returns the fingerprints of its records.
    async fn look_into(
        &mut self,
        transaction: &mut Transaction<'_>,
        chunk: ChunkId,
        rules: &Rules,
    ) -> Result<Fingerprints, StoreError> {
        let (records, sheet) = store::applied(transaction, chunk).await?;
        let fields = records.fields();
        let raw: Vec<RawRecord<'_>> = records.records(&fields).collect();
        let names: &FieldNames = records.names();
        let mut binding = Binding::new(rules);
        binding.extend(names);
        let mut identifiers = Vec::with_capacity(raw.len());
        for (at, record) in raw.iter().enumerate() {
            let Some(identifier) = validate(record, &binding, rules).identifier else { continue };
            if let Some(later) = applied(record, &sheet, at) {
                self.find(&identifier, later, usize::MAX);
            }
            identifiers.push(identifier);
        }
        Ok(Fingerprints::of(identifiers.iter().map(|identifier| &**identifier)))
    }
}

/// The record at this place of its chunk, if it was applied: with an effect, or because none was needed.
fn applied(record: &RawRecord<'_>, sheet: &OutcomeSheet, at: usize) -> Option<PassedBy> {
    let (verdict, user) = sheet.get(at)?;
    let applied = match verdict.outcome {
        Outcome::Inserted | Outcome::Updated => true,
        Outcome::Skipped => matches!(verdict.reason, Some(Reason::Unchanged | Reason::Exists)),
        Outcome::Pending | Outcome::Failed => false,
    };
    applied.then_some(PassedBy { record: record.position.record.get(), user })
}
