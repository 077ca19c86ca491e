//! `muster imports undo`: says what cannot be taken back any more, and plans to take the rest back, or does it.

use anyhow::bail;
use clap::Args;
use muster_domain::error::ErrorCode;
use muster_domain::id::ImportId;
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
    let preview = match backend {
        Backend::Local(local) => local.undo_preview(id).await?,
        Backend::Remote(remote) => remote.undo_preview(id).await?,
    };
    if args.check && as_json {
        crate::output::json(&preview)?;
    } else {
        tell(&preview, args.check, invocation);
    }
    if args.check {
        return match preview.refused {
            Some(code) => bail!(refused(&preview, code, invocation)),
            None => Ok(None),
        };
    }
    let view = match backend {
        Backend::Local(local) => local.undo(id, args, fields).await?,
        Backend::Remote(remote) => remote.undo(id, args).await?,
    };
    Ok(Some(view))
}

/// Why an import cannot be undone, and what there is instead.
fn refused(preview: &UndoPreview, code: ErrorCode, invocation: &Invocation) -> String {
    let id = preview.import;
    match preview.undone_by {
        Some(undo) => format!(
            "import {id} cannot be undone: import {undo} undoes it already [{code}]; `{}` shows it",
            invocation.command("show", undo)
        ),
        None => format!("import {id} cannot be undone: {} [{code}]", code.explanation()),
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
