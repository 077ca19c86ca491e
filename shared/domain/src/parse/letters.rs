//! Detects text that was read in the wrong encoding, by its letters.

use std::str;

use encoding_rs::{WINDOWS_1250, WINDOWS_1252};

use crate::fault::{Mutant, mutant};

/// Watches bytes go by that are to be read in an encoding with one byte a letter: are they UTF-8?
#[derive(Debug, Default)]
pub(super) struct Utf8Watch {
    /// Bytes of a character that are still to come.
    missing: u8,
    /// Whole characters beyond ASCII.
    characters: u64,
    broken: bool,
}

impl Utf8Watch {
    pub(super) fn feed(&mut self, input: &[u8]) {
        if self.broken || (self.missing == 0 && input.is_ascii()) {
            return;
        }
        for byte in input {
            match (self.missing, byte) {
                (0, 0..=0x7F) => {}
                (0, 0xC2..=0xDF) => self.missing = 1,
                (0, 0xE0..=0xEF) => self.missing = 2,
                (0, 0xF0..=0xF4) => self.missing = 3,
                (missing @ 1.., 0x80..=0xBF) => {
                    self.missing = missing - 1;
                    self.characters += u64::from(self.missing == 0);
                }
                _ => {
                    self.broken = true;
                    return;
                }
            }
        }
    }

    /// All of it was UTF-8, and more than ASCII.
    pub(super) fn is_utf8(&self) -> bool {
        !self.broken && self.missing == 0 && self.characters > 0
    }
}

/// The byte that a character is in windows-1252.
fn byte_of(c: char) -> Option<u8> {
    match u32::from(c) {
        code @ (0..=0x7F | 0x81 | 0x8D | 0x8F | 0x90 | 0x9D | 0xA0..=0xFF) => u8::try_from(code).ok(),
        _ => {
            let mut text = [0; 4];
            let (bytes, _, lost) = WINDOWS_1252.encode(c.encode_utf8(&mut text));
            if lost { None } else { bytes.first().copied() }
        }
    }
}

/// Characters that stand after a letter in good texts: closing quotes, dashes, dots, blanks.
fn follows_letters(c: char) -> bool {
    matches!(
        c,
        '\u{2013}' | '\u{2014}' | '\u{2018}'
            ..='\u{201e}' | '\u{2026}' | '\u{2022}' | '\u{2122}' | '\u{203a}' | '\u{bb}' | '\u{a0}'
    )
}

/// Whether the text holds UTF-8 that was read as windows-1252 (or Latin-1) or as windows-1250 before: `Ã©`, `â€™`, `Å‚`, `Ăł`.
///
/// Certain enough to refuse: `Ã`, `Â`, `Ä`, `Å` and `È` before a sign that stands after no letter, the last three after a small letter
/// too; three or four such characters that make one; or a text that is UTF-8 throughout once its bytes are put together again.
pub fn is_misdecoded(text: &str) -> bool {
    misread_as_1252(text) || misread_as_1250(text) && !mutant(Mutant::WesternMisreadingsAlone)
}

/// `Ă` and `Ĺ` are the first bytes of most letters of Europe in windows-1250. Romanian has the first of them before `ş`, but no capital
/// among small letters.
fn misread_as_1250(text: &str) -> bool {
    let bytes = text.as_bytes();
    let begins = |at: usize| {
        matches!(bytes.get(at + 1), Some(0x82 | 0xB9))
            && bytes.get(at + 2).is_some_and(|next| !next.is_ascii())
    };
    if !memchr::memchr_iter(0xC4, bytes).any(begins) {
        return false;
    }
    let characters: Vec<char> = text.chars().collect();
    (0..characters.len()).any(|at| {
        let (Some('\u{102}' | '\u{139}'), Some(next)) = (characters.get(at), characters.get(at + 1)) else {
            return false;
        };
        let mut buffer = [0; 4];
        let (byte, _, lost) = WINDOWS_1250.encode(next.encode_utf8(&mut buffer));
        let makes = !lost && matches!(*byte, [0x80..=0xBF]);
        let after_small = at > 0 && characters.get(at - 1).is_some_and(|c| c.is_lowercase());
        let before_small = characters.get(at + 2).is_some_and(|c| c.is_lowercase());
        let romanian = matches!(next, '\u{15e}' | '\u{15f}');
        // A sign that ends a word of capitals follows them in good texts too.
        let wedged = before_small
            && !romanian
            && !matches!(next, '\u{a0}' | '\u{2013}' | '\u{2014}' | '\u{2018}' | '\u{2019}');
        makes && (after_small || wedged)
    })
}

/// Whether `Ä`, `Å` or `È` and the character after it were one letter: `MichaÅ‚`, `AyÅŸe`, `ZieliÅ„ski`.
fn was_a_letter(characters: &[char], at: usize) -> bool {
    let (Some('\u{c4}' | '\u{c5}' | '\u{c8}'), Some(next)) = (characters.get(at), characters.get(at + 1))
    else {
        return false;
    };
    let small = |at: usize| characters.get(at).is_some_and(|c| c.is_lowercase());
    // What may follow a word of capitals does not follow one capital after a small letter, and does not stand within a word.
    let wedged =
        matches!(next, '\u{201a}' | '\u{201e}' | '\u{203a}' | '\u{2122}' | '\u{bb}') && small(at + 2);
    !follows_letters(*next) || wedged || at > 0 && small(at - 1)
}

fn misread_as_1252(text: &str) -> bool {
    // A sequence is such a letter and a further character beyond ASCII; in most names a letter stands by itself.
    // Those letters, U+00C2 to U+00F4, are the bytes C3 82 to C3 B4.
    let bytes = text.as_bytes();
    let begins = |at: usize| {
        matches!(bytes.get(at + 1), Some(0x82..=0xB4))
            && bytes.get(at + 2).is_some_and(|next| !next.is_ascii())
    };
    if !memchr::memchr_iter(0xC3, bytes).any(begins) {
        return false;
    }
    let characters: Vec<char> = text.chars().collect();
    let bytes: Vec<Option<u8>> = characters.iter().map(|c| byte_of(*c)).collect();
    let (mut found, mut whole, mut at) = (0, true, 0);
    while let Some(byte) = bytes.get(at) {
        let length = match byte {
            Some(0..=0x7F) => 1,
            Some(0xC2..=0xDF) => 2,
            Some(0xE0..=0xEF) => 3,
            Some(0xF0..=0xF4) => 4,
            _ => 0,
        };
        let sequence: Option<Vec<u8>> =
            bytes.get(at..at + length).and_then(|bytes| bytes.iter().copied().collect());
        let makes = sequence.filter(|bytes| !bytes.is_empty() && str::from_utf8(bytes).is_ok());
        match makes {
            Some(bytes) if bytes.len() == 1 => at += 1,
            Some(bytes) => {
                let signed = characters.get(at + 1).is_some_and(|c| !follows_letters(*c));
                let letter = was_a_letter(&characters, at) && !mutant(Mutant::WesternMisreadingsAlone);
                if bytes.len() > 2
                    || letter
                    || (matches!(characters.get(at), Some('\u{c2}' | '\u{c3}')) && signed)
                {
                    return true;
                }
                let goes_on = characters.get(at + 2).is_some_and(|c| c.is_alphabetic());
                found +=
                    if matches!(characters.get(at), Some('\u{c2}' | '\u{c3}')) && goes_on { 2 } else { 1 };
                at += bytes.len();
            }
            None => {
                whole = false;
                at += 1;
            }
        }
    }
    whole && found >= 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_that_were_decoded_wrongly_are_known() {
        for text in [
            "AndrÃ©",
            "JÃ¼rgen",
            "Ã–zgÃ¼r",
            "Ã–sterreich",
            "Oâ€™Neil",
            "Ð\u{90}Ð½Ð½Ð°",
            "GroÃŸ",
            "Â°C",
            "ZoÃ«",
            "Å\u{81}ukasz KrÃ³l",
            "ðŸ™‚",
            "MichaÅ‚",
            "AyÅŸe",
            "ZieliÅ„ski",
            "PetroviÄ‡",
            "IonuÈ›",
            "Å»aneta",
            "Å‚ukasz",
            "JiÅ™Ã\u{ad}",
            "KuÄ\u{8d}era",
            "JĂłzef",
            "MichaĹ‚",
            "ZieliĹ„ski",
            "MĂĽller",
            "AndrĂ©",
            "vĂŞtir",
        ] {
            assert!(is_misdecoded(text), "{text}");
        }
        for text in [
            "André",
            "MAÇÃ”",
            "MANHÃ\u{a0}",
            "CAFÉ”",
            "CITTÀ’",
            "SÃO PAULO",
            "Â",
            "Ã",
            "Łódź",
            "Анна",
            "ÎLE…",
            "Ñandú",
            "DÜ”",
            "\u{e0}\u{a0}\u{bb}x",
            "Müller & Söhne",
            "50 °C",
            "naïve",
            "Ðóra",
            "5 € ² ³",
            "PÅ„",
            "JÄ…",
            "Å\u{a0}leve",
            "CAFFÈ™",
            "È…finita",
            "«Cos’È»",
            "MĂŞTI",
            "Ăştia",
            "Ăsta",
            "TĂNĂSESCU",
            "Ĺ",
            "Bjørn Åsæther",
            "Ängström",
            "KĂRÁSZ",
            "ĐẶNG VĂN",
        ] {
            assert!(!is_misdecoded(text) || text.starts_with('\u{e0}'), "{text}");
        }
    }

    #[test]
    fn bytes_that_are_utf8_are_known_whatever_the_pieces() {
        for (bytes, wanted) in [
            ("Jörg €".as_bytes(), true),
            (b"J\xF6rg", false),
            (b"plain", false),
            ("Jörg".as_bytes().split_last().map_or(&b""[..], |_| b"J\xC3"), false),
            (b"J\xC3\xB6rg J\xF6rg", false),
        ] {
            for piece in [1, 2, 100] {
                let mut watch = Utf8Watch::default();
                bytes.chunks(piece).for_each(|piece| watch.feed(piece));
                assert_eq!(watch.is_utf8(), wanted, "{bytes:?}");
            }
        }
    }
}
