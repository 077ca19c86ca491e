//! Undoing an import: the preview, and the undo itself.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use chrono::{DateTime, Utc};
use muster_domain::error::ErrorCode;
use muster_domain::fault::{Mutant, mutant};
use muster_domain::id::ImportId;
use muster_domain::options::Start;
use muster_domain::outcome::Outcome;
use muster_domain::token::Scope;
use muster_domain::undo::{RecordRanges, Undo, UndoCode};
use muster_runtime::clock;
use muster_store::reports;
use muster_store::undo::{self as store, NewUndo, OpenedUndo, Preview};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::AppState;
use super::auth::Caller;
use super::error::ApiError;
use super::params::{Id, Params, invalid};
use super::view::ImportView;

/// What an undo of an import could do.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct UndoPreview {
    /// The import.
    pub import: Uuid,
    /// Why it cannot be undone; null where it can be: state_conflict, not_applied, already_undone or before_images_gone.
    #[schema(value_type = Option<String>)]
    pub refused: Option<ErrorCode>,
    /// The undo that there is already.
    pub undone_by: Option<Uuid>,
    /// Records that inserted a user.
    pub inserted: u64,
    /// Records that changed a user.
    pub updated: u64,
    /// Of these the ones that can no longer be undone, since the earlier values are not kept.
    pub gone: u64,
    /// When the import ended.
    pub ended_at: Option<DateTime<Utc>>,
    /// Imports that changed users after this one began to, newest first, at most 20. What they changed of the same users is left as it is.
    pub later: Vec<Uuid>,
}

impl From<Preview> for UndoPreview {
    fn from(found: Preview) -> Self {
        Self {
            import: found.import.get(),
            refused: found.refused,
            undone_by: found.undone_by.map(ImportId::get),
            inserted: found.inserted,
            updated: found.updated,
            gone: found.gone,
            ended_at: found.ended_at,
            later: found.later.into_iter().map(ImportId::get).collect(),
        }
    }
}

/// An undo that was opened: an import, and what it cannot do.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct UndoView {
    /// The undo.
    #[serde(flatten)]
    pub import: ImportView,
    /// Changes of the import that it cannot take back, since what was before is not kept any more, or was erased.
    pub gone: u64,
}

/// Tells what an undo of an import could do, and changes nothing.
#[utoipa::path(
    get, path = "/v1/imports/{id}/undo", tag = "imports", operation_id = "imports_undo_preview", params(("id" = String, Path)),
    responses((status = 200, description = "What could be undone", body = UndoPreview)),
)]
pub(super) async fn preview(
    State(state): State<AppState>,
    caller: Caller,
    Id(import): Id<ImportId>,
    params: Params,
) -> Result<Json<UndoPreview>, ApiError> {
    let tenant = caller.may(Scope::ImportRead)?;
    params.finish()?;
    let found = store::preview(&state.0.store, tenant, import).await?.ok_or(ApiError::NotFound)?;
    Ok(Json(found.into()))
}

/// Undoes an import: a new import takes its changes back, the last one first. Each field that is still as the import left it gets its
/// earlier value. Fields that somebody changed since are left as they are and reported. Users that it inserted are deleted if nothing
/// touched them since. It is planned first, unless `start` says otherwise: its plan is that of any import, and `proceed` does it. What
/// somebody changes after the plan is left as it is as well. An undo can be undone.
#[utoipa::path(
    post, path = "/v1/imports/{id}/undo", tag = "imports", operation_id = "imports_undo",
    params(("id" = String, Path),
           ("field" = Option<String>, Query, description = "these fields only, with commas between them; users that were inserted stay"),
           ("records" = Option<String>, Query, description = "what these records did only: numbers and ranges, as in 7,100-200"),
           ("outcome" = Option<String>, Query, description = "what records with this outcome did only: inserted or updated"),
           ("code" = Option<String>, Query, description = "what records did only of which this was told: enrolled, deleted (by an undo), or changed_since_plan (applied with `on_drift=apply` all the same)"),
           ("start" = Option<String>, Query, description = "plan, which is the default: it is planned, changes nothing and waits for `proceed`; manual: it waits for `proceed` without a plan; auto: it starts at once")),
    responses((status = 202, description = "The undo", body = UndoView)),
)]
pub(super) async fn create(
    State(state): State<AppState>,
    caller: Caller,
    Id(import): Id<ImportId>,
    mut params: Params,
) -> Result<(StatusCode, Json<UndoView>), ApiError> {
    let tenant = caller.may(Scope::ImportWrite)?;
    let fields: Option<String> = params.take("field")?;
    let records: Option<RecordRanges> = params.take("records")?;
    let outcome: Option<String> = params.take("outcome")?;
    let code: Option<UndoCode> = params.take("code")?;
    let start: Option<Start> = params.take("start")?;
    params.finish()?;
    let new = NewUndo {
        id: ImportId::new(clock::new_id()),
        tenant,
        of: import,
        fields: fields.as_deref().map(paths).transpose()?.unwrap_or_default(),
        records,
        outcome: outcome.as_deref().map(undoable).transpose()?,
        code,
        start: start.unwrap_or(if mutant(Mutant::UndoAtOnce) { Start::Auto } else { Start::Plan }),
        chunk: state.0.limits.chunk,
        actor: Some(caller.actor()),
    };
    match store::open(&state.0.store, &new).await? {
        OpenedUndo::New { gone, .. } => {
            state.0.wake.notify_one();
            let report = reports::import(&state.0.store, tenant, new.id).await?.ok_or(ApiError::NotFound)?;
            let import = ImportView::new(report, &state.0.link_base);
            Ok((StatusCode::ACCEPTED, Json(UndoView { import, gone })))
        }
        OpenedUndo::Refused(refusal) => Err(ApiError::CannotUndo(refusal)),
        OpenedUndo::NotFound => Err(ApiError::NotFound),
    }
}

fn paths(names: &str) -> Result<Vec<String>, ApiError> {
    let path = |name: &str| {
        Undo::path_of(name.trim()).ok_or_else(|| invalid("field", "names no field that an import changes"))
    };
    names.split(',').map(path).collect()
}

fn undoable(outcome: &str) -> Result<Outcome, ApiError> {
    match outcome {
        "inserted" => Ok(Outcome::Inserted),
        "updated" => Ok(Outcome::Updated),
        _ => Err(invalid("outcome", "must be one of: inserted, updated")),
    }
}
