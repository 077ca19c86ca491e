//! The plan of an import: the part of its page that is shown before it is applied, and afterwards.

use chrono::{DateTime, Utc};
use maud::{Markup, html};
use muster_domain::id::ImportId;
use muster_domain::import::ImportState;
use muster_domain::options::Start;
use muster_store::Store;
use muster_store::plans;
use muster_store::reports::ImportReport;

use super::error::ConsoleError;
use super::formatting::{ago, count, number};
use super::imports::address;
use super::page::capital;
use crate::api::plans::PlanView;

/// Fields that are shown.
const FIELDS: usize = 20;

/// The plan of an import that has one.
pub(super) async fn read(store: &Store, report: &ImportReport) -> Result<Option<PlanView>, ConsoleError> {
    if report.options.start != Start::Plan {
        return Ok(None);
    }
    let plan = plans::summary(store, report.tenant, report.id).await?.flatten();
    Ok(plan.map(|plan| PlanView::new(report.id, plan, "")))
}

/// Its part of the page.
pub(super) fn view(plan: &PlanView, now: DateTime<Utc>) -> Markup {
    let counts = &plan.counts;
    let figures = [
        ("would be inserted", counts.inserted),
        ("would be updated", counts.updated),
        ("would be skipped", counts.skipped),
        ("would fail", counts.failed),
    ];
    html! {
        section aria-labelledby="plan" {
            h2 #plan { "What it would do" }
            @if plan.state == ImportState::Planned {
                p { "Nothing is written to users yet. Start it to do this, or cancel it." }
            }
            @for warning in &plan.warnings {
                p.note.wait { strong { (capital(&warning.message)) "." } " " (count(warning.count, "record", "records")) "." }
            }
            @if let Some(since) = plan.since.filter(|since| since.changed > 0) {
                p.note.wait {
                    strong { (number(since.changed)) " of " (count(since.looked_at, "user", "users")) " changed since." } " "
                    "Their records fail as changed_since_plan where that matters to them; an undo never overwrites these changes."
                }
            }
            dl.counts {
                @for (words, records) in figures { div { dt { (words) } dd { (number(records)) } } }
                @if counts.pending > 0 { div { dt { "not planned yet" } dd { (number(counts.pending)) } } }
            }
            @if !plan.fields.is_empty() { (fields(plan)) }
            @if !plan.kinds.is_empty() {
                h3 { "Most frequent changes" }
                ul { @for kind in &plan.kinds { li { (number(kind.count)) " × " (kind.change) } } }
            }
            @if let Some(at) = plan.planned_at { p.hint { "Made " (ago(now, at)) "." } }
            p { a href={ (address(ImportId::new(plan.import))) "/changes" } { "What each record would do" } }
        }
    }
}

fn fields(plan: &PlanView) -> Markup {
    html! {
        div.scroll {
            table {
                thead { tr { th scope="col" { "Field" } th scope="col" { "Changes" } th scope="col" { "Is set" } th scope="col" { "Is removed" } } }
                tbody {
                    @for field in plan.fields.iter().take(FIELDS) {
                        tr {
                            th scope="row" { (field.field) }
                            td { (number(field.changed)) } td { (number(field.set)) } td { (number(field.removed)) }
                        }
                    }
                }
            }
        }
        @if plan.fields.len() > FIELDS { p { "And " (count((plan.fields.len() - FIELDS) as u64, "more field", "more fields")) "." } }
    }
}

#[cfg(test)]
mod tests {
    use muster_runtime::clock;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_plan_shows_sums_and_what_to_look_at() {
        let plan: PlanView = serde_json::from_value(json!({
            "import": "0190a5f0-7b7c-7000-8000-000000000001", "state": "planned", "planned_at": null,
            "counts": {"total": 3, "pending": 0, "inserted": 1, "updated": 2, "skipped": 0, "failed": 0},
            "reasons": {}, "codes": {}, "kinds": [{"change": "roles <i> removed", "count": 2}],
            "fields": [{"field": "metadata.<b>", "set": 0, "changed": 2, "removed": 0}],
            "warnings": [{"code": "roles_removed", "message": "users lose a role", "count": 2}],
            "since": {"looked_at": 2, "changed": 1}, "links": {"changes": "", "csv": ""}
        }))
        .unwrap();
        let shown = view(&plan, clock::now()).into_string();
        for part in [
            "Users lose a role.",
            "2 records.",
            "1 of 2 users changed since.",
            "metadata.&lt;b&gt;",
            "roles &lt;i&gt; removed",
            "/changes",
        ] {
            assert!(shown.contains(part), "{part}: {shown}");
        }
    }
}
