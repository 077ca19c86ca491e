//! What is wrong with a file, by cause: so many causes, each with its count and its first records.
//!
//! A million records may have the same fault, so a cause is noted without a text; the text is created only
//! for the first record. Causes are in the order in which they were found; the frequent ones are found first.

use super::{Place, Problem};
use crate::error::{ErrorCode, RecordError};
use crate::options::IdentifierField;

/// Places that a problem names.
pub(super) const PLACES: usize = 3;
/// How many causes are distinguished.
const CAUSES: usize = 200;

/// What makes two faults one problem.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause<'c> {
    /// An error with this code, about this column or key.
    Error(ErrorCode, Option<&'c str>),
    /// A warning with this text.
    Warning(&'c str),
    /// A value of this field that is also in an earlier record.
    Twice(IdentifierField),
    /// Values are compared only with the first ones.
    Full,
}

/// The problems met so far.
#[derive(Debug, Default)]
pub(super) struct Causes(Vec<Known>);

#[derive(Debug)]
struct Known {
    kind: Kind,
    problem: Problem,
}

/// A cause without its texts, which the problem has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Error,
    Warning,
    Twice(IdentifierField),
    Full,
}

impl Known {
    fn is(&self, cause: Cause<'_>) -> bool {
        match cause {
            Cause::Error(code, field) => {
                self.problem.code == Some(code) && self.problem.field.as_deref() == field
            }
            Cause::Warning(text) => self.kind == Kind::Warning && self.problem.message == text,
            Cause::Twice(field) => self.kind == Kind::Twice(field),
            Cause::Full => self.kind == Kind::Full,
        }
    }
}

impl Causes {
    /// Notes an error of a record; `explained` adds advice.
    pub(super) fn error(
        &mut self,
        error: &RecordError,
        place: Place,
        explained: impl FnOnce() -> RecordError,
    ) {
        let cause = Cause::Error(error.code, error.field.as_deref());
        self.note(cause, place, || explained().message);
    }

    /// Notes that a record has a cause; `message` creates its text.
    pub(super) fn note(&mut self, cause: Cause<'_>, place: Place, message: impl FnOnce() -> String) {
        if let Some(known) = self.0.iter_mut().find(|known| known.is(cause)) {
            known.problem.count += 1;
            if known.problem.first.len() < PLACES {
                known.problem.first.push(place);
            }
            return;
        }
        if self.0.len() >= CAUSES {
            return;
        }
        let (kind, code, field) = match cause {
            Cause::Error(code, field) => (Kind::Error, Some(code), field.map(str::to_owned)),
            Cause::Warning(_) => (Kind::Warning, None, None),
            Cause::Twice(field) => (Kind::Twice(field), None, None),
            Cause::Full => (Kind::Full, None, None),
        };
        let problem = Problem { code, field, count: 1, message: message(), first: vec![place] };
        self.0.push(Known { kind, problem });
    }

    /// All of them, in the order in which they were met.
    pub(super) fn into_problems(self) -> Vec<Problem> {
        self.0.into_iter().map(|known| known.problem).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_cause_is_counted_and_its_text_is_made_once() {
        let mut causes = Causes::default();
        let place = |record| Place { record, line: record + 1 };
        let wrong = RecordError::new(ErrorCode::EmailInvalid, "no @").in_field("E-Mail");
        let mut made = 0;
        for record in 1..=5 {
            causes.error(&wrong, place(record), || {
                made += 1;
                wrong.clone()
            });
            causes.note(Cause::Warning("first_name holds a tab"), place(record), || {
                "first_name holds a tab".into()
            });
            causes
                .note(Cause::Twice(IdentifierField::Email), place(record), || format!("as record {record}"));
        }
        let other = RecordError::new(ErrorCode::EmailInvalid, "no @").in_field("other");
        causes.error(&other, place(6), || other.clone());
        let problems = causes.into_problems();
        let counts: Vec<(u64, usize)> =
            problems.iter().map(|problem| (problem.count, problem.first.len())).collect();
        assert_eq!((counts, made), (vec![(5, 3), (5, 3), (5, 3), (1, 1)], 1));
        assert_eq!(problems[2].message, "as record 1");
    }

    #[test]
    fn so_many_causes_are_told_apart_and_no_more() {
        let mut causes = Causes::default();
        for number in 0..300 {
            let text = format!("warning {number}");
            causes.note(Cause::Warning(&text), Place { record: 1, line: 2 }, || text.clone());
        }
        assert_eq!(causes.into_problems().len(), CAUSES);
    }
}
