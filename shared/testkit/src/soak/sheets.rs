//! What became of each record, as it stands in the database: the chunks' outcome sheets beside their bodies, and the errors.

use std::collections::HashMap;

use anyhow::Context as _;
use muster_domain::chunk::decode;
use muster_domain::outcome::{Outcome, OutcomeSheet};
use serde_json::Value;
use sqlx::Row as _;
use uuid::Uuid;

use super::db::Db;

/// What became of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Came {
    pub(crate) outcome: Outcome,
    pub(crate) reason: Option<&'static str>,
    pub(crate) user: Option<Uuid>,
}

/// A chunk without its records.
#[derive(Debug, Clone)]
pub(crate) struct ChunkRow {
    pub(crate) id: i64,
    pub(crate) state: String,
    pub(crate) attempts: i32,
    pub(crate) problem: Option<String>,
}

/// What became of an import.
#[derive(Debug, Default)]
pub(crate) struct Sheets {
    /// By number; more than one where a record stands in more than one chunk.
    pub(crate) records: HashMap<u64, Vec<Came>>,
    pub(crate) chunks: Vec<ChunkRow>,
    /// Codes of the errors of each record that has a row for them.
    pub(crate) errors: HashMap<u64, Vec<String>>,
}

const CHUNKS: &str = "select id, state, attempts, problem, records, body, outcomes
   from chunks
  where import_id = $1 and id > $2
  order by id
  limit 20";

const ISSUES: &str = "select record, errors::text from record_issues where import_id = $1 and failed";

/// Reads the sheets of an import.
pub(crate) async fn read(db: &Db, import: Uuid) -> anyhow::Result<Sheets> {
    let mut sheets = Sheets::default();
    let mut after = 0_i64;
    loop {
        let rows = db.rows(CHUNKS, |query| query.bind(import).bind(after)).await?;
        let Some(last) = rows.last() else { break };
        after = last.try_get("id")?;
        for row in &rows {
            let chunk = ChunkRow {
                id: row.try_get("id")?,
                state: row.try_get("state")?,
                attempts: row.try_get("attempts")?,
                problem: row.try_get("problem")?,
            };
            let body: Vec<u8> = row.try_get("body")?;
            let outcomes: Option<Vec<u8>> = row.try_get("outcomes")?;
            let records: i32 = row.try_get("records")?;
            add(&mut sheets, &chunk, &body, outcomes.as_deref(), usize::try_from(records)?)
                .with_context(|| format!("chunk {}", chunk.id))?;
            sheets.chunks.push(chunk);
        }
    }
    for row in db.rows(ISSUES, |query| query.bind(import)).await? {
        let number: i64 = row.try_get(0)?;
        let errors: Option<String> = row.try_get(1)?;
        let errors: Value = errors.map_or(Ok(Value::Null), |text| serde_json::from_str(&text))?;
        let codes = errors.as_array().into_iter().flatten();
        let codes = codes.filter_map(|error| error["code"].as_str().map(str::to_owned));
        sheets.errors.insert(u64::try_from(number)?, codes.collect());
    }
    Ok(sheets)
}

fn add(
    sheets: &mut Sheets,
    chunk: &ChunkRow,
    body: &[u8],
    outcomes: Option<&[u8]>,
    records: usize,
) -> anyhow::Result<()> {
    let decoded = decode(body).context("the body cannot be read")?;
    let sheet = match outcomes {
        Some(bytes) => OutcomeSheet::decode(bytes, records)?,
        None => OutcomeSheet::pending(records),
    };
    let fields = decoded.fields();
    anyhow::ensure!(decoded.len() == records, "{} records are staged, not {records}", decoded.len());
    for (record, (verdict, user)) in decoded.records(&fields).zip(sheet.iter()) {
        let mut came =
            Came { outcome: verdict.outcome, reason: verdict.reason.map(|reason| reason.as_str()), user };
        // The sheet of a cancelled chunk stays as it was.
        if chunk.state == "cancelled" && came.outcome == Outcome::Pending {
            came = Came { outcome: Outcome::Skipped, reason: Some("cancelled"), user: None };
        }
        sheets.records.entry(record.position.record.get()).or_default().push(came);
    }
    Ok(())
}
