//! Parses bytes into [`RawRecord`]s with positions. Pure and incremental: it accepts pieces of any size and holds at most one record.
//!
//! The readers accept UTF-8 only. Other encodings are converted by `encoding` first, and positions refer to the converted text.
//!
//! Guarantee: the same bytes give the same records and the same error, however they are cut into pieces (`tests/parse` proves it).
//! Non-goal: meaning. Required columns and the meaning of values are checked by validate.
//!
//! The parser is strict only where leniency would lose or move data. If record boundaries become uncertain,
//! it stops with a [`FileError`]. A fault of one record is its `defect`, and the parser continues.

mod csv;
mod dialect;
mod encoding;
mod fields;
mod format;
mod json;
mod letters;
mod limits;
mod marked;
mod ndjson;
mod opening;
mod reshape;
mod sniff;
mod western;

use crate::error::{ErrorCode, FileError};
use crate::fault::{self, Mutant};
use crate::field::FieldTable;
use crate::record::{FieldNames, RawRecord};

pub use dialect::{Delimiter, Dialect, ReadAs, SkipLines, UnknownDelimiter, UnknownSkip};
pub use encoding::{TextEncoding, UnknownTextEncoding};
pub use format::{Format, UnknownFormat};
pub(crate) use json::{depth, string_fault};
pub use letters::is_misdecoded;
pub use limits::ParseLimits;
pub use marked::first_origin;
pub use opening::TableOpening;

/// The column that marks a file of failed records. Its letters are at different positions in each encoding,
/// so they show in which encoding a spreadsheet saved the file again.
pub const FAILED_MARK: &str = "_muster_\u{f1}\u{fe}\u{20ac}";

/// Receives what a parser finds.
pub trait RecordSink {
    /// The CSV header was read; called once, before the first record, and not at all for JSON.
    fn header(&mut self, names: &FieldNames) -> Result<(), FileError>;

    /// Whether a column of this name is known, to distinguish the header of a handmade table from the lines before it.
    fn knows(&self, _name: &str) -> bool {
        false
    }

    /// The next record of a handmade file has characters beyond ASCII.
    fn beyond_ascii(&mut self) {}

    /// One record, in file order. `names` resolves its field names; it only ever grows.
    fn record(&mut self, record: &RawRecord<'_>, names: &FieldNames) -> Result<(), FileError>;
}

/// What a whole upload came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParseEnd {
    /// Records given to the sink, those with a defect included.
    pub records: u64,
    /// Bytes fed, byte order mark and header included.
    pub bytes: u64,
    /// The encoding that it was read in.
    pub encoding: TextEncoding,
    /// What ends the cells of a table.
    pub delimiter: Option<Delimiter>,
}

/// The parse step of one upload.
///
/// [`feed`](Self::feed) it the upload piece by piece, then [`finish`](Self::finish). It never panics, and holds no
/// more than one record (bounded by [`ParseLimits`]), the first 512 bytes (of a handmade table 32 KiB), and 16 KiB where the text is not
/// UTF-8. An error, its own or the sink's, is final: every
/// later call returns it again.
///
/// ```
/// use muster_domain::error::FileError;
/// use muster_domain::parse::{Format, ParseLimits, Parser, RecordSink};
/// use muster_domain::record::{FieldNames, RawRecord};
///
/// #[derive(Default)]
/// struct Lines(Vec<u64>);
///
/// impl RecordSink for Lines {
///     fn header(&mut self, _: &FieldNames) -> Result<(), FileError> {
///         Ok(())
///     }
///     fn record(&mut self, record: &RawRecord<'_>, _: &FieldNames) -> Result<(), FileError> {
///         self.0.push(record.position.line);
///         Ok(())
///     }
/// }
///
/// let (mut parser, mut lines) = (Parser::new(Format::Csv, ParseLimits::default()), Lines::default());
/// // A record may begin in one piece and end in the next.
/// parser.feed(b"email\nada@exam", &mut lines).unwrap();
/// parser.feed(b"ple.com\ngrace@example.com\n", &mut lines).unwrap();
/// assert_eq!(parser.finish(&mut lines).unwrap().records, 2);
/// assert_eq!(lines.0, [2, 3]);
/// ```
#[derive(Debug)]
pub struct Parser {
    reader: Reader,
    /// The named encoding; once the upload is open, the actual one.
    encoding: Option<TextEncoding>,
    /// How the encoding is known.
    evidence: &'static str,
    /// The way to UTF-8 from another encoding.
    decoder: Option<encoding::ToUtf8>,
    /// The first bytes, until there are enough to tell what they are; `None` from then on.
    head: Option<Vec<u8>>,
    bytes: u64,
    failed: Option<FileError>,
    ended: Option<ParseEnd>,
    dialect: Dialect,
    /// Whether bytes that are read as one letter each are UTF-8.
    watch: Option<letters::Utf8Watch>,
    opening: TableOpening,
    /// What is taken out of records of JSON.
    shape: Option<Box<reshape::Shape>>,
}

/// The reader of the declared format. Boxed: a parser moves through futures, and its readers are large.
#[derive(Debug)]
enum Reader {
    Csv(Box<csv::CsvReader>),
    Json(Box<json::JsonReader>),
    Ndjson(Box<ndjson::NdjsonReader>),
}

/// How many bytes of a handmade table are looked at before its header is read.
const TABLE_HEAD_BYTES: usize = 32 * 1024;

impl Parser {
    /// A parser for one upload of the declared format, which a program wrote.
    pub fn new(format: Format, limits: ParseLimits) -> Self {
        Self::in_dialect(format, limits, Dialect::default())
    }

    /// A parser for one upload of the declared format and dialect.
    pub fn in_dialect(format: Format, limits: ParseLimits, mut dialect: Dialect) -> Self {
        if format == Format::Xlsx {
            // Its text was made here, of the sheet's rows.
            dialect.delimiter = Some(Delimiter::Comma);
            dialect.encoding = Some(TextEncoding::Utf8);
        }
        let sheet = format == Format::Xlsx && !fault::mutant(Mutant::SheetRowsAreLines);
        let reader = match format {
            Format::Csv | Format::Xlsx => Reader::Csv(Box::new(csv::CsvReader::new(limits, dialect, sheet))),
            Format::Json => Reader::Json(Box::new(json::JsonReader::new(limits, dialect))),
            Format::Ndjson => Reader::Ndjson(Box::new(ndjson::NdjsonReader::new(limits, dialect))),
        };
        Self {
            reader,
            encoding: dialect.encoding,
            evidence: "",
            decoder: None,
            head: Some(Vec::new()),
            bytes: 0,
            failed: None,
            ended: None,
            dialect,
            watch: None,
            opening: TableOpening::default(),
            shape: None,
        }
    }

    /// Names of the table that are JSON Pointers lead into the records of a handmade file.
    #[must_use]
    pub fn reshaping(mut self, table: &FieldTable) -> Self {
        let table = if self.dialect.handmade { Some(table) } else { None };
        if !matches!(self.reader, Reader::Csv(_)) {
            self.shape = table.and_then(reshape::Shape::of).map(Box::new);
        }
        self
    }

    /// The records of a JSON file stand in a list inside an object: a JSON Pointer to it, with or without the first `/`; after `?`,
    /// a list that is the file itself will do.
    #[must_use]
    pub fn at(mut self, pointer: Option<&str>) -> Self {
        if let (Some(pointer), Reader::Json(reader)) = (pointer, &mut self.reader) {
            let (optional, pointer) = match pointer.strip_prefix('?') {
                Some(pointer) => (true, pointer),
                None => (false, pointer),
            };
            let keys = pointer.trim_start_matches('/').split('/');
            reader.at(keys.map(|key| key.replace("~1", "/").replace("~0", "~")).collect(), optional);
        }
        self
    }

    /// What the text is in, as far as that is known.
    pub fn encoding(&self) -> TextEncoding {
        self.encoding.unwrap_or_default()
    }

    /// How that is known; nothing before the upload is open.
    pub fn encoding_evidence(&self) -> &'static str {
        self.evidence
    }

    /// What was found before the header of a handmade table, once that was read.
    pub fn table_opening(&self) -> &TableOpening {
        &self.opening
    }

    /// How many bytes are looked at before anything is read.
    fn head_bytes(&self) -> usize {
        match self.reader {
            Reader::Csv(_) if self.dialect.handmade => TABLE_HEAD_BYTES,
            _ => sniff::HEAD_BYTES,
        }
    }

    /// Takes the next piece of the upload and gives the sink every record that ends in it.
    pub fn feed<S: RecordSink + ?Sized>(&mut self, input: &[u8], sink: &mut S) -> Result<(), FileError> {
        if self.ended.is_some() {
            self.failed = Some(FileError::new(ErrorCode::Internal, "The upload went on after its end."));
        }
        self.refuse_after_failure()?;
        self.bytes = self.bytes.saturating_add(input.len() as u64);
        let result = match self.shape.take() {
            None => self.feed_open(input, sink),
            Some(mut shape) => {
                let result = self.feed_open(input, &mut shape.around(sink));
                self.shape = Some(shape);
                result
            }
        };
        self.remember(result)
    }

    /// Ends the upload: gives the sink a last record without line end, and refuses an upload that stops in the middle.
    pub fn finish<S: RecordSink + ?Sized>(&mut self, sink: &mut S) -> Result<ParseEnd, FileError> {
        self.refuse_after_failure()?;
        if let Some(end) = self.ended {
            return Ok(end);
        }
        let result = match self.shape.take() {
            None => self.finish_open(sink),
            Some(mut shape) => self.finish_open(&mut shape.around(sink)),
        };
        let records = self.remember(result)?;
        let delimiter = match &self.reader {
            Reader::Csv(reader) => reader.delimiter(),
            Reader::Json(_) | Reader::Ndjson(_) => None,
        };
        let encoding = self.encoding.unwrap_or_default();
        let end = ParseEnd { records, bytes: self.bytes, encoding, delimiter };
        self.ended = Some(end);
        Ok(end)
    }

    fn feed_open<S: RecordSink + ?Sized>(&mut self, mut input: &[u8], sink: &mut S) -> Result<(), FileError> {
        let wanted = self.head_bytes();
        if let Some(head) = &mut self.head {
            let missing = wanted.saturating_sub(head.len()).min(input.len());
            let (start, rest) = input.split_at(missing);
            head.extend_from_slice(start);
            if head.len() < wanted {
                return Ok(());
            }
            self.open(false, sink)?;
            input = rest;
        }
        self.read(input, sink)
    }

    fn read<S: RecordSink + ?Sized>(&mut self, input: &[u8], sink: &mut S) -> Result<(), FileError> {
        let Self { reader, decoder, watch, .. } = self;
        if let Some(watch) = watch {
            watch.feed(input);
        }
        match decoder {
            None => reader.feed(input, sink),
            Some(decoder) => decoder.feed(input, |text| reader.feed(text, sink)),
        }
    }

    fn finish_open<S: RecordSink + ?Sized>(&mut self, sink: &mut S) -> Result<u64, FileError> {
        self.open(true, sink)?;
        if let (Some(watch), Some(named)) = (&self.watch, self.encoding)
            && watch.is_utf8()
            && !fault::mutant(Mutant::EncodingAtItsWord)
        {
            return Err(sniff::contradiction("UTF-8", named));
        }
        let reader = &mut self.reader;
        if let Some(decoder) = self.decoder.take() {
            decoder.finish(|text| reader.feed(text, sink))?;
        }
        reader.finish(sink)
    }

    /// Looks at the first bytes and hands them to the reader; nothing the second time.
    fn open<S: RecordSink + ?Sized>(&mut self, whole: bool, sink: &mut S) -> Result<(), FileError> {
        let Some(head) = self.head.take() else { return Ok(()) };
        let table = matches!(self.reader, Reader::Csv(_)) && self.dialect.handmade;
        let marked = if table { marked::encoding(&head)? } else { None };
        // A file that was written here is read as it was written, whatever the options of the upload that it comes from.
        let named =
            if fault::mutant(Mutant::FailedFileByOptions) { self.encoding } else { marked.or(self.encoding) };
        let opening = sniff::check(&head, named)?;
        self.evidence = match (marked, opening.mark, self.encoding) {
            (Some(_), ..) => "by the mark of a file of failed records",
            (None, 1.., _) => "by its byte order mark",
            (None, 0, Some(_)) => "as it is said to be",
            (None, 0, None) => "since it has no byte order mark, and all of it is valid",
        };
        self.encoding = Some(opening.encoding);
        let one_byte = matches!(opening.encoding, TextEncoding::Latin1 | TextEncoding::Windows1252);
        self.watch = (self.dialect.handmade && one_byte).then(letters::Utf8Watch::default);
        if table {
            self.open_table(&head, opening, whole, marked.is_some(), sink)?;
            self.reader.open_evidence(&head);
        }
        self.decoder = encoding::ToUtf8::new(opening.encoding);
        // A mark is a part of the text only where the text is the upload itself.
        let skipped = if self.decoder.is_none() { opening.mark } else { 0 };
        self.reader.open(skipped, opening.encoding);
        self.read(head.get(opening.mark..).unwrap_or_default(), sink)
    }

    /// Finds the header of a handmade table.
    fn open_table<S: RecordSink + ?Sized>(
        &mut self,
        head: &[u8],
        opening: sniff::Opening,
        whole: bool,
        marked: bool,
        sink: &S,
    ) -> Result<(), FileError> {
        let text = encoding::text_of(opening.encoding, head.get(opening.mark..).unwrap_or_default());
        let (delimiter, skip) = match marked {
            true => (None, SkipLines::Refuse),
            false => (self.dialect.delimiter, self.dialect.skip_lines),
        };
        let sheet = matches!(&self.reader, Reader::Csv(reader) if reader.is_sheet());
        let beginning = opening::Beginning { text: &text, whole, sheet };
        self.opening = opening::look(beginning, delimiter, skip, &|name| sink.knows(name))?;
        if let Reader::Csv(reader) = &mut self.reader {
            reader.begin(self.opening.skip, self.opening.delimiter);
        }
        Ok(())
    }

    fn refuse_after_failure(&self) -> Result<(), FileError> {
        self.failed.clone().map_or(Ok(()), Err)
    }

    fn remember<T>(&mut self, result: Result<T, FileError>) -> Result<T, FileError> {
        if let Err(error) = &result {
            self.failed = Some(error.clone());
        }
        result
    }
}

impl Reader {
    /// Notes what bytes that are not UTF-8 look like.
    fn open_evidence(&mut self, head: &[u8]) {
        if let Self::Csv(reader) = self
            && std::str::from_utf8(head).is_err()
        {
            reader.looks_western(western::looks_like_windows_1252(head));
        }
    }

    fn open(&mut self, mark: usize, encoding: TextEncoding) {
        match self {
            Self::Csv(reader) => reader.open(mark, encoding),
            Self::Json(reader) => reader.open(mark, encoding),
            Self::Ndjson(reader) => reader.open(mark, encoding),
        }
    }

    fn feed<S: RecordSink + ?Sized>(&mut self, input: &[u8], sink: &mut S) -> Result<(), FileError> {
        match self {
            Self::Csv(reader) => reader.feed(input, sink),
            Self::Json(reader) => reader.feed(input, sink),
            Self::Ndjson(reader) => reader.feed(input, sink),
        }
    }

    fn finish<S: RecordSink + ?Sized>(&mut self, sink: &mut S) -> Result<u64, FileError> {
        match self {
            Self::Csv(reader) => reader.finish(sink),
            Self::Json(reader) => reader.finish(),
            Self::Ndjson(reader) => reader.finish(sink),
        }
    }
}
