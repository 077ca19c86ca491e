//! A user as an undo finds it, and what the undo remembers of it until its next chunk.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::flat::UNIQUE;
use super::{Change, Flat};

/// Stands among the kept fields of a user of whom a change is left out: none of its earlier changes is taken back before that one. No
/// field has an empty path.
pub const LEFT_OUT: &str = "";

/// Fields that undos of an import gave back, by their path.
pub type GivenBack = BTreeMap<String, Back>;

/// To which version of its user a field was given back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Back {
    /// It has the value that it had at this version.
    pub to: i32,
    /// The version at which it had that again.
    pub at: i32,
}

impl Back {
    /// Whether this took the change of the field back; one that came later it did not.
    pub(super) fn covers(self, change: &Change) -> bool {
        self.to <= change.from && change.to <= self.at
    }

    /// Whether this took back earlier changes of the field besides.
    pub(super) fn goes_behind(self, change: &Change) -> bool {
        self.covers(change) && self.to < change.from && change.from < change.to
    }
}

/// Adds what another undo of the same import gave back: of two that gave back a field, the later one counts.
pub fn add_given_back(known: &mut GivenBack, other: GivenBack) {
    for (path, back) in other {
        let there = known.entry(path).or_insert(back);
        if (there.at, back.to) < (back.at, there.to) {
            *there = back;
        }
    }
}

/// A user as it is now.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// Id.
    pub id: Uuid,
    /// Version; writing is refused when it moved since this was read.
    pub version: i32,
    /// The earlier version since which nobody else changed the user: later changes were the import's, and
    /// were undone by this undo or by an earlier partial one, or still stand. None where nothing is known.
    pub stands_for: Option<i32>,
    /// Fields that this undo left as they are: earlier changes of them are not undone either. Also [`LEFT_OUT`].
    pub kept: BTreeSet<String>,
    /// Fields that this undo or another one of the same import gave back.
    pub given_back: GivenBack,
    /// Everything that it has.
    pub fields: Flat,
}

impl Found {
    /// The unique values that it has.
    pub(crate) fn unique(&self) -> impl Iterator<Item = (&'static str, &str)> {
        UNIQUE.into_iter().filter_map(|field| Some((field, self.fields.get(field)?.as_str()?)))
    }

    /// Whether a field has this text.
    pub fn has_text(&self, field: &str, text: &str) -> bool {
        self.fields.get(field).and_then(Value::as_str) == Some(text)
    }
}

/// What an undo has to remember of a user until its next chunk.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// Id.
    pub user: Uuid,
    /// The version that it gets, or has.
    pub version: i32,
    /// The version that it is known to stand for, apart from fields that were given back besides: its own where nothing is known.
    pub stands_for: i32,
    /// Fields that were left as they are, and [`LEFT_OUT`] where a change of it is left out.
    pub kept: Vec<String>,
    /// Fields that were given back.
    pub given_back: GivenBack,
}
