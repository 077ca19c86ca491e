//! `muster imports report`: the outcome of every record, as a table.

use std::path::Path;

use muster_domain::id::ImportId;
use muster_producer::api::RecordView;
use muster_producer::export::report_row;
use tokio::io::{AsyncWrite, AsyncWriteExt};

use super::asked::CauseArgs;
use super::backend::Backend;
use crate::failure::Exit;
use crate::output::{number, stderr_line, to_file};

/// Records that are fetched at a time.
const PAGE: u64 = 1_000;

const HEADER: [&str; 10] = [
    "record",
    "line",
    "identifier",
    "outcome",
    "reason",
    "user_id",
    "error_code",
    "error_field",
    "error_message",
    "warnings",
];

/// Writes the table.
pub(super) async fn write(
    backend: &Backend<'_>,
    id: ImportId,
    output: Option<&Path>,
) -> anyhow::Result<Exit> {
    let Some(path) = output else {
        records(backend, id, &mut tokio::io::stdout()).await?;
        return Ok(Exit::Done);
    };
    let count = to_file(path, async |file| records(backend, id, file).await).await?;
    stderr_line(format_args!("{} records are in {}", number(count), path.display()));
    Ok(Exit::Done)
}

async fn records(
    backend: &Backend<'_>,
    id: ImportId,
    out: &mut (impl AsyncWrite + Unpin),
) -> anyhow::Result<u64> {
    // Spreadsheets take a file without the mark for one in the encoding of their country.
    let mut piece = "\u{feff}".as_bytes().to_vec();
    report_row(HEADER.map(str::to_owned), &mut piece);
    let (mut after, mut count) = (0, 0);
    loop {
        let page = backend.records(id, None, &CauseArgs::default(), after, PAGE).await?;
        for record in &page {
            report_row(cells(record), &mut piece);
            after = record.record;
        }
        out.write_all(&piece).await?;
        piece.clear();
        count += page.len() as u64;
        if (page.len() as u64) < PAGE {
            out.flush().await?;
            return Ok(count);
        }
    }
}

fn cells(record: &RecordView) -> [String; 10] {
    let first = record.errors.first();
    let messages: Vec<&str> = record.errors.iter().map(|error| &*error.message).collect();
    let outcome = serde_json::json!(record.outcome);
    [
        record.record.to_string(),
        record.line.map(|line| line.to_string()).unwrap_or_default(),
        record.identifier.clone().unwrap_or_default(),
        outcome.as_str().unwrap_or_default().to_owned(),
        record.reason.map(|reason| reason.as_str().to_owned()).unwrap_or_default(),
        record.user_id.map(|id| id.to_string()).unwrap_or_default(),
        first.map(|error| error.code.to_string()).unwrap_or_default(),
        first.and_then(|error| error.field.clone()).unwrap_or_default(),
        messages.join("; "),
        record.warnings.join("; "),
    ]
}
