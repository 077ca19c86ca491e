//! What each field does, by its behaviour, by what the record says, and by whether the user is there: the rule that the
//! planner follows (`fields_do_what_the_table_says` shows that it does) and that `docs/fields.md` is made of.

use std::fmt;

use crate::error::ErrorCode;
use crate::field::{Behaviour, Field};
use crate::warning::Warning;

/// What a record says of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PatchKind {
    /// Nothing.
    Absent,
    /// Null.
    Null,
    /// A valid value.
    Value,
}

impl PatchKind {
    /// Everything that it can say.
    pub const ALL: [Self; 3] = [Self::Absent, Self::Null, Self::Value];
}

/// Whether the user of a record exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum UserState {
    /// The record makes it.
    New,
    /// It is.
    Existing,
}

impl UserState {
    /// Both.
    pub const ALL: [Self; 2] = [Self::New, Self::Existing];
}

/// What comes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// The user has the value.
    Set,
    /// The user has none.
    Removed,
    /// The user has what it had.
    Untouched,
    /// As untouched, and a warning says so.
    NoEffect(Warning),
    /// The record fails.
    Error(ErrorCode),
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Set => f.write_str("set"),
            Self::Removed => f.write_str("removed"),
            Self::Untouched => f.write_str("untouched"),
            Self::NoEffect(warning) => write!(f, "no effect (\"{warning}\")"),
            Self::Error(code) => write!(f, "error `{code}`"),
        }
    }
}

/// What a field does.
///
/// The field that identifies users is none of these: it is always there, and only `new_email` changes it.
pub fn effect(field: Field, behaviour: Behaviour, says: PatchKind, meets: UserState) -> Effect {
    match (says, meets) {
        (PatchKind::Absent, _) => Effect::Untouched,
        (PatchKind::Null, _) if behaviour == Behaviour::Keep || is_object_of_secrets(field) => {
            Effect::Error(ErrorCode::NullNotAllowed)
        }
        (PatchKind::Null, UserState::New) if warns_of_null(field) => {
            Effect::NoEffect(Warning::NullInInsert(field))
        }
        (PatchKind::Null, UserState::New) => Effect::Untouched,
        (PatchKind::Value, UserState::New) => Effect::Set,
        (PatchKind::Null | PatchKind::Value, UserState::Existing)
            if behaviour == Behaviour::Ignore || is_secret(field) =>
        {
            Effect::Untouched
        }
        (PatchKind::Null, UserState::Existing) if has_nothing_of_its_own(field) => Effect::Untouched,
        (PatchKind::Null, UserState::Existing) => Effect::Removed,
        (PatchKind::Value, UserState::Existing) => Effect::Set,
    }
}

/// Secrets are set for new users only (contracts A.3.3).
fn is_secret(field: Field) -> bool {
    matches!(
        field,
        Field::Password
            | Field::PasswordHash
            | Field::PasswordExpireAfter
            | Field::MfaPasswordHash
            | Field::MfaTotpSecret
    )
}

/// Objects that are never null, whatever their behaviour (contracts A.1.5).
fn is_object_of_secrets(field: Field) -> bool {
    matches!(field, Field::Password | Field::Mfa)
}

/// What they set is part of another field: of the e-mail address, of the metadata.
fn has_nothing_of_its_own(field: Field) -> bool {
    matches!(field, Field::NewEmail | Field::CustomAttributes)
}

/// Contracts A.3.4.
fn warns_of_null(field: Field) -> bool {
    matches!(
        field,
        Field::Email
            | Field::PhoneNumber
            | Field::PreferredUsername
            | Field::MfaEmail
            | Field::MfaPhoneNumber
    )
}

/// The page `docs/fields.md`.
pub fn page() -> String {
    let mut page = String::from(PREFACE);
    for field in Field::ALL {
        for behaviour in Behaviour::ALL {
            let cell = |says, meets| effect(*field, behaviour, says, meets).to_string();
            let mark = if behaviour == field.default_behaviour() { " (default)" } else { "" };
            let cells =
                UserState::ALL.into_iter().flat_map(|meets| PatchKind::ALL.map(|says| cell(says, meets)));
            let cells: Vec<String> = cells.collect();
            page.push_str(&format!("| `{field}` | {}{mark} | {} |\n", behaviour.as_str(), cells.join(" | ")));
        }
    }
    page.push_str("\n## What each field takes\n\n");
    page + &crate::field::forms()
}

const PREFACE: &str = "# What each field does

<!-- Made of shared/domain/src/effect.rs: MUSTER_UPDATE_DOCS=1 cargo test -p muster-domain fields_do_what_the_table_says -->

A record says nothing of a field, null, or a value; the user it means is new, or there already. For users that are there
each field has a behaviour, which an import's options can change: `remove` (a value is set, null removes), `keep` (a value is
set, null is an error) or `ignore` (the field stays as it is).

- The field that identifies users must be there and is never changed, but for the e-mail address by `new_email`. A record
  whose `email` nobody has and whose `new_email` somebody has means that user.
- E-mail addresses and usernames are compared without capitals, letter by letter as Unicode folds them: `A` is `a` and `\u{df}` is `ss`;
  `\u{130}` (a capital I with a dot) is neither `I` nor `i`, so the two spellings of a Turkish name are two users.
- `email_verified` and `phone_number_verified` need the address beside them in the record, and the user must have it
  afterwards. A verified address that is changed or removed is verified no more.
- `false` is a value; a flag that is false is one that the user does not have. `disabled` and `status` are one state in two
  fields.
- `metadata` meets what is there by the import's metadata mode; null there removes all of it. Null under `custom__KEY` is a
  value like any other. `custom_attributes` are keys of the metadata that the catalog defines: null removes one.
- Roles, groups and teams are the whole set, or what is added and taken away, as the import's `sets` option says.
- Secrets (`password`, `password_hash`, `password_expire_after` beside a hash, `mfa_password_hash`, `mfa_totp_secret`, and those
  in `mfa`) are only ever set for new users.
- In a table nothing is null, unless the import's `empty_cells` say `remove`; then the warnings about null are not given.

| field | behaviour | new: absent | new: null | new: value | existing: absent | existing: null | existing: value |
|---|---|---|---|---|---|---|---|
";
