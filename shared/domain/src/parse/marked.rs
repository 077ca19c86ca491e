//! Recognises a file of failed records that Muster wrote by a column of its header, even after a spreadsheet has saved it again.

use std::ops::ControlFlow;

use super::encoding::text_of;
use super::{FAILED_MARK, TextEncoding};
use crate::error::{ErrorCode, FileError};
use crate::fault::{Mutant, mutant};
use crate::record::{ORIGIN_KEY, Origin};

/// How the column's name begins; ASCII, so the same in nearly every encoding.
const START: &[u8] = b"_muster_";

/// The encoding that such a file is in; `None` for any other file, and where a byte order mark says it.
pub(super) fn encoding(head: &[u8]) -> Result<Option<TextEncoding>, FileError> {
    for (mark, encoding) in [(b"\xFF\xFE", TextEncoding::Utf16Le), (b"\xFE\xFF", TextEncoding::Utf16Be)] {
        if let Some(text) = head.strip_prefix(mark) {
            let text = text_of(encoding, text);
            let line = text.get(..header_end(text.as_bytes())).unwrap_or_default();
            return Ok(line.contains(FAILED_MARK).then_some(encoding));
        }
    }
    let line = head.get(..header_end(head)).unwrap_or_default();
    let Some(at) = memchr::memmem::find(line, START) else { return Ok(None) };
    let name = line.get(at..).unwrap_or_default();
    let end = name.iter().position(|byte| matches!(byte, b',' | b';' | b'\t' | b'|' | b'"' | b' '));
    let name = name.get(..end.unwrap_or(name.len())).unwrap_or_default();
    let letters = name.get(START.len()..).unwrap_or_default();
    if name == FAILED_MARK.as_bytes() {
        return Ok(Some(TextEncoding::Utf8));
    }
    if matches!(letters, [0xF1, 0xFE, 0x80] | [0xF1, 0xFE, b'?']) {
        return Ok(Some(TextEncoding::Windows1252));
    }
    if letters.is_empty() || letters.is_ascii() && !letters.contains(&b'?') {
        return Ok(None);
    }
    let message = "this file of failed records was saved in an encoding in which its letters are lost. Fetch it again, and save it as UTF-8 \
                   (in Excel: CSV UTF-8)";
    Err(FileError::new(ErrorCode::EncodingUnsupported, message).at_line(1))
}

/// Where the header ends: with its line, or with a later one where quotes hold lines together. A quote that is not closed holds nothing.
fn header_end(text: &[u8]) -> usize {
    let first = memchr::memchr2(b'\n', b'\r', text).unwrap_or(text.len());
    let mut quoted = false;
    for at in memchr::memchr3_iter(b'\n', b'\r', b'"', text) {
        match text.get(at) {
            Some(b'"') => quoted = !quoted,
            _ if !quoted || mutant(Mutant::MarkInFirstLine) => return at,
            _ => {}
        }
    }
    if quoted { first } else { text.len() }
}

/// Most bytes of a file that are looked at for its first origin.
const LOOKED_AT: usize = 64 * 1024;
/// Characters of an origin before its number: the id of an import.
const ID: usize = 36;

/// The first failed record that a file says it brings again, as far as its beginning tells; `Continue` where more of the beginning is
/// needed. Marks and origins are ASCII, so the file's encoding does not matter. `whole`: there is no more of the file.
pub fn first_origin(head: &[u8], whole: bool) -> ControlFlow<Option<Origin>> {
    // ASCII in UTF-16 is the same with a zero beside each letter.
    let wide = head.starts_with(b"\xFF\xFE") || head.starts_with(b"\xFE\xFF");
    let text: Vec<u8> = head.iter().copied().filter(|byte| !wide || *byte != 0).collect();
    let whole = whole || head.len() >= LOOKED_AT;
    let line = memchr::memchr2(b'\n', b'\r', &text);
    let separator = text.get(..4).is_some_and(|start| start.eq_ignore_ascii_case(b"sep="));
    let start = match line {
        Some(end) if separator => text.get(end..).unwrap_or_default().trim_ascii_start(),
        _ => &text,
    };
    let end = header_end(start);
    let marked = [START, ORIGIN_KEY.as_bytes()]
        .iter()
        .any(|mark| start.get(..end).is_some_and(|header| memchr::memmem::find(header, mark).is_some()));
    if !marked {
        return if whole || end < start.len() { ControlFlow::Break(None) } else { ControlFlow::Continue(()) };
    }
    for at in memchr::memchr_iter(b'#', start) {
        let digits = start.get(at + 1..).unwrap_or_default();
        let length = digits.iter().position(|byte| !byte.is_ascii_digit());
        // The number may go on in the next piece.
        let Some(length) = length.or_else(|| whole.then_some(digits.len())) else { break };
        let origin = at.checked_sub(ID).and_then(|from| start.get(from..at + 1 + length));
        let origin = origin.and_then(|origin| std::str::from_utf8(origin).ok()?.parse().ok());
        if origin.is_some() {
            return ControlFlow::Break(origin);
        }
    }
    if whole { ControlFlow::Break(None) } else { ControlFlow::Continue(()) }
}

/// Whether a column's name marks the file, after a spreadsheet may have lost the sign of the euro.
pub(super) fn is_mark(name: &str) -> bool {
    name == FAILED_MARK
        || name.strip_suffix('?').is_some_and(|start| FAILED_MARK.strip_suffix('\u{20ac}') == Some(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_origin_is_found_in_the_beginning() {
        const ID: &str = "0198c0de-0000-7000-8000-000000000001";
        let table =
            format!("email;Role;{FAILED_MARK}\r\nann#1@example.com;x;\r\nbob@example.com;y;{ID}#12\r\n");
        let found = ControlFlow::Break(Some(format!("{ID}#12").parse::<Origin>().unwrap()));
        let line = format!("{{\"email\":\"a\",\"{ORIGIN_KEY}\":\"{ID}#12\"}}\n");
        let wide: Vec<u8> =
            [0xFF, 0xFE].into_iter().chain(table.encode_utf16().flat_map(u16::to_le_bytes)).collect();
        let separated = format!("sep=;\r\n{table}");
        for file in [table.as_bytes(), line.as_bytes(), separated.as_bytes(), &wide] {
            assert_eq!(first_origin(file, true), found);
            // However the file comes in pieces, its beginning tells the same or not yet.
            for end in 0..file.len() {
                let told = first_origin(&file[..end], false);
                assert!(told == ControlFlow::Continue(()) || told == found, "{end}: {told:?}");
            }
        }
        let none = ControlFlow::Break(None);
        assert_eq!(first_origin(b"email,name\n", false), none, "nothing is waited for");
        assert_eq!(first_origin(b"email,name", false), ControlFlow::Continue(()));
        assert_eq!(first_origin(format!("email,name\na,{ID}#12\n").as_bytes(), false), none);
        assert_eq!(first_origin(&[b'x'; LOOKED_AT], false), none);
        let without = format!("email,{FAILED_MARK}\na,\n");
        assert_eq!(first_origin(without.as_bytes(), false), ControlFlow::Continue(()));
        assert_eq!(first_origin(without.as_bytes(), true), none);
    }

    #[test]
    fn the_mark_tells_the_encoding() {
        let header = |mark: &[u8]| [b"email;name;", mark, b";_error_code\r\nx"].concat();
        let told = |mark: &[u8]| encoding(&header(mark)).map_err(|error| error.code);
        assert_eq!(told(FAILED_MARK.as_bytes()), Ok(Some(TextEncoding::Utf8)));
        assert_eq!(told(b"_muster_\xF1\xFE\x80"), Ok(Some(TextEncoding::Windows1252)));
        assert_eq!(told(b"_muster_\xF1\xFE?"), Ok(Some(TextEncoding::Windows1252)), "Latin-1 has no euro");
        assert_eq!(told(b"name"), Ok(None));
        let broken = |mark: &[u8]| [b"\"First\nname\";\"", mark, b"\"\r\nx"].concat();
        assert_eq!(encoding(&broken(b"_muster_\xF1\xFE\x80")).ok(), Some(Some(TextEncoding::Windows1252)));
        assert_eq!(encoding(&broken(b"x\"\n\"_muster_\xF1\xFE\x80")).ok(), Some(None), "a cell of a record");
        let open = [b"5\" disks;email\nx;".as_slice(), FAILED_MARK.as_bytes()].concat();
        assert_eq!(encoding(&open).ok(), Some(None), "a quote that is not closed");
        assert_eq!(told(b"_muster_x"), Ok(None));
        // Mac Roman, windows-1250, and UTF-8 that was read as windows-1252 and saved as UTF-8.
        for lost in [&b"_muster_\x96?\xDB"[..], b"_muster_n?\x80", "_muster_Ã±Ã¾â‚¬".as_bytes()] {
            assert_eq!(told(lost), Err(ErrorCode::EncodingUnsupported));
        }
        assert!(is_mark(FAILED_MARK) && is_mark("_muster_\u{f1}\u{fe}?") && !is_mark("_muster_\u{f1}"));
    }
}
