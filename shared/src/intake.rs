//! What a record of a file that people made is looked at for, before it is validated: text that was decoded wrongly on its way (P13).

use crate::error::{ErrorCode, RecordError};
use crate::fault::{self, Mutant};
use crate::parse::is_misdecoded;
use crate::record::{Names, RawRecord, RawValue};

/// What the letters of a record came to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Letters {
    /// The record must not be stored.
    pub defect: Option<RecordError>,
    /// What to tell beside its outcome.
    pub warnings: Vec<String>,
}

/// Looks at the texts of a record with characters beyond ASCII.
pub fn letters(record: &RawRecord<'_>, names: &Names) -> Letters {
    let mut found = Letters::default();
    for field in record.fields {
        let (RawValue::Text(text) | RawValue::Json(text)) = field.value else { continue };
        if text.is_ascii() {
            continue;
        }
        let name = names.get(field.name).unwrap_or_default();
        if text.contains(char::REPLACEMENT_CHARACTER) {
            found.warnings.push(format!(
                "{name} holds U+FFFD: a character was lost before the file came here, and stays lost unless the file is made anew."
            ));
        }
        if record.defect.is_none() && found.defect.is_none() && is_misdecoded(text) && !fault::mutant(Mutant::MisdecodedText) {
            let message = "the text was decoded wrongly before (UTF-8 read as Windows-1252, as in \u{c3}\u{a9} for \u{e9}): save the file anew from where it \
                           comes from, as UTF-8, or mend the value";
            found.defect = Some(RecordError::new(ErrorCode::TextMisdecoded, message).in_field(name));
        }
    }
    found
}
