//! Applies the chunks of an undo. Their records are changes, which are taken back.

use muster_domain::chunk::ChunkRecords;
use muster_domain::error::{ErrorCode, RecordError};
use muster_domain::outcome::{Reason, Verdict};
use muster_domain::planned::{Drift, PlanUse, UndoCheck, drift_of_undo};
use muster_domain::undo::{self, Change, ChangeResult, Kept, Undo, Why};
use muster_store::take_back::{self as store, ChangedBy, TakenBack};
use muster_store::{StoreError, Transaction};

use super::{Work, Written};

/// Most fields that a warning names.
const NAMED: usize = 20;

impl Work<'_> {
    /// Reads the pending changes of an undo. One that cannot be read fails: its person was erased, or it is damaged.
    pub(super) fn read_changes(&mut self, records: &ChunkRecords) {
        if self.rules.options.undo.is_none() {
            return;
        }
        for (index, change) in undo::changes(records).into_iter().enumerate() {
            if !self.is_pending(index) {
                continue;
            }
            match change {
                Some(change) => self.to_take_back.push((index, change)),
                None => {
                    let defect = self.raw.get(index).and_then(|record| record.defect).cloned();
                    let damaged = || {
                        RecordError::new(
                            ErrorCode::ChangeUnreadable,
                            "what is stored of the change cannot be read",
                        )
                    };
                    self.fail(index, vec![defect.unwrap_or_else(damaged)]);
                }
            }
        }
    }

    /// Plans and writes taking back the changes at `which`, in their order.
    pub(super) async fn take_back(
        &self,
        transaction: &mut Transaction<'_>,
        which: &[usize],
        undo: &Undo,
    ) -> Result<Written, StoreError> {
        let chosen: Vec<&(usize, Change)> =
            which.iter().filter_map(|at| self.to_take_back.get(*at)).collect();
        let changes: Vec<Change> = chosen.iter().map(|(_, change)| change.clone()).collect();
        let (tenant, import) = (self.locked.tenant, self.locked.import);
        let drift = |at: usize, told: &ChangeResult| self.compare_undone(chosen.get(at)?.0, told);
        let check = UndoCheck { drift: &drift, refuse: self.locked.plan != Some(PlanUse::Apply) };
        // Records that are tried again are not compared, and still wait for what is left out.
        let check = self.locked.plan.is_some().then_some(&check);
        let done = store::take_back(transaction, tenant, import, &changes, undo, check).await?;
        let TakenBack { planned, changed_by, drifts } = done;
        let mut written = Written {
            verdicts: Vec::with_capacity(chosen.len()),
            errors: Vec::new(),
            warnings: Vec::new(),
            changes: planned.changes,
        };
        for (at, drift) in drifts {
            let Some((index, _)) = chosen.get(at) else { continue };
            match self.locked.plan {
                Some(PlanUse::Apply) => written.warnings.push((*index, drift.warning())),
                _ => written.errors.push((*index, drift.error())),
            }
        }
        for ((index, change), told) in chosen.iter().zip(planned.told) {
            let user = (told.verdict != Verdict::FAILED).then_some(change.user);
            written.verdicts.push((*index, told.verdict, user));
            let by = changed_by.get(&change.user);
            written.warnings.extend(warnings(&told, by).into_iter().map(|text| (*index, text)));
            written.errors.extend(told.error.map(|error| (*index, error)));
        }
        Ok(written)
    }

    /// Compares the change at this place of the chunk with its plan.
    fn compare_undone(&self, index: usize, told: &ChangeResult) -> Option<Drift> {
        match self.planned.as_ref()?.get(&index) {
            Some(planned) => drift_of_undo(planned, told),
            None => Drift::without_plan(told.verdict).filter(|_| told.is_written()),
        }
    }
}

/// The warnings for a change that was not, or not completely, undone. Names fields and users, never values.
pub(super) fn warnings(told: &ChangeResult, by: Option<&ChangedBy>) -> Vec<String> {
    let mut texts = Vec::new();
    let changed: Vec<&Kept> = told.kept.iter().filter(|kept| kept.why == Why::Changed).collect();
    if !changed.is_empty() {
        let names: Vec<&str> = changed.iter().take(NAMED).map(|kept| kept.path.as_str()).collect();
        let more = changed.len().saturating_sub(NAMED);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let by = by.map_or_else(String::new, |by| format!(" by {by}"));
        texts.push(format!("changed since{by}, and left as it is: {}{more}", names.join(", ")));
    }
    for kept in &told.kept {
        match kept.why {
            Why::Changed => {}
            Why::Held(holder) => {
                texts
                    .push(format!("{}: the value belongs to user {holder} by now; left as it is", kept.path));
            }
            Why::Lost => {
                texts.push(format!("{}: the catalog no longer has what it names; left as it is", kept.path));
            }
        }
    }
    match told.verdict.reason {
        Some(Reason::ChangedSince) if told.kept.is_empty() => {
            let by = by.map_or_else(|| "somebody".to_owned(), ChangedBy::to_string);
            texts.push(format!("{by} changed the user since it was inserted; it is kept"));
        }
        Some(Reason::Gone) => texts.push("the user is there no more".to_owned()),
        _ => {}
    }
    texts
}
