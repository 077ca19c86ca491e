//! The before-images of one application of a chunk: one compact value, and a summary that can be read without decoding it.

use serde_json::{Map, Value};

use super::flat::UNIQUE;
use super::{Change, Kind, encode};
use crate::fault::{Mutant, mutant};
use crate::outcome::{Outcome, OutcomeSheet};

/// What is kept of one application of a chunk.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Images {
    /// Users were changed, inserted or deleted. Else nothing is kept.
    pub any: bool,
    /// The changes, encoded. `None` where users were inserted by one record each and nothing else happened.
    pub body: Option<Vec<u8>>,
    /// A user that was there lost a unique value.
    pub gives_up: bool,
    /// A user that was there got a unique value.
    pub takes: bool,
}

impl Images {
    /// Of these changes, and of the users that the sheet says were inserted.
    pub fn of(changes: &[Change], sheet: &OutcomeSheet) -> std::io::Result<Self> {
        if mutant(Mutant::BeforeImagesForgotten) {
            return Ok(Self::default());
        }
        let inserted = sheet.iter().any(|(verdict, _)| verdict.outcome == Outcome::Inserted);
        let updated = || changes.iter().filter(|change| change.kind == Kind::Updated);
        let moves = |of: &Map<String, Value>, other: &Map<String, Value>| {
            UNIQUE.iter().any(|field| of.contains_key(*field) && of.get(*field) != other.get(*field))
        };
        Ok(Self {
            any: inserted || !changes.is_empty(),
            body: encode(changes)?,
            gives_up: updated().any(|change| moves(&change.before, &change.after)),
            takes: updated().any(|change| moves(&change.after, &change.before)),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use uuid::Uuid;

    use super::*;
    use crate::outcome::Verdict;

    #[test]
    fn what_moved_of_unique_values_is_known_without_reading() {
        let mut change = Change { kind: Kind::Updated, ..Change::inserted(Uuid::from_u128(1), 2) };
        let sheet = OutcomeSheet::pending(1);
        let flags = |change: &Change| {
            let images = Images::of(std::slice::from_ref(change), &sheet).unwrap();
            (images.gives_up, images.takes)
        };
        change.after.insert("email_verified".into(), json!(true));
        change.before.insert("email".into(), json!("a@example.com"));
        change.after.insert("email".into(), json!("a@example.com"));
        assert_eq!(flags(&change), (false, false));
        change.after.insert("phone_number".into(), json!("+3212345678"));
        assert_eq!(flags(&change), (false, true));
        change.after.remove("phone_number");
        change.before.insert("phone_number".into(), json!("+3212345678"));
        assert_eq!(flags(&change), (true, false));
    }

    #[test]
    fn users_that_one_record_each_inserted_cost_nothing() {
        let mut sheet = OutcomeSheet::pending(2);
        assert_eq!(Images::of(&[], &sheet).unwrap(), Images::default());
        sheet.set(1, Verdict::INSERTED, Some(Uuid::from_u128(1)));
        assert_eq!(Images::of(&[], &sheet).unwrap(), Images { any: true, ..Images::default() });
    }
}
