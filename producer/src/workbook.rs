//! Reads a workbook (XLSX) and returns the rows of one of its sheets as the text of a table.
//!
//! The format needs seeking, so the upload is spooled to a file that has no name (in the folder for temporary files) and goes away with the
//! process. Cells are read one by one. A book is looked through before it is opened (`check`), and what is held in
//! memory is bounded (P7).
//!
//! A value is returned as the sheet shows it, unless that loses digits (P13): dates in ISO form, numbers with
//! the leading zeros of their format, errors by their name. A number beyond the 15 digits of a spreadsheet is
//! returned as `4.47712345678901E+17`, so that it is not taken for an exact integer.

mod check;

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, Write};

use calamine::{DataRef, ExcelDateTime, Reader, SheetType, SheetVisible, Style, Xlsx, XlsxError};
use muster_domain::error::{ErrorCode, FileError};
use muster_domain::fault::{Mutant, mutant};

/// Bytes of text that are handed over at a time.
const PIECE: usize = 256 * 1024;
/// Most rows of a sheet.
const ROWS: u32 = 1_048_576;

/// Bounds of a workbook.
#[derive(Debug, Clone, Copy)]
pub struct BookLimits {
    /// Most bytes of the file, which is spooled to disk.
    pub bytes: u64,
    /// Most bytes of its parts that are held in memory (texts and styles), unpacked.
    pub memory: u64,
    /// Most bytes of all of its parts, unpacked; none means no limit.
    pub unpacked: Option<u64>,
}

impl Default for BookLimits {
    fn default() -> Self {
        Self { bytes: 512 * 1024 * 1024, memory: 256 * 1024 * 1024, unpacked: None }
    }
}

/// A workbook on its way in.
#[derive(Debug)]
pub(crate) struct Spool {
    file: File,
    bytes: u64,
    limits: BookLimits,
    sheet: Option<String>,
}

impl Spool {
    pub(crate) fn new(limits: BookLimits, sheet: Option<&str>) -> Result<Self, FileError> {
        let file = tempfile::tempfile().map_err(|error| no_room(&error))?;
        Ok(Self { file, bytes: 0, limits, sheet: sheet.map(str::to_owned) })
    }

    pub(crate) fn write(&mut self, piece: &[u8]) -> Result<(), FileError> {
        self.bytes += piece.len() as u64;
        if self.bytes > self.limits.bytes {
            let message = format!(
                "the workbook is larger than the limit of {} bytes; save the sheet as CSV, which may be larger (docs/limits.md)",
                self.limits.bytes
            );
            return Err(FileError::new(ErrorCode::WorkbookTooLarge, message));
        }
        self.file.write_all(piece).map_err(|error| no_room(&error))
    }

    /// Its size.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Hands the rows over as the text of a table, piece by piece; the name of the sheet first.
    pub(crate) fn rows<E: From<FileError>>(
        self,
        take: &mut dyn FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<String, E> {
        let Self { mut file, limits, sheet, .. } = self;
        let mut unstored = Vec::new();
        if !mutant(Mutant::WorkbookUnchecked) {
            unstored = check::check(&mut file, limits)?;
        }
        let mut book = Xlsx::new(BufReader::new(&file)).map_err(|error| unreadable(&error))?;
        let sheet = chosen(&book, sheet.as_deref())?;
        let unstored = formulas(&mut book, &sheet, unstored)?;
        let mut cells = book.worksheet_cells_reader(&sheet).map_err(|error| unreadable(&error))?;
        let shown: Vec<Option<usize>> = cells.styles().iter().map(zeros).collect();
        let mut text = Text { take, out: String::new(), row: 0, column: 0, written: false };
        while let Some((cell, style)) = cells.next_cell_with_style_id().map_err(|error| unreadable(&error))? {
            let value = value(cell.get_value(), shown.get(style).copied().flatten());
            if value.is_empty() && unstored.contains(&cell.get_position()) {
                let place = check::place(cell.get_position());
                return Err(broken(&format!("the formula in {place} has no stored value")).into());
            }
            if !value.is_empty() {
                text.cell(cell.get_position(), &value)?;
            }
        }
        text.end()?;
        Ok(sheet)
    }
}

/// The text of a sheet, all at once.
pub fn text(bytes: &[u8], limits: BookLimits, sheet: Option<&str>) -> Result<Vec<u8>, FileError> {
    let mut spool = Spool::new(limits, sheet)?;
    spool.write(bytes)?;
    let mut text = Vec::new();
    spool.rows(&mut |piece| {
        text.extend_from_slice(piece);
        Ok::<_, FileError>(())
    })?;
    Ok(text)
}

/// Rows as the lines of a table. A row ends with its last cell that has something in it, and line numbers are those of the rows.
struct Text<'t, E> {
    take: &'t mut dyn FnMut(&[u8]) -> Result<(), E>,
    out: String,
    row: u32,
    column: u32,
    /// Whether the cell at this place is written.
    written: bool,
}

impl<E: From<FileError>> Text<'_, E> {
    fn cell(&mut self, (row, column): (u32, u32), value: &str) -> Result<(), E> {
        let before = row == self.row && (column < self.column || (column == self.column && self.written));
        if row < self.row || row >= ROWS || before {
            return Err(broken("its cells are not in order").into());
        }
        while self.row < row {
            self.out.push('\n');
            self.row += 1;
            self.column = 0;
            self.flush(PIECE)?;
        }
        while self.column < column {
            self.out.push(',');
            self.column += 1;
        }
        self.written = true;
        self.out.push('"');
        for part in value.split_inclusive('"') {
            self.out.push_str(part);
            if part.ends_with('"') {
                self.out.push('"');
            }
        }
        self.out.push('"');
        // A row may be long too.
        self.flush(PIECE)
    }

    fn flush(&mut self, beyond: usize) -> Result<(), E> {
        if self.out.len() > beyond {
            (self.take)(self.out.as_bytes())?;
            self.out.clear();
        }
        Ok(())
    }

    fn end(mut self) -> Result<(), E> {
        self.out.push('\n');
        self.flush(0)
    }
}

/// The selected sheet: by name, by number, or the first one that is not hidden.
fn chosen<R: Read + Seek>(book: &Xlsx<R>, wanted: Option<&str>) -> Result<String, FileError> {
    let sheets: Vec<&calamine::Sheet> =
        book.sheets_metadata().iter().filter(|sheet| sheet.typ == SheetType::WorkSheet).collect();
    let found = match wanted {
        None => sheets.iter().find(|sheet| sheet.visible == SheetVisible::Visible),
        Some(name) => sheets.iter().find(|sheet| sheet.name == name).or_else(|| {
            let number = name.parse::<usize>().ok()?.checked_sub(1)?;
            sheets.get(number)
        }),
    };
    found.map(|sheet| sheet.name.clone()).ok_or_else(|| match wanted {
        None => broken("it has no sheet"),
        Some(_) => {
            let names: Vec<String> =
                sheets.iter().take(20).map(|sheet| format!("`{}`", short(&sheet.name))).collect();
            let message = format!("the workbook has no such sheet; it has: {}", names.join(", "));
            FileError::new(ErrorCode::SheetUnknown, message)
        }
    })
}

fn short(name: &str) -> String {
    name.chars().take(60).collect()
}

/// Those of some places at which the sheet has a formula.
fn formulas<R: Read + Seek>(
    book: &mut Xlsx<R>,
    sheet: &str,
    places: Vec<(u32, u32)>,
) -> Result<Vec<(u32, u32)>, FileError> {
    if places.is_empty() {
        return Ok(places);
    }
    let mut cells = book.worksheet_cells_reader(sheet).map_err(|error| unreadable(&error))?;
    let mut found = Vec::new();
    while let Some(cell) = cells.next_formula().map_err(|error| unreadable(&error))? {
        if places.contains(&cell.get_position()) {
            found.push(cell.get_position());
        }
    }
    Ok(found)
}

/// How many digits a style shows at least, where it shows zeros before a whole number (`00000`, `000\-00\-0000`).
fn zeros(style: &Style) -> Option<usize> {
    zeros_of(&style.number_format.as_ref()?.format_code)
}

fn zeros_of(code: &str) -> Option<usize> {
    if mutant(Mutant::WorkbookValuesLost) && !code.trim_end_matches(";@").bytes().all(|byte| byte == b'0') {
        return None;
    }
    let (mut zeros, mut chars) = (0, code.chars());
    while let Some(c) = chars.next() {
        match c {
            '0' => zeros += 1,
            '#' | ' ' | '-' | '/' | '(' | ')' | '+' => {}
            // The section for numbers below zero begins.
            ';' => break,
            '"' => {
                chars.find(|c| *c == '"')?;
            }
            // Colours and languages; a condition means that other numbers are shown in another way.
            '[' if !chars.as_str().starts_with(['<', '>', '=']) => {
                chars.find(|c| *c == ']')?;
            }
            // One character as it is, as wide as it is, or repeated.
            '\\' | '_' | '*' => {
                chars.next()?;
            }
            _ => return None,
        }
    }
    (2..=32).contains(&zeros).then_some(zeros)
}

fn value(value: &DataRef<'_>, zeros: Option<usize>) -> String {
    match value {
        DataRef::Empty => String::new(),
        DataRef::String(text) | DataRef::DateTimeIso(text) | DataRef::DurationIso(text) => text.clone(),
        DataRef::SharedString(text) => (*text).to_owned(),
        DataRef::Bool(true) => "TRUE".into(),
        DataRef::Bool(false) => "FALSE".into(),
        DataRef::Int(number) => padded(&number.to_string(), zeros),
        DataRef::Float(number) => padded(&number_text(*number), zeros),
        DataRef::DateTime(moment) => moment_text(moment),
        DataRef::Error(error) => error.to_string(),
    }
}

fn padded(number: &str, zeros: Option<usize>) -> String {
    match zeros {
        Some(width) if number.bytes().all(|byte| byte.is_ascii_digit()) => format!("{number:0>width$}"),
        _ => number.to_owned(),
    }
}

/// A number with all of its digits. Beyond 15 of them a spreadsheet keeps none.
fn number_text(number: f64) -> String {
    if number.abs() < 1e15 {
        return number.to_string();
    }
    let text = format!("{number:E}");
    match text.split_once('E') {
        Some((digits, power)) if !power.starts_with('-') => format!("{digits}E+{power}"),
        _ => text,
    }
}

/// A day, a time, or both.
fn moment_text(moment: &ExcelDateTime) -> String {
    let number = moment.as_f64();
    let (year, month, day, hour, minute, second, milli) = moment.to_ymd_hms_milli();
    let mut text = String::new();
    // Nothing of a day is the time 00:00.
    let day_alone = number.fract() == 0.0 && (number != 0.0 || mutant(Mutant::WorkbookValuesLost));
    if moment.is_duration() {
        return duration_text(number);
    }
    // Writing to a String cannot fail, here and below.
    if number >= 1.0 {
        let _ = write!(text, "{year:04}-{month:02}-{day:02}");
    }
    if !day_alone {
        if !text.is_empty() {
            text.push('T');
        }
        let _ = write!(text, "{hour:02}:{minute:02}:{second:02}");
        if milli > 0 {
            let _ = write!(text, ".{milli:03}");
        }
    }
    text
}

/// Hours, minutes and seconds, of any number of days.
fn duration_text(days: f64) -> String {
    if mutant(Mutant::WorkbookValuesLost) {
        return days.to_string();
    }
    let sign = if days < 0.0 { "-" } else { "" };
    // No duration that a sheet can show comes near the largest number, and beyond it this one is taken.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is positive and whole")]
    let millis = (days.abs() * 86_400_000.0).round() as u64;
    let (seconds, millis) = (millis / 1_000, millis % 1_000);
    let (hours, minutes, seconds) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    let part = if millis > 0 { format!(".{millis:03}") } else { String::new() };
    format!("{sign}{hours}:{minutes:02}:{seconds:02}{part}")
}

fn too_large(what: &str) -> FileError {
    let message = format!("the workbook {what}; save the sheet as CSV, and import that");
    FileError::new(ErrorCode::WorkbookTooLarge, message)
}

fn broken(what: &str) -> FileError {
    let message = format!("the workbook cannot be read: {what}. Open it in a spreadsheet and save it again");
    FileError::new(ErrorCode::WorkbookUnreadable, message)
}

/// What calamine cannot read. Its message may quote the file, so only the kind of the error is reported.
fn unreadable(error: &XlsxError) -> FileError {
    match error {
        XlsxError::Password => FileError::new(
            ErrorCode::WorkbookEncrypted,
            "the workbook is encrypted; save it without a password",
        ),
        XlsxError::FileNotFound(_) | XlsxError::RelationshipNotFound | XlsxError::WorksheetNotFound(_) => {
            broken("a part of it is missing")
        }
        _ => broken("a part of it is damaged"),
    }
}

fn no_room(error: &io::Error) -> FileError {
    tracing::error!(%error, "a workbook could not be spooled");
    FileError::new(
        ErrorCode::Unavailable,
        "the workbook could not be kept while it was received; try again later",
    )
}

#[cfg(test)]
mod tests;
