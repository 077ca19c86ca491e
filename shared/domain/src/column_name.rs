//! How the names of columns and keys are compared: in full, so that different names stay different.
//!
//! Guarantee: no letter or digit of any script is dropped, and a name without letters and digits matches nothing.

use std::borrow::Cow;

use icu_casemap::CaseMapper;
use icu_normalizer::{ComposingNormalizer, DecomposingNormalizer};

use crate::fault::{self, Mutant};
use crate::normalise::is_invisible;

/// What a column is compared by: in NFKC, case-folded, without invisible characters and blanks around it; each run of blanks, line breaks,
/// hyphens and underscores is one `_`. So `First Name`, `first-name` and `FIRST_NAME` are one name.
///
/// ```
/// use muster_domain::validate::fold_column;
///
/// assert_eq!(fold_column("First Name"), fold_column("first-name"));
/// assert_eq!(fold_column("E-Mail"), "e_mail");
/// ```
pub fn fold(name: &str) -> String {
    if fault::mutant(Mutant::HeaderDropsLetters) {
        return separated(&name.chars().filter(char::is_ascii).collect::<String>().to_ascii_lowercase());
    }
    if let Some(plain) = fold_plain(name) {
        return plain;
    }
    let nfkc = ComposingNormalizer::new_nfkc();
    let folded = CaseMapper::new().fold_string(&nfkc.normalize(name)).into_owned();
    // Folding can undo the normal form.
    separated(&nfkc.normalize(&folded))
}

/// The way of most names: ASCII alone.
fn fold_plain(name: &str) -> Option<String> {
    name.is_ascii().then(|| separated(&name.to_ascii_lowercase()))
}

/// The key that a column `custom__…` gives: as [`fold`], but with letters in lower case only, those of ASCII without accents, and without
/// signs. (Contract: Bitcaster's importer, contracts C.2, which drops every other letter.)
pub fn clean(name: &str) -> String {
    let composed = ComposingNormalizer::new_nfkc().normalize(name).to_lowercase();
    let kept = |c: &char| c.is_alphanumeric() || !c.is_ascii() || is_gap(*c) || "_[]{}".contains(*c);
    let bare = |c: char| if c.is_ascii() { c } else { without_accent(c) };
    separated(&composed.chars().filter(kept).map(bare).collect::<String>())
}

/// The letter of ASCII that the character is with an accent; else itself.
fn without_accent(c: char) -> char {
    let mut text = [0; 4];
    let decomposed = DecomposingNormalizer::new_nfkd().normalize(c.encode_utf8(&mut text)).into_owned();
    let mut parts = decomposed.chars();
    match parts.next() {
        Some(first) if first.is_ascii_alphabetic() && parts.all(|c| matches!(c, '\u{300}'..='\u{36f}')) => {
            first
        }
        _ => c,
    }
}

/// The folded name without accents, where nothing but ASCII is left then; `None` where it has none, or letters that are no ASCII letter
/// with an accent.
pub(crate) fn unaccented(folded: &str) -> Option<String> {
    if folded.is_ascii() {
        return None;
    }
    let decomposed = DecomposingNormalizer::new_nfkd().normalize(folded).into_owned();
    let bare: String = decomposed.chars().filter(|c| !matches!(c, '\u{300}'..='\u{36f}')).collect();
    bare.is_ascii().then_some(bare)
}

/// `firstName` and `EmailAddress` as `first_name` and `email_address`; `None` where nothing changes.
pub(crate) fn words(name: &str) -> Option<String> {
    let mut words = String::with_capacity(name.len() + 4);
    let (mut before, mut split) = (None::<char>, false);
    for c in name.trim().chars() {
        if c.is_uppercase() && before.is_some_and(|before| before.is_lowercase() || before.is_ascii_digit()) {
            words.push('_');
            split = true;
        }
        words.push(c);
        before = Some(c);
    }
    split.then(|| fold(&words))
}

fn is_gap(c: char) -> bool {
    c == '-' || c == '_' || c.is_whitespace() || c.is_control() || matches!(c, '\u{2010}' | '\u{2011}')
}

fn separated(text: &str) -> String {
    let mut name = String::with_capacity(text.len());
    let mut gap = false;
    // A custom key may have two underscores after its prefix, so a run of them alone stays what it is.
    for part in text.trim_matches(|c: char| is_gap(c) || is_invisible(c)).chars() {
        match part {
            c if is_invisible(c) => {}
            '_' => {
                if gap {
                    name.push('_');
                    gap = false;
                }
                name.push('_');
            }
            c if is_gap(c) => gap = true,
            c => {
                if gap && !name.ends_with('_') {
                    name.push('_');
                }
                gap = false;
                name.push(c);
            }
        }
    }
    let kept = name.trim_end_matches(['_', '*', ':']).len();
    name.truncate(kept);
    if name.chars().any(char::is_alphanumeric) { name } else { String::new() }
}

/// The name in quotes as a shell reads it.
///
/// ```
/// use muster_domain::validate::quoted;
///
/// assert_eq!(quoted("email"), "email");
/// assert_eq!(quoted("First Name"), "\"First Name\"");
/// ```
pub fn quoted(text: &str) -> Cow<'_, str> {
    let plain = |c: char| c.is_alphanumeric() || "-._:/%+,=@".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        Cow::Borrowed(text)
    } else if text.contains(['"', '$', '`', '\\', '!']) {
        Cow::Owned(format!("'{}'", text.replace('\'', r"'\''")))
    } else {
        Cow::Owned(format!("\"{text}\""))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_column_meet() {
        for name in [
            "first_name",
            " First Name ",
            "first-name",
            "FIRST_NAME",
            "First\u{a0}Name",
            "First\r\nName",
            "first - name",
            "_first_name_",
            "\u{200b}first\u{200b}_name\u{feff}",
            "\u{ff26}irst name:",
        ] {
            assert_eq!(fold(name), "first_name", "{name:?}");
        }
        assert_eq!(fold("E-mail"), "e_mail");
        assert_eq!(unaccented(&fold("F\u{ef}rst N\u{e4}me")).as_deref(), Some("first_name"));
        assert_eq!(words("firstName").as_deref(), Some("first_name"));
        assert_eq!(words("EmailAddress").as_deref(), Some("email_address"));
        assert_eq!(words("EMAIL"), None);
    }

    #[test]
    fn no_letter_is_dropped_and_what_has_none_is_no_name() {
        let names = [
            "\u{41e}\u{442}\u{434}\u{435}\u{43b}",
            "\u{59d3}\u{540d}",
            "\u{90ae}\u{7bb1}",
            "M\u{e5}l",
            "Ml",
            "\u{141}",
        ];
        for (at, name) in names.iter().enumerate() {
            assert!(!fold(name).is_empty(), "{name}");
            for other in &names[at + 1..] {
                assert_ne!(fold(name), fold(other));
                assert_ne!(clean(name), clean(other));
                assert!(!clean(name).is_empty());
            }
        }
        assert_eq!(unaccented(&fold("M\u{f8}l")), None, "the letter is its own");
        assert_eq!((fold("\u{41e}tdel 1"), fold("stra\u{df}e")), ("\u{43e}tdel_1".into(), "strasse".into()));
        for name in ["", " ", "\u{200b}", "--", "***", "\u{a0}_"] {
            assert_eq!(fold(name), "", "{name:?}");
        }
    }

    #[test]
    fn keys_of_metadata_keep_their_letters() {
        assert_eq!(clean("custom__a.b"), "custom__ab");
        assert_eq!(clean("custom__Stra\u{df}e \u{141}"), "custom__stra\u{df}e_\u{142}");
        assert_eq!(clean("custom___x"), "custom___x");
    }

    #[test]
    fn names_are_quoted_for_a_shell() {
        assert_eq!(quoted("E-Mail"), "E-Mail");
        assert_eq!(quoted("E Mail="), "\"E Mail=\"");
        assert_eq!(quoted("it's $5"), r"'it'\''s $5'");
    }
}
