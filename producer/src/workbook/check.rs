//! Whether a workbook may be opened. Every part is unpacked once and looked through, and nothing of it is kept.
//!
//! What is bounded is what an XML reader and calamine hold in memory: texts and styles as a whole, a cell, a tag, how deep elements stand in
//! each other, how many formats there are, and how many texts the book says that it has (room for so many is made at once).

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};

use muster_shared::error::{ErrorCode, FileError};
use quick_xml::Reader as XmlReader;
use quick_xml::events::Event;
use zip::ZipArchive;

use super::{BookLimits, broken, no_room, too_large};

/// Most entries of the archive: each costs memory.
const ENTRIES: usize = 4_096;
/// Longest piece of XML from one tag to the next, and longest cell: a cell has at most 32,767 characters.
const CELL_BYTES: u64 = 1024 * 1024;
/// Most formats of cells, fonts and the like; spreadsheets have at most 65,490 formats of cells.
const FORMATS: u64 = 200_000;
/// How deep elements may stand in each other.
const DEPTH: u64 = 256;
/// Fewest bytes that a text takes.
const TEXT_BYTES: u64 = 9;
/// Largest part that says which one is the book.
const PACKAGE_BYTES: usize = 64 * 1024;
/// Largest part that is no XML.
const PICTURE_BYTES: u64 = 64 * 1024 * 1024;
/// How an old Office document begins, and one that is encrypted.
const OLD_OFFICE: &[u8] = b"\xD0\xCF\x11\xE0\xA1\xB1\x1A\xE1";

pub(super) fn check(file: &mut File, limits: BookLimits) -> Result<(), FileError> {
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
    let (mut all, mut held) = (0, 0);
    for at in 0..zip.len() {
        let part = zip.by_index(at).map_err(|_| broken("a part of it cannot be unpacked"))?;
        let name = part.name().map_err(|_| broken("a part of it has no name"))?.to_ascii_lowercase();
        let kind = Kind::of(&name);
        let room = limits.unpacked.map_or(u64::MAX, |most| most.saturating_sub(all));
        let bytes = match kind {
            Kind::Picture => picture(part, room.min(PICTURE_BYTES))?,
            _ => xml(part, kind, room)?,
        };
        all += bytes;
        held += if matches!(kind, Kind::Sheet | Kind::Picture) { 0 } else { bytes };
        if held > limits.memory {
            return Err(too_large(&format!("has more than {} bytes of texts and styles", limits.memory)));
        }
    }
    Ok(())
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
            // Properties and data of other programs, where anything may stand: never read.
            _ if name.starts_with("docprops/") || name.starts_with("customxml/") => Self::Picture,
            _ if !last.ends_with(".xml") && !last.ends_with(".rels") => Self::Picture,
            _ if name.contains("/worksheets/") && last.ends_with(".xml") => Self::Sheet,
            _ => Self::Other,
        }
    }
}

/// Looks through a part that is XML. Its size.
fn xml(part: impl Read, kind: Kind, room: u64) -> Result<u64, FileError> {
    let mut xml = XmlReader::from_reader(BufReader::new(Watched::new(part, kind, room)));
    let mut buffer = Vec::new();
    let (mut depth, mut formats, mut texts) = (0_u64, 0_u64, 0_u64);
    let mut cell: Option<(u64, u64)> = None;
    loop {
        buffer.clear();
        let mut counts = false;
        match xml.read_event_into(&mut buffer) {
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
    let bytes = xml.get_ref().get_ref().bytes;
    match texts.saturating_mul(TEXT_BYTES) > bytes {
        true => Err(broken("it says that it has more texts than there are")),
        false => Ok(bytes),
    }
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

/// How many entries the archive says it has, at its end.
fn entries(file: &mut File) -> io::Result<usize> {
    let length = file.seek(SeekFrom::End(0))?;
    file.seek(SeekFrom::Start(length.saturating_sub(22 + 65_535)))?;
    let mut tail = Vec::new();
    file.take(22 + 65_535).read_to_end(&mut tail)?;
    let count = memchr::memmem::rfind(&tail, b"PK\x05\x06").and_then(|at| tail.get(at + 10..at + 12));
    Ok(count.map_or(0, |count| usize::from(u16::from_le_bytes([count[0], count[1]]))))
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
