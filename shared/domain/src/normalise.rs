//! The only module that turns values into the keys by which they are compared. SQL never folds, trims or lower-cases.
//!
//! Guarantee: normalising is stable, `f(f(x)) == f(x)` (property tests below). Plain lower-case ASCII is borrowed.

mod email;
mod phone;
mod secret;
mod username;

use std::borrow::Cow;

use icu_casemap::CaseMapper;
use icu_normalizer::ComposingNormalizer;
use icu_properties::props::{DefaultIgnorableCodePoint, GeneralCategory};
use icu_properties::{CodePointMapData, CodePointSetData};

use crate::fault::{Mutant, mutant};

pub use email::EmailAddress;
pub use phone::{PhoneNumber, is_phone_country, is_phone_written_out, phone_of_country};
pub use secret::{HashKind, PasswordHash, REDACTED, TotpSecret};
pub use username::Username;

/// Trims, applies NFKC and folds case (Unicode full case folding): how names and usernames are compared.
pub fn fold_name(text: &str) -> Cow<'_, str> {
    let text = text.trim();
    if text.is_ascii() {
        return if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
            Cow::Owned(text.to_ascii_lowercase())
        } else {
            Cow::Borrowed(text)
        };
    }
    // Folding can undo the normal form and normalising can bring back what folds, so both run until nothing moves.
    // Two rounds are enough for every string known; the bound only makes the loop obviously finite.
    let mut folded = fold_once(text);
    for _ in 0..4 {
        let again = fold_once(&folded);
        if again == folded {
            break;
        }
        folded = again;
    }
    Cow::Owned(folded)
}

/// NFKC: full-width letters and ligatures become the plain ones.
pub(crate) fn compose(text: &str) -> Cow<'_, str> {
    if text.is_ascii() { Cow::Borrowed(text) } else { ComposingNormalizer::new_nfkc().normalize(text) }
}

fn fold_once(text: &str) -> String {
    let nfkc = ComposingNormalizer::new_nfkc();
    let composed = nfkc.normalize(text);
    let folded = CaseMapper::new().fold_string(&composed);
    nfkc.normalize(&folded).trim().to_owned()
}

/// Whether the character shows nothing and means nothing in a name: soft hyphen, zero-width blanks and joiners, marks of direction,
/// fillers and variation selectors.
pub fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}'
        | '\u{feff}' | '\u{ffa0}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

/// Whether the text holds something that no name may hold: control characters, NUL, line and paragraph separators, invisible or
/// bidi-override characters, private use or unassigned-looking tags.
pub fn has_forbidden_char(text: &str) -> bool {
    if text.is_ascii() {
        // Looks at all bytes, which is faster for a short text than to stop at the first.
        return text.bytes().fold(false, |found, byte| found | byte.is_ascii_control());
    }
    text.chars().any(|c| {
        c.is_control()
            || matches!(c,
                '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2064}'
                | '\u{2066}'..='\u{2069}' | '\u{feff}' | '\u{e000}'..='\u{f8ff}' | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e0fff}' | '\u{f0000}'..='\u{10ffff}')
            || (matches!(c, '\u{2028}' | '\u{2029}') && !mutant(Mutant::LineSeparatorsInNames))
    })
}

/// The first invisible character. Identifiers must not contain any, or two identifiers that look the same would differ.
///
/// Those are control and format characters (those that change the direction of text among them), what Unicode calls default
/// ignorable (fillers, joiners, tags, variation selectors), and what has no meaning to all: private use and unassigned.
pub fn invisible_char(text: &str) -> Option<char> {
    if text.is_ascii() {
        return text.chars().find(char::is_ascii_control);
    }
    if mutant(Mutant::InvisibleCharacters) {
        return text.chars().find(|c| has_forbidden_char(c.encode_utf8(&mut [0; 4])));
    }
    let ignorable = CodePointSetData::new::<DefaultIgnorableCodePoint>();
    let categories = CodePointMapData::<GeneralCategory>::new();
    text.chars().find(|c| {
        let category = categories.get(*c);
        let hidden = [
            GeneralCategory::Control,
            GeneralCategory::Format,
            GeneralCategory::LineSeparator,
            GeneralCategory::ParagraphSeparator,
            GeneralCategory::PrivateUse,
            GeneralCategory::Surrogate,
            GeneralCategory::Unassigned,
        ];
        ignorable.contains(*c) || hidden.contains(&category) || *c == '\u{2800}'
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn compatibility_forms_and_case_meet_in_one_key() {
        assert_eq!(fold_name(" Strasse "), fold_name("STRAßE"));
        assert_eq!(fold_name("e\u{301}"), fold_name("\u{e9}"));
        assert_eq!(fold_name("\u{ff41}"), "a");
        assert_eq!(fold_name("\u{212a}"), "k");
        assert_eq!(fold_name("\u{fb01}"), "fi");
    }

    #[test]
    fn invisible_characters_are_found_and_named() {
        for (point, name) in [
            ('\u{3164}', "U+3164"),
            ('\u{34f}', "U+034F"),
            ('\u{ad}', "U+00AD"),
            ('\u{200d}', "U+200D"),
            ('\u{202e}', "U+202E"),
            ('\u{2066}', "U+2066"),
            ('\u{feff}', "U+FEFF"),
            ('\u{e0041}', "U+E0041"),
            ('\u{e000}', "U+E000"),
            ('\u{115f}', "U+115F"),
            ('\u{ffa0}', "U+FFA0"),
            ('\u{fe0f}', "U+FE0F"),
            ('\u{378}', "U+0378"),
            ('\u{180e}', "U+180E"),
            ('\u{2028}', "U+2028"),
        ] {
            let name_of = |error: crate::error::RecordError| (error.code, error.message);
            for error in [
                Username::parse(&format!("an{point}na")).map(drop).map_err(name_of),
                EmailAddress::parse(&format!("an{point}na@example.com")).map(drop).map_err(name_of),
            ] {
                let (code, message) = error.unwrap_err();
                assert_eq!(code, crate::error::ErrorCode::ControlChar, "{name}");
                assert!(message.contains(name), "{message}");
            }
        }
        for good in ["ünë", "अनीता", "Ελένη", "李", "a\u{301}", "שרה"] {
            assert_eq!(invisible_char(good), None, "{good}");
        }
    }

    #[test]
    fn plain_keys_are_borrowed() {
        assert!(matches!(fold_name("mario"), Cow::Borrowed(_)));
    }

    proptest! {
        #[test]
        fn folding_twice_changes_nothing(text in "\\PC{0,40}") {
            let once = fold_name(&text).into_owned();
            prop_assert_eq!(fold_name(&once).into_owned(), once);
        }
    }
}
