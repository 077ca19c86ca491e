//! The history of a user.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use muster_domain::id::{ImportId, UserId};
use muster_domain::token::Scope;
use muster_store::history::{self, Cursor, Entry, FieldChange};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use super::AppState;
use super::auth::Caller;
use super::error::ApiError;
use super::params::{Id, Params, next_page};

/// A page of what happened to a user, the last first.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct HistoryPage {
    /// What happened. A page may have fewer entries than were asked for, or none, and not be the last.
    pub entries: Vec<HistoryEntry>,
    /// What to give as `after` for the next page; null on the last.
    pub next: Option<String>,
    /// Address of the next page; null on the last.
    pub next_link: Option<String>,
    /// On the last page: earlier history is no longer kept, so the creation of the user is not shown.
    pub older_gone: bool,
}

/// One thing that happened to a user.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct HistoryEntry {
    /// When.
    pub at: DateTime<Utc>,
    /// inserted, updated or deleted.
    pub kind: String,
    /// The kind of actor: import, undo, or request (about this user only).
    pub by: String,
    /// Who did it; null where that is not known.
    pub actor: Option<HistoryActor>,
    /// The import or undo.
    pub import: Option<Uuid>,
    /// The label of its file.
    pub filename: Option<String>,
    /// Number of the record, the last one where several had a part in it.
    pub record: Option<u64>,
    /// The line of the file that it begins on.
    pub line: Option<u64>,
    /// What changed. Of an import that inserted the user: what its record says. Null where that is not kept any more.
    pub fields: Option<Vec<HistoryField>>,
}

/// Who did something.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct HistoryActor {
    /// token, or operator (the command line).
    pub kind: String,
    /// Id of the token.
    pub token: Option<Uuid>,
    /// What the token is called.
    pub name: Option<String>,
}

/// One field before and after.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct HistoryField {
    /// Its name, as `given_name`, `metadata.office` or `roles.Agent`.
    pub field: String,
    /// What it was; null for nothing. A role, a group, a team or a membership is true.
    pub before: Value,
    /// The new value; null for none.
    pub after: Value,
}

impl From<Entry> for HistoryEntry {
    fn from(entry: Entry) -> Self {
        let Entry { at, kind, by, actor, import, filename, record, line, fields } = entry;
        let actor =
            actor.map(|actor| HistoryActor { kind: actor.kind, token: actor.token, name: actor.name });
        let field = |change: FieldChange| HistoryField {
            field: change.field,
            before: change.before,
            after: change.after,
        };
        let fields = fields.map(|fields| fields.into_iter().map(field).collect());
        Self { at, kind, by, actor, import: import.map(ImportId::get), filename, record, line, fields }
    }
}

/// Tells what happened to a user, the last first: each import, undo and single request that changed it, field by field, with record and line,
/// when and by whom. Secrets are never told. What fields had before is kept as long as imports can be undone; of older imports only that they
/// did something is left.
#[utoipa::path(
    get, path = "/v1/users/{id}/history", tag = "users", operation_id = "users_history",
    params(("id" = String, Path),
           ("after" = Option<String>, Query, description = "`next` of the page before"),
           ("limit" = Option<u16>, Query, description = "About how many entries")),
    responses((status = 200, description = "What happened", body = HistoryPage,
               headers(("Link" = String, description = "Address of the next page, `rel=\"next\"`; absent on the last")))),
)]
pub(super) async fn show(
    State(state): State<AppState>,
    caller: Caller,
    Id(user): Id<UserId>,
    mut params: Params,
) -> Result<Response, ApiError> {
    let tenant = caller.may(Scope::UsersRead)?;
    let after: Option<Cursor> = params.take_after()?;
    let limit = params.take_limit(50, 200)?;
    params.finish()?;
    let page = history::page(&state.0.store, tenant, user, after, limit.into()).await?;
    let history::Page { entries, next, older_gone } = page.ok_or(ApiError::NotFound)?;
    let base = &state.0.link_base;
    let next_link =
        next.as_ref().map(|next| format!("{base}/v1/users/{user}/history?after={next}&limit={limit}"));
    let entries = entries.into_iter().map(HistoryEntry::from).collect();
    let headers = next_page(next_link.as_deref());
    Ok((headers, Json(HistoryPage { entries, next, next_link, older_gone })).into_response())
}
