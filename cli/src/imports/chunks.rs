//! The chunks of an import, as a table or an object a line.

use muster_domain::id::{ChunkId, ImportId};
use muster_domain::import::ChunkState;
use muster_producer::api::ChunkView;
use muster_store::chunks::ChunkFilter;

use super::backend::Backend;
use crate::failure::Exit;
use crate::output::{number, stdout_line, table};

/// Chunks asked for at a time.
const PAGE: u64 = 1000;

const HEAD: [&str; 10] =
    ["CHUNK", "LANE", "SEQ", "STATE", "RECORDS", "PENDING", "FAILED", "ATTEMPTS", "HOLDER", "PROBLEM"];

/// Which chunks are wanted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    pub(super) state: Option<ChunkState>,
    pub(super) problem: bool,
    pub(super) limit: u64,
}

/// Lists chunks by lane and number, page by page where it is JSON.
pub(super) async fn list(
    backend: &Backend<'_>,
    id: ImportId,
    wanted: Wanted,
    as_json: bool,
) -> anyhow::Result<Exit> {
    let (mut left, mut after, mut rows) = (wanted.limit, None, Vec::new());
    while left > 0 {
        let asked = left.min(PAGE);
        let filter = ChunkFilter { state: wanted.state, problem: wanted.problem, after };
        let page = backend.chunks(id, filter, asked).await?;
        for chunk in &page {
            if as_json {
                stdout_line(serde_json::to_string(chunk)?)?;
            } else {
                rows.push(row(chunk));
            }
        }
        let count = page.len() as u64;
        after = page.last().map(|chunk| ChunkId::new(chunk.id));
        left -= count.min(left);
        if count < asked {
            break;
        }
    }
    if !as_json {
        stdout_line(table(&HEAD, &rows))?;
    }
    Ok(Exit::Done)
}

fn row(chunk: &ChunkView) -> Vec<String> {
    let problem = chunk.problem.as_deref().map(|problem| {
        let time = |word: &str, at: Option<chrono::DateTime<chrono::Utc>>| {
            at.map_or_else(String::new, |at| format!(" ({word} {})", at.format("%Y-%m-%d %H:%M:%S UTC")))
        };
        let next = time("next try", chunk.next_try_at);
        format!("{problem}{}{next}", time("since", chunk.problem_since))
    });
    let holder = match (&chunk.holder, chunk.state) {
        (Some(holder), _) => holder.clone(),
        (None, ChunkState::Dispatched) => "in the queue".into(),
        (None, _) => String::new(),
    };
    vec![
        chunk.id.to_string(),
        chunk.lane.to_string(),
        chunk.seq.to_string(),
        chunk.state.to_string(),
        number(chunk.counts.total),
        number(chunk.counts.pending),
        number(chunk.counts.failed),
        chunk.attempts.to_string(),
        holder,
        problem.unwrap_or_default(),
    ]
}
