//! Text encodings: detects the encoding of an upload and converts it to UTF-8 for the readers.
//!
//! Nothing is guessed from the letters of a text. An encoding is named, or given by a byte order mark, or it
//! is UTF-8. Bytes that are invalid in their encoding stay visible: their record has a defect.

use std::fmt;
use std::str::FromStr;

use encoding_rs::{DecoderResult, UTF_16BE, UTF_16LE, WINDOWS_1252, mem};
use serde::{Deserialize, Serialize};

/// Bytes of UTF-8 made at a time.
const SCRATCH: usize = 16 * 1024;
/// The placeholder for invalid bytes. It is never a byte of UTF-8, so the readers detect it.
const NO_TEXT: &[u8] = b"\xFF";

/// Encoding of an upload's text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum TextEncoding {
    /// UTF-8, with or without a byte order mark.
    #[default]
    #[serde(rename = "utf-8")]
    Utf8,
    /// UTF-16, the low byte first.
    #[serde(rename = "utf-16le")]
    Utf16Le,
    /// UTF-16, the high byte first.
    #[serde(rename = "utf-16be")]
    Utf16Be,
    /// ISO 8859-1: each byte is the character of its number.
    #[serde(rename = "latin1")]
    Latin1,
    /// Latin-1 with letters and signs (€, Š, curly quotes) where that has control characters.
    #[serde(rename = "windows-1252")]
    Windows1252,
}

/// The text names no encoding that is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no such encoding; there are utf-8, utf-16le, utf-16be, latin1 and windows-1252")]
pub struct UnknownTextEncoding;

impl TextEncoding {
    /// All encodings.
    pub const ALL: [Self; 5] = [Self::Utf8, Self::Utf16Le, Self::Utf16Be, Self::Latin1, Self::Windows1252];

    /// Its name in options, JSON and on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Utf8 => "utf-8",
            Self::Utf16Le => "utf-16le",
            Self::Utf16Be => "utf-16be",
            Self::Latin1 => "latin1",
            Self::Windows1252 => "windows-1252",
        }
    }

    /// What people call it.
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Utf8 => "UTF-8",
            Self::Utf16Le => "UTF-16 (little-endian)",
            Self::Utf16Be => "UTF-16 (big-endian)",
            Self::Latin1 => "Latin-1",
            Self::Windows1252 => "Windows-1252",
        }
    }

    /// The encoding of a media type's `charset`. `Ok(None)` where there is none, or where it leaves the byte order to the
    /// text's own mark.
    pub fn from_media_type(media_type: &str) -> Result<Option<Self>, UnknownTextEncoding> {
        let charset = media_type.split(';').skip(1).find_map(|parameter| {
            let (name, value) = parameter.split_once('=')?;
            name.trim().eq_ignore_ascii_case("charset").then_some(value)
        });
        let Some(charset) = charset else { return Ok(None) };
        match charset.trim().trim_matches('"').to_ascii_lowercase().as_str() {
            "" | "utf-16" => Ok(None),
            // ASCII is a part of it.
            "utf-8" | "utf8" | "us-ascii" | "ascii" => Ok(Some(Self::Utf8)),
            "utf-16le" => Ok(Some(Self::Utf16Le)),
            "utf-16be" => Ok(Some(Self::Utf16Be)),
            "iso-8859-1" | "iso_8859-1" | "latin1" | "latin-1" => Ok(Some(Self::Latin1)),
            "windows-1252" | "cp1252" => Ok(Some(Self::Windows1252)),
            _ => Err(UnknownTextEncoding),
        }
    }

    /// The flags for what [`Self::not_in`] says.
    pub(super) fn mends(self, western: bool) -> &'static [&'static str] {
        if self == Self::Utf8 && western { &["--encoding", "windows-1252"] } else { &[] }
    }

    /// How to say that something of the upload is no text: "is not UTF-8", and what to do about it. `western`: its bytes look like
    /// windows-1252.
    pub(super) fn not_in(self, what: &str, western: bool) -> String {
        let title = self.title();
        match self {
            Self::Utf8 if western => format!(
                "{what} not {title}. They look like Windows-1252: if that is right, say so with `--encoding windows-1252` \
                 (over HTTP `encoding=windows-1252`)."
            ),
            Self::Utf8 => {
                format!("{what} not {title}. Save the file as UTF-8 (in Excel: CSV UTF-8), and import that.")
            }
            _ => format!("{what} not {title}."),
        }
    }
}

impl fmt::Display for TextEncoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for TextEncoding {
    type Err = UnknownTextEncoding;

    fn from_str(text: &str) -> Result<Self, UnknownTextEncoding> {
        Self::ALL.into_iter().find(|encoding| encoding.as_str() == text).ok_or(UnknownTextEncoding)
    }
}

/// The text of a file's first bytes, what is no text replaced: to look at.
pub(super) fn text_of(encoding: TextEncoding, head: &[u8]) -> String {
    match encoding {
        TextEncoding::Utf8 => String::from_utf8_lossy(head).into_owned(),
        TextEncoding::Utf16Le => UTF_16LE.decode_without_bom_handling(head).0.into_owned(),
        TextEncoding::Utf16Be => UTF_16BE.decode_without_bom_handling(head).0.into_owned(),
        TextEncoding::Latin1 | TextEncoding::Windows1252 => {
            WINDOWS_1252.decode_without_bom_handling(head).0.into_owned()
        }
    }
}

/// Makes UTF-8 of another encoding, piece by piece, in a fixed amount of memory.
#[derive(Debug)]
pub(super) struct ToUtf8 {
    way: Way,
    scratch: Vec<u8>,
}

#[derive(Debug)]
enum Way {
    Latin1,
    Table(encoding_rs::Decoder),
}

impl ToUtf8 {
    /// `None` for UTF-8, which goes to the readers as it is.
    pub(super) fn new(encoding: TextEncoding) -> Option<Self> {
        // Marks are sniff's; a second one is a character of the text.
        let table = |encoding: &'static encoding_rs::Encoding| {
            Way::Table(encoding.new_decoder_without_bom_handling())
        };
        let way = match encoding {
            TextEncoding::Utf8 => return None,
            TextEncoding::Utf16Le => table(UTF_16LE),
            TextEncoding::Utf16Be => table(UTF_16BE),
            TextEncoding::Latin1 => Way::Latin1,
            TextEncoding::Windows1252 => table(WINDOWS_1252),
        };
        Some(Self { way, scratch: vec![0; SCRATCH] })
    }

    /// Gives `take` the text of the next piece. What the end of the piece cuts is kept for the next one.
    pub(super) fn feed<E>(
        &mut self,
        input: &[u8],
        take: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        self.decode(input, false, take)
    }

    /// Ends the text: what is still kept is no text. Takes the decoder, which may not be fed after its end.
    pub(super) fn finish<E>(mut self, take: impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        self.decode(&[], true, take)
    }

    fn decode<E>(
        &mut self,
        mut input: &[u8],
        last: bool,
        mut take: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        loop {
            let (result, read, written) = match &mut self.way {
                Way::Latin1 => {
                    let (read, written) = mem::convert_latin1_to_utf8_partial(input, &mut self.scratch);
                    let whole = read == input.len();
                    (if whole { DecoderResult::InputEmpty } else { DecoderResult::OutputFull }, read, written)
                }
                Way::Table(decoder) => {
                    decoder.decode_to_utf8_without_replacement(input, &mut self.scratch, last)
                }
            };
            take(self.scratch.get(..written).unwrap_or_default())?;
            input = input.get(read..).unwrap_or_default();
            match result {
                DecoderResult::InputEmpty => return Ok(()),
                DecoderResult::OutputFull => {}
                DecoderResult::Malformed(..) => take(NO_TEXT)?,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    fn decoded(encoding: TextEncoding, bytes: &[u8], piece: usize) -> Vec<u8> {
        let mut text = Vec::new();
        let mut take = |part: &[u8]| {
            text.extend_from_slice(part);
            Ok::<(), Infallible>(())
        };
        let mut way = ToUtf8::new(encoding).unwrap();
        for part in bytes.chunks(piece) {
            way.feed(part, &mut take).unwrap();
        }
        way.finish(&mut take).unwrap();
        text
    }

    #[test]
    fn texts_come_out_whatever_the_pieces() {
        let long = "žluťoučký 😀 kůň\n".repeat(3000);
        let units: Vec<u16> = long.encode_utf16().collect();
        let little: Vec<u8> = units.iter().flat_map(|unit| unit.to_le_bytes()).collect();
        let big: Vec<u8> = units.iter().flat_map(|unit| unit.to_be_bytes()).collect();
        let every: Vec<u8> = (0..=255).collect();
        let latin: String = every.iter().copied().map(char::from).collect();
        for piece in [1, 2, 3, 7, 1 << 20] {
            assert_eq!(decoded(TextEncoding::Utf16Le, &little, piece), long.as_bytes());
            assert_eq!(decoded(TextEncoding::Utf16Be, &big, piece), long.as_bytes());
            assert_eq!(decoded(TextEncoding::Latin1, &every, piece), latin.as_bytes());
            let signs = decoded(TextEncoding::Windows1252, b"\x80\x8A\x93\xE9\x81", piece);
            assert_eq!(signs, "€Š“é\u{81}".as_bytes());
        }
    }

    #[test]
    fn what_is_no_text_stays_visible() {
        for piece in [1, 2, 100] {
            let lone = [b'a', 0, 0x3D, 0xD8, b'b', 0];
            assert_eq!(decoded(TextEncoding::Utf16Le, &lone, piece), b"a\xFFb");
            assert_eq!(decoded(TextEncoding::Utf16Le, &lone[..4], piece), b"a\xFF", "a pair cut at the end");
            assert_eq!(
                decoded(TextEncoding::Utf16Be, &[0, b'a', 0], piece),
                b"a\xFF",
                "a unit cut at the end"
            );
        }
        assert_eq!(decoded(TextEncoding::Utf16Be, b"", 1), b"");
    }

    #[test]
    fn a_charset_names_an_encoding() {
        let told = TextEncoding::from_media_type;
        assert_eq!(told("text/csv"), Ok(None));
        assert_eq!(told("text/csv; charset=UTF-8"), Ok(Some(TextEncoding::Utf8)));
        assert_eq!(told("text/csv; header=present; Charset=\"iso-8859-1\""), Ok(Some(TextEncoding::Latin1)));
        assert_eq!(told("text/csv;charset=utf-16"), Ok(None));
        assert_eq!(told("text/csv; charset=koi8-r"), Err(UnknownTextEncoding));
    }

    #[test]
    fn names_read_back() {
        for encoding in TextEncoding::ALL {
            assert_eq!(encoding.to_string().parse(), Ok(encoding));
            assert_eq!(serde_json::to_value(encoding).unwrap(), encoding.as_str());
        }
        assert_eq!("ebcdic".parse::<TextEncoding>(), Err(UnknownTextEncoding));
    }
}
