//! JSON text below the level of values: escapes, strings, depth, places.
//!
//! serde_json checks the grammar. This module does the rest: it decodes and checks escapes, distinguishes a
//! bad string from bad structure, and measures depth without recursion.

use memchr::{memchr, memchr_iter, memchr2, memrchr};

/// What JSON takes as a blank.
pub(in crate::parse) fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

/// Characters in the text. Of bytes that are not UTF-8, those are counted that do not continue a character.
pub(super) fn characters(text: &[u8]) -> u64 {
    text.iter().filter(|byte| **byte & 0xC0 != 0x80).count() as u64
}

/// A place in the upload as an editor shows it. Lines end at LF.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// From 1.
    pub(super) line: u64,
    /// Character in the line, from 1.
    pub(super) column: u64,
}

impl Place {
    pub(super) const START: Self = Self { line: 1, column: 1 };

    /// The place after these bytes.
    pub(super) fn after(self, text: &[u8]) -> Self {
        match memrchr(b'\n', text) {
            None => Self { line: self.line, column: self.column + characters(text) },
            Some(last) => Self {
                line: self.line + memchr_iter(b'\n', text).count() as u64,
                column: 1 + characters(text.get(last + 1..).unwrap_or_default()),
            },
        }
    }
}

/// Why an escape is not a character.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BadEscape {
    /// It is none of JSON's.
    Syntax,
    /// It is one half of a surrogate pair.
    Surrogate,
}

/// Writes the content of a JSON string with decoded escapes, or returns the offset of the first invalid one.
pub(super) fn unescape(inner: &str, text: &mut String) -> Result<(), usize> {
    let mut at = 0;
    while let Some(found) = memchr(b'\\', inner.as_bytes().get(at..).unwrap_or_default()) {
        let start = at + found;
        let (character, length) =
            escape(inner.as_bytes().get(start..).unwrap_or_default()).map_err(|_| start)?;
        text.push_str(inner.get(at..start).unwrap_or_default());
        text.push(character);
        at = start + length;
    }
    text.push_str(inner.get(at..).unwrap_or_default());
    Ok(())
}

/// The character of an escape (or a pair of them) at the start of `bytes`, and the escape's length.
fn escape(bytes: &[u8]) -> Result<(char, usize), BadEscape> {
    let character = match bytes.get(1) {
        Some(plain @ (b'"' | b'\\' | b'/')) => char::from(*plain),
        Some(b'b') => '\u{8}',
        Some(b'f') => '\u{c}',
        Some(b'n') => '\n',
        Some(b'r') => '\r',
        Some(b't') => '\t',
        Some(b'u') => return unicode_escape(bytes),
        _ => return Err(BadEscape::Syntax),
    };
    Ok((character, 2))
}

fn unicode_escape(bytes: &[u8]) -> Result<(char, usize), BadEscape> {
    let first = hexadecimal(bytes.get(2..6)).ok_or(BadEscape::Syntax)?;
    if let Some(character) = char::from_u32(first) {
        return Ok((character, 6));
    }
    let low = bytes.get(6..8).filter(|start| *start == b"\\u").and_then(|_| hexadecimal(bytes.get(8..12)));
    match low {
        Some(low @ 0xDC00..=0xDFFF) if first < 0xDC00 => {
            let code = 0x10000 + ((first - 0xD800) << 10) + (low - 0xDC00);
            char::from_u32(code).map(|character| (character, 12)).ok_or(BadEscape::Surrogate)
        }
        _ => Err(BadEscape::Surrogate),
    }
}

fn hexadecimal(digits: Option<&[u8]>) -> Option<u32> {
    digits?.iter().try_fold(0, |number, digit| Some(number * 16 + char::from(*digit).to_digit(16)?))
}

/// Offset of the first raw control character or lone surrogate in a string of the text.
///
/// Right up to the text's first other fault; after that, what is a string is anyone's guess.
pub(crate) fn string_fault(text: &[u8]) -> Option<usize> {
    let mut at = memchr(b'"', text)? + 1;
    while let Some(byte) = text.get(at) {
        match byte {
            b'"' => at += memchr(b'"', text.get(at + 1..)?)? + 2,
            b'\\' => match escape(text.get(at..)?) {
                Ok((_, length)) => at += length,
                Err(BadEscape::Surrogate) => return Some(at),
                Err(BadEscape::Syntax) => at += 2,
            },
            control if *control < 0x20 => return Some(at),
            _ => at += 1,
        }
    }
    None
}

/// How deep the text nests arrays and objects. Takes any bytes, and no stack and no memory.
pub(crate) fn depth(text: &[u8]) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        at += 1;
        match byte {
            b'{' | b'[' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            b'"' => at = string_end(text, at),
            _ => {}
        }
    }
    deepest
}

/// Offset after the quote that closes the string whose inside begins at `at`.
fn string_end(text: &[u8], mut at: usize) -> usize {
    while let Some(found) = text.get(at..).and_then(|rest| memchr2(b'"', b'\\', rest)) {
        if text.get(at + found) == Some(&b'"') {
            return at + found + 1;
        }
        at += found + 2;
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn undone(inner: &str) -> Result<String, usize> {
        let mut text = String::new();
        unescape(inner, &mut text).map(|()| text)
    }

    #[test]
    fn escapes_are_undone() {
        let all = r#"a\"\\\/\b\f\n\r\té\u20AC\ud83d\uDE00z\u0000"#;
        assert_eq!(undone(all).as_deref(), Ok("a\"\\/\u{8}\u{c}\n\r\té€😀z\0"));
    }

    #[test]
    fn lone_surrogates_are_placed() {
        assert_eq!(undone(r"ab\ud83d"), Err(2));
        assert_eq!(undone(r"\ud83dx\ude00"), Err(0));
        assert_eq!(undone(r"\ude00\ud83d"), Err(0));
        assert_eq!(undone(r"\ud83d\ud83d"), Err(0));
        assert_eq!(string_fault(br#"{"a":"b","c":"\ud800"}"#), Some(14));
        assert_eq!(string_fault(b"{\"a\":\n\"b\tc\"}"), Some(8));
        assert_eq!(string_fault(b"{\"a\":\t\"\\\"\\\\b\"}\n"), None);
        assert_eq!(string_fault(b"{\"a\""), None);
    }

    #[test]
    fn depth_ignores_brackets_in_strings() {
        assert_eq!(depth(b"12"), 0);
        assert_eq!(depth(br#"{"[[[\"[[":[{}, [[]]]}"#), 4);
        assert_eq!(depth(&vec![b'['; 1_000_000]), 1_000_000);
        assert_eq!(depth(br#"]]["\"#), 1);
    }

    #[test]
    fn place_counts_characters_and_lines() {
        assert_eq!(Place::START.after("äö".as_bytes()), Place { line: 1, column: 3 });
        assert_eq!(Place::START.after("ä\n\nö".as_bytes()), Place { line: 3, column: 2 });
    }
}
