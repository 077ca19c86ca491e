//! Checks whether a workbook may be opened. Every part is unpacked and scanned once, and nothing is kept.
//!
//! The limits cover what an XML reader and calamine hold in memory: all texts and styles, a cell, a tag, the
//! nesting depth, the number of formats, and the number of texts that the workbook declares (memory for them
//! is allocated at once).

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};

use muster_domain::error::{ErrorCode, FileError};
use quick_xml::Reader as XmlReader;
use quick_xml::events::Event;
use zip::ZipArchive;

use super::{BookLimits, broken, no_room, too_large};

/// Most entries of the archive: each costs memory.
const ENTRIES: u64 = 4_096;
/// Longest piece of XML from one tag to the next, and longest cell: a cell has at most 32,767 characters.
const CELL_BYTES: u64 = 1024 * 1024;
/// Most formats of cells, fonts and the like; spreadsheets have at most 65,490 formats of cells.
const FORMATS: u64 = 200_000;
/// The nesting depth of elements.
const DEPTH: u64 = 256;
/// Fewest bytes that a text takes.
const TEXT_BYTES: u64 = 9;
/// Largest part that says which one is the book.
const PACKAGE_BYTES: usize = 64 * 1024;
/// Largest part that is no XML.
const PICTURE_BYTES: u64 = 64 * 1024 * 1024;
/// How an old Office document begins, and one that is encrypted.
const OLD_OFFICE: &[u8] = b"\xD0\xCF\x11\xE0\xA1\xB1\x1A\xE1";

/// For each sheet, the cell of the first formula without a stored value, if there is one.
pub(super) fn check(file: &mut File, limits: BookLimits) -> Result<Vec<(u32, u32)>, FileError> {
    let failed = |error: io::Error| no_room(&error);
    file.seek(SeekFrom::Start(0)).map_err(failed)?;
    let mut start = [0; 8];
    let read = file.read(&mut start).map_err(failed)?;
    if read == 0 {
        return Err(FileError::new(ErrorCode::FileEmpty, "The file is empty."));
    }
    if start == OLD_OFFICE {
        return Err(old_office(file).map_err(failed)?);
    }
    if !start.starts_with(b"PK") {
        let message = "The file is no workbook (XLSX): name its format with `--format` (over HTTP `format`).";
        return Err(FileError::new(ErrorCode::FormatMismatch, message));
    }
    if entries(file).map_err(failed)? > ENTRIES {
        return Err(too_large("has too many parts"));
    }
    file.seek(SeekFrom::Start(0)).map_err(failed)?;
    let mut zip = ZipArchive::new(BufReader::new(&*file)).map_err(|_| broken("it is no whole archive"))?;
    let (mut all, mut held, mut unstored) = (0, 0, Vec::new());
    for at in 0..zip.len() {
        let part = zip.by_index(at).map_err(|_| broken("a part of it cannot be unpacked"))?;
        let name = part.name().map_err(|_| broken("a part of it has no name"))?.to_ascii_lowercase();
        let kind = Kind::of(&name);
        let room = limits.unpacked.map_or(u64::MAX, |most| most.saturating_sub(all));
        let bytes = match kind {
            Kind::Picture => picture(part, room.min(PICTURE_BYTES))?,
            _ => {
                let mut formulas = Formulas::default();
                let bytes = xml(part, kind, room, &mut formulas)?;
                unstored.extend(formulas.unstored);
                bytes
            }
        };
        all += bytes;
        held += if matches!(kind, Kind::Sheet | Kind::Picture) { 0 } else { bytes };
        if held > limits.memory {
            return Err(too_large(&format!("has more than {} bytes of texts and styles", limits.memory)));
        }
    }
    Ok(unstored)
}

/// What a part is, as far as its bounds go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Cells; read one by one.
    Sheet,
    /// The texts that cells share.
    Texts,
    /// Formats.
    Styles,
    /// Which part is the book.
    Package,
    /// XML that may be read whole.
    Other,
    /// No XML, or no part of the book; never read.
    Picture,
}

impl Kind {
    fn of(name: &str) -> Self {
        let last = name.rsplit('/').next().unwrap_or_default();
        match last {
            "sharedstrings.xml" => Self::Texts,
            "styles.xml" => Self::Styles,
            _ if name == "_rels/.rels" => Self::Package,
            // Properties and data of other programs, which may contain anything: never read.
            _ if name.starts_with("docprops/") || name.starts_with("customxml/") => Self::Picture,
            _ if !last.ends_with(".xml") && !last.ends_with(".rels") => Self::Picture,
            _ if name.contains("/worksheets/") && last.ends_with(".xml") => Self::Sheet,
            _ => Self::Other,
        }
    }
}

/// Looks through a part that is XML. Its size.
fn xml(part: impl Read, kind: Kind, room: u64, formulas: &mut Formulas) -> Result<u64, FileError> {
    let mut xml = XmlReader::from_reader(BufReader::new(Watched::new(part, kind, room)));
    let mut buffer = Vec::new();
    let (mut depth, mut formats, mut texts) = (0_u64, 0_u64, 0_u64);
    let mut cell: Option<(u64, u64)> = None;
    loop {
        buffer.clear();
        let mut counts = false;
        let event = xml.read_event_into(&mut buffer);
        if let (Kind::Sheet, Ok(event)) = (kind, &event) {
            formulas.look(event);
        }
        match event {
            Ok(Event::Eof) => break,
            Ok(Event::Start(tag)) => {
                depth += 1;
                match (kind, tag.local_name().as_ref()) {
                    (Kind::Sheet, "c") | (Kind::Texts, "si") if cell.is_none() => cell = Some((depth, 0)),
                    (Kind::Styles, "xf" | "font" | "fill" | "border" | "numFmt") => formats += 1,
                    (Kind::Texts, "sst") => counts = true,
                    _ => {}
                }
            }
            Ok(Event::Empty(tag)) => match (kind, tag.local_name().as_ref()) {
                (Kind::Styles, "xf" | "font" | "fill" | "border" | "numFmt") => formats += 1,
                (Kind::Texts, "sst") => counts = true,
                _ => {}
            },
            Ok(Event::End(_)) => {
                if cell.is_some_and(|(at, _)| at == depth) {
                    cell = None;
                }
                depth = depth.saturating_sub(1);
            }
            Ok(_) => {}
            Err(_) => {
                let wrong = xml.get_ref().get_ref().wrong.clone();
                return Err(wrong.unwrap_or_else(|| broken("a part of it is damaged")));
            }
        }
        if counts {
            texts = texts.max(unique_count(&buffer));
        }
        if let Some((_, bytes)) = &mut cell {
            *bytes += buffer.len() as u64;
            if *bytes > CELL_BYTES {
                return Err(too_large("has a cell that is too long"));
            }
        }
        if formats > FORMATS {
            return Err(too_large("has too many formats"));
        }
        if depth > DEPTH {
            return Err(broken("its parts are nested too deep"));
        }
    }
    holds_its_texts(texts, xml.get_ref().get_ref().bytes)
}

/// The size of a part, where the texts that it says it has can be in it.
fn holds_its_texts(texts: u64, bytes: u64) -> Result<u64, FileError> {
    match texts.saturating_mul(TEXT_BYTES) > bytes {
        true => Err(broken("it says that it has more texts than there are")),
        false => Ok(bytes),
    }
}

/// Looks for formulas whose values are not stored: what made the book did not work them out, and a reader would find an empty cell.
#[derive(Default)]
struct Formulas {
    row: u32,
    column: u32,
    /// Attributes of the cell that is read, as they are written.
    attributes: String,
    formula: bool,
    in_value: bool,
    /// The value has an element, and that has something in it.
    value: bool,
    filled: bool,
    /// Where the first one stands.
    unstored: Option<(u32, u32)>,
}

impl Formulas {
    fn look(&mut self, event: &Event<'_>) {
        if self.unstored.is_some() {
            return;
        }
        match event {
            Event::Start(tag) => match tag.local_name().as_ref() {
                "row" => {
                    let row = attribute(tag.attributes_raw(), "r").and_then(|row| row.parse::<u32>().ok());
                    self.row = row.map_or(self.row, |row| row.saturating_sub(1));
                }
                "c" => {
                    self.attributes.clear();
                    self.attributes.push_str(tag.attributes_raw());
                    (self.formula, self.value, self.filled) = (false, false, false);
                }
                "f" => self.formula = true,
                "v" | "is" => (self.value, self.in_value) = (true, true),
                _ => {}
            },
            Event::Empty(tag) => match tag.local_name().as_ref() {
                "row" => self.row = self.row.saturating_add(1),
                "c" => self.column = self.column.saturating_add(1),
                "f" => self.formula = true,
                "v" | "is" => self.value = true,
                _ => {}
            },
            Event::End(tag) => match tag.local_name().as_ref() {
                "row" => (self.row, self.column) = (self.row.saturating_add(1), 0),
                "v" | "is" => self.in_value = false,
                "c" => self.end_cell(),
                _ => {}
            },
            Event::Text(_) | Event::GeneralRef(_) if self.in_value => self.filled = true,
            _ => {}
        }
    }

    fn end_cell(&mut self) {
        if self.formula && !self.filled {
            let empty_text = self.value && attribute(&self.attributes, "t") == Some("str");
            let place = attribute(&self.attributes, "r").and_then(position);
            self.unstored = (!empty_text).then(|| place.unwrap_or((self.row, self.column)));
        }
        self.column = self.column.saturating_add(1);
    }
}

/// An attribute by its name, as it is written.
fn attribute<'t>(attributes: &'t str, name: &str) -> Option<&'t str> {
    let found =
        attributes.split_ascii_whitespace().find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
    found.map(|value| value.trim_matches(['"', '\'']))
}

/// `AB12`, as the row and the column from 0.
fn position(text: &str) -> Option<(u32, u32)> {
    let digits = text.find(|c: char| c.is_ascii_digit())?;
    let (letters, row) = text.split_at(digits);
    let mut column = 0_u32;
    for letter in letters.bytes() {
        let value = letter.to_ascii_uppercase().checked_sub(b'A').filter(|value| *value < 26)?;
        column = column.checked_mul(26)?.checked_add(u32::from(value) + 1)?;
    }
    Some((row.parse::<u32>().ok()?.checked_sub(1)?, column.checked_sub(1)?))
}

/// A place as spreadsheets write it.
pub(super) fn place((row, column): (u32, u32)) -> String {
    let (mut letters, mut left) = (Vec::new(), column.saturating_add(1));
    while left > 0 {
        let letter = u8::try_from((left - 1) % 26).unwrap_or_default();
        letters.push(char::from(b'A' + letter));
        left = (left - 1) / 26;
    }
    format!("{}{}", letters.iter().rev().collect::<String>(), row.saturating_add(1))
}

/// The number that a tag says of its texts; the largest of several.
fn unique_count(tag: &[u8]) -> u64 {
    let counts = memchr::memmem::find_iter(tag, b"uniqueCount").map(|at| {
        let rest = tag.get(at + b"uniqueCount".len()..).unwrap_or_default();
        let digits =
            rest.iter().skip_while(|byte| !byte.is_ascii_digit()).take_while(|byte| byte.is_ascii_digit());
        digits.fold(0_u64, |number, digit| number.saturating_mul(10).saturating_add(u64::from(digit - b'0')))
    });
    counts.max().unwrap_or(0)
}

/// A part that is no XML: it must not be read as a sheet.
fn picture(mut part: impl Read, room: u64) -> Result<u64, FileError> {
    const SHEET: &[u8] = b"sheetData";
    let (mut bytes, mut piece) = (0, vec![0; 64 * 1024]);
    let mut before: Vec<u8> = Vec::new();
    loop {
        let read = part.read(&mut piece).map_err(|_| broken("a part of it cannot be unpacked"))?;
        if read == 0 {
            return Ok(bytes);
        }
        bytes += read as u64;
        before.extend_from_slice(piece.get(..read).unwrap_or_default());
        if memchr::memmem::find(&before, SHEET).is_some() {
            return Err(broken("its sheets have names that no spreadsheet gives"));
        }
        before.drain(..before.len().saturating_sub(SHEET.len()));
        if bytes > room {
            return Err(too_large("has a part that is too large when it is unpacked"));
        }
    }
}

/// A part that is stopped where an XML reader would have to hold too much of it.
struct Watched<R> {
    part: R,
    kind: Kind,
    room: u64,
    bytes: u64,
    since_tag: u64,
    opened: bool,
    /// All of the part that says which one is the book.
    package: Vec<u8>,
    /// What was wrong.
    wrong: Option<FileError>,
}

impl<R: Read> Watched<R> {
    fn new(part: R, kind: Kind, room: u64) -> Self {
        Self { part, kind, room, bytes: 0, since_tag: 0, opened: false, package: Vec::new(), wrong: None }
    }

    fn look(&mut self, piece: &[u8]) -> Result<(), FileError> {
        const UNUSUAL: &str = "it has comments or sections that no spreadsheet writes";
        self.bytes += piece.len() as u64;
        if self.bytes > self.room {
            return Err(too_large("is larger than the limit when it is unpacked"));
        }
        if self.kind == Kind::Package {
            self.package.extend_from_slice(piece);
            // The book must be among the parts that are looked through as one.
            let hidden = memchr::memchr(b'&', &self.package).is_some()
                || memchr::memmem::find(&self.package, b"worksheets").is_some();
            if hidden || self.package.len() > PACKAGE_BYTES {
                return Err(broken("its book has a name that no spreadsheet gives"));
            }
        }
        let mut from = 0;
        if std::mem::take(&mut self.opened) && piece.first() == Some(&b'!') {
            return Err(broken(UNUSUAL));
        }
        for at in memchr::memchr_iter(b'<', piece) {
            self.since_tag += (at - from) as u64;
            self.tag_fits()?;
            (from, self.since_tag) = (at, 0);
            match piece.get(at + 1) {
                Some(b'!') => return Err(broken(UNUSUAL)),
                Some(_) => {}
                None => self.opened = true,
            }
        }
        self.since_tag += (piece.len() - from) as u64;
        self.tag_fits()
    }

    fn tag_fits(&self) -> Result<(), FileError> {
        if self.since_tag > CELL_BYTES { Err(too_large("has a cell that is too long")) } else { Ok(()) }
    }
}

impl<R: Read> Read for Watched<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.wrong.is_some() {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let read = match self.part.read(into) {
            Ok(read) => read,
            Err(_) => {
                self.wrong = Some(broken("a part of it cannot be unpacked"));
                return Err(io::ErrorKind::InvalidData.into());
            }
        };
        if let Err(wrong) = self.look(into.get(..read).unwrap_or_default()) {
            self.wrong = Some(wrong);
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(read)
    }
}

/// Bytes at the end of an archive among which its end is looked for.
const END_BYTES: u64 = 22 + 65_536 + 4;

/// How many entries the archive may say that it has. It may have several ends, of which each reader chooses one, so the largest counts:
/// room is made for so many at once.
fn entries(file: &mut File) -> io::Result<u64> {
    let length = file.seek(SeekFrom::End(0))?;
    file.seek(SeekFrom::Start(length.saturating_sub(END_BYTES)))?;
    let mut tail = Vec::new();
    file.take(END_BYTES).read_to_end(&mut tail)?;
    let (mut most, mut large) = (0, false);
    for at in memchr::memmem::find_iter(&tail, b"PK\x05\x06") {
        let Some(end) = tail.get(at..at + 20) else { continue };
        most = most.max(number(end, 8, 2)).max(number(end, 10, 2));
        large |= end.get(8..20).is_some_and(|sizes| sizes.windows(2).any(|two| two == [0xff, 0xff]));
    }
    Ok(if large { most.max(entries_of_large_ends(file, length)?) } else { most })
}

/// What the ends of archives beyond 4 GiB say. They may stand anywhere.
fn entries_of_large_ends(file: &mut File, length: u64) -> io::Result<u64> {
    const RECORD: usize = 40;
    file.seek(SeekFrom::Start(0))?;
    let (mut most, mut before, mut piece) = (0, Vec::new(), vec![0; 64 * 1024]);
    loop {
        let read = file.read(&mut piece)?;
        if read == 0 {
            return Ok(most);
        }
        before.extend_from_slice(piece.get(..read).unwrap_or_default());
        for at in memchr::memmem::find_iter(&before, b"PK\x06\x06") {
            // Compressed bytes may look like one.
            if let Some(end) = before.get(at..at + RECORD).filter(|end| number(end, 4, 8) <= length) {
                most = most.max(number(end, 24, 8)).max(number(end, 32, 8));
            }
        }
        before.drain(..before.len().saturating_sub(RECORD - 1));
    }
}

fn number(bytes: &[u8], at: usize, length: usize) -> u64 {
    let bytes = bytes.get(at..at + length).unwrap_or_default();
    bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// What an Office document in the old container is.
fn old_office(file: &mut File) -> io::Result<FileError> {
    let name: Vec<u8> = "EncryptedPackage".bytes().flat_map(|byte| [byte, 0]).collect();
    file.seek(SeekFrom::Start(0))?;
    let mut before: Vec<u8> = Vec::new();
    let mut piece = vec![0; 64 * 1024];
    loop {
        let read = file.read(&mut piece)?;
        if read == 0 {
            let message = "The file is a workbook of an old kind (XLS). Save it as XLSX or as CSV.";
            return Ok(FileError::new(ErrorCode::FormatMismatch, message));
        }
        before.extend_from_slice(piece.get(..read).unwrap_or_default());
        if memchr::memmem::find(&before, &name).is_some() {
            let message = "the workbook is encrypted; save it without a password (in Excel: File, Info, Protect Workbook)";
            return Ok(FileError::new(ErrorCode::WorkbookEncrypted, message));
        }
        let keep = before.len().saturating_sub(name.len());
        before.drain(..keep);
    }
}
