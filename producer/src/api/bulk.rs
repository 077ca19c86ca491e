//! Bulk actions on many imports: previewed, then started by the id of the preview, watched, aborted.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use chrono::{DateTime, Utc};
use muster_domain::bulk::{Action, Filter, MOST};
use muster_domain::id::TenantId;
use muster_domain::token::Scope;
use muster_store::bulk::{self as store, Bulk, Looked};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::AppState;
use super::auth::Caller;
use super::error::ApiError;
use super::params::{Id, Params, invalid, thousands};

/// An action on many imports.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct BulkView {
    /// Its id, by which it is started, watched and aborted. What was looked at can be started for an hour.
    pub id: Uuid,
    /// pause, resume, cancel, retry or redrive.
    pub action: String,
    /// How the imports were chosen, by name.
    pub filter: BTreeMap<String, String>,
    /// preview: nothing was done yet; running, done or aborted.
    pub state: String,
    /// How many imports were found.
    pub imports: u64,
    /// How many of their records it is about: those that failed, where it is a retry or redrive, else those without an outcome.
    pub records: u64,
    /// How many of the imports were in which state.
    pub states: BTreeMap<String, u64>,
    /// The first of them.
    pub first: Vec<Uuid>,
    /// Imports that are done so far.
    pub succeeded: u64,
    /// Imports that could not be done, because they are in another state by now.
    pub refused: u64,
    /// The first of these, with the reason.
    pub refusals: Vec<BulkRefusal>,
    /// Who asked for it: `token:` and the id of the token, or `operator`.
    pub actor: String,
    /// When it was looked at.
    pub created_at: DateTime<Utc>,
    /// When it was started.
    pub started_at: Option<DateTime<Utc>>,
    /// When it ended.
    pub ended_at: Option<DateTime<Utc>>,
}

/// An import that could not be done.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct BulkRefusal {
    /// The import.
    pub import: Uuid,
    /// Why.
    pub why: String,
}

/// A tenant's last actions.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct BulkList {
    /// Those that were started, newest first, at most 50.
    pub actions: Vec<BulkView>,
}

impl From<Bulk> for BulkView {
    fn from(bulk: Bulk) -> Self {
        let refusal = |one: store::Refused| BulkRefusal { import: one.import, why: one.why };
        Self {
            id: bulk.id,
            action: bulk.action.to_string(),
            filter: bulk.filter,
            state: bulk.state,
            imports: bulk.imports,
            records: bulk.records,
            states: bulk.states,
            first: bulk.first.into_iter().map(muster_domain::id::ImportId::get).collect(),
            succeeded: bulk.succeeded,
            refused: bulk.refused,
            refusals: bulk.refusals.into_iter().map(refusal).collect(),
            actor: bulk.actor,
            created_at: bulk.created_at,
            started_at: bulk.started_at,
            ended_at: bulk.ended_at,
        }
    }
}

impl BulkView {
    /// Whether nothing more comes of it.
    pub fn is_final(&self) -> bool {
        matches!(self.state.as_str(), "done" | "aborted")
    }
}

/// Why more imports are like a filter than one action may have.
pub fn too_many() -> String {
    let most = u64::try_from(MOST).unwrap_or(u64::MAX);
    format!("more than {} imports are like that: say more of those that you mean", thousands(most))
}

/// Finds the imports that match a filter, for an action; they are not changed.
pub(super) async fn looked(
    state: &AppState,
    tenant: TenantId,
    actor: &str,
    action: Action,
    filter: &Filter,
) -> Result<BulkView, ApiError> {
    filter.check(action).map_err(|wrong| invalid(wrong.name, wrong.message))?;
    match store::look(&state.0.store, tenant, actor, action, filter).await? {
        Looked::Found(bulk) => Ok((*bulk).into()),
        Looked::TooMany => Err(invalid("action", too_many())),
    }
}

/// Who asks.
pub(super) fn actor(caller: &Caller) -> String {
    format!("token:{}", caller.token())
}

/// Looks which imports an action would be done to. Nothing is done to them.
///
/// `POST /v1/bulk/{bulk}/start` does it, to these imports and no others.
#[utoipa::path(
    post, path = "/v1/bulk", tag = "bulk",
    params(("action" = String, Query, description = "pause, resume, cancel, retry (what failed) or redrive (the records of dead chunks)"),
           ("state" = Option<String>, Query, description = "those in this state only; without it all to which the action can be done, cancelled ones apart"),
           ("older_than" = Option<String>, Query, description = "those opened longer ago than this: `30min`, `12h`, `7d`"),
           ("newer_than" = Option<String>, Query, description = "those opened less long ago than this"),
           ("file" = Option<String>, Query, description = "those with this in the name of their file"),
           ("profile" = Option<String>, Query, description = "those received with this profile"),
           ("code" = Option<String>, Query, description = "those with records that failed with this error; a retry repeats only these records"),
           ("field" = Option<String>, Query, description = "those with records that failed for this column or key; a retry repeats only these records"),
           ("dead" = Option<bool>, Query, description = "true: those with dead chunks only")),
    responses((status = 201, description = "What would be done", body = BulkView)),
)]
pub(super) async fn look(
    State(state): State<AppState>,
    caller: Caller,
    mut params: Params,
) -> Result<(StatusCode, Json<BulkView>), ApiError> {
    let tenant = caller.may(Scope::ImportWrite)?;
    let action: Option<Action> = params.take("action")?;
    let mut filter = Filter::default();
    for name in Filter::NAMES {
        if let Some(text) = params.take::<String>(name)? {
            filter.set(name, &text).map_err(|wrong| invalid(wrong.name, wrong.message))?;
        }
    }
    params.finish()?;
    let action =
        action.ok_or_else(|| invalid("action", "is missing: pause, resume, cancel, retry or redrive"))?;
    let view = looked(&state, tenant, &actor(&caller), action, &filter).await?;
    Ok((StatusCode::CREATED, Json(view)))
}

/// Lists the actions on many imports that were started last.
#[utoipa::path(
    get, path = "/v1/bulk", tag = "bulk",
    responses((status = 200, description = "The actions", body = BulkList)),
)]
pub(super) async fn list(
    State(state): State<AppState>,
    caller: Caller,
    params: Params,
) -> Result<Json<BulkList>, ApiError> {
    let tenant = caller.may(Scope::ImportRead)?;
    params.finish()?;
    let found = store::list(&state.0.store, tenant).await?;
    Ok(Json(BulkList { actions: found.into_iter().map(BulkView::from).collect() }))
}

/// Shows an action on many imports, and how far it is.
#[utoipa::path(
    get, path = "/v1/bulk/{bulk}", tag = "bulk", params(("bulk" = Uuid, Path)),
    responses((status = 200, description = "The action", body = BulkView)),
)]
pub(super) async fn show(
    State(state): State<AppState>,
    caller: Caller,
    Id(bulk): Id<Uuid>,
    params: Params,
) -> Result<Json<BulkView>, ApiError> {
    let tenant = caller.may(Scope::ImportRead)?;
    params.finish()?;
    found(store::show(&state.0.store, tenant, bulk).await?)
}

/// Starts what was looked at. Saying so again changes nothing.
#[utoipa::path(
    post, path = "/v1/bulk/{bulk}/start", tag = "bulk", params(("bulk" = Uuid, Path)),
    responses((status = 200, description = "The action as it is then", body = BulkView)),
)]
pub(super) async fn start(
    State(state): State<AppState>,
    caller: Caller,
    Id(bulk): Id<Uuid>,
    params: Params,
) -> Result<Json<BulkView>, ApiError> {
    let tenant = caller.may(Scope::ImportWrite)?;
    params.finish()?;
    found(store::start(&state.0.store.by(&caller.actor()), tenant, bulk).await?)
}

/// Ends an action where it is; imports that were done stay done. An action that has ended is not changed.
#[utoipa::path(
    post, path = "/v1/bulk/{bulk}/abort", tag = "bulk", params(("bulk" = Uuid, Path)),
    responses((status = 200, description = "The action as it is then", body = BulkView)),
)]
pub(super) async fn abort(
    State(state): State<AppState>,
    caller: Caller,
    Id(bulk): Id<Uuid>,
    params: Params,
) -> Result<Json<BulkView>, ApiError> {
    let tenant = caller.may(Scope::ImportWrite)?;
    params.finish()?;
    found(store::abort(&state.0.store.by(&caller.actor()), tenant, bulk).await?)
}

fn found(bulk: Option<Bulk>) -> Result<Json<BulkView>, ApiError> {
    bulk.map(|bulk| Json(bulk.into())).ok_or(ApiError::NotFound)
}
