//! What mends a value that was refused: said in the message, by the kind of the value and never with it.

use super::mend::place;
use super::{bare, is_scientific};
use crate::error::{ErrorCode, RecordError};
use crate::field::Field;
use crate::normalise::is_invisible;
use crate::options::Dates;
use crate::record::{RawRecord, RawValue};
use crate::rules::Rules;
use crate::validate::Binding;

/// Errors that spreadsheets show in the place of a value.
const ERRORS: [&str; 8] = ["#REF!", "#N/A", "#NAME?", "#VALUE!", "#DIV/0!", "#NULL!", "#NUM!", "#SPILL!"];

/// Whether the value is the error of a formula.
pub(super) fn is_spreadsheet_error(text: &str) -> bool {
    ERRORS.iter().any(|error| text.trim().eq_ignore_ascii_case(error))
}

/// Adds what mends it to an error.
pub(super) fn explain(error: &mut RecordError, record: &RawRecord<'_>, binding: &Binding, rules: &Rules) {
    let Some(at) = place(record, binding, error) else { return };
    let RawValue::Text(text) = record.fields[at].value else {
        if error.code == ErrorCode::TypeMismatch {
            error.message.push_str("; `--values lenient` takes numbers and flags in other forms");
        }
        return;
    };
    let text = binding.unguard(text);
    let Some(field) = binding.field_of(record.fields[at].name) else { return };
    let hint = match error.code {
        ErrorCode::ControlChar => character(text, |c| c.is_control() || is_invisible(c)),
        ErrorCode::EmailInvalid => email(text),
        ErrorCode::PhoneInvalid => Some(phone(text, rules).to_owned()),
        ErrorCode::DateInvalid => day(text, field, rules).map(str::to_owned),
        ErrorCode::CatalogUnknown => Some("`--unknown-names ignore` leaves such names out".to_owned()),
        ErrorCode::UriInvalid if !text.contains("://") => {
            Some("write it whole, with https:// before it".to_owned())
        }
        ErrorCode::TypeMismatch | ErrorCode::HashInvalid | ErrorCode::HashUnsupported
            if field.is_secret() =>
        {
            let column = format!("{}=", binding.name_at(record.fields[at].name));
            let left_out = crate::validate::quoted(&column);
            Some(format!("plain passwords are not taken: leave the column out with `--column {left_out}`"))
        }
        ErrorCode::TypeMismatch
            if rules.options.values == crate::options::Values::Exact && !rules.lenient() =>
        {
            Some("`--values lenient` takes numbers and flags in other forms".to_owned())
        }
        _ => None,
    };
    if let Some(hint) = hint {
        error.message.push_str("; ");
        error.message.push_str(&hint);
    }
}

/// The first character that is at fault, by its code point and place.
fn character(text: &str, at_fault: impl Fn(char) -> bool) -> Option<String> {
    let (place, c) = text.chars().enumerate().find(|(_, c)| at_fault(*c))?;
    let shown =
        if c.is_control() || is_invisible(c) || c.is_whitespace() { String::new() } else { format!(" {c}") };
    Some(format!("U+{:04X}{shown} stands at character {}", u32::from(c), place + 1))
}

fn email(text: &str) -> Option<String> {
    let text = bare(text);
    let ats = text.matches('@').count();
    let hint = if text.starts_with('=') {
        "the cell holds a formula: export its value"
    } else if text.contains('<') && text.contains('>') {
        "keep only what stands between < and >"
    } else if text.get(..7).is_some_and(|start| start.eq_ignore_ascii_case("mailto:")) {
        "take `mailto:` off"
    } else if ats > 1 && text.contains([';', ',', ' ', '\n', '\r', '/', '|']) {
        "the value holds two addresses: keep one"
    } else if text.contains('\u{ff20}') {
        "the @ is a full-width one (U+FF20): write @"
    } else if text.ends_with(['.', ',', ';', ':']) {
        "a dot, comma or semicolon stands after the address: take it off"
    } else if text.split('@').nth(1).is_some_and(|domain| domain.contains(',')) {
        "a comma stands in the domain: write a dot"
    } else {
        // Letters and digits are the user's; signs are not.
        return character(text, |c| !c.is_alphanumeric() && !".!#$%&'*+/=?^_`{|}~-@".contains(c));
    };
    Some(hint.to_owned())
}

fn phone(text: &str, rules: &Rules) -> &'static str {
    if is_scientific(bare(text)) {
        "a spreadsheet ate its digits: format the column as text where the file comes from, and export it again"
    } else if rules.options.phone_country.is_some() {
        "it is no number of the country that the options name either"
    } else {
        "`--phone-country` with a country's two letters, as in `--phone-country DE`, takes numbers as people write them"
    }
}

fn day(text: &str, field: Field, rules: &Rules) -> Option<&'static str> {
    let text = bare(text);
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let dashed = text.split('-').count() == 3 && text.split('-').next().is_some_and(|year| year.len() == 4);
    if field != Field::Birthdate && dashed {
        Some(
            "write the time and the zone after the day, as in 2026-12-31T00:00:00Z; `--dates dmy` (or `mdy`) takes days alone as midnight UTC",
        )
    } else if digits && text.len() == 5 {
        Some(
            "it looks like a spreadsheet's number of a day: format the column as a date there, and export it again",
        )
    } else if rules.options.dates == Dates::Iso && text.contains(['/', '.', '-', ' ']) {
        Some("`--dates dmy` or `--dates mdy` takes days in the order that it says")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_fault_of_an_address_has_its_mend() {
        for (text, words) in [
            ("Ada <a@b.co>", "between < and >"),
            ("mailto:a@b.co", "mailto"),
            ("a@b.co; c@d.co", "two addresses"),
            ("a@b.co.", "take it off"),
            ("a@b,co", "write a dot"),
            ("a\u{ff20}b.co", "U+FF20"),
            ("o\u{2019}neil@b.co", "U+2019 \u{2019} stands at character 2"),
            ("=x", "formula"),
        ] {
            assert!(email(text).is_some_and(|hint| hint.contains(words)), "{text}: {:?}", email(text));
        }
    }
}
