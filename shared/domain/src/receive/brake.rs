//! The brake refuses a file before anything is applied if most of its first records fail for one cause.
//!
//! A wrong option (an encoding, a date format) makes nearly every record fail and lets a few through, which
//! nobody wants. Only the first records are checked, as many as a chunk has. Small files are not stopped,
//! since their failures are easy to see.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::collections::hash_map::Entry;

use crate::error::{ErrorCode, FileError, RecordError};
use crate::fault::{Mutant, mutant};
use crate::record::Position;

/// Fewest records that say something.
const FEWEST: u64 = 100;
/// Most causes that are counted.
const CAUSES: usize = 200;

/// Counts causes in the first records of a file.
#[derive(Debug)]
pub(super) struct Brake {
    percent: u64,
    looks_at: u64,
    seen: u64,
    causes: HashMap<(ErrorCode, Option<String>), Cause>,
}

#[derive(Debug)]
struct Cause {
    records: u64,
    /// How many causes were met before it.
    before: usize,
    first: Position,
    message: String,
}

impl Brake {
    /// A brake that stops when more than this percentage of the first records fails for one cause; `None` for 0.
    pub(super) fn new(percent: Option<u8>, chunk_records: u32) -> Option<Self> {
        let percent = u64::from(percent.filter(|percent| *percent > 0)?);
        (!mutant(Mutant::NoBrake)).then(|| Self {
            percent,
            looks_at: u64::from(chunk_records).max(FEWEST),
            seen: 0,
            causes: HashMap::new(),
        })
    }

    /// Takes the next record, and says whether the file is to be stopped.
    pub(super) fn record(&mut self, errors: &[RecordError], position: Position) -> Result<(), FileError> {
        if self.seen >= self.looks_at {
            return Ok(());
        }
        self.seen += 1;
        let mut told: Vec<(ErrorCode, Option<&str>)> = Vec::new();
        for error in errors {
            let key = (error.code, error.field.as_deref());
            if told.contains(&key) {
                continue;
            }
            told.push(key);
            let key = (error.code, error.field.clone());
            let before = self.causes.len();
            match self.causes.entry(key) {
                Entry::Occupied(mut there) => there.get_mut().records += 1,
                Entry::Vacant(_) if before >= CAUSES => {}
                Entry::Vacant(free) => {
                    let message = error.message.clone();
                    free.insert(Cause { records: 1, before, first: position, message });
                }
            }
        }
        if self.seen == self.looks_at { self.check() } else { Ok(()) }
    }

    /// The file is at its end.
    pub(super) fn end(&self) -> Result<(), FileError> {
        // A longer file was looked at when its first records had come.
        if self.seen >= FEWEST && self.seen < self.looks_at { self.check() } else { Ok(()) }
    }

    fn check(&self) -> Result<(), FileError> {
        // Among equally frequent causes, the one found first.
        let worst = self.causes.iter().max_by_key(|(_, cause)| (cause.records, Reverse(cause.before)));
        let Some(((code, field), cause)) = worst else { return Ok(()) };
        if cause.records * 100 <= self.seen * self.percent {
            return Ok(());
        }
        let about = field.as_deref().map(|field| format!("{field}: ")).unwrap_or_default();
        let message = format!(
            "{} of the first {} records fail for one cause, and nothing was applied: {about}{} [{code}]. Mend that, or import all the \
             same with `--brake 0` (over HTTP `brake=0`).",
            cause.records, self.seen, cause.message
        );
        let error = FileError::new(ErrorCode::MostlyInvalid, message);
        Err(error.at_record(cause.first.record.get()).at_line(cause.first.line))
    }
}

#[cfg(test)]
mod tests {
    use crate::record::RecordNumber;

    use super::*;

    /// What a file of so many records comes to of which every `nth` fails.
    fn came(percent: u8, chunk: u32, records: u64, nth: u64) -> Result<(), FileError> {
        let Some(mut brake) = Brake::new(Some(percent), chunk) else { return Ok(()) };
        let error = RecordError::new(ErrorCode::PhoneInvalid, "no such number").in_field("phone");
        for number in 1..=records {
            let position = Position { record: RecordNumber::new(number).unwrap(), line: number + 1, byte: 0 };
            let errors = if number % nth == 0 { vec![error.clone()] } else { Vec::new() };
            brake.record(&errors, position)?;
        }
        brake.end()
    }

    #[test]
    fn of_causes_that_are_as_frequent_the_first_one_is_told() {
        let errors: Vec<_> = (0..150)
            .map(|n| RecordError::new(ErrorCode::FieldUnknown, "no such field").in_field(format!("key{n}")))
            .collect();
        let mut brake = Brake::new(Some(50), 100).unwrap();
        for number in 1..100 {
            let position = Position { record: RecordNumber::new(number).unwrap(), line: number, byte: 0 };
            brake.record(&errors, position).unwrap();
        }
        let position = Position { record: RecordNumber::new(100).unwrap(), line: 100, byte: 0 };
        let stopped = brake.record(&errors, position).unwrap_err();
        assert!(stopped.message.contains("key0: no such field"), "{}", stopped.message);
    }

    #[test]
    fn a_file_is_stopped_where_most_of_its_first_records_fail_for_one_cause() {
        let stopped = came(50, 200, 1_000, 1).unwrap_err();
        assert_eq!(
            (stopped.code, stopped.record, stopped.line),
            (ErrorCode::MostlyInvalid, Some(1), Some(2))
        );
        assert!(stopped.message.contains("200 of the first 200") && stopped.message.contains("`--brake 0`"));
        assert!(came(50, 200, 150, 1).is_err(), "a file that ends before is looked at as well");
        assert!(came(50, 200, 1_000, 2).is_ok(), "half is not more than half");
        assert!(came(49, 200, 1_000, 2).is_err());
        assert!(came(50, 200, 99, 1).is_ok(), "a small file is not stopped");
        assert!(came(0, 200, 1_000, 1).is_ok());
        assert!(came(100, 200, 1_000, 1).is_ok());
    }
}
