//! The comparison after each import: every record once, each with the outcome that it must have, each failure with its error,
//! and the counts their sums.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use muster_domain::outcome::Outcome;
use serde_json::{Value, json};

use super::api::View;
use super::generate::Draft;
use super::journal::Wrong;
use super::model::{Expected, OnExisting, Users};
use super::sheets::{self, Came, Sheets};
use super::world::{Accepted, World};

/// Of how many wrong records of one import the details are written down.
const TOLD: usize = 5;

/// The state changes that were requested for an import.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Interventions {
    pub(crate) retries: u32,
    pub(crate) cancelled: bool,
}

/// A record that came out otherwise than it must.
#[derive(Debug)]
struct Odd {
    what: &'static str,
    wrong: Wrong,
    record: u64,
    detail: String,
}

impl World {
    /// Looks at an import that has ended: what holds for every import, whatever was in it.
    pub(crate) async fn check_sums(&self, import: &Accepted, view: &View) -> anyhow::Result<Sheets> {
        let sheets = sheets::read(&self.db, import.id).await?;
        let mut odd = Vec::new();
        let mut sums: HashMap<Outcome, u64> = HashMap::new();
        for number in 1..=import.total {
            let came = sheets.records.get(&number).map(Vec::as_slice).unwrap_or_default();
            match came {
                [] => odd.push(Odd {
                    what: "a record is lost",
                    wrong: Wrong::Lost,
                    record: number,
                    detail: String::new(),
                }),
                [one] => count(&mut sums, &mut odd, &sheets, number, *one),
                more => odd.push(Odd {
                    what: "a record stands twice",
                    wrong: Wrong::Duplicated,
                    record: number,
                    detail: format!("{} times", more.len()),
                }),
            }
        }
        for number in sheets.records.keys().filter(|number| **number == 0 || **number > import.total) {
            odd.push(Odd {
                what: "a record that is not in the file",
                wrong: Wrong::Differs,
                record: *number,
                detail: String::new(),
            });
        }
        self.tell(import, view, &odd);
        let told = [
            (Outcome::Pending, view.pending),
            (Outcome::Inserted, view.inserted),
            (Outcome::Updated, view.updated),
            (Outcome::Skipped, view.skipped),
            (Outcome::Failed, view.failed),
        ];
        for (outcome, told) in told {
            let sum = sums.get(&outcome).copied().unwrap_or(0);
            if sum != told {
                let fields =
                    json!({"import": import.id, "outcome": format!("{outcome:?}"), "told": told, "sum": sum});
                self.journal.violation(
                    Wrong::Differs,
                    "a count is not the sum of its outcomes",
                    sum.abs_diff(told),
                    fields,
                );
            }
        }
        self.check_chunks(import, &sheets);
        Ok(sheets)
    }

    fn check_chunks(&self, import: &Accepted, sheets: &Sheets) {
        for chunk in &sheets.chunks {
            let problem = chunk.problem.as_deref().unwrap_or_default();
            let fields = json!({"import": import.id, "chunk": chunk.id, "attempts": chunk.attempts, "problem": problem});
            if chunk.state == "dead" {
                self.journal.event("dead_chunk", fields.clone());
                if problem.is_empty() {
                    self.journal.violation(Wrong::WithoutReason, "a dead chunk gives no reason", 1, fields);
                } else {
                    // No record of these files kills anything: such a chunk is innocent.
                    self.journal.violation(Wrong::Differs, "a healthy chunk is dead", 1, fields);
                }
            } else if !["applied", "cancelled"].contains(&&*chunk.state) {
                self.journal.violation(Wrong::NotEnded, "a chunk of an ended import is open", 1, fields);
            }
        }
    }

    fn tell(&self, import: &Accepted, view: &View, odd: &[Odd]) {
        let kinds: HashSet<&str> = odd.iter().map(|odd| odd.what).collect();
        for kind in kinds {
            let all: Vec<&Odd> = odd.iter().filter(|odd| odd.what == kind).collect();
            let some: Vec<Value> = all
                .iter()
                .take(TOLD)
                .map(|odd| json!({"record": odd.record, "detail": odd.detail}))
                .collect();
            let fields = json!({"import": import.id, "state": view.state, "acknowledged": import.acknowledged,
                                "records": all.len(), "of": import.total, "first": some});
            self.journal.violation(all[0].wrong, kind, all.len() as u64, fields);
        }
    }

    /// Compares an import over addresses of its own with what the model says, record by record; the model is then as the
    /// users are. Returns false where the model is exact no more.
    pub(crate) fn check_outcomes(
        &self,
        draft: &Draft,
        import: &Accepted,
        view: &View,
        sheets: &Sheets,
        users: &mut Users,
        interventions: Interventions,
    ) -> bool {
        let mut odd = Vec::new();
        let mut exact = true;
        let mut skipped_from: HashSet<u32> = HashSet::new();
        for (number, record) in (1_u64..).zip(&draft.records) {
            let Some([came]) = sheets.records.get(&number).map(Vec::as_slice) else {
                exact = false;
                continue;
            };
            let codes = sheets.errors.get(&number).map(Vec::as_slice).unwrap_or_default();
            if came.outcome == Outcome::Pending {
                // Told already.
                exact = false;
                continue;
            }
            if came.reason == Some("cancelled") && interventions.cancelled {
                skipped_from.insert(record.address);
                continue;
            }
            if codes.iter().any(|code| code == "chunk_dead") {
                // Told as a dead chunk. After a retry the order is another one.
                exact &= interventions.retries == 0;
                continue;
            }
            let expected = users.apply(record, draft.on_existing);
            let applied = matches!(expected, Expected::Inserted | Expected::Updated);
            if applied && interventions.retries == 0 && skipped_from.contains(&record.address) {
                odd.push(Odd {
                    what: "a record was applied after a cancelled one of its user",
                    wrong: Wrong::Differs,
                    record: number,
                    detail: String::new(),
                });
            }
            let later = || {
                let rest = draft.records.iter().skip(usize::try_from(number).unwrap_or(usize::MAX));
                rest.into_iter().any(|other| other.address == record.address && other.bad.is_none())
            };
            let right = fits(expected, *came, codes)
                || interventions.retries > 0 && fits_after_retry(expected, *came, draft.on_existing, later);
            if !right {
                exact = false;
                odd.push(Odd {
                    what: "an outcome is not as it must be",
                    wrong: Wrong::Differs,
                    record: number,
                    detail: format!(
                        "expected {expected:?}, came {:?} {:?} {codes:?}",
                        came.outcome, came.reason
                    ),
                });
            }
        }
        self.tell(import, view, &odd);
        self.journal.count("compared records", draft.total() - odd.len() as u64);
        exact
    }

    /// The same through the API: the pages of records, and the failed ones as a file.
    pub(crate) async fn check_pages(&self, import: &Accepted, sheets: &Sheets) {
        let mut after = 0;
        let mut seen = 0_u64;
        loop {
            let path = format!("/v1/imports/{}/records?limit=1000&after={after}", import.id);
            let Some((200, page)) = self.api.read(import.tenant, &path, Duration::from_secs(90)).await else {
                self.journal.count("pages not read", 1);
                return;
            };
            for record in page["records"].as_array().into_iter().flatten() {
                seen += 1;
                let number = record["record"].as_u64().unwrap_or(0);
                let came = sheets.records.get(&number).and_then(|came| came.first());
                let outcome = came.map(|came| format!("{:?}", came.outcome).to_lowercase());
                let errors = record["errors"].as_array().map_or(0, Vec::len);
                let failed = record["outcome"] == "failed";
                if record["outcome"].as_str() != outcome.as_deref() || failed != (errors > 0) {
                    let fields =
                        json!({"import": import.id, "record": number, "page": record, "stored": outcome});
                    self.journal.violation(Wrong::Differs, "a page tells another outcome", 1, fields);
                }
            }
            match page["next"].as_u64() {
                Some(next) => after = next,
                None => break,
            }
        }
        if seen != import.total {
            let fields = json!({"import": import.id, "seen": seen, "total": import.total});
            self.journal.violation(Wrong::Lost, "pages lack records", seen.abs_diff(import.total), fields);
        }
        self.journal.count("records read in pages", seen);
    }
}

fn count(sums: &mut HashMap<Outcome, u64>, odd: &mut Vec<Odd>, sheets: &Sheets, number: u64, came: Came) {
    *sums.entry(came.outcome).or_default() += 1;
    let errors = sheets.errors.get(&number).map_or(0, Vec::len);
    if came.outcome == Outcome::Failed && errors == 0 {
        odd.push(Odd {
            what: "a failed record has no error",
            wrong: Wrong::WithoutReason,
            record: number,
            detail: String::new(),
        });
    }
    if came.outcome != Outcome::Failed && sheets.errors.contains_key(&number) {
        odd.push(Odd {
            what: "a record that did not fail has an error",
            wrong: Wrong::Differs,
            record: number,
            detail: format!("{:?} {:?}", came.outcome, came.reason),
        });
    }
    if came.outcome == Outcome::Pending {
        odd.push(Odd {
            what: "a record of an ended import is pending",
            wrong: Wrong::NotEnded,
            record: number,
            detail: String::new(),
        });
    }
}

fn fits(expected: Expected, came: Came, codes: &[String]) -> bool {
    match expected {
        Expected::Inserted => came.outcome == Outcome::Inserted,
        Expected::Updated => came.outcome == Outcome::Updated,
        Expected::Unchanged => came.outcome == Outcome::Skipped && came.reason == Some("unchanged"),
        Expected::Exists => came.outcome == Outcome::Skipped && came.reason == Some("exists"),
        Expected::Failed(code) => {
            // Of records that fail at once, and of those whose error was lost: told by itself.
            came.outcome == Outcome::Failed && codes.first().is_none_or(|first| first == code)
        }
    }
}

/// A record that failed and was driven again may meet a user that a later record of the file made or changed.
fn fits_after_retry(
    expected: Expected,
    came: Came,
    on_existing: OnExisting,
    later: impl Fn() -> bool,
) -> bool {
    expected == Expected::Failed("identity_conflict")
        && came.outcome == Outcome::Skipped
        && match came.reason {
            Some("superseded") => later(),
            Some("exists") => on_existing == OnExisting::Skip && later(),
            _ => false,
        }
}
