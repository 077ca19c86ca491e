//! One change of one user, and the changes of a chunk in the form in which they are kept: that of a chunk's records, so that what
//! reads, erases and carries records does so with changes too.

use std::collections::BTreeSet;

use serde_json::{Map, Value};
use uuid::Uuid;

use super::Undo;
use super::flat::{kept_alike, same};
use crate::chunk::{ChunkRecords, Encoder};
use crate::fault::{Mutant, mutant};
use crate::outcome::Outcome;
use crate::record::{FieldNames, NameId, Position, RawField, RawRecord, RawValue, RecordNumber};

/// The history of a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// It was made.
    Inserted,
    /// Fields of it changed.
    Updated,
    /// It was deleted: an undo did that.
    Deleted,
}

impl Kind {
    const ALL: [Self; 3] = [Self::Inserted, Self::Updated, Self::Deleted];

    /// The word that is stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Inserted => "inserted",
            Self::Updated => "updated",
            Self::Deleted => "deleted",
        }
    }
}

/// What one application of a chunk did to one user.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// The user.
    pub user: Uuid,
    /// What happened to it.
    pub kind: Kind,
    /// Number of the last record that had a part in it.
    pub record: u64,
    /// The user's version before; 0 for none.
    pub from: i32,
    /// The version as which it was left; 0 for none.
    pub to: i32,
    /// What it had: of an updated user the fields that changed, of a deleted one all, of an inserted one nothing.
    ///
    /// Beside a changed flag `email_verified` or `phone_number_verified` stands the value that the flag is about, and beside a
    /// changed value its flag, here and in `after`, also where that did not change: the flag is worth nothing beside another value.
    pub before: Map<String, Value>,
    /// What it was left with: of an updated user the fields that changed, of an inserted one its memberships, of a deleted one nothing.
    pub after: Map<String, Value>,
}

impl Change {
    /// That a user was inserted and left at this version.
    pub fn inserted(user: Uuid, to: i32) -> Self {
        let (before, after) = (Map::new(), Map::new());
        Self { user, kind: Kind::Inserted, record: 0, from: 0, to, before, after }
    }

    /// That a user was deleted, which had this version and all these fields.
    pub(super) fn deleted(user: Uuid, from: i32, before: Map<String, Value>) -> Self {
        Self { kind: Kind::Deleted, from, before, ..Self::inserted(user, 0) }
    }

    /// Sees to it that a flag and the value that it is about stand side by side. `value` tells the one that did not change.
    pub fn keep_flags_with_values(&mut self, value: impl Fn(&str) -> Option<Value>) {
        for (flag, field) in FLAGS {
            let has = |path: &str| self.before.contains_key(path) || self.after.contains_key(path);
            let unchanged = match (has(flag), has(field)) {
                (true, false) => field,
                (false, true) => flag,
                _ => continue,
            };
            if let Some(value) = value(unchanged) {
                self.before.insert(unchanged.to_owned(), value.clone());
                self.after.insert(unchanged.to_owned(), value);
            }
        }
    }

    /// The paths of the fields that changed, each once.
    pub fn differing(&self) -> BTreeSet<&str> {
        self.paths().filter(|path| !same(self.before.get(*path), self.after.get(*path))).collect()
    }

    /// The paths of the fields with numbers that were only written in another way, as `1.0` for `1`. The row changes with it, and no field
    /// is reported.
    pub(super) fn rewritten(&self) -> BTreeSet<&str> {
        let rewritten = |path: &&str| {
            let (before, after) = (self.before.get(*path), self.after.get(*path));
            same(before, after) && !kept_alike(before, after) && !mutant(Mutant::UndoLeavesRewritten)
        };
        self.paths().filter(rewritten).collect()
    }

    fn paths(&self) -> impl Iterator<Item = &str> {
        self.before.keys().chain(self.after.keys()).map(String::as_str)
    }
}

/// Flags, and the field that each is about.
pub(super) const FLAGS: [(&str, &str); 2] =
    [("email_verified", "email"), ("phone_number_verified", "phone_number")];

/// Names of the fields of a change as a record.
const NAMES: [&str; 7] = ["user", "kind", "record", "from", "to", "before", "after"];

/// The names that changes as records have.
pub fn names() -> FieldNames {
    FieldNames::from_header(NAMES)
}

/// The values of a change as a record: pass them to [`record_fields`].
pub fn texts(change: &Change) -> [String; 7] {
    let object = |map: &Map<String, Value>| match map.is_empty() {
        true => String::new(),
        // Keys are texts: it cannot fail.
        false => serde_json::to_string(map).unwrap_or_default(),
    };
    [
        change.user.to_string(),
        change.kind.as_str().to_owned(),
        change.record.to_string(),
        change.from.to_string(),
        change.to.to_string(),
        object(&change.before),
        object(&change.after),
    ]
}

/// The fields of a change as a record.
pub fn record_fields(texts: &[String; 7]) -> Vec<RawField<'_>> {
    // User and kind are texts, all others JSON.
    let value = |at: NameId, text| if at < 2 { RawValue::Text(text) } else { RawValue::Json(text) };
    let fields = (0..).zip(texts).filter(|(_, text)| !text.is_empty());
    fields.map(|(name, text)| RawField { name, value: value(name, text) }).collect()
}

/// Changes as they are kept. `None` for none.
pub fn encode(changes: &[Change]) -> std::io::Result<Option<Vec<u8>>> {
    if changes.is_empty() {
        return Ok(None);
    }
    let mut encoder = Encoder::default();
    for change in changes {
        let texts = texts(change);
        let fields = record_fields(&texts);
        encoder.push_plain(&RawRecord {
            position: at(change.record),
            fields: &fields,
            defect: None,
            raw: None,
        })?;
    }
    encoder.finish(&names()).map(Some)
}

/// The place of the record with this number.
pub fn at(number: u64) -> Position {
    Position { record: RecordNumber::new(number).unwrap_or(RecordNumber::FIRST), line: 0, byte: 0 }
}

/// The changes that stand in records, each with its place among them. What is erased or damaged is `None`.
pub fn changes(records: &ChunkRecords) -> Vec<Option<Change>> {
    let names = records.names();
    let ids = NAMES.map(|name| names.find(name));
    let fields = records.fields();
    records.records(&fields).map(|record| change_of(&record, &ids)).collect()
}

fn change_of(record: &RawRecord<'_>, ids: &[Option<NameId>; 7]) -> Option<Change> {
    if record.defect.is_some() {
        return None;
    }
    let text = |at: usize| match record.value((*ids.get(at)?)?)? {
        RawValue::Text(text) | RawValue::Json(text) => Some(text),
        RawValue::Null => None,
    };
    let object = |at: usize| match text(at) {
        None => Some(Map::new()),
        Some(json) => serde_json::from_str(json).ok(),
    };
    let kind = text(1)?;
    Some(Change {
        user: text(0)?.parse().ok()?,
        kind: *Kind::ALL.iter().find(|known| known.as_str() == kind)?,
        record: text(2)?.parse().ok()?,
        from: text(3)?.parse().ok()?,
        to: text(4)?.parse().ok()?,
        before: object(5)?,
        after: object(6)?,
    })
}

impl Undo {
    /// Whether something of this change is to be taken back, as far as the change tells: what was told of its record is not asked here.
    pub fn takes(&self, change: &Change) -> bool {
        let outcome = match self.outcome {
            None => true,
            Some(Outcome::Inserted) => change.kind == Kind::Inserted,
            Some(_) => change.kind != Kind::Inserted,
        };
        let record = self.records.as_ref().is_none_or(|ranges| ranges.contains(change.record));
        // With fields named, users are neither deleted nor made again.
        let fields = self.fields.is_empty()
            || change.kind == Kind::Updated
                && change.differing().into_iter().any(|path| self.takes_field(path));
        outcome && record && fields
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::chunk::decode;

    #[test]
    fn changes_come_back_as_they_were() {
        let map = |value: Value| value.as_object().unwrap().clone();
        let updated = Change {
            user: Uuid::from_u128(7),
            kind: Kind::Updated,
            record: 12,
            from: 3,
            to: 5,
            before: map(json!({"email": "a@example.com", "metadata.x": null})),
            after: map(json!({"metadata.y": {"z": [1, "ü"]}})),
        };
        let inserted = Change { record: 2, ..Change::inserted(Uuid::from_u128(9), 2) };
        let body = encode(&[updated.clone(), inserted.clone()]).unwrap().unwrap();
        assert_eq!(changes(&decode(&body).unwrap()), [Some(updated), Some(inserted)]);
        assert_eq!(encode(&[]).unwrap(), None);
    }

    #[test]
    fn a_flag_stands_beside_its_value() {
        let mut change = Change::inserted(Uuid::from_u128(1), 1);
        change.after.insert("email_verified".into(), json!(true));
        change.keep_flags_with_values(|field| (field == "email").then(|| "a@example.com".into()));
        assert_eq!(
            (&change.before["email"], &change.after["email"]),
            (&json!("a@example.com"), &json!("a@example.com"))
        );
        assert!(!change.before.contains_key("phone_number"));
        assert_eq!(change.differing(), ["email_verified"].into());
    }

    #[test]
    fn a_value_stands_beside_its_flag() {
        let mut change = Change { kind: Kind::Updated, ..Change::inserted(Uuid::from_u128(1), 2) };
        change.before.insert("email".into(), json!("a@example.com"));
        change.after.insert("email".into(), json!("b@example.com"));
        change.keep_flags_with_values(|field| field.ends_with("_verified").then(|| true.into()));
        let flag = |map: &Map<String, Value>| map.get("email_verified").cloned();
        assert_eq!((flag(&change.before), flag(&change.after)), (Some(json!(true)), Some(json!(true))));
        assert!(!change.before.contains_key("phone_number_verified"));
        assert_eq!(change.differing(), ["email"].into());
    }
}
