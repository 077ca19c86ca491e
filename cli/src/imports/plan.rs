//! `muster imports plan`: what an import would do, as sums or as a diff.

use std::fmt::Write;

use anyhow::bail;
use clap::Args;
use muster_domain::id::ImportId;
use muster_domain::import::ImportState;
use muster_domain::outcome::{Outcome, Reason};
use muster_producer::api::{PlanView, PlannedList, PlannedView};
use muster_store::plans::{self, PlannedPage};
use serde_json::Value;

use super::backend::Backend;
use super::local::Local;
use crate::client::{Remote, operations};
use crate::failure::Exit;
use crate::invocation::Invocation;
use crate::output::{json, number, stdout_line};

/// Reasons of records that count as updates.
const UPDATES: [&str; 2] = ["enrolled", "deleted"];
/// Records that are asked for at a time.
const PAGE: u16 = 500;

/// Options of `muster imports plan`.
#[derive(Debug, Args)]
pub(crate) struct PlanArgs {
    /// The import: its id, the beginning or the end of it, `last`, or `userimport_…`
    pub(super) id: String,
    /// Show what changes of each user, line by line, and what fails
    #[arg(long)]
    diff: bool,
    /// With --diff: only records that change this field, as `metadata.office` or `phone_number`; of an undo also those that leave it as it
    /// is, and those that delete their user
    #[arg(long, value_name = "FIELD", requires = "diff")]
    field: Option<String>,
    /// With --diff: only records with this outcome; of an undo `skipped` are those that are left alone
    #[arg(long, value_name = "OUTCOME", requires = "diff", value_parser = ["inserted", "updated", "skipped", "failed"])]
    outcome: Option<String>,
    /// Make the plan anew, as things are now
    #[arg(long, conflicts_with = "diff")]
    pub(super) again: bool,
}

impl PlanArgs {
    fn outcome(&self) -> Option<Outcome> {
        match self.outcome.as_deref()? {
            "inserted" => Some(Outcome::Inserted),
            "updated" => Some(Outcome::Updated),
            "skipped" => Some(Outcome::Skipped),
            _ => Some(Outcome::Failed),
        }
    }
}

/// Shows a plan.
pub(super) async fn show(
    backend: &Backend<'_>,
    id: ImportId,
    args: &PlanArgs,
    as_json: bool,
    invocation: &Invocation,
) -> anyhow::Result<Exit> {
    let plan = read(backend, id, invocation).await?;
    if !args.diff {
        return tell(&plan, as_json, invocation);
    }
    let mut after = None;
    loop {
        let page = match backend {
            Backend::Local(local) => local.planned(id, args, after.as_deref()).await?,
            Backend::Remote(remote) => remote.planned(id, args, after.as_deref()).await?,
        };
        for record in &page.records {
            if as_json {
                stdout_line(serde_json::to_string(record)?)?;
            } else if let Some(text) = diff(record) {
                stdout_line(text)?;
            }
        }
        after = page.next;
        if after.is_none() {
            return Ok(ended(&plan));
        }
    }
}

async fn read(backend: &Backend<'_>, id: ImportId, invocation: &Invocation) -> anyhow::Result<PlanView> {
    let plan = match backend {
        Backend::Local(local) => local.plan(id).await,
        Backend::Remote(remote) => remote.plan(id).await,
    };
    if plan.is_err()
        && let Ok(view) = backend.show(id).await
        && view.state == ImportState::Cancelled
        && view.options.undo.is_some()
    {
        let resume = invocation.command("resume", id);
        bail!("import {id} was cancelled and has no plan: `{resume}` goes on with it");
    }
    plan
}

/// Tells the plan of an import.
pub(super) async fn planned(
    backend: &Backend<'_>,
    id: ImportId,
    as_json: bool,
    invocation: &Invocation,
) -> anyhow::Result<Exit> {
    tell(&read(backend, id, invocation).await?, as_json, invocation)
}

/// Tells the sums of a plan and how to go on.
pub(crate) fn tell(plan: &PlanView, as_json: bool, invocation: &Invocation) -> anyhow::Result<Exit> {
    if as_json {
        json(plan)?;
    } else {
        stdout_line(text(plan, invocation))?;
    }
    Ok(ended(plan))
}

/// As applying it would end.
fn ended(plan: &PlanView) -> Exit {
    if plan.counts.failed > 0 { Exit::FailedRecords } else { Exit::Done }
}

fn text(plan: &PlanView, invocation: &Invocation) -> String {
    let (id, counts) = (plan.import, &plan.counts);
    let mut text = match plan.planned_at {
        Some(at) => format!("plan of import {id}, made at {}", at.format("%Y-%m-%d %H:%M:%S UTC")),
        None => format!("plan of import {id}, which is being made"),
    };
    // Writing to a String cannot fail, here and below.
    let _ = write!(text, "\n  total         {}", number(counts.total));
    if counts.pending > 0 {
        let _ = write!(text, "\n  not planned   {}", number(counts.pending));
    }
    let _ = write!(
        text,
        "\n  would insert  {}\n  would update  {}{}\n  would skip    {}{}\n  would fail    {}{}",
        number(counts.inserted),
        number(counts.updated),
        causes(plan.reasons.iter().filter(|(reason, _)| UPDATES.contains(&reason.as_str()))),
        number(counts.skipped),
        causes(plan.reasons.iter().filter(|(reason, _)| !UPDATES.contains(&reason.as_str()))),
        number(counts.failed),
        causes(plan.codes.iter()),
    );
    for field in &plan.fields {
        let parts = [(field.changed, "changed"), (field.set, "set"), (field.removed, "removed")];
        let parts: Vec<String> = parts
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, how)| format!("{how} {}", number(*count)))
            .collect();
        let _ = write!(text, "\n  {}: {}", field.field, parts.join(", "));
    }
    if !plan.kinds.is_empty() {
        text.push_str("\nmost frequent changes");
        for kind in &plan.kinds {
            let _ = write!(text, "\n  {} × {}", number(kind.count), kind.change);
        }
    }
    for warning in &plan.warnings {
        let _ = write!(text, "\nlook at this: {} ({})", warning.message, number(warning.count));
    }
    if let Some(since) = plan.since.filter(|since| since.changed > 0) {
        let _ = write!(
            text,
            "\n{} of {} users that were looked at have changed since: `proceed` refuses their records, unless --on-drift apply is given; an undo never overwrites these changes",
            number(since.changed),
            number(since.looked_at)
        );
    }
    if counts.updated > 0 {
        let _ = write!(text, "\nwhat changes: {} --diff", invocation.command("plan", id));
    }
    if plan.state == ImportState::Planned {
        let (proceed, cancel) = (invocation.command("proceed", id), invocation.command("cancel", id));
        let _ = write!(text, "\nto apply it: {proceed}\nto drop it:  {cancel}");
    }
    text
}

fn causes<'c>(causes: impl Iterator<Item = (&'c String, &'c u64)>) -> String {
    let texts: Vec<String> = causes.map(|(cause, count)| format!("{cause} {}", number(*count))).collect();
    if texts.is_empty() { String::new() } else { format!(" ({})", texts.join(", ")) }
}

/// What a record changes, a line for what goes and one for what comes. `None` for one that changes nothing that is there and says nothing in
/// vain.
fn diff(record: &PlannedView) -> Option<String> {
    let line = record.line.map(|line| format!(", line {line}")).unwrap_or_default();
    let user = record.user_id.map(|user| format!(", user {user}")).unwrap_or_default();
    let head = format!("record {}{line}{user}", record.record);
    match record.outcome {
        Outcome::Updated => {
            let mut text = head;
            if record.reason == Some(Reason::Deleted) {
                text.push_str("\n  - the user");
            }
            for change in &record.changes {
                for (sign, value) in [('-', &change.before), ('+', &change.after)] {
                    if let Some(value) = value {
                        let _ = write!(text, "\n  {sign} {}: {}", change.field, shown(value));
                    }
                }
            }
            Some(in_vain(record, text))
        }
        Outcome::Failed => {
            let errors = record.errors.iter().map(|error| {
                let field = error.field.as_ref().map(|field| format!("{field}: ")).unwrap_or_default();
                format!("\n  ! {field}{} [{}]", error.message, error.code)
            });
            Some(errors.fold(format!("{head} fails"), |text, error| text + &error))
        }
        Outcome::Inserted | Outcome::Skipped if !record.warnings.is_empty() => Some(in_vain(record, head)),
        Outcome::Inserted | Outcome::Skipped | Outcome::Pending => None,
    }
}

/// What a record says in vain, and what an undo leaves as it is.
fn in_vain(record: &PlannedView, mut text: String) -> String {
    for warning in &record.warnings {
        let _ = write!(text, "\n  ~ {}", shown(&Value::from(warning.as_str())));
    }
    text
}

/// On one line, and nothing that a terminal would act on.
fn shown(value: &Value) -> String {
    let text = value.to_string();
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

impl Local<'_> {
    pub(crate) async fn plan(&self, id: ImportId) -> anyhow::Result<PlanView> {
        match plans::summary(&self.session.store, self.tenant, id).await? {
            Some(Some(plan)) => Ok(PlanView::new(id, plan, "")),
            Some(None) => bail!("import {id} has no plan: `muster import users FILE --plan` makes one"),
            None => bail!("the tenant has no import {id}; `muster imports list` shows them"),
        }
    }

    async fn planned(
        &self,
        id: ImportId,
        args: &PlanArgs,
        after: Option<&str>,
    ) -> anyhow::Result<PlannedList> {
        let after = after.map(str::parse).transpose()?.unwrap_or_default();
        let (field, outcome) = (args.field.as_deref(), args.outcome());
        let wanted = PlannedPage { field, outcome, after, limit: usize::from(PAGE) };
        let page = plans::page(&self.session.store, self.tenant, id, wanted).await?;
        let next = page.next.map(|place| place.to_string());
        let records = page.records.into_iter().map(|record| PlannedView::new(record, true)).collect();
        Ok(PlannedList { masked: false, records, next, next_link: None })
    }
}

impl Remote {
    pub(crate) async fn plan(&self, id: ImportId) -> anyhow::Result<PlanView> {
        self.ask(operations::IMPORTS_PLAN.at(&[&id])).await
    }

    async fn planned(
        &self,
        id: ImportId,
        args: &PlanArgs,
        after: Option<&str>,
    ) -> anyhow::Result<PlannedList> {
        let call = operations::IMPORTS_PLAN_CHANGES
            .at(&[&id])
            .with("limit", PAGE.to_string())
            .with_all(args.field.clone().map(|field| ("field", field)))
            .with_all(args.outcome.clone().map(|outcome| ("outcome", outcome)))
            .with_all(after.map(|after| ("after", after.to_owned())));
        self.ask(call).await
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn record(value: Value) -> PlannedView {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_diff_shows_what_goes_and_what_comes() {
        let updated = record(json!({
            "record": 7, "line": 8, "outcome": "updated", "reason": null, "user_id": null, "warnings": [], "errors": [],
            "changes": [{"field": "given_name", "before": "Ann", "after": "An\u{1b}na"}, {"field": "metadata.x", "before": [1]}]
        }));
        assert_eq!(
            diff(&updated).unwrap(),
            "record 7, line 8\n  - given_name: \"Ann\"\n  + given_name: \"An\\u001bna\"\n  - metadata.x: [1]"
        );
        let failed = record(json!({
            "record": 9, "line": null, "outcome": "failed", "reason": null, "user_id": null, "warnings": [], "changes": [],
            "errors": [{"code": "identity_conflict", "field": "email", "message": "the value belongs to another user"}]
        }));
        assert_eq!(
            diff(&failed).unwrap(),
            "record 9 fails\n  ! email: the value belongs to another user [identity_conflict]"
        );
        let inserted = json!({"record": 1, "line": 2, "outcome": "inserted", "reason": null, "user_id": null, "warnings": [],
                              "errors": [], "changes": []});
        assert_eq!(diff(&record(inserted)), None);
        let deleted = json!({"record": 2, "line": null, "outcome": "updated", "reason": "deleted", "user_id": null, "changes": [],
                             "warnings": [], "errors": []});
        assert_eq!(diff(&record(deleted)).unwrap(), "record 2\n  - the user");
        let kept = json!({"record": 3, "line": null, "outcome": "skipped", "reason": "changed_since", "user_id": null, "changes": [],
                          "warnings": ["changed since, and left as it is: email"], "errors": []});
        assert_eq!(diff(&record(kept)).unwrap(), "record 3\n  ~ \"changed since, and left as it is: email\"");
    }
}
