//! What an undo is asked to take back: an import, whole or in part.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::column_name::fold;
use crate::field::dictionary::common;
use crate::field::{Field, FieldTable};
use crate::id::ImportId;
use crate::outcome::{Outcome, Reason};

/// What an import undoes; an option of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Undo {
    /// The import that is undone.
    pub of: ImportId,
    /// When that import began, or the first import of the line where that one is an undo itself. Users that are older were not
    /// inserted by it.
    pub since: DateTime<Utc>,
    /// Paths of the fields that are taken back. None: all, and users that were inserted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<String>,
    /// Only what these records did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub records: Option<RecordRanges>,
    /// Only what records with this outcome did: inserted or updated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// Only what records did of which this was told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<UndoCode>,
    /// It is known that the import changed no user more than once.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub once: bool,
    /// The import may have inserted users, which the undo then deletes.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub inserts: bool,
    /// How many times a retry opened a chunk of it again for nothing but records that had failed as `changed_since_plan`: of those, and of
    /// what waited for them, nothing is left after it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub drifted: u64,
}

fn yes() -> bool {
    true
}

fn is_yes(flag: &bool) -> bool {
    *flag
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// What is told of records that changed a user, and not of all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UndoCode {
    /// The record only enrolled its user.
    Enrolled,
    /// The record of an undo deleted its user.
    Deleted,
    /// The record was applied although its user was no longer what the plan had seen (`on_drift=apply`).
    ChangedSincePlan,
}

impl UndoCode {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Enrolled, Self::Deleted, Self::ChangedSincePlan];

    /// The text in requests and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Enrolled => "enrolled",
            Self::Deleted => "deleted",
            Self::ChangedSincePlan => "changed_since_plan",
        }
    }

    /// The reason of the outcome by which it is told, if it is told by one.
    pub fn reason(self) -> Option<Reason> {
        match self {
            Self::Enrolled => Some(Reason::Enrolled),
            Self::Deleted => Some(Reason::Deleted),
            Self::ChangedSincePlan => None,
        }
    }
}

/// The text names nothing that is told of records that changed a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be one of: enrolled, deleted, changed_since_plan")]
pub struct NoUndoCode;

impl FromStr for UndoCode {
    type Err = NoUndoCode;

    fn from_str(text: &str) -> Result<Self, NoUndoCode> {
        Self::ALL.into_iter().find(|known| known.as_str() == text).ok_or(NoUndoCode)
    }
}

impl fmt::Display for UndoCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whether `named` is the field with this path, or the whole of which it is a part, as `metadata` and `roles` are. A key may have a dot
/// itself, so `metadata.a` does not name the key `a.b`.
pub fn names_field(named: &str, path: &str) -> bool {
    match path.strip_prefix(named) {
        Some("") => true,
        Some(rest) => rest.starts_with('.') && !named.contains('.'),
        None => false,
    }
}

impl Undo {
    /// Everything that an import did.
    pub fn whole(of: ImportId, since: DateTime<Utc>) -> Self {
        Self {
            of,
            since,
            fields: Vec::new(),
            records: None,
            outcome: None,
            code: None,
            once: false,
            inserts: true,
            drifted: 0,
        }
    }

    /// Whether everything is taken back.
    pub fn is_whole(&self) -> bool {
        self.fields.is_empty() && self.records.is_none() && self.outcome.is_none() && self.code.is_none()
    }

    /// Whether a field is to be taken back.
    pub fn takes_field(&self, path: &str) -> bool {
        self.fields.is_empty() || self.fields.iter().any(|named| names_field(named, path))
    }

    /// The path of a field as options and documents call it. `None` for no field that an import changes.
    ///
    /// ```
    /// use muster_domain::undo::Undo;
    ///
    /// assert_eq!(Undo::path_of("custom__office").as_deref(), Some("metadata.office"));
    /// assert_eq!(Undo::path_of("password_hash"), None, "secrets are not taken back");
    /// ```
    pub fn path_of(name: &str) -> Option<String> {
        if let Some(key) = name.strip_prefix("custom__").filter(|key| !key.is_empty()) {
            return Some(format!("metadata.{key}"));
        }
        if let Some((member, key)) = name.split_once('.') {
            let known = ["metadata", "addresses", "agent"].contains(&member) && !key.is_empty();
            return known.then(|| name.to_owned());
        }
        // Columns have other names besides.
        let native = FieldTable::native().find(name).map(|rule| rule.field);
        let other = || common(&fold(name)).filter(|common| !common.enabled).map(|common| common.field);
        let is_whole = matches!(name, "memberships" | "agent");
        let name = match native.or_else(other).filter(|_| !is_whole) {
            Some(field) => field.as_str(),
            None => name,
        };
        let path = match name {
            "memberships" | "agent" => name,
            "custom_attributes" => "metadata",
            "new_email" => "email",
            "disabled" | "status" => "disabled_at",
            "account_valid_from" => "valid_from",
            "account_valid_until" => "valid_until",
            _ => {
                let field: Field = name.parse().ok()?;
                return match field {
                    Field::Password
                    | Field::PasswordHash
                    | Field::PasswordExpireAfter
                    | Field::Mfa
                    | Field::MfaPasswordHash
                    | Field::MfaTotpSecret => None,
                    _ if field.is_agent() => Some(format!("agent.{name}")),
                    _ => Some(name.to_owned()),
                };
            }
        };
        Some(path.to_owned())
    }
}

/// Records by their numbers: `7`, `1-100`, several with commas between them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RecordRanges(Vec<(u64, u64)>);

/// Most ranges that may be named.
const MOST: usize = 1_000;

/// The text names no records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be numbers of records and ranges of them, as in 7,100-200; at most {MOST}")]
pub struct NoRanges;

impl RecordRanges {
    /// Whether a record is among them.
    ///
    /// ```
    /// use muster_domain::undo::RecordRanges;
    ///
    /// let ranges: RecordRanges = "7,100-200".parse().unwrap();
    /// assert!(ranges.contains(150) && !ranges.contains(8));
    /// ```
    pub fn contains(&self, record: u64) -> bool {
        self.0.iter().any(|(first, last)| (*first..=*last).contains(&record))
    }
}

impl FromStr for RecordRanges {
    type Err = NoRanges;

    fn from_str(text: &str) -> Result<Self, NoRanges> {
        let range = |part: &str| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let number = |text: &str| text.trim().parse().map_err(|_| NoRanges);
            let (first, last) = (number(first)?, number(last)?);
            if first == 0 || first > last { Err(NoRanges) } else { Ok((first, last)) }
        };
        let ranges = text.split(',').map(range).collect::<Result<Vec<_>, _>>()?;
        if ranges.len() > MOST { Err(NoRanges) } else { Ok(Self(ranges)) }
    }
}

impl fmt::Display for RecordRanges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (first, last)) in self.0.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            match first == last {
                true => write!(f, "{comma}{first}")?,
                false => write!(f, "{comma}{first}-{last}")?,
            }
        }
        Ok(())
    }
}

impl TryFrom<String> for RecordRanges {
    type Error = NoRanges;

    fn try_from(text: String) -> Result<Self, NoRanges> {
        text.parse()
    }
}

impl From<RecordRanges> for String {
    fn from(ranges: RecordRanges) -> Self {
        ranges.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_named_by_numbers_and_ranges() {
        let ranges: RecordRanges = "7, 100-200".parse().unwrap();
        let among: Vec<u64> =
            [6, 7, 8, 99, 100, 200, 201].into_iter().filter(|at| ranges.contains(*at)).collect();
        assert_eq!(among, [7, 100, 200]);
        assert_eq!(ranges.to_string(), "7,100-200");
        for wrong in ["", "0", "a", "3-1", "1-", "-1", "1,,2", "1-2-3", "99999999999999999999"] {
            assert_eq!(wrong.parse::<RecordRanges>(), Err(NoRanges), "{wrong}");
        }
    }

    #[test]
    fn fields_are_named_as_in_files() {
        for (name, path) in [
            ("email", Some("email")),
            ("new_email", Some("email")),
            ("first_name", Some("given_name")),
            ("last_name", Some("family_name")),
            ("Courriel", Some("email")),
            ("custom__office", Some("metadata.office")),
            ("metadata", Some("metadata")),
            ("metadata.office", Some("metadata.office")),
            ("disabled", Some("disabled_at")),
            ("alias", Some("agent.alias")),
            ("roles", Some("roles")),
            ("addresses", Some("addresses")),
            ("locked", Some("locked")),
            ("password_hash", None),
            ("nothing", None),
            ("roles.3", None),
        ] {
            assert_eq!(Undo::path_of(name).as_deref(), path, "{name}");
        }
        let undo = Undo {
            fields: vec!["metadata".into()],
            ..Undo::whole(ImportId::new(uuid::Uuid::nil()), DateTime::default())
        };
        assert!(
            undo.takes_field("metadata.x")
                && undo.takes_field("metadata.x.y")
                && !undo.takes_field("metadatax")
                && !undo.takes_field("email")
        );
        let undo = Undo { fields: vec!["metadata.a".into()], ..undo };
        assert!(undo.takes_field("metadata.a") && !undo.takes_field("metadata.a.b"));
    }
}
