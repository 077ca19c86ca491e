//! Who did what, page by page.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use muster_domain::token::Scope;
use muster_store::audit::{self, AuditEntry};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use super::AppState;
use super::auth::Caller;
use super::error::ApiError;
use super::params::{Params, next_page};

/// One thing that was done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AuditView {
    /// Number: greater is later.
    pub id: i64,
    /// When.
    pub at: DateTime<Utc>,
    /// Who: `token:` and the id of a token, `operator` for the command line, or `start` for a program at its first start, which makes a token.
    pub actor: String,
    /// Name of the token; null where it was none.
    pub token: Option<String>,
    /// Whether it was the token of another tenant: an operator's, at the console.
    #[serde(default)]
    pub of_other_tenant: bool,
    /// What: `users.erase`, `import.proceed`, `.plan`, `.pause`, `.resume`, `.cancel`, `.retry`, `.undo`, `bulk.start`, `.end`, `.abort`,
    /// `webhook.create`, `.change`, `.delete`, `.rotate`, `.drop_secret`, `.redeliver`, `profile.save`, `.delete`, `catalog.replace`,
    /// `token.create`, `.revoke`, `operator.enter` (an operator of all tenants came into this one); or what a newer program does.
    pub action: String,
    /// Id of what it was done to; of a user it leads nowhere once they are erased. Null where it has none.
    pub subject: Option<Uuid>,
    /// Name of what it was done to: of a profile, a token, what was done to many imports. Null where it has none.
    #[serde(default)]
    pub name: Option<String>,
    /// How many of what.
    #[schema(value_type = Object)]
    pub counts: Value,
    /// How it was chosen, by name: which imports of many, which records of an import; of a part of a file's name only its length. Of a
    /// new token its scopes, and whether it expires. Null where it was one thing, or everything.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    pub filter: Option<Value>,
}

impl From<AuditEntry> for AuditView {
    fn from(entry: AuditEntry) -> Self {
        Self {
            id: entry.id,
            at: entry.at,
            actor: entry.actor,
            token: entry.token,
            of_other_tenant: entry.of_other_tenant,
            action: entry.action,
            subject: entry.subject,
            name: entry.name,
            counts: entry.counts,
            filter: entry.filter,
        }
    }
}

/// A page of the audit, the newest first.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct AuditList {
    /// What was done.
    pub entries: Vec<AuditView>,
    /// What to give as `after` for the next page; null on the last.
    pub next: Option<i64>,
    /// Address of the next page; null on the last.
    #[serde(default)]
    pub next_link: Option<String>,
}

/// Lists what was done, the newest first: who, when, what, to what, how many, and how they were chosen. Nothing can change or delete it.
#[utoipa::path(
    get, path = "/v1/audit", tag = "audit",
    params(("after" = Option<i64>, Query, description = "`next` of the page before"),
           ("limit" = Option<u16>, Query, description = "Most entries of the page")),
    responses((status = 200, description = "A page of the audit", body = AuditList,
               headers(("Link" = String, description = "Address of the next page, `rel=\"next\"`; absent on the last")))),
)]
pub(super) async fn list(
    State(state): State<AppState>,
    caller: Caller,
    mut params: Params,
) -> Result<Response, ApiError> {
    let tenant = caller.may(Scope::Ops)?;
    let after: Option<i64> = params.take_after()?;
    let limit = usize::from(params.take_limit(50, 200)?);
    params.finish()?;
    let most = i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1);
    let mut page = audit::page(&state.0.store, tenant, after, None, most).await?;
    let more = page.len() > limit;
    page.truncate(limit);
    let next = if more { page.last().map(|entry| entry.id) } else { None };
    let base = &state.0.link_base;
    let next_link = next.map(|next| format!("{base}/v1/audit?after={next}&limit={limit}"));
    let headers = next_page(next_link.as_deref());
    let entries = page.into_iter().map(Into::into).collect();
    Ok((headers, Json(AuditList { entries, next, next_link })).into_response())
}
