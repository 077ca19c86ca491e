//! Advice on how to correct a refused value. The message describes the kind of the value and never contains it.

use super::{bare, is_phone, is_scientific, place};
use crate::error::{ErrorCode, RecordError};
use crate::field::Field;
use crate::normalise::is_invisible;
use crate::options::{Dates, ListSeparator, Values};
use crate::record::{RawRecord, RawValue};
use crate::rules::Rules;
use crate::validate::Binding;

/// Errors that spreadsheets show in the place of a value, in capitals, in the languages of the dictionary.
const ERRORS: [&str; 9] = [
    // English, and those that several languages write so.
    "#REF! #N/A #NAME? #VALUE! #DIV/0! #NULL! #NUM! #SPILL! #CALC! #FIELD! #BLOCKED! #CONNECT! #BUSY! #UNKNOWN! #GETTING_DATA #ERROR!",
    // German.
    "#BEZUG! #NV #WERT! #ZAHL! #ÜBERLAUF! #KALK! #FELD! #BLOCKIERT! #VERBINDEN! #BESCHÄFTIGT! #UNBEKANNT!",
    // French.
    "#VALEUR! #NOM? #NOMBRE! #NUL! #PROPAGATION! #EPARS! #CHAMP! #BLOQUE! #CONNEXION!",
    // Spanish.
    "#¡REF! #¿NOMBRE? #¡VALOR! #¡DIV/0! #¡NULO! #¡NUM! #N/D #¡DESBORDAMIENTO! #¡CALC! #¡CAMPO!",
    // Italian.
    "#RIF! #NOME? #VALORE! #NULLO! #ESPANSIONE! #CAMPO!",
    // Portuguese.
    "#VALOR! #NULO! #NÚM! #DESPEJAR! #TRANSBORDAMENTO!",
    // Dutch.
    "#VERW! #N/B #NAAM? #WAARDE! #DEEL/0! #LEEG! #GETAL! #OVERLOPEN! #OVERLOOP! #BEREKENEN! #VELD!",
    // Polish.
    "#ADR! #N/D! #NAZWA? #ARG! #DZIEL/0! #ZERO! #LICZBA! #ROZLANIE! #OBL!",
    // Russian.
    "#ССЫЛКА! #Н/Д #ИМЯ? #ЗНАЧ! #ДЕЛ/0! #ПУСТО! #ЧИСЛО! #ПЕРЕНОС! #ВЫЧИСЛ!",
];

/// Whether the value is a formula's error, or the signs that fill a column which is too narrow for its value.
pub(super) fn is_spreadsheet_error(text: &str) -> bool {
    let text = text.trim();
    if text.starts_with('#') {
        let filled = text.len() >= 3 && text.bytes().all(|byte| byte == b'#');
        return filled || is_listed(&text.to_uppercase());
    }
    // LibreOffice numbers its errors.
    let number = text.strip_prefix("Err:").or_else(|| text.strip_prefix("Fehler:"));
    number.is_some_and(|number| number.len() == 3 && number.bytes().all(|byte| byte.is_ascii_digit()))
}

fn is_listed(error: &str) -> bool {
    ERRORS.iter().any(|errors| errors.split(' ').any(|listed| listed == error))
}

/// Whether a text may be such an error, by how it begins: few others begin so.
pub(super) fn may_be_spreadsheet_error(text: &str) -> bool {
    match text.as_bytes().first() {
        Some(b'#') => true,
        Some(b'E') => text.starts_with("Err:"),
        Some(b'F') => text.starts_with("Fehler:"),
        _ => false,
    }
}

/// Adds advice to an error.
pub(super) fn explain(error: &mut RecordError, record: &RawRecord<'_>, binding: &Binding, rules: &Rules) {
    let Some(at) = place(record, binding, error).or_else(|| holder(record, binding, error)) else { return };
    let name = binding.name_at(record.fields[at].name);
    let at_field = binding.field_of(record.fields[at].name);
    let text = match record.fields[at].value {
        RawValue::Text(text) => binding.unescape(text),
        RawValue::Json(json) => {
            match error.code {
                ErrorCode::TypeMismatch if is_mended_leniently(at_field, json, rules) => {
                    error.message.push_str("; `--values lenient` takes numbers and flags in other forms");
                }
                ErrorCode::FieldUnknown => error.message.extend(inside(name, json)),
                _ => {}
            }
            return;
        }
        RawValue::Null => return,
    };
    if error.code == ErrorCode::FieldUnknown && name == "type" && text == "version" {
        error.message.push_str("; the record has the version of the file and is not a user: remove it");
    }
    let Some(field) = at_field else { return };
    let hint = match error.code {
        _ if is_null_word(text) && !matches!(error.code, ErrorCode::CatalogUnknown) => {
            let mut words: Vec<&str> = rules.options.null_words.iter().map(String::as_str).collect();
            words.push(text.trim());
            let words = words.join(",");
            Some(format!("`--null-words {}` takes it for an empty cell", crate::validate::quoted(&words)))
        }
        ErrorCode::ControlChar => character(text, |c| c.is_control() || is_invisible(c)),
        ErrorCode::EmailInvalid => email(text),
        ErrorCode::ValueInvalid if field == Field::Status && is_gone(text) => Some(
            "imports do not delete users: remove such records, or set the state of the account with Inactive"
                .to_owned(),
        ),
        ErrorCode::PhoneInvalid => Some(phone(text, rules).to_owned()),
        ErrorCode::DateInvalid => day(text, field, rules).map(str::to_owned),
        ErrorCode::CatalogUnknown => Some(unknown_name(text, field, rules).to_owned()),
        ErrorCode::UriInvalid if !text.contains("://") => {
            Some("write it whole, with https:// before it".to_owned())
        }
        ErrorCode::TypeMismatch | ErrorCode::HashInvalid | ErrorCode::HashUnsupported
            if field.is_secret() =>
        {
            let column = format!("{}=", binding.name_at(record.fields[at].name));
            let left_out = crate::validate::quoted(&column);
            Some(format!("plain passwords are not accepted: leave the column out with `--column {left_out}`"))
        }
        ErrorCode::TypeMismatch if is_mended_leniently(Some(field), text, rules) => {
            Some("`--values lenient` takes numbers and flags in other forms".to_owned())
        }
        _ => None,
    };
    if let Some(hint) = hint {
        error.message.push_str("; ");
        error.message.push_str(&hint);
    }
}

/// Whether `--values lenient` may take the value: a flag, a number or a text of an agent in another form, or a list or an object in a text.
fn is_mended_leniently(field: Option<Field>, value: &str, rules: &Rules) -> bool {
    let other_form = field.is_some_and(|field| {
        matches!(field, Field::EmailVerified | Field::PhoneNumberVerified | Field::Disabled | Field::Locked)
            || field.is_agent() && !is_phone(field)
    });
    let written = field.is_some_and(|field| !field.is_secret());
    let structured = value.starts_with(['{', '[']);
    // A structure for a flag stays one, and a scalar is no structure.
    rules.options.values == Values::Exact && !rules.lenient() && (other_form != structured) && written
}

/// How the first value inside an unknown list or object is named in the options.
fn inside(name: &str, json: &str) -> Option<String> {
    let mut value: &serde_json::Value = &serde_json::from_str(json).ok()?;
    let escaped = name.replace('~', "~0").replace('/', "~1");
    let mut way = format!("/{escaped}");
    loop {
        let (step, next) = match value {
            serde_json::Value::Array(items) => ("0", items.first()?),
            // The names are the product's, the values its users'.
            serde_json::Value::Object(members) => {
                let mail = members.iter().find(|(name, _)| name.to_ascii_lowercase().contains("mail"));
                let (name, value) = mail.or_else(|| members.iter().next())?;
                (name.as_str(), value)
            }
            _ => break,
        };
        // A name with anything else in it may be somebody's.
        if !step.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')) {
            return None;
        }
        way = format!("{way}/{step}");
        value = next;
    }
    if way.matches('/').count() < 2 || way.len() > MOST_WAY_BYTES {
        return None;
    }
    let column = crate::validate::quoted(&format!("{way}=email")).into_owned();
    Some(format!("; values inside are named by their path, as in `--column {column}`"))
}

/// Longest reported path, in bytes.
const MOST_WAY_BYTES: usize = 120;

/// Words of other products for somebody who is to go.
fn is_gone(text: &str) -> bool {
    let word = bare(text).to_lowercase();
    matches!(word.as_str(), "deleted" | "delete" | "removed" | "terminated" | "left")
}

/// What programs write where there is nothing.
fn is_null_word(text: &str) -> bool {
    let text = text.trim();
    matches!(text, "\\N" | "-" | "--" | "N/A" | "n/a" | "NA") || text.eq_ignore_ascii_case("null")
}

/// The position in the record of the list or object that contains an error.
fn holder(record: &RawRecord<'_>, binding: &Binding, error: &RecordError) -> Option<usize> {
    let inside = |name: &str| {
        let rest = error.field.as_deref()?.strip_prefix(name)?;
        (!name.is_empty() && rest.starts_with('.')).then_some(())
    };
    record.fields.iter().position(|field| inside(binding.name_at(field.name)).is_some())
}

fn unknown_name(text: &str, field: Field, rules: &Rules) -> &'static str {
    match rules.options.list_separator {
        _ if field == Field::Location => "`--unknown-names ignore` leaves such names out",
        ListSeparator::Comma if text.contains(';') => {
            "the cell holds semicolons: `--list-separator semicolon` takes them to be between names"
        }
        ListSeparator::Comma if text.contains('|') => {
            "the cell holds vertical lines: `--list-separator pipe` takes them to be between names"
        }
        _ => "`--unknown-names ignore` leaves such names out",
    }
}

/// The first character that is at fault, by its code point and place.
fn character(text: &str, at_fault: impl Fn(char) -> bool) -> Option<String> {
    let (place, c) = text.chars().enumerate().find(|(_, c)| at_fault(*c))?;
    let shown = match (named(c), is_invisible(c) || c.is_control() || c.is_whitespace()) {
        (Some(name), _) => name.to_owned(),
        (None, true) => format!("U+{:04X}", u32::from(c)),
        (None, false) => format!("U+{:04X} {c}", u32::from(c)),
    };
    Some(format!("{shown} stands at character {}", place + 1))
}

/// What people call a character that cannot be seen, or that they do not know by its code point.
fn named(c: char) -> Option<&'static str> {
    Some(match c {
        ' ' => "a blank",
        '\t' => "a tab",
        '\n' | '\r' | '\u{2028}' | '\u{2029}' => "a line break",
        '\0' => "a NUL",
        '\u{a0}' | '\u{202f}' => "a no-break space",
        ',' => "a comma",
        ';' => "a semicolon",
        ':' => "a colon",
        '"' => "a double quote",
        '(' | ')' => "a bracket",
        '\\' => "a backslash",
        '<' | '>' => "an angle bracket",
        _ => return None,
    })
}

fn email(text: &str) -> Option<String> {
    let text = bare(text);
    let ats = text.matches('@').count();
    let hint = if text.starts_with('=') {
        "the cell holds a formula: export its value"
    } else if text.contains('<') && text.contains('>') {
        "keep only the part between < and >"
    } else if text.contains("#mailto:") {
        "the cell holds a link: keep only what stands before the first #"
    } else if text.get(..7).is_some_and(|start| start.eq_ignore_ascii_case("mailto:")) {
        "take `mailto:` off"
    } else if ats > 1 && text.contains([';', ',', ' ', '\n', '\r', '/', '|']) {
        "the value holds two addresses: keep one"
    } else if text.contains('\u{ff20}') {
        "the @ is a full-width one (U+FF20): write @"
    } else if text.ends_with(['.', ',', ';', ':']) {
        "a dot, comma or semicolon follows the address: remove it"
    } else if text.split('@').nth(1).is_some_and(|domain| domain.contains(',')) {
        "the domain contains a comma: write a dot"
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
        "`--phone-country DE`, with the two letters of their country, takes numbers as people write them"
    }
}

fn day(text: &str, field: Field, rules: &Rules) -> Option<&'static str> {
    let text = bare(text);
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let dashed = text.split('-').count() == 3 && text.split('-').next().is_some_and(|year| year.len() == 4);
    let in_order = matches!(field, Field::Birthdate | Field::AccountValidFrom | Field::AccountValidUntil);
    if !in_order && (dashed || text.contains(['/', '.', ' '])) {
        Some("write year, month and day, the time and the zone, as in 2026-12-31T00:00:00Z")
    } else if field != Field::Birthdate && dashed {
        Some(
            "write the time and the zone after the day, as in 2026-12-31T00:00:00Z; `--dates dmy` (or `mdy`) accepts dates without a time as midnight UTC",
        )
    } else if digits && text.len() == 5 {
        Some(
            "it looks like a spreadsheet's number of a day: format the column as a date there, and export it again",
        )
    } else if in_order
        && matches!(rules.options.dates, Dates::Iso | Dates::Auto)
        && text.contains(['/', '.', '-', ' '])
    {
        Some("`--dates dmy` or `--dates mdy` takes days in the order that it says")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_spreadsheets_are_known_in_every_language() {
        for text in [
            "#REF!",
            "#ref!",
            " #NV ",
            "#BEZUG!",
            "#VALEUR!",
            "#RIF!",
            "#\u{a1}VALOR!",
            "#\u{41d}/\u{414}",
            "Err:502",
            "####",
        ] {
            assert!(is_spreadsheet_error(text), "{text}");
        }
        for text in ["#1", "#", "#nvidia", "Err:", "Err: 502", "Erika", "Fehlerhaft"] {
            assert!(!is_spreadsheet_error(text), "{text}");
        }
        assert!(ERRORS.iter().all(|errors| errors.to_uppercase() == **errors));
    }

    #[test]
    fn each_fault_of_an_address_has_its_mend() {
        for (text, words) in [
            ("Ada <a@b.co>", "between < and >"),
            ("mailto:a@b.co", "mailto"),
            ("a@b.co#mailto:a@b.co#", "before the first #"),
            ("a@b.co; c@d.co", "two addresses"),
            ("a@b.co.", "remove it"),
            ("a@b,co", "write a dot"),
            ("a\u{ff20}b.co", "U+FF20"),
            ("o\u{2019}neil@b.co", "U+2019 \u{2019} stands at character 2"),
            ("=x", "formula"),
            ("bad address.example.com", "a blank stands at character 4"),
            ("a\u{a0}b", "a no-break space stands at character 2"),
        ] {
            assert!(email(text).is_some_and(|hint| hint.contains(words)), "{text}: {:?}", email(text));
        }
    }
}
