//! `GET /v1/imports/{id}/chunks`: the state of each chunk of an import.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use muster_domain::id::{ChunkId, ImportId};
use muster_domain::import::ChunkState;
use muster_domain::outcome::Counts;
use muster_domain::token::Scope;
use muster_store::chunks::{self, ChunkFilter, ChunkReport};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::AppState;
use super::auth::Caller;
use super::error::ApiError;
use super::params::{Id, Params, next_page};

/// A chunk of an import.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ChunkView {
    /// Id.
    pub id: i64,
    /// Its lane: chunks of one lane are applied one after the other.
    pub lane: u32,
    /// Its number in the lane, from 0.
    pub seq: u32,
    /// staged, dispatched, retryable, planned, applied, dead or cancelled.
    #[schema(value_type = String)]
    pub state: ChunkState,
    /// Number of its first record. Records of other lanes are between its records.
    pub first_record: u64,
    /// Number of its last record.
    pub last_record: u64,
    /// Outcomes of its records. They add up.
    #[schema(value_type = Object)]
    pub counts: Counts,
    /// Attempts that are spent or under way.
    pub attempts: u32,
    /// How often it was deferred without spending an attempt.
    pub deferrals: u32,
    /// How often a retry opened it again.
    pub reopened: u32,
    /// When it was last sent to the workers.
    pub sent_at: Option<DateTime<Utc>>,
    /// When it came to its end: applied, dead, or all of its records failed before. Null for a cancelled one.
    pub ended_at: Option<DateTime<Utc>>,
    /// When it is tried again, if it waits for that.
    pub next_try_at: Option<DateTime<Utc>>,
    /// The process that has it. Null for a dispatched one: its message waits in the queue.
    pub holder: Option<String>,
    /// What it met last.
    pub problem: Option<String>,
    /// When it met that; of a dead chunk, when it died.
    pub problem_at: Option<DateTime<Utc>>,
    /// Since when it is in trouble.
    pub problem_since: Option<DateTime<Utc>>,
}

impl From<ChunkReport> for ChunkView {
    fn from(report: ChunkReport) -> Self {
        Self {
            id: report.id.get(),
            lane: report.lane,
            seq: report.seq,
            state: report.state,
            first_record: report.first_record,
            last_record: report.last_record,
            counts: report.counts,
            attempts: report.attempts,
            deferrals: report.deferrals,
            reopened: report.reopened,
            sent_at: report.sent_at,
            ended_at: report.ended_at,
            next_try_at: report.next_try_at,
            holder: report.holder,
            problem: report.problem,
            problem_at: report.problem_at,
            problem_since: report.problem_since,
        }
    }
}

/// A page of chunks, by lane and number.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ChunkList {
    /// The chunks.
    pub chunks: Vec<ChunkView>,
    /// What to give as `after` for the next page; null on the last.
    pub next: Option<i64>,
    /// Address of the next page; null on the last.
    #[serde(default)]
    pub next_link: Option<String>,
}

/// Lists the chunks of an import by lane and number: the state, the process and the last problem of each.
#[utoipa::path(
    get, path = "/v1/imports/{id}/chunks", tag = "imports", operation_id = "imports_chunks",
    params(("id" = String, Path),
           ("state" = Option<String>, Query, description = "staged, dispatched, retryable, planned, applied, dead or cancelled"),
           ("problem" = Option<bool>, Query, description = "true: those that met a problem only"),
           ("after" = Option<i64>, Query, description = "`next` of the page before: the id of its last chunk"),
           ("limit" = Option<u16>, Query, description = "Most chunks of the page")),
    responses((status = 200, description = "A page of chunks", body = ChunkList,
               headers(("Link" = String, description = "Address of the next page, `rel=\"next\"`; absent on the last")))),
)]
pub(super) async fn list(
    State(state): State<AppState>,
    caller: Caller,
    Id(import): Id<ImportId>,
    mut params: Params,
) -> Result<Response, ApiError> {
    let tenant = caller.may(Scope::ImportRead)?;
    let filter = ChunkFilter {
        state: params.take("state")?,
        problem: params.take("problem")?.unwrap_or(false),
        after: params.take_after()?.map(ChunkId::new),
    };
    let limit = usize::from(params.take_limit(100, 1000)?);
    params.finish()?;
    let most = i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1);
    let page = chunks::page(&state.0.store, tenant, import, filter, most).await?;
    let mut page = page.ok_or(ApiError::NotFound)?;
    let more = page.len() > limit;
    page.truncate(limit);
    let next = if more { page.last().map(|chunk| chunk.id.get()) } else { None };
    let mut query = String::new();
    if let Some(state) = filter.state {
        query.push_str(&format!("&state={state}"));
    }
    if filter.problem {
        query.push_str("&problem=true");
    }
    let base = &state.0.link_base;
    let next_link =
        next.map(|next| format!("{base}/v1/imports/{import}/chunks?after={next}&limit={limit}{query}"));
    let headers = next_page(next_link.as_deref());
    let chunks = page.into_iter().map(Into::into).collect();
    Ok((headers, Json(ChunkList { chunks, next, next_link })).into_response())
}
