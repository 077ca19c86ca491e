//! What one application of a chunk did to a user.

use std::collections::BTreeSet;

use muster_domain::chunk::ChunkRecords;
use muster_domain::fault::{Mutant, mutant};
use muster_domain::field::METADATA_PREFIX;
use muster_domain::outcome::{Outcome, OutcomeSheet};
use muster_domain::record::{RawField, RawRecord, RawValue};
use muster_domain::rules::Rules;
use muster_domain::undo::{Change, Kind, changes};
use muster_domain::validate::Binding;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::{Entry, FieldChange};

/// One application of a chunk, as far as it is looked at.
pub(super) struct Chunk {
    /// What all entries of it have in common.
    pub(super) entry: Entry,
    /// Its records; `None` where they cannot be read.
    pub(super) records: Option<ChunkRecords>,
    pub(super) rules: Rules,
    pub(super) sheet: OutcomeSheet,
}

impl Chunk {
    /// What it did to a user, the last first. `images` are its changes; `first` says that it was applied never before.
    pub(super) fn entries(&self, user: Uuid, images: Option<&ChunkRecords>, first: bool) -> Vec<Entry> {
        let all = images.map(changes).unwrap_or_default();
        let mut entries = Vec::new();
        let mut inserted = None;
        let own = |change: &Change| change.user == user;
        for change in all.into_iter().flatten().filter(own).collect::<Vec<Change>>().into_iter().rev() {
            if change.kind == Kind::Inserted {
                inserted = Some(change.record);
                continue;
            }
            let fields = differences(&change.before, &change.after);
            entries.push(self.entry(change.kind, change.record, Some(fields)));
        }
        // Of a user that one record inserted there is no change.
        let by_sheet = || self.numbers(user, Outcome::Inserted).first().copied().filter(|_| first);
        if let Some(record) = inserted.or_else(by_sheet) {
            entries.push(self.entry(Kind::Inserted, record, self.said(record)));
        }
        entries
    }

    /// What is known of it without its before-images.
    pub(super) fn what_is_left(&self, user: Uuid) -> Vec<Entry> {
        let updated = self.numbers(user, Outcome::Updated).into_iter().rev();
        let mut entries: Vec<Entry> = updated.map(|record| self.entry(Kind::Updated, record, None)).collect();
        let inserted = self.numbers(user, Outcome::Inserted).into_iter();
        entries.extend(inserted.map(|record| self.entry(Kind::Inserted, record, self.said(record))));
        entries
    }

    fn entry(&self, kind: Kind, record: u64, fields: Option<Vec<FieldChange>>) -> Entry {
        Entry {
            kind: kind.as_str().to_owned(),
            record: (record > 0).then_some(record),
            line: self.line(record),
            fields,
            ..self.entry.clone()
        }
    }

    /// Calls a function for each record that can be read, with its place.
    fn each(&self, mut take: impl FnMut(usize, &RawRecord<'_>)) {
        let Some(records) = &self.records else { return };
        let fields = records.fields();
        for (at, record) in records.records(&fields).enumerate() {
            take(at, &record);
        }
    }

    /// Numbers of the records that came to this for a user. A record with a defect was erased since: the
    /// sheet still has the user's id, but nothing is shown.
    fn numbers(&self, user: Uuid, outcome: Outcome) -> Vec<u64> {
        let mut numbers = Vec::new();
        self.each(|at, record| {
            if record.defect.is_some() && !mutant(Mutant::ErasedStaysInSheets) {
                return;
            }
            let (verdict, of) = self.sheet.get(at).unzip();
            if verdict.is_some_and(|verdict| verdict.outcome == outcome) && of.flatten() == Some(user) {
                numbers.push(record.position.record.get());
            }
        });
        numbers
    }

    fn line(&self, number: u64) -> Option<u64> {
        let mut line = None;
        self.each(|_, record| {
            if record.position.record.get() == number {
                line = Some(record.position.line).filter(|line| *line > 0);
            }
        });
        line
    }

    /// The content of a record without secrets, by field name, as written in the file.
    fn said(&self, number: u64) -> Option<Vec<FieldChange>> {
        let records = self.records.as_ref()?;
        if self.rules.options.undo.is_some() {
            return None;
        }
        let mut binding = Binding::new(&self.rules);
        binding.extend(records.names());
        // A key of the metadata is called as it is where it changed.
        let named = |meaning: String| match meaning.strip_prefix(METADATA_PREFIX) {
            Some(key) => format!("metadata.{}", key.trim_end_matches("[]").trim_end_matches("{}")),
            None => meaning,
        };
        let meanings: Vec<Option<String>> =
            binding.meanings().map(|(_, meaning, _)| meaning.map(named)).collect();
        let mut said = None;
        self.each(|_, record| {
            if record.position.record.get() != number || record.defect.is_some() {
                return;
            }
            let field = |field: &RawField<'_>| {
                let meaning = meanings.get(field.name as usize).cloned().flatten()?;
                let after = match field.value {
                    _ if binding.secrets().shown(field, records.names()).is_some() => return None,
                    RawValue::Text(text) => Value::from(binding.unescape(text)),
                    RawValue::Json(json) => serde_json::from_str(json).ok()?,
                    RawValue::Null => return None,
                };
                (after != "").then_some(FieldChange { field: meaning, before: Value::Null, after })
            };
            said = Some(record.fields.iter().filter_map(field).collect());
        });
        said
    }
}

/// What differs between two states of some fields.
pub(super) fn differences(before: &Map<String, Value>, after: &Map<String, Value>) -> Vec<FieldChange> {
    let paths: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let value = |of: &Map<String, Value>, path: &String| of.get(path).cloned().unwrap_or_default();
    paths
        .into_iter()
        .map(|path| FieldChange { field: path.clone(), before: value(before, path), after: value(after, path) })
        // A flag is shown with the value that it describes, even if that did not change.
        .filter(|field| field.before != field.after)
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_did_not_change_is_no_difference() {
        let map = |value: Value| value.as_object().cloned().unwrap_or_default();
        let (before, after) = (
            map(json!({"email": "a@example.com", "email_verified": true, "metadata.x": 1})),
            map(json!({"email": "a@example.com", "metadata.y": [2]})),
        );
        let change =
            |field: &str, before: Value, after: Value| FieldChange { field: field.into(), before, after };
        assert_eq!(
            differences(&before, &after),
            [
                change("email_verified", json!(true), Value::Null),
                change("metadata.x", json!(1), Value::Null),
                change("metadata.y", Value::Null, json!([2])),
            ]
        );
    }
}
