//! Detects text that was read in the wrong encoding, by its letters.

use std::str;

use encoding_rs::WINDOWS_1252;

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

/// Whether the text holds UTF-8 that was read as windows-1252 (or Latin-1) before: `Ã©`, `â€™`.
///
/// Certain enough to refuse: `Ã` and `Â` before a sign that stands after no letter, three or four such characters that make one, or a
/// text that is UTF-8 throughout once its bytes are put together again.
pub fn is_misdecoded(text: &str) -> bool {
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
                if bytes.len() > 2 || (matches!(characters.get(at), Some('\u{c2}' | '\u{c3}')) && signed) {
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

/// The letters beyond ASCII that the languages use which are written in windows-1252.
const LANGUAGES: [&str; 8] = [
    "àâæçéèêëîïôœùûüÿÀÂÆÇÉÈÊËÎÏÔŒÙÛÜŸ",
    "äöüßéÄÖÜ",
    "áéíóúüñçÁÉÍÓÚÜÑÇªº",
    "áâãàçéêíóôõúüÁÂÃÀÇÉÊÍÓÔÕÚÜªº",
    "àèéìòùîÀÈÉÌÒÙ",
    "åäöæøéüÅÄÖÆØÉÜ",
    "áéíóúýþæöðÁÉÍÓÚÝÞÆÖÐ",
    "ëïéèöüçËÏÉÖÜ",
];

/// Whether bytes that are not UTF-8 look like windows-1252: signs of punctuation, and in each line the letters of one language.
pub(super) fn looks_like_windows_1252(bytes: &[u8]) -> bool {
    bytes.split(|byte| matches!(byte, b'\n' | b'\r')).all(|line| {
        let (text, lost) = WINDOWS_1252.decode_without_bom_handling(line);
        let letters: Vec<char> = text.chars().filter(|c| !c.is_ascii() && c.is_alphabetic()).collect();
        let signs = text.chars().filter(|c| !c.is_ascii() && !c.is_alphabetic());
        !lost && LANGUAGES.iter().any(|language| letters.iter().all(|letter| language.contains(*letter))) && {
            signs
        }
        .all(|sign| "€‘’“”„‚–—…«»°·§´\u{a0}©®²³½¡¿".contains(sign))
    })
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

    #[test]
    fn windows_1252_is_proposed_where_the_letters_are_of_its_languages() {
        for good in [&b"St\xE9phane;Agn\xE8s;O\x92Neil"[..], b"M\xFCller, Gro\xDF", b"S\xF8ren \xC5s"] {
            assert!(looks_like_windows_1252(good), "{good:?}");
        }
        // Windows-1250, Shift_JIS, windows-1251, Mac Roman.
        for bad in [&b"Dvo\xF8\xE1k"[..], b"\x8eR\x93c", b"\xCF\xE5\xF2\xF0\xEE\xE2\xE0", b"St\x8Ephane"] {
            assert!(!looks_like_windows_1252(bad), "{bad:?}");
        }
    }
}
