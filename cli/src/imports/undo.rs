//! `muster imports undo`: says what cannot be taken back any more, and plans to take the rest back, or does it.

use anyhow::bail;
use clap::Args;
use muster_domain::error::ErrorCode;
use muster_domain::id::ImportId;
use muster_domain::import::ImportState;
use muster_domain::options::Start;
use muster_domain::undo::{RecordRanges, Undo, UndoCode};
use muster_producer::api::UndoPreview;
use muster_runtime::clock;
use muster_store::undo::{self as store, NewUndo, OpenedUndo};

use super::asked::{Outcomes, why};
use super::backend::Backend;
use super::local::Local;
use crate::client::{Remote, operations};
use crate::connect::OPERATOR;
use crate::failure::usage;
use crate::invocation::Invocation;
use crate::output::{number, stderr_line};
use crate::view::View;

/// Most undos of undos that are followed.
const MOST_UNDOS: usize = 50;

/// Options of `muster imports undo`.
#[derive(Debug, Args)]
pub(crate) struct UndoArgs {
    /// The import: its id, the beginning of it, `last`, or `userimport_…`
    pub(super) id: String,
    /// Take back this field only, as `metadata.office` or `phone_number`; may be given several times. Users that were inserted stay
    #[arg(long, value_name = "FIELD")]
    field: Vec<String>,
    /// Take back only what these records did: numbers and ranges, as in 7,100-200
    #[arg(long, value_name = "NUMBERS")]
    records: Option<RecordRanges>,
    /// Take back only what records with this outcome did
    #[arg(long, value_parser = ["inserted", "updated"])]
    outcome: Option<String>,
    /// Take back only what records did of which this was told: enrolled, deleted (by an undo), or changed_since_plan
    #[arg(long, value_name = "CODE")]
    code: Option<UndoCode>,
    /// Open the undo without a plan and let it wait for `muster imports proceed`
    #[arg(long)]
    hold: bool,
    /// Take it back at once, without planning it first
    #[arg(long, conflicts_with_all = ["hold", "check"])]
    now: bool,
    /// Only show what could be undone
    #[arg(long)]
    check: bool,
}

impl UndoArgs {
    /// Whether anything is to be done.
    pub(super) fn works(&self) -> bool {
        !self.check && !self.hold
    }

    fn fields(&self) -> anyhow::Result<Vec<String>> {
        let path = |name: &String| {
            if name.contains(',') {
                return Err(usage(format!(
                    "--field: one field at a time, not {name}; give it several times"
                )));
            }
            Undo::path_of(name)
                .ok_or_else(|| usage(format!("--field: {name} is no field that an import changes")))
        };
        self.field.iter().map(path).collect()
    }

    /// Whether only a part of the import is meant.
    fn is_part(&self) -> bool {
        !self.field.is_empty() || self.records.is_some() || self.outcome.is_some() || self.code.is_some()
    }

    fn start(&self) -> Start {
        match (self.hold, self.now) {
            (true, _) => Start::Manual,
            (_, true) => Start::Auto,
            _ => Start::Plan,
        }
    }

    fn outcomes(&self) -> Option<Outcomes> {
        match self.outcome.as_deref()? {
            "inserted" => Some(Outcomes::Inserted),
            _ => Some(Outcomes::Updated),
        }
    }
}

/// Says what can be undone and, unless that is all, undoes it. `None`: nothing was asked to be done.
pub(super) async fn undo(
    backend: &Backend<'_>,
    id: ImportId,
    args: &UndoArgs,
    as_json: bool,
    invocation: &Invocation,
) -> anyhow::Result<Option<View>> {
    let fields = args.fields()?;
    if args.check && args.is_part() {
        return Err(usage(
            "--check counts the whole import: leave out --field, --records, --outcome and --code. The plan of an undo counts with them",
        ));
    }
    let preview = preview(backend, id).await?;
    if args.check && as_json {
        crate::output::json(&preview)?;
    } else {
        tell(&preview, args.check, invocation);
    }
    // Planned or only checked, it is refused with the same words.
    if let Some(code) = preview.refused {
        bail!(refused(backend, &preview, code, invocation).await?);
    }
    if args.check {
        return Ok(None);
    }
    let view = match backend {
        Backend::Local(local) => local.undo(id, args, fields).await?,
        Backend::Remote(remote) => remote.undo(id, args).await?,
    };
    Ok(Some(view))
}

/// What an undo of an import could do.
pub(super) async fn preview(backend: &Backend<'_>, id: ImportId) -> anyhow::Result<UndoPreview> {
    match backend {
        Backend::Local(local) => local.undo_preview(id).await,
        Backend::Remote(remote) => remote.undo_preview(id).await,
    }
}

/// Why an import cannot be undone, and what to type instead.
async fn refused(
    backend: &Backend<'_>,
    preview: &UndoPreview,
    code: ErrorCode,
    invocation: &Invocation,
) -> anyhow::Result<String> {
    let id = ImportId::new(preview.import);
    let why = match (code, preview.undone_by) {
        (ErrorCode::AlreadyUndone, Some(undo)) => {
            return undone(backend, (id, ImportId::new(undo)), code, invocation).await;
        }
        // It may have an undo as well, and run once more since.
        (ErrorCode::StateConflict, _) => not_ended(id, backend.show(id).await?.state, invocation),
        (code, _) => code.explanation().to_owned(),
    };
    Ok(format!("import {id} cannot be undone: {why} [{code}]"))
}

/// What to do with an import that has not ended before it is undone.
fn not_ended(id: ImportId, state: ImportState, invocation: &Invocation) -> String {
    match state {
        ImportState::Receiving => "it is still received; wait for the end of its upload".to_owned(),
        state => {
            format!("it is {state}; cancel it first, then undo it: `{}`", invocation.command("cancel", id))
        }
    }
}

/// Which undo an import has. Undos of undos are followed to the newest one, since only that one can be undone.
async fn undone(
    backend: &Backend<'_>,
    (id, first): (ImportId, ImportId),
    code: ErrorCode,
    invocation: &Invocation,
) -> anyhow::Result<String> {
    let (mut newest, mut count) = (first, 1);
    while count < MOST_UNDOS
        && let Some(later) = preview(backend, newest).await?.undone_by
    {
        (newest, count) = (ImportId::new(later), count + 1);
    }
    let state = backend.show(newest).await?.state;
    let next = next_step(newest, state, count, invocation);
    let found = format!("import {id} cannot be undone: import {first} undoes it already [{code}]");
    Ok(match count {
        1 => format!("{found}; {next}"),
        _ => format!("{found}; undos of that undo followed, and {newest} is the newest of them: {next}"),
    })
}

/// What can be done with the newest of so many undos, each of which undoes the one before.
fn next_step(undo: ImportId, state: ImportState, count: usize, invocation: &Invocation) -> String {
    let command = |what| invocation.command(what, undo);
    match state {
        ImportState::Received | ImportState::Planned => {
            format!("`{}` does it, `{}` drops it", command("proceed"), command("cancel"))
        }
        ImportState::Cancelled => format!("`{}` goes on where it stopped", command("resume")),
        // Every second one brings back what the import did.
        ImportState::Completed if count.is_multiple_of(2) => {
            format!("`{}` takes the import's changes back once more", command("undo"))
        }
        _ => format!("`{}` shows it", command("show")),
    }
}

/// What there is to know before it begins.
fn tell(preview: &UndoPreview, check: bool, invocation: &Invocation) {
    // Why it cannot be is told by what is refused.
    if preview.refused.is_some() {
        return;
    }
    let id = preview.import;
    let (inserted, updated) = (number(preview.inserted), number(preview.updated));
    let does = if check { format!("import {id} can be undone") } else { format!("undo of import {id}") };
    stderr_line(format_args!("{does}: {inserted} records inserted users, {updated} changed them"));
    if preview.gone > 0 {
        stderr_line(format_args!(
            "{} of them cannot be taken back: what was before is not kept",
            number(preview.gone)
        ));
    }
    if !preview.later.is_empty() {
        stderr_line("imports changed users after it; what they changed of the same users is left as it is:");
        for later in &preview.later {
            stderr_line(format_args!("  {}", invocation.command("show", later)));
        }
    }
}

impl Local<'_> {
    async fn undo_preview(&self, id: ImportId) -> anyhow::Result<UndoPreview> {
        let Some(found) = store::preview(&self.session.store, self.tenant, id).await? else {
            bail!("the tenant has no import {id}; `muster imports list` shows them");
        };
        Ok(found.into())
    }

    async fn undo(&self, of: ImportId, args: &UndoArgs, fields: Vec<String>) -> anyhow::Result<View> {
        let new = NewUndo {
            id: ImportId::new(clock::new_id()),
            tenant: self.tenant,
            of,
            fields,
            records: args.records.clone(),
            outcome: args.outcomes().map(Outcomes::outcome),
            code: args.code,
            start: args.start(),
            chunk: self.chunk,
            actor: Some(OPERATOR.to_owned()),
        };
        match store::open(&self.session.store, &new).await? {
            OpenedUndo::New { .. } => {
                muster_store::dispatch::wake(&self.session.store).await?;
                self.show(new.id).await
            }
            OpenedUndo::Refused(refusal) => {
                bail!("import {of} cannot be undone: {} [{}]", why(refusal), refusal.code())
            }
            OpenedUndo::NotFound => bail!("the tenant has no import {of}; `muster imports list` shows them"),
        }
    }
}

impl Remote {
    async fn undo_preview(&self, id: ImportId) -> anyhow::Result<UndoPreview> {
        self.ask(operations::IMPORTS_UNDO_PREVIEW.at(&[&id])).await
    }

    async fn undo(&self, id: ImportId, args: &UndoArgs) -> anyhow::Result<View> {
        let fields = (!args.field.is_empty()).then(|| ("field", args.field.join(",")));
        let call = operations::IMPORTS_UNDO
            .at(&[&id])
            .with("start", args.start().to_string())
            .with_all(fields)
            .with_all(args.records.as_ref().map(|records| ("records", records.to_string())))
            .with_all(args.outcome.clone().map(|outcome| ("outcome", outcome)))
            .with_all(args.code.map(|code| ("code", code.to_string())));
        self.ask_without_limit(call).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_undo_says_what_to_type() {
        let id: ImportId = "0190a5f0-7b7c-7000-8000-000000000001".parse().unwrap();
        let invocation = Invocation::new(None, None, &"acme".parse().unwrap());
        let told = |state, count| next_step(id, state, count, &invocation);
        let with = |what: &str| format!("`muster imports {what} {id} --tenant acme`");
        assert_eq!(
            told(ImportState::Planned, 1),
            format!("{} does it, {} drops it", with("proceed"), with("cancel"))
        );
        assert!(told(ImportState::Cancelled, 1).starts_with(&with("resume")));
        assert_eq!(told(ImportState::Completed, 1), format!("{} shows it", with("show")));
        // The undo was undone: what the import did is there again.
        assert!(told(ImportState::Completed, 2).starts_with(&with("undo")));
        assert_eq!(told(ImportState::Completed, 3), format!("{} shows it", with("show")));
        assert!(not_ended(id, ImportState::Paused, &invocation).ends_with(&with("cancel")));
        assert!(!not_ended(id, ImportState::Receiving, &invocation).contains("cancel"));
    }
}
