//! What a chunk becomes, as far as no store is asked: which of its records are applied, and what is told of each. The worker runs it around
//! the statements of the store, the oracle of the tests around a table of its own.

use uuid::Uuid;

use crate::error::RecordError;
use crate::fault::{Mutant, mutant};
use crate::intake::explained;
use crate::outcome::{Outcome, OutcomeSheet, Verdict};
use crate::receive::Issue;
use crate::record::{FieldNames, RawRecord, Record, Secrets, source_json};
use crate::rules::Rules;
use crate::validate::{Binding, validate};

/// The records of a chunk while they are applied.
#[derive(Debug)]
pub struct Applying<'a> {
    names: &'a FieldNames,
    secrets: &'a Secrets,
    raw: &'a [RawRecord<'a>],
    /// Valid pending records with their index in the chunk. Of an undo: none.
    pub valid: Vec<(usize, Record<'a>)>,
    /// The outcomes so far.
    pub sheet: OutcomeSheet,
    /// What there is to say of records beside their outcome.
    pub issues: Vec<Issue>,
}

impl<'a> Applying<'a> {
    /// Validates the pending records; those that are invalid (their catalog may have changed since they were received) fail at once.
    pub fn new(
        sheet: OutcomeSheet,
        names: &'a FieldNames,
        raw: &'a [RawRecord<'a>],
        binding: &'a Binding,
        rules: &'a Rules,
    ) -> Self {
        let secrets = binding.secrets();
        let valid = Vec::with_capacity(raw.len());
        let mut applying = Self { names, secrets, raw, valid, sheet, issues: Vec::new() };
        // The records of an undo are changes of users.
        if rules.options.undo.is_some() {
            return applying;
        }
        for (index, record) in raw.iter().enumerate() {
            if !applying.is_pending(index) {
                continue;
            }
            match validate(record, binding, rules).result {
                Ok(record) => applying.valid.push((index, record)),
                // What mends a value is told whoever finds it, here where the catalog changed or a record is tried once more.
                Err(errors) if mutant(Mutant::RetryForgetsHints) => applying.fail(index, errors),
                Err(errors) => applying.fail(index, explained(errors, record, binding, rules)),
            }
        }
        applying
    }

    /// Whether the outcome of a record is still to be decided.
    pub fn is_pending(&self, index: usize) -> bool {
        self.sheet.get(index).is_some_and(|(verdict, _)| verdict.outcome == Outcome::Pending)
    }

    /// Lets a record fail.
    pub fn fail(&mut self, index: usize, errors: Vec<RecordError>) {
        self.sheet.set(index, Verdict::FAILED, None);
        if let Some(record) = self.raw.get(index) {
            self.issues.push(Issue {
                record: record.position.record.get(),
                failed: true,
                errors,
                warnings: Vec::new(),
                source: Some(source_json(record, self.names, self.secrets)),
            });
        }
    }

    /// Adds a warning to the issue of a record, beside its error if it has one.
    pub fn warn(&mut self, index: usize, text: String) {
        let Some(record) = self.raw.get(index) else { return };
        let number = record.position.record.get();
        match self.issues.iter_mut().rev().find(|issue| issue.record == number) {
            Some(issue) => issue.warnings.push(text),
            None => self.issues.push(Issue { warnings: vec![text], ..Issue::of(number) }),
        }
    }

    /// Notes what some of the records came to, by their index.
    pub fn note(
        &mut self,
        verdicts: impl IntoIterator<Item = (usize, Verdict, Option<Uuid>)>,
        errors: impl IntoIterator<Item = (usize, RecordError)>,
        warnings: impl IntoIterator<Item = (usize, String)>,
    ) {
        for (index, verdict, user) in verdicts {
            self.sheet.set(index, verdict, user);
        }
        for (index, error) in errors {
            self.fail(index, vec![error]);
        }
        for (index, text) in warnings {
            self.warn(index, text);
        }
    }
}
