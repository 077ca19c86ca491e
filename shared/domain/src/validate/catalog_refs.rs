//! Roles, groups, teams and locations: names, looked up in the tenant's catalog.

use std::borrow::Cow;

use super::{json, value};
use crate::catalog::CatalogKind;
use crate::error::{ErrorCode, RecordError};
use crate::fault::{Mutant, mutant};
use crate::options::{Sets, UnknownNames};
use crate::record::{NameChange, Patch, RawValue};
use crate::rules::Rules;

/// Most names in one list: all that a catalog can have, since clients name every role and team of theirs in each record.
const MAX_NAMES: usize = crate::catalog::MAX_ENTRIES;

/// What a list of names came to, and whether some of them were left out.
pub(super) type Change = (Patch<NameChange>, bool);

/// A list of names: all of them, or what is to be added and taken away.
///
/// Where names of a whole list are at fault, the first is the error and the others are added to `further`.
pub(super) fn change(
    kind: CatalogKind,
    value: RawValue<'_>,
    rules: &Rules,
    further: &mut Vec<RecordError>,
) -> Result<Change, RecordError> {
    let list = List { kind, rules, lenient: rules.lenient() };
    match value {
        RawValue::Null => Ok((Patch::Null, false)),
        RawValue::Text(text) if list.lenient && !text.trim_start().starts_with('[') => {
            list.cell(text, further)
        }
        value => list.items(json::long_source(value, '[', "a list", list.lenient)?, further),
    }
}

/// One name.
pub(super) fn one(
    kind: CatalogKind,
    value: RawValue<'_>,
    rules: &Rules,
) -> Result<(Patch<i32>, bool), RecordError> {
    let found = value::text(value, |text| find(kind, value::name(text)?, rules))?;
    Ok(match found {
        Patch::Absent => (Patch::Absent, false),
        Patch::Null => (Patch::Null, false),
        Patch::Value(Some(id)) => (Patch::Value(id), false),
        Patch::Value(None) => (Patch::Absent, true),
    })
}

/// Suffixes after a name that are not given names, without dots.
const SUFFIXES: [&str; 17] = [
    "jr", "sr", "ii", "iii", "iv", "v", "md", "phd", "dds", "esq", "cpa", "mba", "inc", "ltd", "llc", "gmbh",
    "ag",
];

/// Family and given name of a full name of the form `Last, First`. With no comma or with several nothing is sure: `Cher`, `Davis, Sammy,
/// Jr.`; nor is it where a suffix stands after the comma: `Jane Doe, Ph.D.`
pub(crate) fn last_first(name: &str) -> Option<(&str, &str)> {
    let (last, first) = name.split_once(',')?;
    let (last, first) = (last.trim(), first.trim());
    let one_comma = !first.contains(',') || mutant(Mutant::NamesSplitAtFirstComma);
    (one_comma && !last.is_empty() && !first.is_empty() && !is_suffix(first)).then_some((last, first))
}

/// Whether nothing but suffixes stands there: `Jr.`, `MD PhD`.
fn is_suffix(text: &str) -> bool {
    let known = |word: &str| {
        let letters: String = word.chars().filter(|c| *c != '.').collect();
        SUFFIXES.iter().any(|suffix| suffix.eq_ignore_ascii_case(&letters))
    };
    text.split_whitespace().all(known) && !mutant(Mutant::SuffixesAreGivenNames)
}

/// The id of a name; `None` if it is to be left out.
fn find(kind: CatalogKind, name: &str, rules: &Rules) -> Result<Option<i32>, RecordError> {
    match (rules.catalog.find(kind, name), rules.options.unknown_names) {
        (Some(id), _) => Ok(Some(id)),
        (None, UnknownNames::Ignore) => Ok(None),
        (None, UnknownNames::Refuse) => Err(RecordError::new(
            ErrorCode::CatalogUnknown,
            format!("the catalog has no {} of this name", kind.as_str()),
        )),
    }
}

struct List<'r> {
    kind: CatalogKind,
    rules: &'r Rules,
    lenient: bool,
}

impl List<'_> {
    /// A cell of a table: names with commas between them, or what the import says.
    fn cell(&self, text: &str, further: &mut Vec<RecordError>) -> Result<Change, RecordError> {
        if self.rules.options.sets == Sets::Delta {
            return Err(value::mismatch("a list of names with their values"));
        }
        let separator = self.rules.options.list_separator.character();
        let names = text.split(separator).map(str::trim).filter(|name| !name.is_empty());
        self.whole(names.map(Cow::Borrowed).map(Ok), further)
    }

    fn items(&self, source: &str, further: &mut Vec<RecordError>) -> Result<Change, RecordError> {
        let items = json::items(source)?;
        if items.len() > MAX_NAMES {
            let message = format!("the list has more than {MAX_NAMES} names");
            return Err(RecordError::new(ErrorCode::TooManyFields, message));
        }
        let objects = items.first().is_some_and(|item| item.starts_with('{'));
        match self.rules.options.sets {
            Sets::Delta => self.delta(&items),
            Sets::Either if objects => self.delta(&items),
            Sets::Whole | Sets::Either => {
                let names = items.iter().map(|item| match value::unescape(item) {
                    Some(name) => Ok(name),
                    None => Err(value::mismatch("a text")),
                });
                self.whole(names, further)
            }
        }
    }

    fn whole<'t>(
        &self,
        names: impl Iterator<Item = Result<Cow<'t, str>, RecordError>>,
        further: &mut Vec<RecordError>,
    ) -> Result<Change, RecordError> {
        let (mut ids, mut left_out) = (Vec::new(), false);
        let mut errors = Vec::new();
        for (at, name) in names.enumerate() {
            match name.and_then(|name| find(self.kind, value::name(&name)?, self.rules)) {
                Ok(Some(id)) => ids.push(id),
                Ok(None) => left_out = true,
                Err(error) => errors.push(error.in_field(at.to_string())),
            }
        }
        let mut errors = errors.into_iter();
        if let Some(first) = errors.next() {
            further.extend(errors);
            return Err(first);
        }
        ids.sort_unstable();
        ids.dedup();
        Ok((Patch::Value(NameChange::Whole(ids)), left_out))
    }

    fn delta(&self, items: &[&str]) -> Result<Change, RecordError> {
        let (mut changes, mut left_out) = (Vec::new(), false);
        for (at, item) in items.iter().enumerate() {
            let place = |error: RecordError| match error.field.clone() {
                Some(field) => error.in_field(format!("{at}.{field}")),
                None => error.in_field(at.to_string()),
            };
            match self.delta_item(item).map_err(place)? {
                Item::Change(id, has) => changes.push((id, has)),
                Item::LeftOut => left_out = true,
                Item::Nothing => {}
            }
        }
        Ok((Patch::Value(NameChange::Delta(changes)), left_out))
    }

    /// `{"name": "Agent", "value": 1}`; without a value nothing changes, and other keys say nothing.
    fn delta_item(&self, item: &str) -> Result<Item, RecordError> {
        if !item.starts_with('{') {
            return Err(value::mismatch("an object with `name` and `value`"));
        }
        let entries = json::entries(item)?;
        let get = |key: &str| entries.iter().find(|(known, _)| known == key).map(|(_, value)| *value);
        let name = match get("name").map(value::unescape) {
            Some(Some(name)) => name,
            Some(None) => return Err(value::mismatch("a text").in_field("name")),
            None => {
                let message = "an entry names a role, group or team";
                return Err(RecordError::new(ErrorCode::FieldRequired, message).in_field("name"));
            }
        };
        let has = match get("value") {
            None | Some("null" | "\"\"") => None,
            Some(json) => {
                let unquoted = value::unescape(json);
                let raw = unquoted.as_deref().map_or(RawValue::Json(json), RawValue::Text);
                // 0 and 1 are what this form is about, so they are taken whatever the options say of other fields.
                let flag = value::flag(raw, true).map_err(|error| error.in_field("value"))?;
                flag.value().copied()
            }
        };
        // A name with nothing to change is looked up all the same: a typo must show.
        let found = find(self.kind, value::name(&name).map_err(|error| error.in_field("name"))?, self.rules)?;
        Ok(match (found, has) {
            (None, _) => Item::LeftOut,
            (Some(_), None) => Item::Nothing,
            (Some(id), Some(has)) => Item::Change(id, has),
        })
    }
}

enum Item {
    Change(i32, bool),
    LeftOut,
    Nothing,
}
