//! A line of an upload → what it says, or everything that is wrong with it.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use muster_domain::error::ErrorCode;
use muster_domain::field::{Behaviour, Blank, Field, FieldTable};
use muster_domain::options::{EmptyCell, ImportOptions, UnknownColumns};
use muster_domain::parse::Format;
use serde_json::{Map, Value};

use super::{Fact, Line, Means, Said};

/// Names that mean something in every upload, whatever its table.
pub const READABLE: [&str; 3] = ["_error_code", "_error_field", "_error_message"];

/// Names of the custom attributes that the catalog of hostile uploads defines.
const DEFINED: [&str; 8] = ["member_id", "age", "score", "tier", "country", "site", "mail", "phone"];

/// What a record says.
#[derive(Debug, Clone)]
pub(super) struct Record {
    pub(super) identifier: Value,
    pub(super) facts: Vec<(Field, Fact)>,
    /// Keys of the metadata, the later of two of one name in the place of the earlier; or that all of it is to go.
    pub(super) metadata: Option<Option<Map<String, Value>>>,
    /// The record says `mfa` in a field that is ignored, so what is said in it is.
    pub(super) mfa_ignored: bool,
}

impl Record {
    pub(super) fn fact(&self, field: Field) -> Option<&Fact> {
        self.facts.iter().rev().find(|(of, _)| *of == field).map(|(_, fact)| fact)
    }

    pub(super) fn says(&self, field: Field) -> bool {
        self.fact(field).is_some()
    }

    pub(super) fn value(&self, field: Field) -> Option<&Value> {
        match self.fact(field) {
            Some(Fact::Is(value)) => Some(value),
            _ => None,
        }
    }
}

type Wrong = Vec<(ErrorCode, Option<String>)>;

pub(super) fn read(line: &Line, options: &ImportOptions) -> Result<Record, Wrong> {
    let said = match line {
        Line::Broken(_, code) => return Err(vec![(*code, None)]),
        Line::Said(said) => said,
    };
    let table = options.fields.clone().unwrap_or_else(FieldTable::native);
    let identifier = Field::from(options.identifier);
    let mut reading = Reading {
        options,
        table: &table,
        wrong: Vec::new(),
        facts: Vec::new(),
        metadata: None,
        mfa_ignored: false,
    };
    let (mut seen, mut given) = (BTreeSet::new(), BTreeSet::new());
    for said in said {
        reading.said(said, &mut seen, &mut given);
    }
    let Reading { mut wrong, facts, metadata, mfa_ignored, .. } = reading;
    let mut record = Record { identifier: Value::Null, facts, metadata, mfa_ignored };
    let blamed = wrong.iter().any(|(_, name)| {
        name.as_deref().and_then(|name| table.find(name)).is_some_and(|rule| rule.field == identifier)
    });
    match record.fact(identifier) {
        Some(Fact::Is(value)) => record.identifier = value.clone(),
        _ if blamed => {}
        None => wrong.push((ErrorCode::FieldRequired, Some(identifier.as_str().to_owned()))),
        Some(_) => wrong.push((ErrorCode::NullNotAllowed, Some(identifier.as_str().to_owned()))),
    }
    for rule in table.0.iter().filter(|rule| rule.required && rule.field != identifier) {
        if !given.contains(&rule.field) {
            wrong.push((ErrorCode::FieldRequired, Some(rule.name.clone())));
        }
    }
    if wrong.is_empty() { Ok(record) } else { Err(wrong) }
}

struct Reading<'a> {
    options: &'a ImportOptions,
    table: &'a FieldTable,
    wrong: Wrong,
    facts: Vec<(Field, Fact)>,
    metadata: Option<Option<Map<String, Value>>>,
    mfa_ignored: bool,
}

impl Reading<'_> {
    fn said(&mut self, said: &Said, seen: &mut BTreeSet<Field>, given: &mut BTreeSet<Field>) {
        let name = said.name.as_str();
        if READABLE.contains(&name) {
            return;
        }
        let mut null = said.json == "null";
        let text = serde_json::from_str::<String>(&said.json).ok();
        let mut blank = text.as_deref().is_some_and(|text| text.trim().is_empty());
        if self.options.format == Format::Csv && text.as_deref() == Some("") {
            match self.options.empty_cells {
                EmptyCell::Ignore => return,
                EmptyCell::Remove => (null, blank) = (true, false),
                EmptyCell::Keep => {}
            }
        }
        let Some(rule) = self.table.find(name).filter(|_| name != "custom__*") else {
            match name.strip_prefix("custom__").filter(|_| self.table.find("custom__*").is_some()) {
                Some(key) => self.key(key, null, said),
                None if self.options.unknown_columns == UnknownColumns::Refuse => {
                    self.wrong.push((ErrorCode::FieldUnknown, Some(name.to_owned())));
                }
                None => {}
            }
            return;
        };
        match rule.blank {
            Blank::Absent if null || blank => return,
            Blank::TextAbsent if blank => return,
            Blank::Null if blank => null = true,
            _ => {}
        }
        let named = Some(name.to_owned());
        if !seen.insert(rule.field) {
            given.insert(rule.field);
            self.wrong.push((ErrorCode::JsonDuplicateKey, named));
        } else if null
            && (rule.behaviour == Behaviour::Keep || matches!(rule.field, Field::Password | Field::Mfa))
        {
            given.insert(rule.field);
            self.wrong.push((ErrorCode::NullNotAllowed, named));
        } else if null {
            self.fact(rule.field, Fact::Null, name);
        } else {
            given.insert(rule.field);
            self.mfa_ignored |= rule.field == Field::Mfa && rule.behaviour == Behaviour::Ignore;
            match &said.means {
                Means::Wrong(errors) => self.wrong.extend(errors.iter().map(|(code, path)| match *path {
                    "" => (*code, named.clone()),
                    path => (*code, Some(format!("{name}.{path}"))),
                })),
                Means::Facts(facts) => {
                    for (field, fact) in facts {
                        self.fact(*field, fact.clone(), name);
                    }
                }
            }
        }
    }

    fn fact(&mut self, field: Field, fact: Fact, name: &str) {
        match (field, fact) {
            (Field::Metadata, Fact::Is(Value::Object(keys))) => {
                self.metadata.get_or_insert_default().get_or_insert_default().extend(keys);
            }
            (Field::Metadata, _) => self.metadata = Some(None),
            (Field::Disabled | Field::Status, fact) => {
                let before = self.facts.iter().find_map(|(of, fact)| match (of, fact) {
                    (Field::Disabled | Field::Status, Fact::Is(value)) => Some(value),
                    _ => None,
                });
                match (before, &fact) {
                    (Some(before), Fact::Is(value)) if before != value => {
                        self.wrong.push((ErrorCode::ValueInvalid, Some(name.to_owned())));
                    }
                    // The first of the two that has a value speaks.
                    (Some(_), _) => {}
                    (None, _) => {
                        self.facts.retain(|(of, _)| !matches!(of, Field::Disabled | Field::Status));
                        self.facts.push((field, fact));
                    }
                }
            }
            (field, fact) => self.facts.push((field, fact)),
        }
    }

    /// One key of the metadata: null is a value like any other.
    fn key(&mut self, key: &str, null: bool, said: &Said) {
        match &said.means {
            Means::Wrong(errors) if !null => {
                self.wrong.extend(errors.iter().map(|(code, _)| (*code, Some(said.name.clone()))));
            }
            Means::Facts(facts) if !null => {
                for (field, fact) in facts {
                    self.fact(*field, fact.clone(), &said.name);
                }
            }
            _ => {
                let defined = DEFINED.contains(&key);
                if self.options.metadata != muster_domain::options::MetadataMode::Attributes || defined {
                    let keys = Map::from_iter([(key.to_owned(), Value::Null)]);
                    self.fact(Field::Metadata, Fact::Is(Value::Object(keys)), &said.name);
                }
            }
        }
    }
}

/// The moment that a text of a normal form stands for.
pub(super) fn moment(value: &Value) -> DateTime<Utc> {
    value.as_str().and_then(|text| text.parse().ok()).expect("samples are moments")
}
