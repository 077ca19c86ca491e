//! An import in this process: received into the store, dispatched and applied here.
//!
//! If an earlier run received the file and was then killed, its import is found by the file's bytes and the
//! options, and is finished instead of starting a second one.

use std::fmt;

use anyhow::{Context, bail};
use muster_domain::error::{ErrorCode, FileError};
use muster_domain::id::{GroupId, ImportId, TenantId};
use muster_domain::import::ImportState;
use muster_domain::options::Start;
use muster_domain::parse::{Dialect, SkipLines, TextEncoding};
use muster_domain::receive::{NewImport, Provenance};
use muster_domain::request::{BRAKE, ImportRequest, OptionsError};
use muster_producer::api::PlanView;
use muster_producer::receive::{self, Receipt, ReceiveError, ReceiveLimits};
use muster_producer::request::{RequestError, ResolvedImport, resolve};
use muster_runtime::clock;
use muster_runtime::config::Config;
use muster_runtime::telemetry::traces;
use muster_store::receiving;
use muster_store::{Store, plans, reports};
use sha2::{Digest, Sha256};

use super::UsersArgs;
use super::source::Source;
use crate::connect::{self, Need, OPERATOR, Session};
use crate::failure::{Exit, wrong_option};
use crate::follow::drive;
use crate::imports::{plan as plan_of_import, summary};
use crate::invocation::Invocation;
use crate::output::number;
use crate::pipeline::receive_limits;
use crate::progress::Progress;
use crate::shutdown::{Aborted, Shutdown};

/// How the idempotency keys of this command begin. Each key belongs to one import: an import that has ended
/// is not in the way, and one that has not ended is found by its request.
const KEY: &str = "cli:";

/// Runs the command.
pub(super) async fn run(
    args: &UsersArgs,
    source: Source,
    config: &Config,
    shutdown: &Shutdown,
) -> anyhow::Result<Exit> {
    let work = async |session: &Session| {
        let tenant = session.enabled_tenant(&args.tenant).await?;
        let (progress, invocation) = (Progress::new(args.quiet), Invocation::new(None, None, &args.tenant));
        let import = match receive(args, source, config, session, tenant, &progress, shutdown).await? {
            ReceivedImport::Runs(import) => import,
            ReceivedImport::Waits(import) => {
                return summary::waiting(
                    args.json,
                    &view(&session.store, tenant, import).await?,
                    &invocation,
                );
            }
        };
        let view = drive(session, config, tenant, import, &progress, shutdown).await?;
        progress.clear();
        if view.state == ImportState::Planned {
            let plan = plans::summary(&session.store, tenant, import).await?.flatten();
            let plan = plan.with_context(|| format!("the plan of import {import} is gone"))?;
            return plan_of_import::tell(&PlanView::new(import, plan, ""), args.json, &invocation);
        }
        summary::tell(
            args.json,
            &view,
            summary::Details::read(&session.store, tenant, &view).await?,
            &invocation,
        )
    };
    Box::pin(connect::with(config, Need::Work, shutdown, work)).await
}

/// An import that was received.
pub(crate) enum ReceivedImport {
    /// It is to be run to its end.
    Runs(ImportId),
    /// It waits for `proceed`.
    Waits(ImportId),
}

async fn receive(
    args: &UsersArgs,
    source: Source,
    config: &Config,
    session: &Session,
    tenant: TenantId,
    progress: &Progress,
    shutdown: &Shutdown,
) -> anyhow::Result<ReceivedImport> {
    let id = ImportId::new(clock::new_id());
    let asked = ImportRequest::from_pairs(args.pairs(&source)).map_err(wrong_option)?;
    let resolved = match resolve(&asked, &session.store, tenant, id, None, None).await {
        Ok(resolved) => resolved,
        Err(RequestError::Options(OptionsError::Invalid(error))) => return Err(wrong_option(error)),
        Err(error) => return Err(error.into()),
    };
    take_in(resolved, source, config, session, &Invocation::new(None, None, &args.tenant), progress, shutdown)
        .await
}

/// Receives a file, or finds the import that an earlier run received of it and did not finish.
pub(crate) async fn take_in(
    resolved: ResolvedImport,
    source: Source,
    config: &Config,
    session: &Session,
    invocation: &Invocation,
    progress: &Progress,
    shutdown: &Shutdown,
) -> anyhow::Result<ReceivedImport> {
    let (id, tenant) = (resolved.import.id, resolved.import.tenant);
    let request = source.digest.map(|digest| request_hash(digest, &resolved)).transpose()?;
    if let Some(request) = request
        && let Some(found) = receiving::unfinished(&session.store, tenant, KEY, request).await?
    {
        return resume(session, tenant, found, invocation, progress).await;
    }
    let idempotency = request.map(|request| (format!("{KEY}{id}"), request));
    let provenance = Provenance { actor: Some(OPERATOR.to_owned()), ..resolved.import.provenance };
    let new = NewImport { idempotency, provenance, ..resolved.import };
    let (dialect, brake) = (resolved.dialect, Some(resolved.brake));
    let limits = ReceiveLimits { dialect, brake, ..receive_limits(config) };
    let label = source.label().to_owned();
    let mut span = traces::entry(None, "muster import", traces::Kind::Internal);
    let received = async {
        let begin = receive::begin(&session.store, new, source.encoding, limits);
        let upload = traces::within(span.context(), begin).await?;
        let received = push(upload, source, progress, shutdown).await;
        received.with_context(|| format!("{label} could not be imported"))
    }
    .await;
    if !received.as_ref().is_ok_and(|receipt| receipt.state != ImportState::Refused) {
        span.fail();
    }
    span.end();
    let receipt = received?;
    match receipt.state {
        ImportState::Received => Ok(ReceivedImport::Waits(receipt.import)),
        ImportState::Refused => {
            let failed = number(receipt.counts.failed);
            bail!(
                "{label} was refused: {failed} of {} records are invalid, and nothing was applied; \
                 `{}` has them",
                number(receipt.counts.total),
                invocation.command("failed", receipt.import)
            )
        }
        _ => Ok(ReceivedImport::Runs(receipt.import)),
    }
}

/// Pushes the file's bytes until its end, or until the command is asked to stop.
async fn push(
    upload: receive::Upload,
    mut source: Source,
    progress: &Progress,
    shutdown: &Shutdown,
) -> anyhow::Result<Receipt> {
    progress.receiving(source.label(), source.size);
    let stopped = |message: String| FileError::new(ErrorCode::UploadIncomplete, message);
    loop {
        let piece = tokio::select! {
            piece = source.next() => piece,
            () = shutdown.stopping() => {
                let error = upload.fail(stopped("the program was stopped while it received the file".into())).await;
                return Err(receive_error(error).context(Aborted));
            }
        };
        match piece {
            Ok(Some(bytes)) => {
                let length = bytes.len() as u64;
                if !upload.push(bytes).await {
                    break;
                }
                progress.received(length);
            }
            Ok(None) => break,
            Err(error) => {
                return Err(receive_error(
                    upload.fail(stopped(format!("the file cannot be read: {error}"))).await,
                ));
            }
        }
    }
    upload.finish().await.map_err(receive_error)
}

/// Why a file was not received. The code leads to `muster explain`.
#[derive(Debug)]
pub(crate) struct Unreceived(pub(crate) FileError);

impl fmt::Display for Unreceived {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} [{}]", self.0, self.0.code)
    }
}

impl std::error::Error for Unreceived {}

fn receive_error(error: ReceiveError) -> anyhow::Error {
    match error {
        ReceiveError::Refused(_, error) | ReceiveError::Aborted(_, error) => Unreceived(error).into(),
        other => other.into(),
    }
}

/// What the request is: the file's bytes and everything asked. Two runs of one command have the same.
fn request_hash(digest: [u8; 32], resolved: &ResolvedImport) -> anyhow::Result<[u8; 32]> {
    // All fields are named, so that a new one is not forgotten. `flexible` stands in the options; the others no command can ask for.
    let Dialect { delimiter, encoding, skip_lines, flexible: _, handmade: _, lax_quotes: _ } =
        resolved.dialect;
    let mut options = resolved.import.options.clone();
    // The group of a plan may be made between two runs of a command.
    if let Some(place) =
        options.enrolment.as_mut().filter(|_| options.start == Start::Plan && options.group.is_some())
    {
        place.group_id = GroupId::PLANNED.get();
    }
    let asked = (
        &options,
        &resolved.import.filename,
        delimiter,
        // As earlier versions wrote it: a command that is run again must find the import that it began.
        match skip_lines {
            SkipLines::Refuse => "Told".to_owned(),
            given => format!("{given:?}"),
        },
        (resolved.brake != BRAKE).then_some(resolved.brake),
    );
    let mut hash = Sha256::new();
    hash.update(digest);
    hash.update(serde_json::to_vec(&asked)?);
    hash.update(encoding.map(TextEncoding::as_str).unwrap_or_default());
    if let Some(parent) = resolved.import.provenance.mends {
        hash.update(parent.get());
    }
    Ok(hash.finalize().into())
}

/// Goes on with an import that an earlier run received.
async fn resume(
    session: &Session,
    tenant: TenantId,
    import: ImportId,
    invocation: &Invocation,
    progress: &Progress,
) -> anyhow::Result<ReceivedImport> {
    let view = view(&session.store, tenant, import).await?;
    let done = view.counts.total - view.counts.pending;
    match view.state {
        ImportState::Paused => bail!(
            "this file is import {import}, which is paused: `{}` goes on with it, `{}` ends it",
            invocation.command("resume", import),
            invocation.command("cancel", import)
        ),
        ImportState::Received => Ok(ReceivedImport::Waits(import)),
        // It is shown once more.
        ImportState::Planned => Ok(ReceivedImport::Runs(import)),
        _ => {
            progress.stderr_line(format_args!(
                "resuming import {import}: {} of {} records are done",
                number(done),
                number(view.counts.total)
            ));
            Ok(ReceivedImport::Runs(import))
        }
    }
}

/// An import as it is now.
pub(crate) async fn view(
    store: &Store,
    tenant: TenantId,
    import: ImportId,
) -> anyhow::Result<crate::view::View> {
    match reports::import(store, tenant, import).await? {
        Some(report) => Ok(report.into()),
        None => bail!("import {import} is gone"),
    }
}
