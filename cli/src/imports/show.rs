//! Imports and records as they are shown.

use std::path::Path;

use futures_util::StreamExt;
use muster_domain::id::ImportId;
use muster_domain::import::ImportState;
use muster_producer::api::RecordView;
use serde_json::Value;
use tokio::io::{AsyncWrite, AsyncWriteExt};

use super::asked::{CauseArgs, Outcomes};
use super::backend::Backend;
use super::causes::{problem_text, warned};
use crate::failure::Exit;
use crate::invocation::Invocation;
use crate::output::{json, number, stderr_line, stdout_line, table, to_file};
use crate::view::View;

/// Records asked for at a time.
const PAGE: u64 = 1000;

pub(super) fn list(views: &[View], as_json: bool) -> anyhow::Result<Exit> {
    if as_json {
        json(&views)?;
        return Ok(Exit::Done);
    }
    let rows: Vec<Vec<String>> = views
        .iter()
        .map(|view| {
            let counts = &view.counts;
            let mut row = vec![view.id.to_string(), view.state.to_string()];
            let numbers = [
                counts.total,
                counts.pending,
                counts.inserted,
                counts.updated,
                counts.skipped,
                counts.failed,
            ];
            row.extend(numbers.map(number));
            row.push(view.created_at.format("%Y-%m-%d %H:%M:%S").to_string());
            row.push(file(view, views));
            row
        })
        .collect();
    let head = [
        "ID",
        "STATE",
        "TOTAL",
        "PENDING",
        "INSERTED",
        "UPDATED",
        "SKIPPED",
        "FAILED",
        "CREATED (UTC)",
        "FILE",
    ];
    stdout_line(table(&head, &rows))?;
    for view in views {
        if let Some(problem) = &view.problem {
            stderr_line(format_args!("{}: {problem}", view.id));
        }
        if let Some(progress) = view.progress.as_ref().filter(|progress| progress.stalled) {
            stderr_line(format_args!("{}: no progress: {}", view.id, progress.reason()));
        }
    }
    Ok(Exit::Done)
}

/// The file of an import; of an undo the import that it undoes, and of an import the newest of its undos, which stand before it in the list.
fn file(view: &View, views: &[View]) -> String {
    let mut file = view.filename.clone().unwrap_or_default();
    if let Some(undo) = &view.options.undo {
        file = format!("{}, import {}", if file.is_empty() { "undo" } else { &file }, undo.of);
    }
    let undoes = |other: &&View| other.options.undo.as_ref().is_some_and(|undo| undo.of == view.id);
    if let Some(undo) = views.iter().find(undoes) {
        file.push_str(&format!(" (undo {}: {})", undo.id, undo.state));
    }
    file
}

/// Shows one import. `undone_by`: its undo, where it is looked up and there is one.
pub(super) fn one(
    view: &View,
    undone_by: Option<ImportId>,
    as_json: bool,
    invocation: &Invocation,
) -> anyhow::Result<Exit> {
    if as_json {
        json(view)?;
        return Ok(Exit::Done);
    }
    let mut rows = vec![
        vec!["import".to_owned(), view.id.to_string()],
        vec!["state".to_owned(), view.state.to_string()],
        vec!["file".to_owned(), view.filename.clone().unwrap_or_default()],
    ];
    rows.extend(view.encoding.map(|encoding| vec!["encoding".to_owned(), encoding.to_string()]));
    rows.extend(view.delimiter.map(|delimiter| vec!["delimiter".to_owned(), delimiter.to_string()]));
    if let Some(error) = &view.error {
        rows.push(vec!["error".to_owned(), format!("{error} [{}]", error.code)]);
    }
    rows.extend(flat("", &serde_json::to_value(view.counts)?));
    rows.extend(view.mends.map(|parent| vec!["mends".to_owned(), parent.to_string()]));
    rows.extend(view.family.iter().map(|family| vec!["family".to_owned(), family.summary.clone()]));
    rows.extend(view.progress.iter().flat_map(super::watch::rows));
    rows.extend(undone_by.map(|undo| vec!["undone by".to_owned(), undo.to_string()]));
    rows.extend(options(view)?);
    rows.extend(flat("chunks ", &serde_json::to_value(view.chunks)?));
    let times = [
        ("created", Some(view.created_at)),
        ("received", view.received_at),
        ("started", view.started_at),
        ("completed", view.completed_at),
    ];
    for (name, time) in times {
        rows.extend(time.map(|time| vec![name.to_owned(), time.format("%Y-%m-%d %H:%M:%S UTC").to_string()]));
    }
    let width = rows.iter().map(|row| row[0].len()).max().unwrap_or(0);
    let lines: Vec<String> = rows.iter().map(|row| format!("{:width$}  {}", row[0], row[1])).collect();
    stdout_line(lines.join("\n"))?;
    if let Some(text) = next(view, invocation) {
        stderr_line(text);
    }
    if view.counts.failed > 0 {
        stderr_line(format_args!("failed records: {}", super::summary::failed(view, invocation)));
    }
    Ok(Exit::Done)
}

/// What the import was asked to do. The options of files mean nothing to an undo.
fn options(view: &View) -> anyhow::Result<Vec<Vec<String>>> {
    let Some(undo) = &view.options.undo else {
        let rows = flat("", &serde_json::to_value(&view.options)?).into_iter();
        return Ok(rows.filter(|row| row[0] != "enrolment.group_id").collect());
    };
    let row = |name: &str, text: String| vec![name.to_owned(), text];
    let mut rows = vec![row("undoes", undo.of.to_string())];
    if !undo.fields.is_empty() {
        rows.push(row("fields", undo.fields.join(", ")));
    }
    rows.extend(undo.records.as_ref().map(|records| row("records", records.to_string())));
    rows.extend(
        undo.outcome.map(|outcome| {
            row("outcome", serde_json::json!(outcome).as_str().unwrap_or_default().to_owned())
        }),
    );
    rows.extend(undo.code.map(|code| row("code", code.to_string())));
    rows.push(row("start", view.options.start.to_string()));
    Ok(rows)
}

/// What to type next, of an import that waits for somebody.
fn next(view: &View, invocation: &Invocation) -> Option<String> {
    let (proceed, cancel) = (invocation.command("proceed", view.id), invocation.command("cancel", view.id));
    match view.state {
        ImportState::Planned => {
            let plan = invocation.command("plan", view.id);
            Some(format!("to see its plan: {plan}\nto apply it: {proceed}\nto drop it:  {cancel}"))
        }
        ImportState::Received => Some(format!("to start it: {proceed}\nto drop it:  {cancel}")),
        _ => None,
    }
}

/// The members of an object that hold a number or a text.
fn flat(prefix: &str, value: &Value) -> Vec<Vec<String>> {
    let Value::Object(members) = value else { return Vec::new() };
    let text = |value: &Value| match value {
        Value::Number(count) => Some(count.as_u64().map_or_else(|| count.to_string(), number)),
        Value::String(text) => Some(text.clone()),
        _ => None,
    };
    members.iter().filter_map(|(name, value)| Some(vec![format!("{prefix}{name}"), text(value)?])).collect()
}

/// Which records are asked for.
pub(super) struct Asked<'a> {
    pub(super) outcome: Option<Outcomes>,
    pub(super) cause: &'a CauseArgs,
    pub(super) after: u64,
    pub(super) limit: u64,
}

/// What failed, by cause.
pub(super) async fn problems(
    backend: &Backend<'_>,
    id: ImportId,
    limit: u8,
    as_json: bool,
    invocation: &Invocation,
) -> anyhow::Result<Exit> {
    let found = backend.problems(id, limit).await?;
    if as_json {
        json(&found)?;
        return Ok(Exit::Done);
    }
    if found.is_empty() {
        stdout_line("nothing failed, and nothing was warned of")?;
        return Ok(Exit::Done);
    }
    let failures = found.problems.iter().map(|problem| problem_text(problem, Some(invocation)));
    let mut lines: Vec<String> = failures.chain(found.warnings.iter().map(warned)).collect();
    if found.more || found.more_warnings {
        lines.push("and further causes; --limit shows more".to_owned());
    }
    stdout_line(lines.join("\n"))?;
    Ok(Exit::Done)
}

/// Records page by page, so that memory does not grow with the import. JSON is one object a line.
pub(super) async fn records(
    backend: &Backend<'_>,
    id: ImportId,
    asked: Asked<'_>,
    as_json: bool,
) -> anyhow::Result<Exit> {
    let Asked { outcome, cause, mut after, limit } = asked;
    let mut left = limit;
    while left > 0 {
        let asked = left.min(PAGE);
        let page = backend.records(id, outcome, cause, after, asked).await?;
        for record in &page {
            if as_json {
                stdout_line(serde_json::to_string(record)?)?;
            } else {
                stdout_line(line(record))?;
            }
            after = record.record;
        }
        let count = page.len() as u64;
        left -= count.min(left);
        if count < asked {
            break;
        }
    }
    Ok(Exit::Done)
}

fn line(record: &RecordView) -> String {
    let word = |value: Value| value.as_str().unwrap_or_default().to_owned();
    let mut line = format!("{:>8}  {:<8}", record.record, word(serde_json::json!(record.outcome)));
    if let Some(reason) = record.reason {
        line.push_str(&format!("  {}", reason.as_str()));
    }
    match (&record.identifier, record.user_id) {
        (Some(identifier), _) => line.push_str(&format!("  {}", identifier.escape_debug())),
        // A record of an undo has no identifier: `muster users show` tells who it is.
        (None, Some(user)) => line.push_str(&format!("  user {user}")),
        (None, None) => {}
    }
    for error in &record.errors {
        let field = error.field.as_deref().map(|field| format!("{field}: ")).unwrap_or_default();
        line.push_str(&format!("  {field}{} [{}]", error.message, error.code));
    }
    for warning in &record.warnings {
        line.push_str(&format!("  warning: {warning}"));
    }
    line
}

/// Writes the file of failed records.
pub(super) async fn failed(
    backend: &Backend<'_>,
    id: ImportId,
    output: Option<&Path>,
    format: Option<&str>,
    cause: &CauseArgs,
) -> anyhow::Result<Exit> {
    let ending = output.and_then(Path::extension).and_then(|ending| ending.to_str());
    let view = backend.show(id).await?;
    let format = match (format, ending) {
        (Some(format), _) => format,
        (None, Some("ndjson" | "jsonl")) => "ndjson",
        (None, Some("csv")) => "csv",
        (None, _) if view.options.format.is_table() => "csv",
        (None, _) => "ndjson",
    };
    let count = view.counts.failed;
    match output {
        None => copy(backend, id, format, cause, &mut tokio::io::stdout()).await?,
        Some(path) => {
            to_file(path, async |file| copy(backend, id, format, cause, file).await).await?;
            let shown = path.display();
            match cause.cause().is_any() {
                true => stderr_line(format_args!("{} failed records are in {shown}", number(count))),
                false => stderr_line(format_args!(
                    "those of the {} failed records with that cause are in {shown}",
                    number(count)
                )),
            }
        }
    }
    Ok(Exit::Done)
}

async fn copy(
    backend: &Backend<'_>,
    id: ImportId,
    format: &str,
    cause: &CauseArgs,
    out: &mut (impl AsyncWrite + Unpin),
) -> anyhow::Result<()> {
    let mut pieces = backend.failed(id, format, cause).await?;
    while let Some(piece) = pieces.next().await {
        out.write_all(&piece?).await?;
    }
    Ok(out.flush().await?)
}
