//! Text that was decoded wrongly on its way, and characters that were lost.

use crate::error::{ErrorCode, RecordError};
use crate::fault::{self, Mutant};
use crate::parse::is_misdecoded;
use crate::record::{Names, RawRecord, RawValue};

/// What the letters of a record came to.
#[derive(Debug, Default)]
pub(super) struct Letters {
    /// The record must not be stored.
    pub(super) defect: Option<RecordError>,
    /// What to tell beside its outcome.
    pub(super) warnings: Vec<String>,
}

/// Looks at the texts of a record with characters beyond ASCII.
pub(super) fn letters(record: &RawRecord<'_>, names: &Names) -> Letters {
    let mut found = Letters::default();
    for field in record.fields {
        let (RawValue::Text(text) | RawValue::Json(text)) = field.value else { continue };
        if text.is_ascii() {
            continue;
        }
        let name = names.get(field.name).unwrap_or_default();
        if let Some(at) = text.chars().position(|c| c == char::REPLACEMENT_CHARACTER) {
            found.warnings.push(format!(
                "{name} holds U+FFFD at character {}: a letter was lost before the file came here, and only the file it comes from has it.",
                at + 1
            ));
        }
        let told = record.defect.is_some() || found.defect.is_some();
        if !told && is_misdecoded(text) && !fault::mutant(Mutant::MisdecodedText) {
            let message = "the text was decoded wrongly before it came here (UTF-8 read as Windows-1252, as in \u{c3}\u{a9} for \u{e9}): make the file \
                           anew where it comes from and save it as UTF-8, or mend the value";
            found.defect = Some(RecordError::new(ErrorCode::TextMisdecoded, message).in_field(name));
        }
    }
    found
}
