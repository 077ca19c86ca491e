//! Jobs and their errors in the shape in which clients see them (contracts B.2).

use axum::http::{HeaderMap, HeaderValue, header};
use chrono::{DateTime, Utc};
use muster_domain::catalog::Catalog;
use muster_domain::fault::{self, Mutant};
use muster_domain::id::{ImportId, TenantId};
use muster_domain::import::ImportState;
use muster_domain::outcome::Reason;
use muster_store::bulk_jobs::BulkJob;
use muster_store::records::{self, IssueReport};
use muster_store::reports::{self, ImportReport};
use muster_store::{Connection, StoreError, catalog, snapshot};
use serde::Serialize;
use utoipa::ToSchema;

use super::fields::Columns;
use super::messages::{self, LoggedError};
use crate::api::AppState;

/// How many records have their errors in the job itself; the error logs have all of them.
const ERRORS_SHOWN: i64 = 100;

/// What an upload or a start is answered with.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CcaiTicket)]
pub(super) struct Ticket {
    /// The job.
    pub(super) id: i64,
    /// Its state when the request came.
    #[schema(value_type = String)]
    pub(super) status: &'static str,
    /// Where the job can be asked about.
    pub(super) link: String,
}

impl Ticket {
    pub(super) fn new(state: &AppState, id: i64, status: &'static str) -> Self {
        Self { id, status, link: format!("{}{}/bulk/users_jobs/{id}", state.0.link_base, super::BASE) }
    }

    /// `Link`, which here is the bare address.
    pub(super) fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        if let Ok(link) = HeaderValue::from_str(&self.link) {
            headers.insert(header::LINK, link);
        }
        headers
    }
}

/// One error or warning of applying.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = CcaiUpdateError)]
pub(super) struct UpdateError {
    #[serde(flatten)]
    error: LoggedError,
    /// `error`: the user was not applied. `warning`: the user was applied, but for this.
    #[schema(value_type = String)]
    error_type: &'static str,
}

/// A job.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CcaiJob)]
pub(super) struct JobView {
    id: i64,
    created_at: String,
    process_requested_at: Option<String>,
    filename: Option<String>,
    total_rows: u64,
    /// Users made or changed so far, or found to be as the file wants them.
    affected_rows: u64,
    /// Users that could not be applied.
    failed_rows: u64,
    /// created, valid_scheme, invalid_scheme, in_progress or completed.
    #[schema(value_type = String)]
    status: &'static str,
    /// Always null: there is no portal.
    uploaded_user_name: Option<String>,
    /// Always null: there is no portal.
    proceed_user_name: Option<String>,
    uploaded_api_user_name: String,
    proceed_api_user_name: Option<String>,
    /// Those of the first 100 rows that have any.
    scheme_errors: Vec<LoggedError>,
    /// Those of the first 100 rows that have any.
    update_errors: Vec<UpdateError>,
}

/// A job's state by that of its import.
pub(super) fn status(state: ImportState) -> &'static str {
    match state {
        ImportState::Receiving => "created",
        ImportState::Received | ImportState::Planning | ImportState::Planned => "valid_scheme",
        ImportState::Refused | ImportState::Aborted => "invalid_scheme",
        ImportState::Running | ImportState::Paused => "in_progress",
        // The original has no other end; rows that were not applied count as failed.
        ImportState::Completed | ImportState::Cancelled => "completed",
    }
}

/// What an import has to say in the two logs, that of its records apart.
pub(super) fn scheme_error_of_file(report: &ImportReport) -> Option<LoggedError> {
    // A file that was refused for its records says so with each of them.
    let whole = report.state == ImportState::Refused && report.counts.total == 0;
    report.error.as_ref().filter(|_| whole).map(messages::of_file)
}

/// The same for the log of applying.
pub(super) fn update_error_of_import(report: &ImportReport) -> Option<UpdateError> {
    (report.state == ImportState::Cancelled).then(|| {
        let message = "The job was cancelled before all rows were applied".to_owned();
        UpdateError { error: LoggedError { message, column: 1, row: None }, error_type: "error" }
    })
}

/// The messages about one record while validating.
pub(super) fn scheme_errors(issue: &IssueReport, columns: &Columns) -> Vec<LoggedError> {
    messages::of_issue(issue, columns)
}

/// The messages about one record while applying.
pub(super) fn update_errors(issue: &IssueReport, columns: &Columns) -> Vec<UpdateError> {
    let error_type = if issue.failed { "error" } else { "warning" };
    messages::of_issue(issue, columns).into_iter().map(|error| UpdateError { error, error_type }).collect()
}

/// What a tenant's errors depend on.
pub(super) async fn columns(state: &AppState, tenant: TenantId) -> Result<Columns, StoreError> {
    let catalog: Catalog = catalog::get(&state.0.store, tenant).await?;
    Ok(Columns::of(&catalog))
}

/// Jobs with all that is known of them.
pub(super) async fn jobs(
    state: &AppState,
    tenant: TenantId,
    jobs: Vec<BulkJob>,
) -> Result<Vec<JobView>, StoreError> {
    let imports: Vec<ImportId> = jobs.iter().map(|job| job.import).collect();
    let columns = columns(state, tenant).await?;
    let mut views = Vec::with_capacity(jobs.len());
    // One moment for counts and errors: between two statements a retry may take a failed record's error away.
    let mut moment = snapshot(&state.0.store, tenant).await?;
    for job in jobs {
        // One that is deleted at this moment is left out.
        let Some(report) = reports::import_in(&mut *moment, tenant, job.import).await? else { continue };
        views.push((job.import, JobView::new(&mut moment, job, &report).await?));
    }
    let issues = if fault::mutant(Mutant::ViewOfSeveralMoments) {
        records::issues(&mut *state.0.store.reading(tenant).await?, tenant, &imports, 0, ERRORS_SHOWN).await?
    } else {
        records::issues(&mut *moment, tenant, &imports, 0, ERRORS_SHOWN).await?
    };
    moment.commit().await?;
    for issue in issues {
        let Some((_, view)) = views.iter_mut().find(|(import, _)| *import == issue.import) else { continue };
        if view.status == "invalid_scheme" {
            view.scheme_errors.extend(scheme_errors(&issue, &columns));
        } else {
            view.update_errors.extend(update_errors(&issue, &columns));
        }
    }
    Ok(views.into_iter().map(|(_, view)| view).collect())
}

impl JobView {
    async fn new(snapshot: &mut Connection, job: BulkJob, report: &ImportReport) -> Result<Self, StoreError> {
        let counts = report.counts;
        let mut affected = counts.inserted + counts.updated + counts.skipped;
        let mut failed = counts.failed;
        match report.state {
            // Nothing of such a file is applied.
            ImportState::Refused | ImportState::Aborted => affected = 0,
            ImportState::Cancelled => {
                let skipped = reports::skipped_by_reason(snapshot, report.tenant, report.id).await?;
                let cut = skipped.iter().filter(|(reason, _)| *reason == Reason::Cancelled);
                let cut: u64 = cut.map(|(_, count)| count).sum();
                affected = affected.saturating_sub(cut);
                failed += cut;
            }
            _ => {}
        }
        Ok(Self {
            id: job.id,
            created_at: moment(job.created_at),
            process_requested_at: job.process_requested_at.map(moment),
            filename: report.filename.clone(),
            total_rows: counts.total,
            affected_rows: affected,
            failed_rows: failed,
            status: status(report.state),
            uploaded_user_name: None,
            proceed_user_name: None,
            uploaded_api_user_name: job.uploaded_by,
            proceed_api_user_name: job.proceeded_by,
            scheme_errors: scheme_error_of_file(report).into_iter().collect(),
            update_errors: update_error_of_import(report).into_iter().collect(),
        })
    }
}

/// A moment as the original writes it: UTC, milliseconds, `Z`.
pub(super) fn moment(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_have_milliseconds_and_a_zone() {
        let at = DateTime::from_timestamp(1_641_537_634, 1_000_000).unwrap();
        assert_eq!(moment(at), "2022-01-07T06:40:34.001Z");
    }

    #[test]
    fn every_import_state_is_a_job_state_of_the_original() {
        let known = ["created", "valid_scheme", "invalid_scheme", "in_progress", "completed"];
        assert!(ImportState::ALL.iter().all(|state| known.contains(&status(*state))));
    }
}
