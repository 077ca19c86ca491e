//! The failed records of an import as a file, to be corrected and uploaded again.
//!
//! Records are read in pages limited by bytes, so memory grows neither with their number nor with their size.
//! In CSV no cell is evaluated by a spreadsheet, whatever delimiter that uses: each cell is quoted and
//! escaped by apostrophes ([`muster_domain::formula`]). When a file with the column `_error_code` is read,
//! they are removed, so every value is restored.
//!
//! Each record names its origin ([`Origin`]): in a table in the column that marks the file, which
//! spreadsheets keep and importing ignores; in an object under [`ORIGIN_KEY`]. So a corrected file is linked
//! to its import.

mod users;

use bytes::Bytes;
use futures_util::stream::{self, Stream};
use muster_domain::error::RecordError;
use muster_domain::fault::{Mutant, mutant};
use muster_domain::formula::{escape, escape_name, unescape_start};
use muster_domain::id::{ImportId, TenantId};
use muster_domain::options::EmptyCell;
use muster_domain::parse::FAILED_MARK;
use muster_domain::record::{ORIGIN_KEY, Origin, given_back};
use muster_store::problems::Cause;
use muster_store::records::{self, FailedRecord};
use muster_store::reports::ImportReport;
use muster_store::{Store, StoreError};
use serde_json::value::RawValue;

pub use users::{UsersWanted, users};

/// The columns that are added, in their order.
pub const ERROR_COLUMNS: [&str; 3] = ["_error_code", "_error_field", "_error_message"];

/// The value in the column that marks a file of users; spreadsheets drop an empty last column.
const MARKED: &str = "1";

/// What of an undo's records users had, and a record that cannot be read.
const HIDDEN: [&str; 3] = ["before", "after", ""];

/// Most records of the first page. The limit of a later page follows from the sizes that the page before it had.
const FIRST_PAGE: i64 = 32;
/// Most records of a page.
const MAX_PAGE: i64 = 1_000;
/// How much a page may hold; one larger record is a page of its own.
const PAGE_BYTES: i64 = 1024 * 1024;

/// As what the failed records are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExportFormat {
    /// A table with the columns of the upload.
    Csv,
    /// An object a line.
    Ndjson,
}

impl ExportFormat {
    /// The ending of the file's name.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Ndjson => "ndjson",
        }
    }

    /// The media type of the file.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Csv => "text/csv; charset=utf-8",
            Self::Ndjson => "application/x-ndjson",
        }
    }
}

/// A row of a table that spreadsheets can open without running anything.
pub fn report_row(cells: impl IntoIterator<Item = String>, out: &mut Vec<u8>) {
    write_row(cells.into_iter().map(|cell| escape(&cell).into_owned()), out);
}

/// The failed records of an import in file order, a piece of the file at a time.
pub fn failed(
    store: &Store,
    report: &ImportReport,
    format: ExportFormat,
) -> impl Stream<Item = Result<Bytes, StoreError>> + Send + use<> {
    failed_of_cause(store, report, format, Cause::default(), true)
}

/// The same for those that failed with such an error. The records of an undo are no upload but what users had: unless `shown` is true these
/// values are left out.
pub fn failed_of_cause(
    store: &Store,
    report: &ImportReport,
    format: ExportFormat,
    cause: Cause<'_>,
    shown: bool,
) -> impl Stream<Item = Result<Bytes, StoreError>> + Send + use<> {
    let state = Pages {
        store: store.clone(),
        tenant: report.tenant,
        import: report.id,
        code: cause.code.map(str::to_owned),
        field: cause.field.map(str::to_owned),
        writer: Writer::new(report, format, shown),
        after: 0,
        limit: FIRST_PAGE,
        head: true,
    };
    stream::try_unfold(Some(state), |state| async move {
        match state {
            Some(state) => state.next().await.map(Some),
            None => Ok(None),
        }
    })
}

struct Pages {
    store: Store,
    tenant: TenantId,
    import: ImportId,
    code: Option<String>,
    field: Option<String>,
    writer: Writer,
    after: u64,
    limit: i64,
    head: bool,
}

impl Pages {
    async fn next(mut self) -> Result<(Bytes, Option<Self>), StoreError> {
        let cause = Cause { code: self.code.as_deref(), field: self.field.as_deref() };
        let (store, tenant, import) = (&self.store, self.tenant, self.import);
        let page = records::failed_of_cause(store, tenant, import, cause, self.after, self.limit, PAGE_BYTES)
            .await?;
        let mut piece = if std::mem::take(&mut self.head) { self.writer.head() } else { Vec::new() };
        for record in &page {
            self.writer.record(record, &mut piece)?;
            self.after = record.record;
        }
        // A page may be short because its records are large, so only an empty one is the last.
        let average = i64::try_from(piece.len() / page.len().max(1)).unwrap_or(PAGE_BYTES).max(1);
        self.limit = (PAGE_BYTES / average).clamp(1, MAX_PAGE);
        let more = !page.is_empty();
        Ok((piece.into(), more.then_some(self)))
    }
}

/// One field of a record's source: its name, and its value as JSON text.
type Field<'r> = (String, &'r RawValue);

/// Writes records, one at a time.
struct Writer {
    format: ExportFormat,
    import: ImportId,
    /// The upload's columns, those of an earlier file of failed records apart.
    columns: Vec<String>,
    /// The upload was a table.
    table: bool,
    /// The upload was itself a file of failed records: its cells have an apostrophe too many.
    escaped: bool,
    empty_cells: EmptyCell,
    /// Columns that are left out, and what has none.
    hidden: &'static [&'static str],
}

impl Writer {
    fn new(report: &ImportReport, format: ExportFormat, shown: bool) -> Self {
        let table = report.options.format.is_table();
        let hides = report.options.undo.is_some() && !shown && !mutant(Mutant::UndoShowsUsers);
        let hidden = if hides { &HIDDEN[..] } else { &[] };
        let is_shown = |name: &&String| !is_added(name) && !hidden.contains(&name.as_str());
        Self {
            format,
            import: report.id,
            hidden,
            columns: report.columns.iter().filter(is_shown).cloned().collect(),
            table,
            escaped: table && report.columns.iter().any(|name| name == ERROR_COLUMNS[0]),
            empty_cells: report.options.empty_cells,
        }
    }

    fn head(&self) -> Vec<u8> {
        match self.format {
            ExportFormat::Ndjson => Vec::new(),
            ExportFormat::Csv => {
                // Spreadsheets take a file without the mark for one in the encoding of their country.
                let mut line = "\u{feff}".as_bytes().to_vec();
                let names = self.columns.iter().map(|name| escape_name(name).into_owned());
                write_row(
                    names.chain(ERROR_COLUMNS.map(str::to_owned)).chain([FAILED_MARK.to_owned()]),
                    &mut line,
                );
                line
            }
        }
    }

    fn record(&self, record: &FailedRecord, out: &mut Vec<u8>) -> Result<(), StoreError> {
        let mut fields: Vec<Field<'_>> = serde_json::from_str(record.source.get()).map_err(|_| {
            StoreError::Program(format!("the source of record {} cannot be read", record.record))
        })?;
        fields.retain(|(name, _)| !is_added(name) && !self.hidden.contains(&name.as_str()));
        let marked: Vec<_> = fields.iter().map(|(name, value)| with_marks(name, value)).collect();
        for ((_, value), marked) in fields.iter_mut().zip(&marked) {
            *value = marked.as_deref().unwrap_or(*value);
        }
        let origin = Origin { import: self.import, record: record.record };
        match self.format {
            ExportFormat::Csv => self.row(fields, &record.errors, origin, out),
            ExportFormat::Ndjson => self.line(&fields, &record.errors, origin, out),
        }
        Ok(())
    }

    fn row(&self, fields: Vec<Field<'_>>, errors: &[RecordError], origin: Origin, out: &mut Vec<u8>) {
        let mut left: Vec<Option<Field<'_>>> = fields.into_iter().map(Some).collect();
        let mut cells: Vec<String> = Vec::with_capacity(self.columns.len() + ERROR_COLUMNS.len());
        for name in &self.columns {
            // Columns may share a name (unknown ones that are ignored): each takes the first that is left.
            let mine = left.iter_mut().find(|field| field.as_ref().is_some_and(|(known, _)| known == name));
            cells.push(mine.and_then(Option::take).map_or(String::new(), |(_, value)| self.cell(value)));
        }
        // A record that could not be read has only its text, under no name.
        if let Some((_, text)) = left.into_iter().flatten().find(|(name, _)| name.is_empty())
            && let Some(first) = cells.first_mut()
            && first.is_empty()
        {
            *first = self.cell(text);
        }
        let errors = error_texts(errors).map(|text| escape(&text.unwrap_or_default()).into_owned());
        let cells = cells.into_iter().map(|cell| escape(&cell).into_owned());
        write_row(cells.chain(errors).chain([mark(origin)]), out);
    }

    /// A value as the text of a cell: a text as it is, nothing for null, everything else as JSON.
    fn cell(&self, value: &RawValue) -> String {
        match serde_json::from_str::<String>(value.get()) {
            Ok(text) => self.unescape(text),
            Err(_) if value.get() == "null" => String::new(),
            Err(_) => value.get().to_owned(),
        }
    }

    fn unescape(&self, text: String) -> String {
        if self.escaped { unescape_start(&text).to_owned() } else { text }
    }

    fn line(&self, fields: &[Field<'_>], errors: &[RecordError], origin: Origin, out: &mut Vec<u8>) {
        let mut members: Vec<String> = Vec::with_capacity(fields.len() + ERROR_COLUMNS.len());
        for (name, value) in fields {
            let name = if name.is_empty() && fields.len() == 1 { "_source" } else { name };
            if let Some(value) = self.json(value) {
                members.push(format!("{}:{value}", json_text(name)));
            }
        }
        for (name, text) in ERROR_COLUMNS.iter().zip(error_texts(errors)) {
            let text = text.map_or("null".into(), |text| json_text(&text));
            members.push(format!("{}:{text}", json_text(name)));
        }
        members.push(format!("{}:{}", json_text(ORIGIN_KEY), json_text(&mark(origin))));
        out.extend_from_slice(format!("{{{}}}\n", members.join(",")).as_bytes());
    }

    /// A value as JSON. Cells of a table become what they meant: an empty one is absent, null or empty.
    fn json(&self, value: &RawValue) -> Option<String> {
        if !self.table {
            return Some(value.get().to_owned());
        }
        match (self.cell(value), self.empty_cells) {
            (text, EmptyCell::Ignore) if text.is_empty() => None,
            (text, EmptyCell::Remove) if text.is_empty() => Some("null".into()),
            (text, _) => Some(json_text(&text)),
        }
    }
}

/// Code and field of the first error, and all messages.
fn error_texts(errors: &[RecordError]) -> impl Iterator<Item = Option<String>> + use<> {
    let first = errors.first();
    // A single error has its field in its own column.
    let message = |error: &RecordError| match &error.field {
        Some(field) if errors.len() > 1 => format!("{field}: {}", error.message),
        _ => error.message.clone(),
    };
    let messages: Vec<String> = errors.iter().map(message).collect();
    [
        first.map(|error| error.code.to_string()),
        first.and_then(|error| error.field.clone()),
        (!messages.is_empty()).then(|| messages.join("; ")),
    ]
    .into_iter()
}

/// The value with the word for whatever was hidden inside it, so that none of it is taken for a value when the file comes back.
fn with_marks(name: &str, value: &RawValue) -> Option<Box<RawValue>> {
    let marked = match serde_json::from_str::<String>(value.get()) {
        // A cell that holds an object or a list as text.
        Ok(text) => json_text(&given_back(name, &text)?),
        Err(_) => given_back(name, value.get())?,
    };
    RawValue::from_string(marked).ok()
}

/// Whether a column or key is one of those that a file of failed records has beside the upload's own.
fn is_added(name: &str) -> bool {
    ERROR_COLUMNS.contains(&name) || name == FAILED_MARK || name == ORIGIN_KEY
}

/// The value in the column that marks the file.
fn mark(origin: Origin) -> String {
    if mutant(Mutant::FailedWithoutOrigin) { MARKED.to_owned() } else { origin.to_string() }
}

fn json_text(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Writing into memory does not fail.
fn write_row(cells: impl Iterator<Item = String>, out: &mut Vec<u8>) {
    // Within quotes a spreadsheet that takes another delimiter finds none, as long as a cell is the first of its line.
    let mut writer = csv::WriterBuilder::new().quote_style(csv::QuoteStyle::Always).from_writer(out);
    let _ = writer.write_record(cells);
    let _ = writer.flush();
}
