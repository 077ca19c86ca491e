//! Imports: list, show, and change their state.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use muster_domain::fault::{Mutant, mutant};
use muster_domain::id::{ImportId, TenantId};
use muster_domain::import::ImportState;
use muster_domain::planned::OnDrift;
use muster_domain::request::checked_key;
use muster_domain::token::Scope;
use muster_store::lifecycle::{self, Transition};
use muster_store::reports::ImportReport;
use muster_store::{StoreError, family, reports, status};

use super::AppState;
use super::auth::Caller;
use super::error::ApiError;
use super::params::{Id, Params, invalid, next_page};
use super::records::Wanted;
use super::view::{ImportDetails, ImportList, ImportView};
use super::waiting::{Client, Waiting};

/// After how many seconds the client of an import that has not ended may ask again.
const ASK_AGAIN: &str = "1";
/// Pauses between looks at an import that is waited for: the first, and the longest.
const FIRST_LOOK: Duration = Duration::from_millis(50);
const LAST_LOOK: Duration = Duration::from_secs(1);

/// Lists imports, newest first.
#[utoipa::path(
    get, path = "/v1/imports", tag = "imports",
    params(("state" = Option<String>, Query, description = "those in this state only"),
           ("idempotency_key" = Option<String>, Query, description = "the one whose upload had this `Idempotency-Key` only"),
           ("after" = Option<String>, Query, description = "`next` of the page before"),
           ("before" = Option<String>, Query, description = "The same as `after`, from before there was one way to page", deprecated),
           ("limit" = Option<u16>, Query, description = "Most imports of the page")),
    responses((status = 200, description = "A page of imports", body = ImportList,
               headers(("Link" = String, description = "Address of the next page, `rel=\"next\"`; absent on the last")))),
)]
pub(super) async fn list(
    State(state): State<AppState>,
    caller: Caller,
    mut params: Params,
) -> Result<Response, ApiError> {
    let tenant = caller.may(Scope::ImportRead)?;
    let wanted = params.take("state")?;
    let key: Option<String> = params.take("idempotency_key")?;
    let older: Option<ImportId> = params.take_after()?;
    let before = match (older, params.take::<ImportId>("before")?) {
        (Some(_), Some(_)) => return Err(invalid("before", "is the same as `after`: give one of them")),
        (after, before) => after.or(before),
    };
    let limit = params.take_limit(50, 200)?;
    params.finish()?;
    let base = &state.0.link_base;
    if let Some(key) = key {
        let key = checked_key(&key).map_err(ApiError::Invalid)?;
        let found = reports::import_by_key(&state.0.store, tenant, &key).await?;
        let imports = found.into_iter().filter(|found| {
            wanted.is_none_or(|wanted| found.state == wanted) && before.is_none_or(|before| found.id < before)
        });
        let imports = views(&state, tenant, imports.collect()).await?;
        return Ok(Json(ImportList { imports, next: None, next_link: None }).into_response());
    }
    let mut found = reports::imports(&state.0.store, tenant, wanted, before, i64::from(limit) + 1).await?;
    let more = found.len() > usize::from(limit);
    found.truncate(limit.into());
    let imports = views(&state, tenant, found).await?;
    let next = if more { imports.last().map(|import| import.id) } else { None };
    let filter = wanted.map_or(String::new(), |state| format!("&state={state}"));
    let next_link = next.map(|next| format!("{base}/v1/imports?after={next}&limit={limit}{filter}"));
    let headers = next_page(next_link.as_deref());
    Ok((headers, Json(ImportList { imports, next, next_link })).into_response())
}

/// Shows an import. With `wait` the answer comes when its state has changed or the time is over, whichever is first.
#[utoipa::path(
    get, path = "/v1/imports/{id}", tag = "imports",
    params(("id" = String, Path),
           ("details" = Option<bool>, Query, description = "true: also `skipped_by_reason`, and the `family` of an import that goes on, which take longer for large imports"),
           ("wait" = Option<String>, Query,
            description = "How long to wait for another state, up to 60 seconds: `30s`, `500ms`. An import that has ended is answered at once")),
    responses((status = 200, description = "The import", body = ImportDetails,
               headers(("Retry-After" = u64, description = "Where it has not ended: after how many seconds to ask again")))),
)]
pub(super) async fn show(
    State(state): State<AppState>,
    caller: Caller,
    client: Client,
    Id(import): Id<ImportId>,
    mut params: Params,
) -> Result<Response, ApiError> {
    let tenant = caller.may(Scope::ImportRead)?;
    let wait = params.take_wait()?.unwrap_or_default();
    let details = params.take::<bool>("details")?.unwrap_or(false);
    params.finish()?;
    let report = reports::import(&state.0.store, tenant, import).await?.ok_or(ApiError::NotFound)?;
    let before = report.state;
    let waiting = Waiting::begin(&state, tenant, client, wait)?;
    let report = awaited(&state, report, &waiting, |now| now != before).await?;
    drop(waiting);
    let mut skipped_by_reason = None;
    if details {
        let mut reading = state.0.store.reading(tenant).await?;
        let reasons = reports::skipped_by_reason(&mut reading, tenant, import).await?;
        skipped_by_reason =
            Some(reasons.into_iter().map(|(reason, count)| (reason.as_str().to_owned(), count)).collect());
    }
    let retry = retry_after(&report);
    let import = views(&state, tenant, vec![report]).await?.pop().ok_or(ApiError::NotFound)?;
    // It is summed from the chunks of all its imports, and clients that wait for the end ask every second.
    let mut family = None;
    if details || import.state.is_final() || mutant(Mutant::FamilyAtEachLook) {
        family = family::of(&state.0.store, tenant, import.id).await?.map(Into::into);
    }
    Ok((retry, Json(ImportDetails { import, skipped_by_reason, family })).into_response())
}

/// When to ask for an import again that has not ended.
fn retry_after(report: &ImportReport) -> Option<[(header::HeaderName, &'static str); 1]> {
    (!report.state.is_final()).then_some([(header::RETRY_AFTER, ASK_AGAIN)])
}

/// An answer with an import; one that has not ended says when to ask again.
pub(super) fn answer(state: &AppState, status: StatusCode, report: ImportReport) -> Response {
    let retry = retry_after(&report);
    (status, retry, Json(ImportView::new(report, &state.0.link_base))).into_response()
}

/// Waits until an import is in a state that will do, has ended, or the waiting is over; gives it as it is then.
pub(super) async fn awaited(
    state: &AppState,
    mut report: ImportReport,
    waiting: &Waiting,
    will_do: impl Fn(ImportState) -> bool,
) -> Result<ImportReport, ApiError> {
    let mut pause = FIRST_LOOK;
    while !report.state.is_final() && !will_do(report.state) && waiting.pause(pause).await {
        pause = (pause * 2).min(LAST_LOOK);
        let (tenant, import) = (report.tenant, report.id);
        report = reports::import(&state.0.store, tenant, import).await?.ok_or(ApiError::NotFound)?;
    }
    Ok(report)
}

async fn view(state: &AppState, tenant: TenantId, import: ImportId) -> Result<Json<ImportView>, ApiError> {
    let report = reports::import(&state.0.store, tenant, import).await?.ok_or(ApiError::NotFound)?;
    let view = views(state, tenant, vec![report]).await?.pop().ok_or(ApiError::NotFound)?;
    Ok(Json(view))
}

/// Views of imports, with the progress of those that have not ended.
pub(super) async fn views(
    state: &AppState,
    tenant: TenantId,
    reports: Vec<ImportReport>,
) -> Result<Vec<ImportView>, ApiError> {
    let open: Vec<ImportId> =
        reports.iter().filter(|report| !report.state.is_final()).map(|report| report.id).collect();
    let mut known = status::of(&state.0.store, tenant, &open, &state.0.bounds).await?;
    let base = &state.0.link_base;
    let views = reports.into_iter().map(|report| {
        let progress = known.remove(&report.id);
        ImportView::new(report, base).with(progress)
    });
    Ok(views.collect())
}

async fn transition_answer(
    state: &AppState,
    tenant: TenantId,
    import: ImportId,
    done: Result<Transition, StoreError>,
) -> Result<Json<ImportView>, ApiError> {
    match done? {
        Transition::Done(_) => {
            state.0.wake.notify_one();
            view(state, tenant, import).await
        }
        Transition::Refused(state) => Err(ApiError::StateConflict(state)),
        Transition::Undone(refusal) => Err(ApiError::CannotUndo(refusal)),
        Transition::NotFound => Err(ApiError::NotFound),
    }
}

macro_rules! transitions {
    ($($(#[$doc:meta])* $name:ident at $path:literal;)*) => {
        $($(#[$doc])*
        #[utoipa::path(
            post, path = $path, tag = "imports", params(("id" = String, Path)),
            responses((status = 200, description = "The import after it", body = ImportView)),
        )]
        pub(super) async fn $name(
            State(state): State<AppState>,
            caller: Caller,
            Id(import): Id<ImportId>,
            params: Params,
        ) -> Result<Json<ImportView>, ApiError> {
            let tenant = caller.may(Scope::ImportWrite)?;
            params.finish()?;
            let done = lifecycle::$name(&state.0.store.by(&caller.actor()), tenant, import).await;
            transition_answer(&state, tenant, import, done).await
        })*
    };
}

transitions! {
    /// Stops dispatching; chunks that are with the workers are still applied.
    pause at "/v1/imports/{id}/pause";
    /// Goes on after a pause, or where a cancelled import stopped.
    resume at "/v1/imports/{id}/resume";
    /// Ends an import before its time; records whose turn has not come are skipped.
    cancel at "/v1/imports/{id}/cancel";
}

/// Plans an import again with the current data.
#[utoipa::path(
    post, path = "/v1/imports/{id}/plan", tag = "imports", operation_id = "imports_plan_anew",
    params(("id" = String, Path)),
    responses((status = 200, description = "The import after it", body = ImportView)),
)]
pub(super) async fn plan(
    State(state): State<AppState>,
    caller: Caller,
    Id(import): Id<ImportId>,
    params: Params,
) -> Result<Json<ImportView>, ApiError> {
    let tenant = caller.may(Scope::ImportWrite)?;
    params.finish()?;
    let done = lifecycle::plan(&state.0.store.by(&caller.actor()), tenant, import).await;
    transition_answer(&state, tenant, import, done).await
}

/// Starts an import that was received and waits, or applies what was planned.
#[utoipa::path(
    post, path = "/v1/imports/{id}/proceed", tag = "imports",
    params(("id" = String, Path),
           ("on_drift" = Option<String>, Query,
            description = "Of an import that was planned, what happens to a record that would no longer come to what its plan says: \
                           `refuse`, it fails as `changed_since_plan`; or `apply`, it is applied and marked with a warning")),
    responses((status = 200, description = "The import after it", body = ImportView)),
)]
pub(super) async fn proceed(
    State(state): State<AppState>,
    caller: Caller,
    Id(import): Id<ImportId>,
    mut params: Params,
) -> Result<Json<ImportView>, ApiError> {
    let tenant = caller.may(Scope::ImportWrite)?;
    let on_drift: Option<OnDrift> = params.take("on_drift")?;
    params.finish()?;
    let store = &state.0.store.by(&caller.actor());
    let done = match on_drift {
        None => lifecycle::proceed(store, tenant, import).await,
        Some(on_drift) => lifecycle::proceed_with(store, tenant, import, on_drift).await,
    };
    transition_answer(&state, tenant, import, done).await
}

/// Drives failed records and dead chunks once more. A record that would go in now is skipped as `superseded` where a later
/// record of the file with the same identifier was applied meanwhile.
#[utoipa::path(
    post, path = "/v1/imports/{id}/retry", tag = "imports",
    params(("id" = String, Path),
           ("code" = Option<String>, Query, description = "only those that failed with this error"),
           ("field" = Option<String>, Query, description = "only those that failed for this column or key")),
    responses((status = 200, description = "The import after it", body = ImportView)),
)]
pub(super) async fn retry(
    State(state): State<AppState>,
    caller: Caller,
    Id(import): Id<ImportId>,
    mut params: Params,
) -> Result<Json<ImportView>, ApiError> {
    let tenant = caller.may(Scope::ImportWrite)?;
    let wanted = Wanted::take(&mut params)?;
    params.finish()?;
    let done =
        lifecycle::retry_cause(&state.0.store.by(&caller.actor()), tenant, import, wanted.cause()).await;
    transition_answer(&state, tenant, import, done).await
}
