//! What the first bytes of an upload say against its being text in UTF-8.
//!
//! The declared format decides how an upload is read. This only refuses what can be none of the formats, and says what
//! it looks like, so that a spreadsheet sent as CSV is told apart from a broken one.

use crate::error::{ErrorCode, FileError};

/// How many bytes tell what an upload is: the name in a tar archive's first header stands at 257.
pub(super) const HEAD_BYTES: usize = 512;

const MARK: &[u8] = b"\xEF\xBB\xBF";

/// Byte order marks, UTF-32 first because UTF-16's little-endian one begins its.
const ENCODINGS: &[(&[u8], &str)] = &[
    (b"\xFF\xFE\0\0", "UTF-32 (little-endian)"),
    (b"\0\0\xFE\xFF", "UTF-32 (big-endian)"),
    (b"\xFF\xFE", "UTF-16 (little-endian)"),
    (b"\xFE\xFF", "UTF-16 (big-endian)"),
];

const SIGNATURES: &[(&[u8], &str)] = &[
    (b"\x1F\x8B", "gzip data"),
    (b"\x28\xB5\x2F\xFD", "zstd data"),
    (b"\xFD7zXZ\0", "xz data"),
    (b"7z\xBC\xAF\x27\x1C", "a 7z archive"),
    (b"Rar!\x1A\x07", "a rar archive"),
    (b"PK\x05\x06", "an empty zip archive"),
    (b"%PDF-", "a PDF document"),
    (b"\x7FELF", "a program"),
    (b"\xCF\xFA\xED\xFE", "a program"),
    (b"\xD0\xCF\x11\xE0\xA1\xB1\x1A\xE1", "an old Office document (xls)"),
    (b"\x89PNG", "a PNG image"),
    (b"\xFF\xD8\xFF", "a JPEG image"),
    (b"GIF87a", "a GIF image"),
    (b"GIF89a", "a GIF image"),
    (b"PAR1\x15", "a Parquet file"),
    (b"SQLite format 3\0", "an SQLite database"),
];

/// Length of the UTF-8 byte order mark to skip (0 or 3), or why these cannot be the first bytes of an upload.
pub(super) fn check(head: &[u8]) -> Result<usize, FileError> {
    if let Some(encoding) = foreign_encoding(head) {
        let message = format!("The file is in {encoding}; only UTF-8 is read.");
        return Err(FileError::new(ErrorCode::EncodingUnsupported, message));
    }
    if let Some(look) = looks_like(head) {
        let message = format!("The file looks like {look}, not like text in the declared format.");
        return Err(FileError::new(ErrorCode::FormatMismatch, message));
    }
    Ok(if head.starts_with(MARK) { MARK.len() } else { 0 })
}

fn foreign_encoding(head: &[u8]) -> Option<&'static str> {
    if let Some((_, encoding)) = ENCODINGS.iter().find(|(mark, _)| head.starts_with(mark)) {
        return Some(encoding);
    }
    // No mark, but every other byte of its first characters is zero: both formats begin with an ASCII character.
    match head {
        [first, 0, second, 0, ..] if *first != 0 && *second != 0 => Some("UTF-16 (little-endian)"),
        [0, first, 0, second, ..] if *first != 0 && *second != 0 => Some("UTF-16 (big-endian)"),
        _ => None,
    }
}

fn looks_like(head: &[u8]) -> Option<&'static str> {
    if let Some((_, look)) = SIGNATURES.iter().find(|(signature, _)| head.starts_with(signature)) {
        return Some(look);
    }
    if head.starts_with(b"PK\x03\x04") {
        return Some(zip_look(head));
    }
    if head.starts_with(b"BZh") && head.get(4..10) == Some(b"1AY&SY") {
        return Some("bzip2 data");
    }
    if head.get(257..262) == Some(b"ustar") {
        return Some("a tar archive");
    }
    // The letters alone may begin a CSV header; a program has zeros near them.
    if head.starts_with(b"MZ") && head.iter().take(64).any(|byte| *byte == 0) {
        return Some("a program");
    }
    markup_look(head)
}

/// A zip archive's first entry is named at byte 30; office suites begin with an entry of their own.
fn zip_look(head: &[u8]) -> &'static str {
    let name = head.get(30..).unwrap_or_default();
    let office: [&[u8]; 5] =
        [b"[Content_Types].xml", b"_rels/", b"docProps/", b"xl/", b"mimetypeapplication/vnd.oasis"];
    if office.iter().any(|start| name.starts_with(start)) {
        "an Office document (xlsx, zip inside)"
    } else {
        "a zip archive"
    }
}

fn markup_look(head: &[u8]) -> Option<&'static str> {
    let text = head.strip_prefix(MARK).unwrap_or(head).trim_ascii_start();
    let starts =
        |word: &str| text.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word.as_bytes()));
    if starts("<!doctype") || starts("<html") {
        Some("an HTML page")
    } else if starts("<?xml") {
        Some("an XML document")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn byte_order_mark_of_utf8_is_skipped() {
        assert_eq!(check(b"\xEF\xBB\xBFemail"), Ok(3));
        assert_eq!(check(b"email"), Ok(0));
        assert_eq!(check(b""), Ok(0));
    }

    #[test]
    fn other_encodings_are_named() {
        let cases: [(&[u8], &str); 6] = [
            (b"\xFF\xFEe\0m\0", "UTF-16 (little-endian)"),
            (b"\xFE\xFF\0e\0m", "UTF-16 (big-endian)"),
            (b"\xFF\xFE\0\0e\0\0\0", "UTF-32 (little-endian)"),
            (b"\0\0\xFE\xFF\0\0\0e", "UTF-32 (big-endian)"),
            (b"e\0m\0", "UTF-16 (little-endian)"),
            (b"\0e\0m", "UTF-16 (big-endian)"),
        ];
        for (head, encoding) in cases {
            let error = check(head).expect_err("not UTF-8");
            assert_eq!(error.code, ErrorCode::EncodingUnsupported);
            assert!(error.message.contains(encoding), "{}", error.message);
        }
    }

    #[test]
    fn other_files_are_named() {
        let mut tar = vec![b'a'; 257];
        tar.extend_from_slice(b"ustar\x0000");
        let mut xlsx = b"PK\x03\x04".to_vec();
        xlsx.resize(30, 0);
        xlsx.extend_from_slice(b"[Content_Types].xml");
        let cases: [(&[u8], &str); 9] = [
            (b"\x1F\x8B\x08\0", "gzip"),
            (b"PK\x03\x04\x14\0", "a zip archive"),
            (&xlsx, "Office"),
            (&tar, "tar"),
            (b"%PDF-1.7", "PDF"),
            (b"\x7FELF\x02", "program"),
            (b"MZ\x90\0\x03", "program"),
            (b"\xEF\xBB\xBF\r\n <!DOCTYPE html>", "HTML"),
            (b"<HTML>", "HTML"),
        ];
        for (head, look) in cases {
            let error = check(head).expect_err(look);
            assert_eq!(error.code, ErrorCode::FormatMismatch);
            assert!(error.message.contains(look), "{}", error.message);
        }
        assert_eq!(check(b"MZ,email\n1,a@example.com\n"), Ok(0));
    }
}
