//! Finds the uploaded data of one person who is to be erased. Pure.

use uuid::Uuid;

use crate::chunk::Fate;
use crate::error::{ErrorCode, RecordError};
use crate::id::UserId;
use crate::normalise::{EmailAddress, Username};
use crate::options::IdentifierField;
use crate::outcome::Outcome;
use crate::record::{FieldNames, NameId, RawRecord, RawValue};
use crate::undo::{Change, Kind};
use crate::validate::Binding;

/// A person, by what identifies them; values are normalised.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Person {
    /// The user that they are, if there is one.
    pub user: Option<UserId>,
    /// Their e-mail address.
    pub email: Option<String>,
    /// Their phone number.
    pub phone_number: Option<String>,
    /// Their user name.
    pub preferred_username: Option<String>,
    /// Users of theirs that are deleted.
    pub former: Vec<Person>,
}

impl Person {
    /// Somebody of whom nothing is known but one identifier.
    pub fn known_by(field: IdentifierField, value: String) -> Self {
        let mut person = Self::default();
        match field {
            IdentifierField::Email => person.email = Some(value),
            IdentifierField::PhoneNumber => person.phone_number = Some(value),
            IdentifierField::PreferredUsername => person.preferred_username = Some(value),
        }
        person
    }

    /// The user that the change deleted, where it had one of the person's identifiers.
    pub fn was(&self, change: &Change) -> Option<Self> {
        let had = |field: &str| change.before.get(field)?.as_str().map(str::to_owned);
        let former = Self {
            user: Some(UserId::new(change.user)),
            email: had("email"),
            phone_number: had("phone_number"),
            preferred_username: had("preferred_username"),
            former: Vec::new(),
        };
        let same = |one: &Option<String>, other: &Option<String>| one.is_some() && one == other;
        let theirs = same(&self.email, &former.email)
            || same(&self.phone_number, &former.phone_number)
            || same(&self.preferred_username, &former.preferred_username);
        (change.kind == Kind::Deleted && theirs).then_some(former)
    }

    /// The person as they are and as they were.
    fn selves(&self) -> impl Iterator<Item = &Self> {
        std::iter::once(self).chain(&self.former)
    }

    /// The error of an erased record. The record is empty and is never applied.
    pub fn error() -> RecordError {
        RecordError::new(ErrorCode::Erased, "a person was erased, and this record with them")
    }

    /// What to do with a record. It is the person's where it was applied to a user of theirs, or where its identifiers are theirs.
    ///
    /// A record of another user that names the person. If it is still to be applied, it stays, since its
    /// values belong to the other user. If it has failed, all of it is removed, since a retry must not apply
    /// values that are not from the file. Otherwise only the values that name the person are removed.
    pub fn fate(
        &self,
        record: &RawRecord<'_>,
        outcome: Outcome,
        user: Option<Uuid>,
        columns: &IdentifierColumns,
    ) -> Fate {
        let theirs = user.is_some() && self.selves().any(|one| user == one.user.map(UserId::get));
        let identified = record.fields.iter().any(|field| match field.value {
            RawValue::Text(text) => columns.of(field.name).any(|column| self.is(column, text)),
            // A number, say.
            RawValue::Json(text) => columns.of(field.name).any(|column| self.is(column, text)),
            RawValue::Null => false,
        });
        // What was not read whole has its values anywhere.
        let unread = record.raw.is_some_and(|raw| self.is_named_in(raw))
            || record.defect.is_some() && record.fields.iter().any(|field| self.is_named_by(field.value));
        if theirs || identified || unread {
            return Fate::Erase;
        }
        let fields = record.fields.iter().enumerate();
        let naming: Vec<usize> =
            fields.filter(|(_, field)| self.is_named_by(field.value)).map(|(place, _)| place).collect();
        match outcome {
            _ if naming.is_empty() => Fate::Stay,
            Outcome::Pending => Fate::Stay,
            Outcome::Failed => Fate::Erase,
            Outcome::Inserted | Outcome::Updated | Outcome::Skipped => Fate::Hide(naming),
        }
    }

    /// What is to become of a change, in before-images or in an undo: a change of a user of the person goes, and so does one of somebody
    /// else in which a value names the person, since half a change is none.
    pub fn fate_of_change(&self, record: &RawRecord<'_>, names: &FieldNames) -> Fate {
        if record.defect.is_some() {
            return Fate::Stay;
        }
        let user = names.find("user").and_then(|name| record.value(name));
        let user: Option<UserId> = match user {
            Some(RawValue::Text(text)) => text.parse().ok(),
            _ => None,
        };
        let theirs = user.is_some() && self.selves().any(|one| one.user == user);
        let named = || record.fields.iter().any(|field| self.is_named_by(field.value));
        if theirs || named() { Fate::Erase } else { Fate::Stay }
    }

    fn is(&self, column: IdentifierField, text: &str) -> bool {
        self.selves().any(|one| one.has(column, text))
    }

    fn has(&self, column: IdentifierField, text: &str) -> bool {
        let text = text.trim().trim_start_matches('\'');
        match column {
            IdentifierField::Email => {
                self.email.is_some()
                    && EmailAddress::parse(text).ok().map(|it| it.into_inner().into_owned()) == self.email
            }
            // However it is written; only the country must be there.
            IdentifierField::PhoneNumber => self
                .phone_number
                .as_ref()
                .is_some_and(|known| digits(text).trim_start_matches("00") == digits(known)),
            IdentifierField::PreferredUsername => {
                self.preferred_username.is_some()
                    && Username::parse(text).ok().map(|it| it.into_inner().into_owned())
                        == self.preferred_username
            }
        }
    }

    fn is_named_by(&self, value: RawValue<'_>) -> bool {
        match value {
            RawValue::Text(text) | RawValue::Json(text) => self.is_named_in(text),
            RawValue::Null => false,
        }
    }

    /// Whether a text has the person's address or phone number in it. User names are words that may mean anything.
    pub fn is_named_in(&self, text: &str) -> bool {
        let text = text.to_lowercase();
        self.names().any(|known| text.contains(&known.to_lowercase()))
    }

    /// The person's users, those of former times included.
    pub fn users(&self) -> impl Iterator<Item = UserId> {
        self.selves().filter_map(|one| one.user)
    }

    /// The values by which a text names the person.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.selves().flat_map(|one| [&one.email, &one.phone_number]).flatten().map(String::as_str)
    }
}

fn digits(text: &str) -> String {
    text.chars().filter(char::is_ascii_digit).collect()
}

/// Which columns or keys of an upload hold identifiers.
#[derive(Debug, Clone, Default)]
pub struct IdentifierColumns(Vec<(NameId, IdentifierField)>);

impl IdentifierColumns {
    /// Of an upload with these names.
    pub fn new(binding: &Binding, names: &FieldNames) -> Self {
        let bound = IdentifierField::ALL
            .iter()
            .flat_map(|field| binding.identifiers(*field).map(|name| (name, *field)));
        let mut columns: Vec<_> = bound.collect();
        // The address that a user is given, and the names themselves where an import calls other columns so.
        for (at, name) in names.iter().enumerate() {
            let field = match name.trim().to_ascii_lowercase().as_str() {
                "email" | "new_email" => IdentifierField::Email,
                "phone_number" => IdentifierField::PhoneNumber,
                "preferred_username" => IdentifierField::PreferredUsername,
                _ => continue,
            };
            columns.extend(NameId::try_from(at).ok().map(|at| (at, field)));
        }
        Self(columns)
    }

    fn of(&self, name: NameId) -> impl Iterator<Item = IdentifierField> {
        self.0.iter().filter(move |(column, _)| *column == name).map(|(_, field)| *field)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, json};

    use super::*;
    use crate::options::ImportOptions;
    use crate::record::{Position, RawField, RecordNumber};
    use crate::rules::Rules;

    #[test]
    fn records_of_a_person_are_told_from_those_that_name_them() {
        let person = Person {
            user: Some(UserId::new(Uuid::from_u128(7))),
            email: Some("ann@example.com".into()),
            phone_number: Some("+14155550100".into()),
            preferred_username: Some("ann".into()),
            former: Vec::new(),
        };
        let names = FieldNames::from_header([
            "email",
            "phone_number",
            "preferred_username",
            "given_name",
            "custom__boss",
        ]);
        let rules = Rules::new(ImportOptions::default());
        let mut binding = Binding::new(&rules);
        binding.extend(&names);
        let columns = IdentifierColumns::new(&binding, &names);
        let position = Position { record: RecordNumber::FIRST, line: 1, byte: 0 };
        let outcome = std::cell::Cell::new(Outcome::Inserted);
        let fate = |cells: [&str; 5], user: Option<u128>| {
            let fields: Vec<RawField<'_>> =
                (0..).zip(cells).map(|(name, cell)| RawField { name, value: RawValue::Text(cell) }).collect();
            let record = RawRecord { position, fields: &fields, defect: None, raw: None };
            person.fate(&record, outcome.get(), user.map(Uuid::from_u128), &columns)
        };
        assert_eq!(fate([" ANN@Example.com", "", "", "", ""], None), Fate::Erase);
        assert_eq!(fate(["b@example.com", "+1 (415) 555-0100", "", "", ""], None), Fate::Erase);
        assert_eq!(fate(["b@example.com", "", "ann", "", ""], None), Fate::Erase);
        assert_eq!(fate(["b@example.com", "", "", "Bob", ""], Some(7)), Fate::Erase);
        assert_eq!(fate(["b@example.com", "", "", "ann", ""], Some(8)), Fate::Stay, "a name is anybody's");
        for (of, expected) in [
            (Outcome::Updated, Fate::Hide(vec![4])),
            (Outcome::Pending, Fate::Stay),
            (Outcome::Failed, Fate::Erase),
        ] {
            outcome.set(of);
            assert_eq!(fate(["b@example.com", "", "", "Bob", "see Ann@example.com"], None), expected);
            assert_eq!(fate(["ann@example.com", "", "", "", ""], None), Fate::Erase);
        }
        let raw = RawRecord { position, fields: &[], defect: None, raw: Some("x;ann@example.com") };
        assert_eq!(person.fate(&raw, Outcome::Failed, None, &columns), Fate::Erase);
    }

    #[test]
    fn a_deleted_user_is_the_persons_where_it_had_an_identifier_of_theirs() {
        let person = Person::known_by(IdentifierField::PreferredUsername, "ann".into());
        let before = json!({"preferred_username": "ann", "email": "ann@example.com", "given_name": "Ann"});
        let before = before.as_object().cloned().unwrap_or_default();
        let change = |kind, before: &Map<String, serde_json::Value>| Change {
            kind,
            before: before.clone(),
            ..Change::inserted(Uuid::from_u128(7), 1)
        };
        let former = person.was(&change(Kind::Deleted, &before)).unwrap();
        assert_eq!(former.user, Some(UserId::new(Uuid::from_u128(7))));
        assert_eq!(former.email.as_deref(), Some("ann@example.com"));
        assert_eq!(person.was(&change(Kind::Updated, &before)), None, "it is there");
        assert_eq!(person.was(&change(Kind::Deleted, &Map::new())), None, "nothing of both is the same");
        let other = Person::known_by(IdentifierField::Email, "bob@example.com".into());
        assert_eq!(other.was(&change(Kind::Deleted, &before)), None);
    }
}
