//! Detects text that was decoded wrongly before it arrived, and lost characters.

use std::borrow::Cow;

use crate::error::{ErrorCode, RecordError, without_nul};
use crate::fault::{self, Mutant};
use crate::parse::is_misdecoded;
use crate::record::{FieldNames, RawRecord, RawValue};

/// What the letters of a record came to.
#[derive(Debug, Default)]
pub(super) struct Letters {
    /// The record must not be stored.
    pub(super) defect: Option<RecordError>,
    /// What to tell beside its outcome.
    pub(super) warnings: Vec<String>,
}

/// Looks at the texts of a record with characters beyond ASCII.
pub(super) fn letters(record: &RawRecord<'_>, names: &FieldNames) -> Letters {
    let mut found = Letters::default();
    for field in record.fields {
        let text = match field.value {
            RawValue::Null => continue,
            RawValue::Text(text) => Cow::Borrowed(text),
            RawValue::Json(json) => unescaped(json),
        };
        let text: &str = &text;
        // Most are ASCII, which is found out faster.
        if text.is_ascii() || !may_be_damaged(text) {
            continue;
        }
        let name = || without_nul(names.get(field.name).unwrap_or_default());
        if let Some(at) = text.chars().position(|c| c == char::REPLACEMENT_CHARACTER) {
            found.warnings.push(format!(
                "{} holds U+FFFD at character {}: a letter was lost before the file came here, and only the file it comes from has it.",
                name(),
                at + 1
            ));
        }
        let told = record.defect.is_some() || found.defect.is_some();
        if !told && is_misdecoded(text) && !fault::mutant(Mutant::MisdecodedText) {
            let message = "the text was decoded wrongly before it arrived (UTF-8 read as Windows-1252, as in \u{c3}\u{a9} for \u{e9}): create the file again at its source and save it as UTF-8, or correct the value";
            found.defect = Some(RecordError::new(ErrorCode::TextMisdecoded, message).in_field(name()));
        }
    }
    found
}

/// A quick look for what few names have: U+FFFD, whose first byte is EF, or after one of the letters by which
/// [`is_misdecoded`] knows (their first bytes are C3 and C4) another character beyond ASCII.
fn may_be_damaged(text: &str) -> bool {
    let bytes = text.as_bytes();
    memchr::memchr3_iter(0xC3, 0xC4, 0xEF, bytes)
        .any(|at| bytes.get(at + 2).is_some_and(|last| !last.is_ascii()))
}

/// JSON with its letters written as themselves, not as `\u00e9`.
fn unescaped(json: &str) -> Cow<'_, str> {
    // Most have no backslash, which is found faster than a pair of bytes.
    if memchr::memchr(b'\\', json.as_bytes()).is_none() {
        return Cow::Borrowed(json);
    }
    let value: Result<serde_json::Value, _> = serde_json::from_str(json);
    value.map_or(Cow::Borrowed(json), |value| Cow::Owned(value.to_string()))
}
