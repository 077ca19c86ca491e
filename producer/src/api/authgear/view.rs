//! Imports in Authgear's shape, and their place in the response body.

use axum::body::Body;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures_util::stream;
use muster_domain::fault::{self, Mutant};
use muster_domain::import::ImportState;
use muster_domain::options::OnExisting;
use muster_domain::outcome::{Outcome, Reason};
use muster_runtime::config::Envelope;
use muster_store::records::{self, RecordFilter, RecordReport};
use muster_store::reports::{self, ImportReport};
use muster_store::{Connection, Store, StoreError, catalog, snapshot};
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;
use uuid::Uuid;

use super::error::ErrorObject;
use super::import_id;
use super::messages::Explainer;
use super::redacted_input::redacted_input;

/// Records read and encoded at a time.
const PAGE: usize = 1_000;

const EXISTS: &str = "skipping because upsert = false and user exists";
const CANCELLED: &str = "skipping because the import was cancelled";

/// An import (contracts A.2.1).
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AuthgearImport)]
pub(super) struct UserImport {
    /// `userimport_` and 32 characters of Crockford's base32.
    id: String,
    /// When it was created.
    created_at: DateTime<Utc>,
    /// When it was completed.
    #[serde(skip_serializing_if = "Option::is_none")]
    completed_at: Option<DateTime<Utc>>,
    /// `pending` or `completed`.
    status: &'static str,
    /// Where a whole part of the import could not be applied; its records are `failed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ErrorObject>,
    /// The number of records by outcome, once completed.
    #[serde(skip_serializing_if = "Option::is_none")]
    summary: Option<Summary>,
    /// The outcome of each record, in order, once completed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    details: Vec<Detail>,
}

/// The number of records by outcome.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AuthgearSummary)]
pub(super) struct Summary {
    total: u64,
    inserted: u64,
    updated: u64,
    skipped: u64,
    failed: u64,
}

/// The outcome of one record.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AuthgearDetail)]
pub(super) struct Detail {
    /// Its place in the request, from 0.
    index: u64,
    /// The record, secrets redacted.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    record: Option<Value>,
    /// inserted, updated, skipped or failed.
    outcome: &'static str,
    /// The user; absent where the record failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<Uuid>,
    /// The parts of the record that had no effect.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<WarningObject>,
    /// Exactly one error, where the record failed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<ErrorObject>,
}

/// A part of a record that had no effect.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AuthgearWarning)]
pub(super) struct WarningObject {
    message: String,
}

/// An import that has only just been created, or has not ended.
pub(super) fn pending(report: &ImportReport) -> UserImport {
    UserImport {
        id: import_id::encode(report.id),
        created_at: report.created_at,
        completed_at: None,
        status: "pending",
        error: None,
        summary: None,
        details: Vec::new(),
    }
}

/// The response for an import in its current state. `None` if it never came to be one.
pub(super) async fn answer(
    store: &Store,
    report: &ImportReport,
    envelope: Envelope,
) -> Result<Option<Response>, StoreError> {
    match report.state {
        ImportState::Receiving
        | ImportState::Received
        | ImportState::Planning
        | ImportState::Planned
        | ImportState::Running
        | ImportState::Paused => Ok(Some(respond(&pending(report), Vec::new(), envelope))),
        ImportState::Completed | ImportState::Cancelled => {
            // One moment for summary and details: a retry may begin at any time.
            let mut moment = snapshot(store, report.tenant).await?;
            let Some(report) = reports::import_in(&mut *moment, report.tenant, report.id).await? else {
                return Ok(None);
            };
            if report.state != ImportState::Completed && report.state != ImportState::Cancelled {
                return Ok(Some(respond(&pending(&report), Vec::new(), envelope)));
            }
            let object = completed(&mut moment, &report).await?;
            let pieces = if fault::mutant(Mutant::ViewOfSeveralMoments) {
                details(&mut *store.pool().acquire().await?, &report).await?
            } else {
                details(&mut moment, &report).await?
            };
            moment.commit().await?;
            Ok(Some(respond(&object, pieces, envelope)))
        }
        ImportState::Aborted | ImportState::Refused => Ok(None),
    }
}

/// Everything but the details.
async fn completed(moment: &mut Connection, report: &ImportReport) -> Result<UserImport, StoreError> {
    let counts = report.counts;
    // With upsert a user that needed no change is an updated one; skipped are only those whose turn never came, or came
    // after that of a later record.
    let skipped = match report.options.on_existing {
        OnExisting::Update if counts.skipped == 0 => 0,
        OnExisting::Update => {
            let by_reason = reports::skipped_by_reason(moment, report.tenant, report.id).await?;
            let passed = |reason| matches!(reason, Reason::Cancelled | Reason::Superseded);
            by_reason.iter().filter(|(reason, _)| passed(*reason)).map(|(_, count)| count).sum()
        }
        OnExisting::Skip | OnExisting::Enrol => counts.skipped,
    };
    Ok(UserImport {
        completed_at: report.completed_at,
        status: "completed",
        error: (report.chunks.dead > 0).then(ErrorObject::unexpected),
        summary: Some(Summary {
            total: counts.total,
            inserted: counts.inserted,
            updated: counts.updated + counts.skipped.saturating_sub(skipped),
            skipped,
            failed: counts.failed,
        }),
        ..pending(report)
    })
}

/// The details as pieces of JSON text with commas between them. A request's size bounds them.
async fn details(moment: &mut Connection, report: &ImportReport) -> Result<Vec<Bytes>, StoreError> {
    let attributes = if report.counts.failed > 0 {
        catalog::index(&mut *moment, report.tenant).await?.attributes
    } else {
        Default::default()
    };
    let explainer = Explainer::new(report.options.identifier, attributes);
    let mut pieces = Vec::new();
    let mut after = 0;
    loop {
        let filter = RecordFilter { after, sources: true, ..RecordFilter::default() };
        let page =
            records::page_in(&mut *moment, report.tenant, report.id, &report.options, filter, PAGE).await?;
        let Some(last) = page.last() else { return Ok(pieces) };
        after = last.record;
        let mut text = Vec::new();
        for record in page {
            if !(pieces.is_empty() && text.is_empty()) {
                text.push(b',');
            }
            let detail = detail(record, report.options.on_existing, &explainer);
            serde_json::to_writer(&mut text, &detail)
                .map_err(|error| StoreError::Program(error.to_string()))?;
        }
        pieces.push(text.into());
    }
}

fn detail(report: RecordReport, on_existing: OnExisting, explainer: &Explainer) -> Detail {
    let record = report.source.as_deref().and_then(object);
    let mut warnings = report.warnings;
    let outcome = match (report.outcome, report.reason) {
        (Outcome::Inserted, _) => "inserted",
        (Outcome::Updated, _) => "updated",
        (Outcome::Failed, _) => "failed",
        (_, Some(Reason::Unchanged)) if on_existing == OnExisting::Update => "updated",
        (_, Some(Reason::Exists)) => {
            warnings.push(EXISTS.to_owned());
            "skipped"
        }
        // Its warning says why.
        (_, Some(Reason::Superseded)) => "skipped",
        _ => {
            warnings.push(CANCELLED.to_owned());
            "skipped"
        }
    };
    let failed = report.outcome == Outcome::Failed;
    let errors = if failed {
        vec![explainer.explain(record.as_ref().unwrap_or(&Value::Null), &report.errors)]
    } else {
        Vec::new()
    };
    Detail {
        index: report.record.saturating_sub(1),
        record: record.map(redacted_input),
        outcome,
        user_id: report.user_id.filter(|_| !failed),
        warnings: warnings.into_iter().map(|message| WarningObject { message }).collect(),
        errors,
    }
}

/// A record as an object, its keys sorted. `None` where it could not be read.
fn object(source: &str) -> Option<Value> {
    let fields: Vec<(String, Value)> = serde_json::from_str(source).ok()?;
    // Text that could not be read as an object is under the empty name.
    if let [(name, _)] = &fields[..]
        && name.is_empty()
    {
        return None;
    }
    Some(Value::Object(fields.into_iter().collect::<Map<_, _>>()))
}

/// The object in its envelope, details last. Pieces that occur twice are shared.
pub(super) fn respond(object: &UserImport, details: Vec<Bytes>, envelope: Envelope) -> Response {
    // Plain strings and numbers: it cannot fail.
    let mut head = serde_json::to_string(object).unwrap_or_default();
    head.pop();
    let mut pieces = Vec::new();
    let with_details = |pieces: &mut Vec<Bytes>, before: String| {
        pieces.push(before.into());
        if !details.is_empty() {
            pieces.push(Bytes::from_static(b",\"details\":["));
            pieces.extend_from_slice(&details);
            pieces.push(Bytes::from_static(b"]"));
        }
    };
    if envelope != Envelope::Bare {
        with_details(&mut pieces, format!("{{\"result\":{head}"));
        pieces.push(Bytes::from_static(b"}"));
    }
    match envelope {
        Envelope::Result => {}
        Envelope::Both => with_details(&mut pieces, head.replacen('{', ",", 1)),
        Envelope::Bare => with_details(&mut pieces, head),
    }
    pieces.push(Bytes::from_static(b"}\n"));
    let length: usize = pieces.iter().map(Bytes::len).sum();
    let body = Body::from_stream(stream::iter(pieces.into_iter().map(Ok::<_, std::convert::Infallible>)));
    let headers =
        [(header::CONTENT_TYPE, "application/json".to_owned()), (header::CONTENT_LENGTH, length.to_string())];
    (headers, body).into_response()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use muster_domain::options::IdentifierField;
    use muster_domain::warning::Warning;
    use serde_json::json;

    use super::*;

    /// Authgear has no retry, so its clients see such a record as skipped, with the reason.
    #[test]
    fn a_retried_record_that_a_later_one_passed_is_skipped_with_a_warning() {
        let superseded = Warning::Superseded(7).to_string();
        let report = RecordReport {
            record: 3,
            line: None,
            outcome: Outcome::Skipped,
            reason: Some(Reason::Superseded),
            user_id: None,
            identifier: None,
            warnings: vec![superseded.clone()],
            errors: Vec::new(),
            source: Some(r#"[["email", "a@example.com"]]"#.to_owned()),
        };
        let explainer = Explainer::new(IdentifierField::Email, BTreeMap::new());
        for on_existing in [OnExisting::Update, OnExisting::Skip] {
            let shown = serde_json::to_value(detail(report.clone(), on_existing, &explainer)).unwrap();
            assert_eq!((&shown["index"], &shown["outcome"]), (&json!(2), &json!("skipped")));
            assert_eq!(shown["warnings"], json!([{ "message": superseded }]));
        }
    }
}
