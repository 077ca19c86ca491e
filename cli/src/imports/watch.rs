//! `muster imports watch`: follows any import to its end, with its rate and what is in its way.

use std::time::Duration;

use anyhow::bail;
use muster_domain::fault::{Mutant, mutant};
use muster_domain::id::ImportId;
use muster_domain::import::ImportState;
use muster_domain::progress::Progress as HowItGetsOn;
use muster_runtime::clock;
use muster_runtime::config::Config;

use super::backend::Backend;
use super::local::Local;
use super::{plan, summary};
use crate::client::Refused;
use crate::failure::Exit;
use crate::follow::drive;
use crate::invocation::Invocation;
use crate::output::stderr_line;
use crate::progress::Progress;
use crate::shutdown::Shutdown;
use crate::view::View;

/// How often to look.
const LOOK: Duration = Duration::from_millis(500);
/// How often in a row a server may fail to answer.
const SILENT: u32 = 120;

/// Follows an import to its end and prints its summary. The import goes on without being watched.
pub(super) async fn run(
    backend: &Backend<'_>,
    id: ImportId,
    as_json: bool,
    invocation: &Invocation,
    shutdown: &Shutdown,
) -> anyhow::Result<Exit> {
    let progress = Progress::new(as_json);
    let mut told = LastShown::default();
    let mut silent = 0;
    let view = loop {
        match backend.show(id).await {
            Ok(view) if view.state.is_final() => break view,
            Ok(view) if view.state == ImportState::Planned => {
                progress.clear();
                return plan::planned(backend, id, as_json, invocation).await;
            }
            Ok(view) => {
                silent = 0;
                if let Backend::Local(local) = backend
                    && local.session.runs_engine()
                {
                    // What waits for its start is not resumed.
                    let waits = view.state == ImportState::Received && !mutant(Mutant::WatchResumes);
                    let what = if waits { "proceed" } else { "resume" };
                    bail!(
                        "import {id} is {}, and no program works on it here: `muster serve` or `{}` goes on with it",
                        view.state,
                        invocation.command(what, id)
                    );
                }
                progress.applying(&view.counts);
                if !as_json {
                    told.tell(&view);
                }
            }
            Err(error)
                if !matches!(backend, Backend::Remote(_)) || error.is::<Refused>() || silent >= SILENT =>
            {
                progress.clear();
                return Err(error);
            }
            Err(error) => {
                silent += 1;
                tracing::debug!(%error, "the server does not answer; asking again");
            }
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            () = shutdown.stopping() => {
                progress.clear();
                stderr_line(format_args!("import {id} continues; `{}` shows its progress", invocation.command("show", id)));
                return Ok(Exit::Done);
            }
        }
    };
    progress.clear();
    let details = details(backend, &view).await?;
    summary::tell(as_json, &view, details, invocation)
}

async fn details(backend: &Backend<'_>, view: &View) -> anyhow::Result<summary::Details> {
    match backend {
        Backend::Local(local) => summary::Details::read(&local.session.store, local.tenant, view).await,
        Backend::Remote(remote) => summary::Details::ask(remote, view).await,
    }
}

impl Local<'_> {
    /// Runs the import here to its end, and prints its summary.
    pub(crate) async fn drive(
        &self,
        config: &Config,
        id: ImportId,
        as_json: bool,
        invocation: &Invocation,
        shutdown: &Shutdown,
    ) -> anyhow::Result<Exit> {
        let progress = Progress::new(as_json);
        let view = drive(self.session, config, self.tenant, id, &progress, shutdown).await?;
        progress.clear();
        if view.state == ImportState::Planned {
            return plan::tell(&self.plan(id).await?, as_json, invocation);
        }
        let details = summary::Details::read(&self.session.store, self.tenant, &view).await?;
        summary::tell(as_json, &view, details, invocation)
    }
}

/// What was printed last, so that nothing is printed twice.
#[derive(Default)]
struct LastShown {
    state: Option<String>,
    trouble: Option<Trouble>,
}

/// The obstacle of an import, without the numbers of its sentence, since they may change while the obstacle stays the same.
#[derive(Debug, Clone, PartialEq)]
struct Trouble {
    stalled: bool,
    why: String,
}

impl LastShown {
    fn tell(&mut self, view: &View) {
        let state = view.state.to_string();
        if self.state.as_ref() != Some(&state) {
            stderr_line(format_args!("import {} is {state}", view.id));
            self.state = Some(state);
        }
        if let Some(news) = self.news(view.progress.as_ref()) {
            stderr_line(news);
        }
    }

    /// What to print about the progress of an import, if it differs from what was printed last.
    fn news(&mut self, progress: Option<&HowItGetsOn>) -> Option<String> {
        let sentence = progress.and_then(sentence);
        let trouble = progress.and_then(trouble);
        let known = self.trouble == trouble && (trouble.is_none() || !mutant(Mutant::WatchRepeats));
        self.trouble = trouble;
        (!known).then(|| sentence.unwrap_or_else(|| "it goes on".to_owned()))
    }
}

/// The obstacle of an import, if there is one.
fn trouble(progress: &HowItGetsOn) -> Option<Trouble> {
    let why = match (progress.stalled, &progress.problem, progress.waits_for) {
        (true, ..) => progress.reason(),
        (false, Some(problem), _) => problem.message.clone(),
        (false, None, waits) => format!("it waits for {}", waits?),
    };
    Some(Trouble { stalled: progress.stalled, why })
}

/// The same in one sentence, with its numbers.
fn sentence(progress: &HowItGetsOn) -> Option<String> {
    let since = progress.problem.as_ref().and_then(|problem| problem.since);
    let since = since.or(progress.no_progress_since);
    let since =
        since.map_or_else(String::new, |at| format!(" (since {})", at.format("%Y-%m-%d %H:%M:%S UTC")));
    let Trouble { stalled, why } = trouble(progress)?;
    Some(match &progress.problem {
        _ if stalled => format!("no progress: {why}{since}"),
        Some(problem) => format!("{} of its chunks in trouble: {why}{since}", problem.chunks),
        None => why,
    })
}

/// The progress of an import for `show`: name and text of each line.
pub(super) fn rows(progress: &HowItGetsOn) -> Vec<Vec<String>> {
    let row = |name: &str, text: String| vec![name.to_owned(), text];
    let time = |at: chrono::DateTime<chrono::Utc>| at.format("%Y-%m-%d %H:%M:%S UTC").to_string();
    let mut rows = Vec::new();
    rows.extend(progress.rate.map(|rate| row("rate", format!("{rate:.0} records/s"))));
    rows.extend(progress.ends_at.map(|at| row("ends about", time(at))));
    if let Some(since) = progress.no_progress_since {
        let ago = clock::now().signed_duration_since(since).num_seconds().max(0);
        let name = if progress.stalled { "NO PROGRESS" } else { "progress" };
        rows.push(row(name, format!("last at {}, {ago} s ago", time(since))));
    }
    rows.extend(progress.waits_for.map(|waits| row("waits for", waits.to_string())));
    if let Some(problem) = &progress.problem {
        let since = problem.since.map_or_else(String::new, |at| format!(", since {}", time(at)));
        rows.push(row("problem", problem.message.clone()));
        rows.push(row(
            "in trouble",
            format!("{} chunks{since}, {} attempts", problem.chunks, problem.attempts),
        ));
        rows.extend(problem.next_try_at.map(|at| row("next try", time(at))));
    }
    let window = &progress.window;
    rows.push(row(
        "window",
        format!("{} of {} places, {} taken in all", window.import, window.size, window.used),
    ));
    if progress.ahead > 0 {
        rows.push(row("ahead", format!("{} older imports of the tenant", progress.ahead)));
    }
    rows
}

#[cfg(test)]
mod tests {
    use muster_domain::progress::{Problem, WaitsFor, Window};

    use super::*;

    fn well() -> HowItGetsOn {
        HowItGetsOn {
            no_progress_since: None,
            stalled: false,
            rate: None,
            ends_at: None,
            problem: None,
            waits_for: None,
            ahead: 0,
            window: Window { import: 0, tenant: 0, used: 0, size: 16 },
        }
    }

    #[test]
    fn what_is_in_the_way_is_told_once_however_its_numbers_change() {
        let problem = |chunks, message: &str| Problem {
            message: message.into(),
            at: None,
            since: None,
            chunks,
            attempts: 0,
            next_try_at: None,
        };
        let full = |chunks| HowItGetsOn { problem: Some(problem(chunks, "the disk is full")), ..well() };
        let mut told = LastShown::default();
        assert_eq!(told.news(Some(&well())), None);
        assert_eq!(told.news(Some(&full(3))).unwrap(), "3 of its chunks in trouble: the disk is full");
        assert_eq!(told.news(Some(&full(4))), None);
        // It is tried again now and then.
        assert_eq!(told.news(Some(&HowItGetsOn { waits_for: Some(WaitsFor::Retry), ..full(4) })), None);
        let stalled = HowItGetsOn { stalled: true, ..full(4) };
        assert_eq!(told.news(Some(&stalled)).unwrap(), "no progress: the disk is full");
        assert_eq!(told.news(Some(&HowItGetsOn { no_progress_since: Some(clock::now()), ..stalled })), None);
        let locked = HowItGetsOn { problem: Some(problem(4, "a row is locked")), ..well() };
        assert_eq!(told.news(Some(&locked)).unwrap(), "4 of its chunks in trouble: a row is locked");
        assert_eq!(told.news(Some(&well())).unwrap(), "it goes on");
        assert_eq!(told.news(None), None);
    }

    #[test]
    fn what_is_in_the_way_is_told_in_one_sentence() {
        let mut progress = well();
        assert_eq!(sentence(&progress), None);
        progress.waits_for = Some(WaitsFor::Worker);
        assert_eq!(sentence(&progress).unwrap(), "it waits for a worker: none is running");
        progress.waits_for = Some(WaitsFor::Retry);
        progress.problem = Some(Problem {
            message: "the disk is full".into(),
            at: None,
            since: chrono::DateTime::from_timestamp(0, 0),
            chunks: 3,
            attempts: 0,
            next_try_at: None,
        });
        let told = sentence(&progress).unwrap();
        assert_eq!(told, "3 of its chunks in trouble: the disk is full (since 1970-01-01 00:00:00 UTC)");
        progress.stalled = true;
        assert_eq!(
            sentence(&progress).unwrap(),
            "no progress: the disk is full (since 1970-01-01 00:00:00 UTC)"
        );
    }
}
