//! Whether bytes that are not UTF-8 look like windows-1252, so that it may be proposed.
//!
//! What is proposed is done, so what another code page could mean as well is not proposed: a letter or a sign that windows-1250,
//! windows-1254, an old DOS page or a Mac has at the same byte (`è` for `č`, `ý` for `ı`, `³` for `ł`, `”` for `ö`) counts only where the
//! spelling of a western language has it.

use encoding_rs::{WINDOWS_1250, WINDOWS_1252, WINDOWS_1254};

use crate::fault::{Mutant, mutant};

/// The letters beyond ASCII that the languages use which are written in windows-1252.
const LANGUAGES: [&str; 8] = [
    "àâæçéèêëîïôœùûüÀÂÆÇÉÈÊËÎÏÔŒÙÛÜ",
    "äöüßéÄÖÜ",
    "áéíóúüñçÁÉÍÓÚÜÑÇ",
    "áâãàçéêíóôõúüÁÂÃÀÇÉÊÍÓÔÕÚÜ",
    "àèéìòùîÀÈÉÌÒÙ",
    "åäöæøéüÅÄÖÆØÉÜ",
    "áéíóúýþæöðÁÉÍÓÚÝÞÆÖÐ",
    "ëïéèöüçËÏÉÖÜ",
];

/// Signs of western texts.
const SIGNS: &str = "€‘’“”„‚–—…«»°·§´\u{a0}©®²³½¡¿";

/// Whether the signs and, in each line, the letters are those of one language that windows-1252 is written for.
pub(super) fn looks_like_windows_1252(bytes: &[u8]) -> bool {
    bytes.split(|byte| matches!(byte, b'\n' | b'\r')).all(|line| {
        let (text, lost) = WINDOWS_1252.decode_without_bom_handling(line);
        !lost && (text.is_ascii() || is_western(&text))
    })
}

fn is_western(text: &str) -> bool {
    let characters: Vec<char> = text.chars().collect();
    let letters: Vec<char> =
        characters.iter().copied().filter(|c| !c.is_ascii() && c.is_alphabetic()).collect();
    let languages: Vec<&&str> =
        LANGUAGES.iter().filter(|language| letters.iter().all(|letter| language.contains(*letter))).collect();
    let signs = characters.iter().filter(|c| !c.is_ascii() && !c.is_alphabetic());
    if languages.is_empty() || !signs.clone().all(|sign| SIGNS.contains(*sign)) {
        return false;
    }
    if mutant(Mutant::WesternByLettersAlone) {
        return true;
    }
    (0..characters.len()).all(|at| match characters.get(at) {
        Some(c) if c.is_ascii() => true,
        Some(c) if c.is_alphabetic() => !is_ambiguous(*c) || is_spelt(&characters, at, &letters),
        _ => stands_alone(&characters, at),
    })
}

/// Whether the byte is another letter in windows-1250 or windows-1254.
fn is_ambiguous(c: char) -> bool {
    let mut buffer = [0; 4];
    let (byte, _, _) = WINDOWS_1252.encode(c.encode_utf8(&mut buffer));
    let other = |encoding: &'static encoding_rs::Encoding| {
        let (text, _) = encoding.decode_without_bom_handling(&byte);
        !text.chars().eq([c])
    };
    other(WINDOWS_1250) || other(WINDOWS_1254)
}

/// A sign that touches a letter is one in another code page. The apostrophe of `O’Neil` stands before a capital.
fn stands_alone(characters: &[char], at: usize) -> bool {
    let around =
        |at: Option<usize>| at.and_then(|at| characters.get(at)).copied().filter(|c| c.is_alphabetic());
    match (around(at.checked_sub(1)), characters.get(at), around(at.checked_add(1))) {
        (None, _, None) => true,
        (Some(_), Some('\u{2019}'), Some(next)) => next.is_ascii_uppercase(),
        _ => false,
    }
}

/// Whether a letter that could be another one stands as the languages spell it that have it.
fn is_spelt(characters: &[char], at: usize, letters: &[char]) -> bool {
    let small = |at: Option<usize>| {
        let c = at.and_then(|at| characters.get(at)).copied().filter(|c| c.is_alphabetic())?;
        c.to_lowercase().next()
    };
    let vowel = |c: Option<char>| c.is_some_and(|c| "aeiouáàâäãåéèêëíìîïóòôöõúùûüæøœ".contains(c));
    let (before, after) = (small(at.checked_sub(1)), small(at.checked_add(1)));
    let alone = !vowel(before) && !vowel(after);
    let also = |others: &str| letters.iter().any(|letter| others.contains(*letter));
    match small(Some(at)) {
        // Polish has `ń` there before consonants and at the end of words, Spanish a vowel behind it.
        Some('ñ') => vowel(after),
        // Portuguese, not Romanian `ă` or Hungarian `ő`.
        Some('ã') => matches!(after, Some('o' | 'e')),
        Some('õ') => after == Some('e'),
        // `č`, `ř`, `ŕ`, `ň` and `ć` stand beside a vowel, French and Scandinavian vowels between consonants.
        Some('è' | 'ø' | 'å' | 'à' | 'ò') => alone && (before.is_some() || after.is_some()),
        Some('æ') => alone && before.is_some(),
        Some('ì') => alone && after.is_none(),
        Some('ï') => vowel(before) && after.is_some(),
        Some('œ') => matches!(after, Some('u' | 'i')),
        Some('ê') => also("éèçàâÉÈÇÀÂ"),
        // Turkish and Romanian have none of these.
        Some('ý' | 'þ' | 'ð') => also("áéíóúæÁÉÍÓÚÆ"),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use encoding_rs::{Encoding, WINDOWS_1251, WINDOWS_1257};

    use super::*;

    #[test]
    fn windows_1252_is_proposed_where_the_letters_are_of_its_languages() {
        for good in [
            &b"St\xE9phane;Agn\xE8s;O\x92Neil"[..],
            b"M\xFCller, Gro\xDF",
            b"S\xF8ren \xC5s",
            b"Mu\xF1oz",
            b"Jo\xE3o;Concei\xE7\xE3o",
            b"Gu\xF0mundsd\xF3ttir",
            b"Lo\xEFc;Zo\xEB",
            b"Fran\xE7ois;In\xEAs",
            b"Kj\xE6r;Bj\xF8rn",
            b"5 \x80;12 \xB0",
            b"Nicol\xF2",
        ] {
            assert!(looks_like_windows_1252(good), "{}", WINDOWS_1252.decode(good).0);
        }
    }

    /// What another code page means is never proposed to be read as this one.
    #[test]
    fn no_other_code_page_is_taken_for_windows_1252() {
        let encoded = |encoding: &'static Encoding, text: &str| {
            let (bytes, _, lost) = encoding.encode(text);
            assert!(!lost, "{text}");
            bytes.into_owned()
        };
        for name in [
            "Micha\u{142}",
            "Ku\u{10d}era",
            "Kova\u{10d}evi\u{107}",
            "Dvo\u{159}\u{e1}k",
            "P\u{159}emysl",
            "Kaczy\u{144}ski",
            "Erd\u{151}s",
            "Br\u{103}tianu",
            "\u{17b}ak",
            "W\u{105}s",
            "Le\u{15b}niak",
            "D\u{119}bski",
            "N\u{11b}mec",
            "\u{10c}apek",
            "Jan\u{16f}",
            "\u{15a}liwa",
            "Ionu\u{163}",
        ] {
            assert!(!looks_like_windows_1252(&encoded(WINDOWS_1250, name)), "{name}");
        }
        for name in ["Y\u{131}lmaz", "Ay\u{15f}e", "\u{d6}z Y\u{131}ld\u{131}z", "Da\u{11f}", "\u{130}nan"] {
            assert!(!looks_like_windows_1252(&encoded(WINDOWS_1254, name)), "{name}");
        }
        for (encoding, name) in [
            (WINDOWS_1251, "\u{410}\u{43d}\u{43d}\u{430}"),
            (WINDOWS_1251, "\u{41f}\u{435}\u{442}\u{440}\u{43e}\u{432}\u{430}"),
            (WINDOWS_1257, "K\u{16b}rli\u{146}\u{161}"),
        ] {
            assert!(!looks_like_windows_1252(&encoded(encoding, name)), "{name}");
        }
        // DOS pages and a Mac.
        for bytes in [
            &b"J\x94rg"[..],
            b"M\x81ller",
            b"Andr\x82",
            b"Garc\xA1a",
            b"S\xA0nchez",
            b"\x8eR\x93c",
            b"St\x8Ephane",
            b"D\x92az",
            b"M\x9Fller",
            b"Gro\xA7e",
            b"Mu\x96oz",
            b"Bj\xBFrn",
            b"G\x8Crd",
        ] {
            assert!(!looks_like_windows_1252(bytes), "{bytes:?}");
        }
    }
}
