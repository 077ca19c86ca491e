//! Plans of imports: what an import would do before it is applied.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures_util::stream;
use muster_domain::error::RecordError;
use muster_domain::id::{ImportId, TenantId};
use muster_domain::import::ImportState;
use muster_domain::outcome::{Counts, Outcome, Reason};
use muster_domain::planned::{FieldSum, PlannedRecord};
use muster_domain::record::without_secrets;
use muster_domain::token::Scope;
use muster_store::plans::{self as store, Cursor, PlanSummary, PlannedPage};
use muster_store::{Store, StoreError};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use super::AppState;
use super::auth::Caller;
use super::error::ApiError;
use super::mask::masked_json;
use super::params::{Id, Params, and, invalid, next_page};
use super::records::streamed;
use crate::export::{ExportFormat, report_row};

/// How many kinds of change are listed.
const KINDS: usize = 10;

/// What an import would do.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct PlanView {
    /// The import.
    pub import: Uuid,
    /// Its state: planning, planned, or what came after.
    #[schema(value_type = String)]
    pub state: ImportState,
    /// When the plan was whole; null while it is being made.
    pub planned_at: Option<DateTime<Utc>>,
    /// What the records would come to; pending are those that are not planned yet.
    #[schema(value_type = Object)]
    pub counts: Counts,
    /// Records that would be skipped, and updates that would only enrol, by reason.
    pub reasons: BTreeMap<String, u64>,
    /// Records that would fail, by their first error; those that failed while the file was received are in the import's problems.
    pub codes: BTreeMap<String, u64>,
    /// Updates by field, the field that most of them change first.
    pub fields: Vec<PlannedField>,
    /// What changes together, the ten most frequent first.
    pub kinds: Vec<PlannedKind>,
    /// What somebody should look at before this is applied.
    pub warnings: Vec<PlanWarning>,
    /// Users of the plan that somebody else changed since it was made; null once it is applied.
    pub since: Option<PlanSince>,
    /// Where its records are.
    pub links: PlanLinks,
}

/// In how many records a field changes.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct PlannedField {
    /// The field.
    pub field: String,
    /// It is empty and gets a value.
    pub set: u64,
    /// It gets another value.
    pub changed: u64,
    /// It loses its value.
    pub removed: u64,
}

/// What changes together.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct PlannedKind {
    /// In words: `family_name changed, phone_number removed`.
    pub change: String,
    /// In how many records.
    pub count: u64,
}

/// Something that somebody should look at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PlanWarning {
    /// many_users, email_domains, roles_removed or users_disabled.
    pub code: String,
    /// One sentence for people.
    pub message: String,
    /// How many records.
    pub count: u64,
}

/// How many users changed since the plan was made.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
pub struct PlanSince {
    /// Users that were looked at: the first ones of a large plan.
    pub looked_at: u64,
    /// Those that have changed since they were planned.
    pub changed: u64,
}

/// Addresses of a plan's records.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct PlanLinks {
    /// Page by page.
    pub changes: String,
    /// As a table.
    pub csv: String,
}

impl PlanView {
    /// The view of a plan, its links beginning with `base`.
    pub fn new(import: ImportId, plan: PlanSummary, base: &str) -> Self {
        let warnings = warnings(&plan);
        let mut fields: Vec<PlannedField> = plan
            .sums
            .fields
            .into_iter()
            .map(|(field, FieldSum { set, changed, removed })| PlannedField { field, set, changed, removed })
            .collect();
        fields.sort_by_key(|field| std::cmp::Reverse(field.set + field.changed + field.removed));
        let mut kinds: Vec<PlannedKind> =
            plan.sums.kinds.into_iter().map(|(change, count)| PlannedKind { change, count }).collect();
        kinds.sort_by_key(|kind| std::cmp::Reverse(kind.count));
        kinds.truncate(KINDS);
        let own = format!("{base}/v1/imports/{import}/plan");
        Self {
            import: import.get(),
            state: plan.state,
            planned_at: plan.planned_at,
            counts: plan.counts,
            reasons: plan.sums.reasons,
            codes: plan.sums.codes,
            fields,
            kinds,
            warnings,
            since: plan.since.map(|since| PlanSince { looked_at: since.looked_at, changed: since.changed }),
            links: PlanLinks { changes: format!("{own}/changes"), csv: format!("{own}.csv") },
        }
    }
}

fn warnings(plan: &PlanSummary) -> Vec<PlanWarning> {
    let many = plan.counts.updated.saturating_mul(store::WORTH_A_WARNING) > plan.tenant_users;
    let sums = &plan.sums;
    let told = [
        (
            "many_users",
            "more than 5 % of the tenant's users, or more than 100,000 of them, change",
            if many { plan.counts.updated } else { 0 },
        ),
        ("email_domains", "e-mail addresses move to another domain", sums.email_domains),
        ("roles_removed", "users lose a role", sums.roles_removed),
        ("users_disabled", "users are disabled", sums.disabled),
    ];
    let warning = |(code, message, count): (&str, &str, u64)| PlanWarning {
        code: code.to_owned(),
        message: message.to_owned(),
        count,
    };
    told.into_iter().filter(|(.., count)| *count > 0).map(warning).collect()
}

/// What one record would do.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct PlannedView {
    /// Its number in the file, from 1.
    pub record: u64,
    /// The line that it begins on; null where it is not known.
    pub line: Option<u64>,
    /// inserted, updated, skipped or failed.
    #[schema(value_type = String)]
    pub outcome: Outcome,
    /// Why, where there is more than one way to the outcome.
    #[schema(value_type = Option<String>)]
    pub reason: Option<Reason>,
    /// The user that it means, where there is one already.
    pub user_id: Option<Uuid>,
    /// The fields that change.
    pub changes: Vec<PlannedChange>,
    /// What it says in vain.
    pub warnings: Vec<String>,
    /// What is wrong with it.
    #[schema(value_type = Vec<Object>)]
    pub errors: Vec<RecordError>,
}

/// What happens to one field. Secrets are never among them.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct PlannedChange {
    /// The field: `given_name`, `metadata.office`, `roles.3`.
    pub field: String,
    /// What it is; absent for nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Value>,
    /// What it becomes; absent for nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Value>,
}

impl PlannedView {
    /// The view of a planned record; `shown` says whether users' values are.
    pub fn new(record: PlannedRecord, shown: bool) -> Self {
        let PlannedRecord { mut before, mut after, .. } = record;
        let mut fields: Vec<String> = before.keys().chain(after.keys()).cloned().collect();
        fields.sort_unstable();
        fields.dedup();
        let value = |field: &str, value: Option<Value>| {
            let value = value.map(|value| match field.strip_prefix("metadata.") {
                Some(key) => without_secrets(key, value),
                None => value,
            });
            value.map(|value| if shown { value } else { masked_json(&value) })
        };
        let changes = fields.into_iter().map(|field| PlannedChange {
            before: value(&field, before.remove(&field)),
            after: value(&field, after.remove(&field)),
            field,
        });
        Self {
            changes: changes.collect(),
            record: record.record,
            line: (record.line > 0).then_some(record.line),
            outcome: record.outcome,
            reason: record.reason,
            user_id: record.user,
            warnings: record.warnings,
            errors: record.errors,
        }
    }
}

/// A page of planned records, in the order in which they were planned.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct PlannedList {
    /// Whether users' values are masked: showing them takes the scope `users:read`.
    pub masked: bool,
    /// The records.
    pub records: Vec<PlannedView>,
    /// What to give as `after` for the next page; null on the last.
    pub next: Option<String>,
    /// Address of the next page; null on the last.
    pub next_link: Option<String>,
}

/// Tells what an import would do: counts, sums by field, and what somebody should look at.
#[utoipa::path(
    get, path = "/v1/imports/{id}/plan", tag = "imports", operation_id = "imports_plan", params(("id" = String, Path)),
    responses((status = 200, description = "The plan", body = PlanView)),
)]
pub(super) async fn show(
    State(state): State<AppState>,
    caller: Caller,
    Id(import): Id<ImportId>,
    params: Params,
) -> Result<Json<PlanView>, ApiError> {
    let tenant = caller.may(Scope::ImportRead)?;
    params.finish()?;
    let plan = store::summary(&state.0.store, tenant, import).await?;
    let plan = plan.ok_or(ApiError::NotFound)?.ok_or(ApiError::NoPlan)?;
    Ok(Json(PlanView::new(import, plan, &state.0.link_base)))
}

/// Whether there is a plan: asked for each page, so it is not summed up.
async fn is_there(store: &Store, tenant: TenantId, import: ImportId) -> Result<(), ApiError> {
    match store::is_there(store, tenant, import).await? {
        Some(true) => Ok(()),
        Some(false) => Err(ApiError::NoPlan),
        None => Err(ApiError::NotFound),
    }
}

/// Lists what each record would do, in the order in which they were planned: with the fields that change, before and after. Users'
/// values are masked unless the token has the scope `users:read`.
#[utoipa::path(
    get, path = "/v1/imports/{id}/plan/changes", tag = "imports", operation_id = "imports_plan_changes",
    params(("id" = String, Path),
           ("field" = Option<String>, Query, description = "those that change this field: `given_name`, `metadata.office`, `metadata`, `roles`, `roles.3`; of an undo also those that leave it as it is, and those that delete their user"),
           ("outcome" = Option<String>, Query, description = "inserted, updated, skipped or failed"),
           ("after" = Option<String>, Query, description = "`next` of the page before"),
           ("limit" = Option<u16>, Query, description = "Most records of the page; one of large records ends sooner")),
    responses((status = 200, description = "A page of planned records", body = PlannedList,
               headers(("Link" = String, description = "Address of the next page, `rel=\"next\"`; absent on the last")))),
)]
pub(super) async fn changes(
    State(state): State<AppState>,
    caller: Caller,
    Id(import): Id<ImportId>,
    mut params: Params,
) -> Result<Response, ApiError> {
    let tenant = caller.may(Scope::ImportRead)?;
    let shown = caller.sees_users();
    let field: Option<String> = params.take("field")?;
    let outcome_text: Option<String> = params.take("outcome")?;
    let outcome = outcome_text.as_deref().map(planned_outcome).transpose()?;
    let after: Cursor = params.take_after()?.unwrap_or_default();
    let limit = usize::from(params.take_limit(100, 1000)?);
    params.finish()?;
    is_there(&state.0.store, tenant, import).await?;
    let wanted = PlannedPage { field: field.as_deref(), outcome, after, limit };
    let page = store::page(&state.0.store, tenant, import, wanted).await?;
    let next = page.next.map(|place| place.to_string());
    let mut filter = String::new();
    for (name, value) in [("outcome", &outcome_text), ("field", &field)] {
        if let Some(value) = value {
            and(&mut filter, name, value);
        }
    }
    let base = &state.0.link_base;
    let address =
        |next: &String| format!("{base}/v1/imports/{import}/plan/changes?after={next}&limit={limit}{filter}");
    let next_link = next.as_ref().map(address);
    let headers = next_page(next_link.as_deref());
    let records = page.records.into_iter().map(|record| PlannedView::new(record, shown)).collect();
    Ok((headers, Json(PlannedList { masked: !shown, records, next, next_link })).into_response())
}

fn planned_outcome(text: &str) -> Result<Outcome, ApiError> {
    match text {
        "inserted" => Ok(Outcome::Inserted),
        "updated" => Ok(Outcome::Updated),
        "skipped" => Ok(Outcome::Skipped),
        "failed" => Ok(Outcome::Failed),
        _ => Err(invalid("outcome", "must be one of: inserted, updated, skipped, failed")),
    }
}

/// The plan as a table: a row for each field that changes, and one for each record that changes none. Users' values are masked
/// unless the token has the scope `users:read`.
#[utoipa::path(
    get, path = "/v1/imports/{id}/plan.csv", tag = "imports", operation_id = "imports_plan_csv", params(("id" = String, Path)),
    responses((status = 200, description = "record, line, outcome, reason, user_id, field, before, after, error_code, error_field, \
                                            error_message", content_type = "text/csv", body = String)),
)]
pub(super) async fn csv(
    State(state): State<AppState>,
    caller: Caller,
    Id(import): Id<ImportId>,
    params: Params,
) -> Result<Response, ApiError> {
    let tenant = caller.may(Scope::ImportRead)?;
    params.finish()?;
    is_there(&state.0.store, tenant, import).await?;
    let pages = table(&state.0.store, tenant, import, caller.sees_users());
    streamed(&state, pages, ExportFormat::Csv, &format!("plan-{import}.csv")).await
}

const COLUMNS: [&str; 11] = [
    "record",
    "line",
    "outcome",
    "reason",
    "user_id",
    "field",
    "before",
    "after",
    "error_code",
    "error_field",
    "error_message",
];

/// A plan as a table, a chunk at a time.
fn table(
    store: &Store,
    tenant: TenantId,
    import: ImportId,
    shown: bool,
) -> impl stream::Stream<Item = Result<Bytes, StoreError>> + Send + use<> {
    let mut head = "\u{feff}".as_bytes().to_vec();
    report_row(COLUMNS.map(str::to_owned), &mut head);
    let store = store.clone();
    stream::try_unfold((store, 0, Some(head)), move |(store, after, head)| async move {
        if let Some(head) = head {
            return Ok(Some((Bytes::from(head), (store, after, None))));
        }
        let Some((plan, records)) = store::chunk_after(&store, tenant, import, after).await? else {
            return Ok(None);
        };
        let mut piece = Vec::new();
        for record in records {
            rows(PlannedView::new(record, shown), &mut piece);
        }
        Ok(Some((Bytes::from(piece), (store, plan, None))))
    })
}

fn rows(record: PlannedView, out: &mut Vec<u8>) {
    let error = record.errors.first();
    let optional = |text: Option<String>| text.unwrap_or_default();
    let ends = [
        optional(error.map(|error| error.code.to_string())),
        optional(error.and_then(|error| error.field.clone())),
        optional(error.map(|error| error.message.clone())),
    ];
    let starts = [
        record.record.to_string(),
        optional(record.line.map(|line| line.to_string())),
        outcome_word(record.outcome).to_owned(),
        optional(record.reason.map(|reason| reason.as_str().to_owned())),
        optional(record.user_id.map(|user| user.to_string())),
    ];
    let mut row = |changes: [String; 3]| report_row(starts.iter().chain(&changes).chain(&ends).cloned(), out);
    if record.changes.is_empty() {
        row(Default::default());
    }
    for change in record.changes {
        row([change.field, cell(change.before), cell(change.after)]);
    }
}

/// A text as it is, everything else as JSON.
fn cell(value: Option<Value>) -> String {
    match value {
        None => String::new(),
        Some(Value::String(text)) => text,
        Some(value) => value.to_string(),
    }
}

fn outcome_word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Pending => "pending",
        Outcome::Inserted => "inserted",
        Outcome::Updated => "updated",
        Outcome::Skipped => "skipped",
        Outcome::Failed => "failed",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_planned_change_shows_no_secret() {
        let map = |value: Value| value.as_object().cloned().unwrap_or_default();
        let record = PlannedRecord {
            index: 0,
            record: 1,
            line: 2,
            outcome: Outcome::Updated,
            reason: None,
            user: None,
            errors: Vec::new(),
            warnings: Vec::new(),
            before: map(json!({"metadata.api_key": "old-marker", "metadata.office": "Rome"})),
            after: map(
                json!({"metadata.api_key": "new-marker", "metadata.login": {"pin": "marker", "at": 7}}),
            ),
            inserts: None,
            maker: None,
            exceptions: None,
        };
        let told = serde_json::to_value(PlannedView::new(record, true).changes).unwrap();
        assert!(!told.to_string().contains("marker"), "{told}");
        assert_eq!(told[0]["field"], "metadata.api_key");
        assert_eq!((&told[1]["after"]["at"], &told[2]["before"]), (&json!(7), &json!("Rome")));
    }
}
