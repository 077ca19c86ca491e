//! One import: its progress, its problems, its chunks, and the available actions.

use axum::extract::{Path, State};
use axum::http::Uri;
use axum::response::Response;
use chrono::{DateTime, Utc};
use maud::{Markup, html};
use muster_domain::id::{ImportId, TenantId};
use muster_domain::import::ImportState;
use muster_domain::options::ImportOptions;
use muster_domain::outcome::Outcome;
use muster_domain::progress::{Progress, WaitsFor};
use muster_domain::record::FieldNames;
use muster_domain::rules::Rules;
use muster_domain::token::Scope;
use muster_domain::validate::{Binding, NOT_KNOWN};
use muster_runtime::clock;
use muster_store::audit::{self, AuditEntry, Did};
use muster_store::console_figures::{self, HeldUp, LaneCell};
use muster_store::family::{self, Family};
use muster_store::problems::Problems;
use muster_store::records::{self, RecordFilter, RecordReport};
use muster_store::reports::{self, ImportReport};
use muster_store::{Store, status, undo};

use super::charts::{self, Timeline};
use super::controls::Control;
use super::error::ConsoleError;
use super::formatting::{ago, bytes, count, moment, number, percent, span};
use super::imports::{address, name};
use super::page::{Page, Section, capital, sentence};
use super::problems::Viewer;
use super::session::{Visit, field, query};
use super::{attention, controls, plan, problems, records as listed, words};
use crate::api::AppState;
use crate::api::error::ApiError;
use crate::api::plans::PlanView;

/// Most chunks of a lane that are drawn one by one.
const PLACES: i32 = 60;
/// How many stalled chunks are listed.
const HELD_UP: i64 = 10;
/// Failed records that are shown at once.
const FAILED: usize = 8;
/// Most entries of the audit that are shown.
const AUDITED: i64 = 20;
/// Most columns that are named.
const MOST_COLUMNS: usize = 100;
/// Bars in the picture of the import's time.
const BARS: i64 = 60;

/// What the page shows.
#[derive(Debug)]
struct Import {
    report: ImportReport,
    /// None where it has ended.
    progress: Option<Progress>,
    problems: Problems,
    failed: Vec<RecordReport>,
    cells: Vec<LaneCell>,
    held_up: Vec<HeldUp>,
    timeline: Option<Timeline>,
    plan: Option<PlanView>,
    family: Option<Family>,
    /// The imports that undo it.
    undos: Vec<(ImportId, ImportState)>,
    /// The last things that somebody did to it, and who sent it.
    audit: Vec<AuditEntry>,
    sender: Option<String>,
}

/// Shows the page.
pub(super) async fn show(
    State(state): State<AppState>,
    visit: Visit,
    Path(id): Path<String>,
    uri: Uri,
) -> Result<Response, ConsoleError> {
    let tenant = visit.may(Scope::ImportRead)?;
    let import: ImportId = id.parse().map_err(|_| ApiError::NotFound)?;
    let now = clock::now();
    let import = Box::pin(read(&state.0.store, tenant, import, &state.0.bounds, now)).await?;
    // Not the audit of the tenant, which is for operators: who works on an import has to know who paused it.
    let audit = audit::page(&state.0.store, tenant, None, Some(import.report.id.get()), AUDITED).await?;
    let sender = audit::sender(&state.0.store, tenant, import.report.id).await?;
    let import = Import { audit, sender, ..import };
    let page = Page {
        section: Section::Imports,
        title: name(&import.report),
        renew: Some(if import.report.state.is_final() { 10_000 } else { 1_500 }),
        main: view(&import, &visit, note(&uri, &import.report), now),
    };
    Ok(page.show(&visit))
}

/// What the act before came to, and whether it was done. What was done is told as long as it is so: the page renews itself, and others act.
fn note(uri: &Uri, report: &ImportReport) -> Option<(bool, &'static str)> {
    let asked = query(uri);
    let lever = |key| field(&asked, key).and_then(Control::named);
    lever("did")
        .filter(|lever| lever.holds(report.state))
        .map(|lever| (true, lever.done()))
        .or_else(|| lever("not").map(|lever| (false, lever.refused())))
}

async fn read(
    store: &Store,
    tenant: TenantId,
    import: ImportId,
    bounds: &status::Bounds,
    now: DateTime<Utc>,
) -> Result<Import, ConsoleError> {
    let report = reports::import(store, tenant, import).await?.ok_or(ApiError::NotFound)?;
    // Side by side, four connections at most: while the machine is busy each of them waits for its turn.
    let failed = async {
        if report.counts.failed == 0 {
            return Ok(Vec::new());
        }
        let filter = RecordFilter { outcome: Some(Outcome::Failed), ..RecordFilter::default() };
        Ok(records::page(store, tenant, import, &report.options, filter, FAILED).await?)
    };
    let progress = async {
        if report.state.is_final() {
            return Ok(None);
        }
        Ok::<_, ConsoleError>(status::of_one(store, tenant, import, bounds).await?)
    };
    let problems = async { Ok(problems::read(store, &report).await?) };
    let cells = async { Ok(console_figures::lanes(store, tenant, import, PLACES).await?) };
    let (failed, progress, problems, cells) = tokio::try_join!(failed, progress, problems, cells)?;
    let held_up = async { Ok(console_figures::held_up(store, tenant, import, HELD_UP).await?) };
    let timeline = timeline(store, &report, now);
    let plan = plan::read(store, &report);
    let family = async {
        let family = family::of(store, tenant, import).await?;
        Ok((family, undo::undos(store, tenant, import).await?))
    };
    let (held_up, timeline, plan, (family, undos)) = tokio::try_join!(held_up, timeline, plan, family)?;
    Ok(Import {
        progress,
        problems,
        failed,
        cells,
        held_up,
        timeline,
        plan,
        family,
        undos,
        audit: Vec::new(),
        sender: None,
        report,
    })
}

/// The import's own time, in so many stretches that they can be seen.
async fn timeline(
    store: &Store,
    report: &ImportReport,
    now: DateTime<Utc>,
) -> Result<Option<Timeline>, ConsoleError> {
    let Some(from) = report.started_at else { return Ok(None) };
    let to = report.completed_at.unwrap_or(now).max(from);
    let seconds = ((to - from).num_seconds() / BARS + 1).max(1);
    let settled = console_figures::settled_of_import(store, report.tenant, report.id, seconds as f64).await?;
    Ok((!settled.is_empty()).then(|| Timeline::new(&settled, from, to, seconds)))
}

/// What it waits for: what somebody does here is called as its button.
fn waits(what: WaitsFor) -> String {
    match what {
        WaitsFor::Proceed => "waits to be started".to_owned(),
        WaitsFor::Resume => "waits to be resumed".to_owned(),
        other => format!("waits for {other}"),
    }
}

/// The rate, the expected end and the position of an import among others, as far as they are known.
fn course(progress: &Progress, now: DateTime<Utc>) -> Vec<String> {
    let rate = progress.rate.map(|rate| format!("{rate:.0} records a second"));
    let end =
        progress.ends_at.filter(|ends| *ends > now).map(|ends| format!("about {} to go", span(ends - now)));
    let ahead = (progress.ahead > 0)
        .then(|| format!("behind {} of this tenant", count(progress.ahead, "import", "imports")));
    let window = &progress.window;
    let places = (window.import > 0).then(|| {
        let all = window.used;
        match window.used > window.size {
            true => format!(
                "{} places in the window, {all} taken by all imports; there were more when these chunks were sent, now there are {}",
                window.import, window.size
            ),
            false => format!("{} of {} places in the window, {all} taken by all imports", window.import, window.size),
        }
    });
    let waits = progress.waits_for.map(waits);
    [rate, end, waits, ahead, places].into_iter().flatten().collect()
}

fn view(import: &Import, visit: &Visit, note: Option<(bool, &str)>, now: DateTime<Utc>) -> Markup {
    let report = &import.report;
    let viewer = Viewer {
        people: visit.sees_people(),
        file: visit.takes_failed_records(),
        secret: controls::retry_secret(report, visit),
    };
    let shows_failed = visit.allows(Scope::ImportRead) && report.counts.failed > 0;
    html! {
        p.way { a href="/console/imports" { "Imports" } }
        div.title {
            h1 { (name(report)) }
            (charts::state(report.state))
        }
        p.facts {
            (count(report.counts.total, "record", "records")) " · " (bytes(report.bytes)) " · begun " (ago(now, report.created_at))
            @if let Some(ended) = report.completed_at { " · ended " (ago(now, ended)) }
        }
        @if let Some(undo) = &report.options.undo {
            p.facts { "It undoes " a href=(address(undo.of)) { "this import" } "." }
        }
        @for (undo, state) in &import.undos { p.facts { "Undone by " a href=(address(*undo)) { "this import" } " (" (state) ")." } }
        @if let Some((done, text)) = note { p.note.wrong[!done] role="status" { (text) } }
        @if let Some(error) = &report.error {
            p.note.wrong { (words::told(&sentence(&error.to_string()))) " " (words::told(error.code.advice())) }
        }
        (state_text(import, now))
        (how_far(import, now))
        (controls::view(report, visit))
        @if report.state.is_final() {
            p.pages {
                a href={ (address(report.id)) "/report.html" } download { "Report to print" }
                a href={ (address(report.id)) "/receipt" } download { "Signed receipt" }
            }
        }
        @if let Some(kin) = &import.family { (super::family::view(kin, report.id, viewer.file)) }
        @if !import.problems.problems.is_empty() || !import.problems.warnings.is_empty() {
            section aria-labelledby="problems" {
                h2 #problems { "Problems" }
                (problems::view(&import.problems, report, &viewer))
            }
        }
        @if let Some(plan) = &import.plan { (plan::view(plan, now)) }
        @if shows_failed { (failed_records(import, visit)) }
        @if !import.cells.is_empty() { (chunks(import, now)) }
        @if let Some(line) = &import.timeline {
            section aria-labelledby="time" { h2 #time { "Records over time" } (charts::timeline(line)) }
        }
        @if !import.audit.is_empty() {
            section aria-labelledby="audit" { h2 #audit { "What was done to it" } (super::audit::table(&import.audit, false)) }
        }
        section aria-labelledby="about" { h2 #about { "About this import" } (about(report, import.sender.as_deref())) }
    }
}

/// What needs somebody, but for what the page says anyway.
fn state_text(import: &Import, now: DateTime<Utc>) -> Markup {
    let anyway =
        matches!(import.report.state, ImportState::Completed | ImportState::Refused | ImportState::Aborted);
    let paused = import.audit.iter().find(|entry| entry.action == Did::ImportPause.as_str());
    let items = if anyway {
        Vec::new()
    } else {
        attention::of(&import.report, import.progress.as_ref(), paused, now)
    };
    html! {
        @for item in items {
            p.note.wrong[item.weight == attention::Weight::Bad].wait[item.weight == attention::Weight::Wait] {
                strong { (capital(&item.what)) @if let Some(when) = item.when { " " (when.view(now)) } "." } " " (words::told(&item.todo))
                @if let Some(command) = item.command { " " code { (command) } }
            }
        }
    }
}

fn how_far(import: &Import, now: DateTime<Utc>) -> Markup {
    let counts = &import.report.counts;
    let records = |outcome: &str| format!("{}/records?outcome={outcome}", address(import.report.id));
    html! {
        section.far aria-label="Progress" {
            @if counts.total > 0 {
                p.done {
                    span.value { (percent(counts.total - counts.pending, counts.total)) " %" }
                    " " (number(counts.total - counts.pending)) " of " (count(counts.total, "record", "records")) " settled"
                }
                (charts::progress(counts))
            }
            @if let Some(progress) = &import.progress { p.hint.course { (course(progress, now).join(" · ")) } }
            dl.counts {
                @for (outcome, part) in [
                    ("inserted", counts.inserted), ("updated", counts.updated), ("skipped", counts.skipped),
                    ("failed", counts.failed), ("pending", counts.pending),
                ] {
                    div class=(outcome) {
                        dt { (outcome) }
                        dd { @if part > 0 { a href=(records(outcome)) { (number(part)) } } @else { "0" } }
                    }
                }
            }
        }
    }
}

fn failed_records(import: &Import, visit: &Visit) -> Markup {
    let here = address(import.report.id);
    let file = visit.takes_failed_records();
    html! {
        section aria-labelledby="failed" {
            h2 #failed { "Failed records" }
            (listed::table(&import.failed, visit.sees_people()))
            p.pages {
                @if file {
                    a.button href={ (here) "/failed.csv" } download { "Failed records as CSV" }
                    a.button href={ (here) "/failed.ndjson" } download { "as NDJSON" }
                }
                a href={ (here) "/records?outcome=failed" } { "All " (number(import.report.counts.failed)) }
            }
            @if file {
                p.hint { "Correct the file of failed records and upload it again: it has the columns of the first file and the error of each record." }
            } @else {
                p.hint { "The file of failed records has people’s values: in another tenant it takes a token with " code { "users:read" } "." }
            }
        }
    }
}

fn chunks(import: &Import, now: DateTime<Utc>) -> Markup {
    let chunks = import.report.chunks;
    let open = chunks.staged + chunks.dispatched + chunks.retryable;
    let all = open + chunks.applied + chunks.dead + chunks.cancelled;
    html! {
        section aria-labelledby="chunks" {
            h2 #chunks { "Chunks" }
            p.hint { (count(all, "chunk", "chunks")) ", " (number(chunks.applied)) " applied, " (number(open)) " open. A lane runs from left to right." }
            (charts::lanes(&import.cells))
            @if !import.held_up.is_empty() {
                h3 { "Stalled chunks" }
                ul.held {
                    @for chunk in &import.held_up { li.bad[chunk.due_at.is_none()] { (held_up(chunk, now)) } }
                }
            }
        }
    }
}

/// A stalled chunk and the reason.
pub(super) fn held_up(chunk: &HeldUp, now: DateTime<Utc>) -> Markup {
    html! {
        p {
            strong { "Chunk " (chunk.id) } " of lane " (chunk.lane + 1) " is " (chunk.state) ": "
            @match &chunk.problem { Some(problem) => { (attention::problem_view(problem)) } None => { "no reason is known." } }
        }
        p.hint {
            (count(chunk.records, "record", "records")) ", from " (number(chunk.first_record)) " to " (number(chunk.last_record))
            " · " (count(chunk.attempts, "attempt", "attempts")) " spent"
            @if chunk.deferrals > 0 { " · put off " (count(chunk.deferrals, "time", "times")) }
            @if let Some(due) = chunk.due_at {
                @if due > now { " · tried again in " (span(due - now)) } @else { " · due now" }
            }
        }
    }
}

fn about(report: &ImportReport, sender: Option<&str>) -> Markup {
    html! {
        dl.about {
            dt { "Id" } dd { code { (report.id) } }
            dt { "Number" } dd { (report.number) }
            @if let Some(sender) = sender { dt { "Sent by" } dd { (sender) } }
            @for (name, at) in [
                ("Begun", Some(report.created_at)), ("Received", report.received_at),
                ("Started", report.started_at), ("Ended", report.completed_at),
            ] {
                @if let Some(at) = at { dt { (name) } dd { (moment(at)) } }
            }
            @if let Some(encoding) = &report.encoding { dt { "Text was in" } dd { (encoding.as_str()) } }
            @for (name, value) in chosen(&report.options) { dt { code { (name) } } dd { (value) } }
            @if !report.columns.is_empty() {
                @let left = left_out(report);
                dt { "Columns" }
                dd { @for (at, column) in report.columns.iter().take(MOST_COLUMNS).enumerate() { @if at > 0 { ", " } code { (column) } } }
                @if !left.is_empty() {
                    dt { "Left out" }
                    dd { @for (at, column) in left.iter().take(MOST_COLUMNS).enumerate() { @if at > 0 { ", " } code { (column) } } }
                }
            }
        }
    }
}

/// The columns that are not known, and of which nothing is imported.
fn left_out(report: &ImportReport) -> Vec<String> {
    let rules = Rules::new(report.options.clone());
    let names = FieldNames::from_header(&report.columns);
    let mut binding = Binding::new(&rules);
    binding.extend(&names);
    let unknown = binding.meanings().filter(|(_, field, by)| field.is_none() && by.as_str() == NOT_KNOWN);
    unknown.map(|(name, ..)| name.to_owned()).collect()
}

/// The options that are not as they would be by themselves.
fn chosen(options: &ImportOptions) -> Vec<(String, String)> {
    // The resolved ids are not shown.
    let options = options.clone().as_given();
    let (Ok(serde_json::Value::Object(given)), Ok(usual)) =
        (serde_json::to_value(&options), serde_json::to_value(ImportOptions::default()))
    else {
        return Vec::new();
    };
    let told = given.into_iter().filter(|(name, value)| {
        matches!(name.as_str(), "format" | "identifier" | "on_existing") || usual.get(name) != Some(value)
    });
    let text = |value: serde_json::Value| match value {
        serde_json::Value::String(text) => text,
        other => other.to_string(),
    };
    told.filter(|(_, value)| !value.is_null()).map(|(name, value)| (name, text(value))).collect()
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use muster_domain::options::UnknownColumns;
    use muster_domain::progress::Window;

    use super::*;
    use crate::api::console::imports::tests::{progress, report};

    #[test]
    fn it_is_told_how_an_import_gets_on_and_what_it_waits_for() {
        let now = clock::now();
        let runs = Progress {
            rate: Some(49.6),
            ends_at: Some(now + TimeDelta::seconds(120)),
            ahead: 2,
            ..progress()
        };
        assert_eq!(
            course(&runs, now),
            [
                "50 records a second",
                "about 2 min to go",
                "behind 2 imports of this tenant",
                "2 of 16 places in the window, 8 taken by all imports"
            ]
        );
        let waits = Progress {
            waits_for: Some(WaitsFor::Proceed),
            window: Window { import: 0, ..progress().window },
            ..progress()
        };
        assert_eq!(course(&waits, now), ["waits to be started"]);
    }

    #[test]
    fn columns_of_which_nothing_was_imported_are_told() {
        let options = ImportOptions { unknown_columns: UnknownColumns::Ignore, ..ImportOptions::default() };
        let columns = vec!["email".to_owned(), "shoe_size".to_owned()];
        assert_eq!(left_out(&ImportReport { columns, options, ..report() }), ["shoe_size"]);
    }

    #[test]
    fn the_options_that_were_chosen_are_told() {
        let told = chosen(&ImportOptions { enrolment: None, ..ImportOptions::default() });
        assert!(told.iter().any(|(name, _)| name == "identifier") && told.len() <= 3, "{told:?}");
    }

    #[test]
    fn only_what_the_console_does_is_noted_and_as_long_as_it_is_so() {
        let note = |query: &str, state| {
            note(&format!("/console/imports/x{query}").parse().unwrap(), &ImportReport { state, ..report() })
        };
        assert_eq!(note("?did=pause", ImportState::Paused), Some((true, Control::Pause.done())));
        assert_eq!(note("?did=pause", ImportState::Running), None, "somebody else has resumed it");
        assert_eq!(note("?did=proceed", ImportState::Completed), Some((true, Control::Proceed.done())));
        assert_eq!(note("?did=cancel", ImportState::Running), None);
        assert_eq!(note("?not=pause", ImportState::Completed), Some((false, Control::Pause.refused())));
        assert_eq!(note("?did=%3Cscript%3E", ImportState::Running), None);
        assert_eq!(note("", ImportState::Running), None);
    }
}
