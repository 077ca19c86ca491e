//! What the first bytes of an upload reveal about its encoding, and whether it is text at all.
//!
//! The declared format decides how an upload is read. This module only refuses what cannot be any of the
//! formats, and says what it looks like, so that a workbook sent as CSV gets a helpful error.

use super::TextEncoding;
use crate::error::{ErrorCode, FileError};

/// How many bytes identify an upload: the magic of a tar archive's first header is at 257.
pub(super) const HEAD_BYTES: usize = 512;

const MARK: &[u8] = b"\xEF\xBB\xBF";

/// Marks of an encoding that is not read, to be looked for first: UTF-16's little-endian one begins the first of them.
const UTF_32: &[(&[u8], &str)] =
    &[(b"\xFF\xFE\0\0", "UTF-32 (little-endian)"), (b"\0\0\xFE\xFF", "UTF-32 (big-endian)")];

const MARKS: &[(&[u8], TextEncoding)] =
    &[(MARK, TextEncoding::Utf8), (b"\xFF\xFE", TextEncoding::Utf16Le), (b"\xFE\xFF", TextEncoding::Utf16Be)];

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

/// How an upload begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Opening {
    /// Length of the byte order mark.
    pub(super) mark: usize,
    /// What its text is in.
    pub(super) encoding: TextEncoding,
}

/// How the upload begins, or why these cannot be its first bytes. `named` is the encoding that it is said to be in.
pub(super) fn check(head: &[u8], named: Option<TextEncoding>) -> Result<Opening, FileError> {
    let opening = encoding(head, named)?;
    if let Some(look) = looks_like(head) {
        let advice = match look {
            look if look.starts_with("an Office document") => {
                " If it is a workbook (XLSX), say so: `--format xlsx` (over HTTP `format=xlsx`). Otherwise save the sheet as CSV (in Excel: \
                 CSV UTF-8), and import that."
            }
            look if look.starts_with("an old Office") => {
                " Save the sheet as XLSX or as CSV (in Excel: CSV UTF-8), and import that."
            }
            "a zip archive" | "a 7z archive" | "a rar archive" | "a tar archive" => {
                " Unpack it, and import the file inside."
            }
            "an HTML page" | "an XML document" | "a table in HTML" => {
                " Open it in a spreadsheet, save it as CSV (in Excel: CSV UTF-8), and import that."
            }
            "an LDIF export" => " Export the entries as CSV or JSON, and import that.",
            _ => "",
        };
        let message = format!("The file looks like {look}, not like text in the declared format.{advice}");
        let error = FileError::new(ErrorCode::FormatMismatch, message);
        let office = look.starts_with("an Office document");
        return Err(if office { error.mended_by(["--format", "xlsx"]) } else { error });
    }
    Ok(opening)
}

/// A mark decides, then what was named, and without both it is UTF-8. Where two of them disagree, the file is refused: read
/// in the wrong encoding, every name in it would be applied wrong.
fn encoding(head: &[u8], named: Option<TextEncoding>) -> Result<Opening, FileError> {
    if let Some((_, title)) = UTF_32.iter().find(|(mark, _)| head.starts_with(mark)) {
        return Err(refused(format!("The file is in {title}, which is not read. Save it as UTF-8.")));
    }
    if let Some((mark, marked)) = MARKS.iter().find(|(mark, _)| head.starts_with(mark)) {
        return match named {
            Some(named) if named != *marked => Err(contradiction(marked.title(), named)),
            _ => Ok(Opening { mark: mark.len(), encoding: *marked }),
        };
    }
    match (named, unmarked_utf16(head)) {
        (Some(named), Some(found)) if named != found => Err(contradiction(found.title(), named)),
        (None, Some(found)) => Err(refused(format!(
            "The file looks like {} without a byte order mark. If it is, say so: `--encoding {found}` \
             (over HTTP `encoding={found}`).",
            found.title()
        ))
        .mended_by(["--encoding".to_owned(), found.to_string()])),
        // Line ends and delimiters have a zero byte there.
        (Some(named @ (TextEncoding::Utf16Le | TextEncoding::Utf16Be)), None)
            if head.len() > 1 && !head.contains(&0) =>
        {
            Err(contradiction("an encoding with one byte a letter", named))
        }
        (named, _) => Ok(Opening { mark: 0, encoding: named.unwrap_or_default() }),
    }
}

/// No mark, but every other byte of its first characters is zero: all formats begin with an ASCII character.
fn unmarked_utf16(head: &[u8]) -> Option<TextEncoding> {
    match head {
        [first, 0, second, 0, ..] if *first != 0 && *second != 0 => Some(TextEncoding::Utf16Le),
        [0, first, 0, second, ..] if *first != 0 && *second != 0 => Some(TextEncoding::Utf16Be),
        _ => None,
    }
}

pub(super) fn contradiction(found: &str, named: TextEncoding) -> FileError {
    refused(format!(
        "The file is in {found}, and not in {} as was said: leave `--encoding` out (over HTTP `encoding` and the charset).",
        named.title()
    ))
}

fn refused(message: String) -> FileError {
    FileError::new(ErrorCode::EncodingUnsupported, message)
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
    } else if starts("<table") || starts("<meta") || starts("<style") {
        Some("a table in HTML")
    } else if starts("<?xml") {
        Some("an XML document")
    } else if starts("dn: ") || starts("dn:: ") || starts("version: 1\ndn:") {
        Some("an LDIF export")
    } else {
        None
    }
}

#[cfg(test)]
#[allow(clippy::expect_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn opens(head: &[u8], named: Option<TextEncoding>) -> Result<(usize, TextEncoding), ErrorCode> {
        check(head, named).map(|opening| (opening.mark, opening.encoding)).map_err(|error| error.code)
    }

    #[test]
    fn a_mark_tells_the_encoding() {
        assert_eq!(opens(b"\xEF\xBB\xBFemail", None), Ok((3, TextEncoding::Utf8)));
        assert_eq!(opens(b"\xFF\xFEe\0m\0", None), Ok((2, TextEncoding::Utf16Le)));
        assert_eq!(opens(b"\xFE\xFF\0e\0m", Some(TextEncoding::Utf16Be)), Ok((2, TextEncoding::Utf16Be)));
        assert_eq!(opens(b"email", None), Ok((0, TextEncoding::Utf8)));
        assert_eq!(opens(b"", None), Ok((0, TextEncoding::Utf8)));
    }

    #[test]
    fn an_encoding_can_be_named_where_no_mark_tells_it() {
        for named in TextEncoding::ALL {
            assert_eq!(opens(b"", Some(named)), Ok((0, named)));
        }
        assert_eq!(opens(b"email", Some(TextEncoding::Latin1)), Ok((0, TextEncoding::Latin1)));
        assert_eq!(opens(b"e\0m\0", Some(TextEncoding::Utf16Le)), Ok((0, TextEncoding::Utf16Le)));
        assert_eq!(
            opens(b"\x17\x53\xAC\x4E,\0", Some(TextEncoding::Utf16Le)),
            Ok((0, TextEncoding::Utf16Le))
        );
    }

    #[test]
    fn what_cannot_be_read_as_was_said_is_refused() {
        let utf16 = Some(TextEncoding::Utf16Le);
        let cases: [(&[u8], Option<TextEncoding>, &str); 9] = [
            (b"\xFF\xFE\0\0e\0\0\0", None, "UTF-32 (little-endian)"),
            (b"\0\0\xFE\xFF\0\0\0e", utf16, "UTF-32 (big-endian)"),
            (b"e\0m\0", None, "`--encoding utf-16le`"),
            (b"\0e\0m", None, "`encoding=utf-16be`"),
            (b"\xFF\xFEe\0", Some(TextEncoding::Utf8), "UTF-16 (little-endian), and not in UTF-8"),
            (b"\xEF\xBB\xBFe", Some(TextEncoding::Latin1), "UTF-8, and not in Latin-1"),
            (b"e\0m\0", Some(TextEncoding::Windows1252), "UTF-16 (little-endian)"),
            (b"\0e\0m", utf16, "UTF-16 (big-endian), and not in UTF-16 (little-endian)"),
            (b"email\n", utf16, "one byte a letter"),
        ];
        for (head, named, words) in cases {
            let error = check(head, named).expect_err(words);
            assert_eq!(error.code, ErrorCode::EncodingUnsupported);
            assert!(error.message.contains(words), "{}", error.message);
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
            let error = check(head, None).expect_err(look);
            assert_eq!(error.code, ErrorCode::FormatMismatch);
            assert!(error.message.contains(look), "{}", error.message);
        }
        assert_eq!(opens(b"MZ,email\n1,a@example.com\n", None), Ok((0, TextEncoding::Utf8)));
    }
}
