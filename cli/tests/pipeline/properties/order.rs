//! The order of the file, seen record by record: what retry and dead chunks may not change.

use std::collections::BTreeMap;

use muster_domain::error::ErrorCode;
use muster_domain::outcome::{Outcome, Verdict};
use muster_domain::warning::Warning;
use muster_testkit::oracle::Observed;

/// A record that was decided: where, and how.
#[derive(Debug)]
pub(super) struct Decided<'a> {
    pub(super) number: u64,
    pub(super) identifier: Option<String>,
    /// Which of all applications of chunks decided it; 0 for none.
    pub(super) place: i64,
    pub(super) observed: &'a Observed,
}

impl Decided<'_> {
    /// Nothing was to come of the record for a reason that lies outside of it and of the users.
    pub(super) fn is_excused(&self) -> bool {
        let code = self.observed.errors.first().map(|error| error.code);
        matches!(self.observed.verdict, Verdict::CANCELLED | Verdict::SUPERSEDED)
            || matches!(code, Some(ErrorCode::ChunkDead | ErrorCode::DatabaseRefused))
    }

    fn is_applied(&self) -> bool {
        !self.is_excused() && self.observed.verdict.outcome != Outcome::Failed
    }
}

/// Records of an import that are identified by the same value were applied in their order, and those that came too late
/// were superseded by one that was applied before.
pub(super) fn check(decided: &[Decided<'_>]) -> Result<(), String> {
    let mut alike: BTreeMap<&str, Vec<&Decided<'_>>> = BTreeMap::new();
    for record in decided {
        if let Some(identifier) = &record.identifier {
            alike.entry(identifier).or_default().push(record);
        } else if record.observed.verdict == Verdict::SUPERSEDED {
            return Err(format!("record {} has no identifier and is superseded", record.number));
        }
    }
    for records in alike.values_mut() {
        records.sort_by_key(|record| record.number);
        for (at, record) in records.iter().enumerate() {
            let mut before =
                records[at + 1..].iter().filter(|later| later.is_applied() && (later.place < record.place));
            if record.observed.verdict == Verdict::SUPERSEDED {
                let told = before.any(|later| {
                    record.observed.warnings == [Warning::Superseded(later.number).to_string()]
                        && record.observed.user == later.observed.user
                });
                if !told {
                    return Err(format!("nothing superseded {record:?} of\n{records:#?}"));
                }
            } else if record.is_applied()
                // A user that exists is left alone, whenever that is looked at.
                && record.observed.verdict != Verdict::EXISTS
                && let Some(later) = before.next()
            {
                return Err(format!("record {} was applied after record {}", record.number, later.number));
            }
        }
    }
    Ok(())
}
