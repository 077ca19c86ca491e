//! `muster inspect FILE`: what a file is, what its columns mean, what is wrong with it, and the command that imports it. Nothing is stored and
//! no database is needed.
//!
//! If the file would be refused and flags can prevent that, the inspection continues with these flags, so that one run shows all problems.

mod further;
mod text;

use clap::Args;
use muster_domain::error::{ErrorCode, FileError};
use muster_domain::inspect::Report;
use muster_domain::options::Dates;
use muster_domain::request::{AskedImport, ImportRequest, OptionsError};
use muster_producer::inspect::{self, Inspecting};
use muster_producer::receive::ReceiveLimits;
use muster_producer::request::{RequestError, with_profile};
use muster_runtime::config::Config;
use serde::Serialize;

use further::{Flag, Parse, command, mending, parsed};
use text::text;

use super::UsersArgs;
use super::source::{Source, can_be_read_again};
use crate::client::Remote;
use crate::connect::{self, Need, Session};
use crate::failure::{Exit, usage, wrong_option};
use crate::output::{json, stdout_line};
use crate::pipeline::receive_limits;
use crate::shutdown::{Aborted, Shutdown};

/// Times that flags of a message are followed.
const ROUNDS: usize = 8;

const EXAMPLES: &str = "\
Examples:
  muster inspect people.csv
  muster inspect people.csv --phone-country DE --json

It takes the options of `muster import users`. Exit codes: 0 all records are good, 1 the file would be refused, 3 records would fail.";

/// Options of `muster inspect`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct InspectArgs {
    #[command(flatten)]
    pub(crate) users: Box<UsersArgs>,
}

/// What programs are told.
#[derive(Debug, Serialize)]
struct InspectOutput<'r> {
    file: &'r str,
    #[serde(flatten)]
    report: &'r Report,
    /// The command that imports the file; none where no command would.
    #[serde(skip_serializing_if = "Option::is_none")]
    command: Option<String>,
}

/// Runs the command.
pub(crate) async fn run(
    args: InspectArgs,
    config: &Config,
    shutdown: &Shutdown,
    parse: Parse,
) -> anyhow::Result<Exit> {
    let mut args = args.users;
    let mut further: Vec<Flag> = Vec::new();
    // Proposed, and taken only to show what it comes to: the command that is printed names it.
    let auto = args.options.get("profile") == Some("auto");
    if auto {
        args.options.set("profile", None);
    }
    // The same is done with the order of days, once the columns are known.
    let order = args.options.get("dates") == Some("auto");
    if order {
        args.options.set("dates", None);
    }
    let again = can_be_read_again(&args.file).await;
    let mut report = look(&args, config, shutdown).await?;
    if auto {
        args = proposed(args, again, &mut report, &mut further, config, shutdown).await?;
    }
    let mut proved = !order;
    for _ in 0..if again { ROUNDS } else { 0 } {
        if report.refused.is_none() && !proved {
            proved = true;
            if let Some(order) = report.days.option().filter(|order| *order != Dates::Iso) {
                args.options.set("dates", Some(order.as_str().to_owned()));
                further.push(Flag::new("--dates", order.as_str()));
                report = look(&args, config, shutdown).await?;
            }
        }
        let Some(flags) = report.refused.as_ref().and_then(mending) else { break };
        let all = [&further[..], &flags].concat();
        let Some(with) = parsed(&all, parse) else { break };
        let next = match look(&with, config, shutdown).await {
            Ok(next) => next,
            Err(error) if error.is::<Aborted>() => return Err(error),
            // The flags do not fit together: the findings before them are reported.
            Err(_) => break,
        };
        if next.refused.as_ref().is_some_and(|error| report.refused.as_ref() == Some(error)) {
            break;
        }
        (args, report, further) = (with, next, all);
    }
    tell(&args, &report, &further, parse)
}

/// `--profile auto`: the file once more, with the profile that it looks like.
async fn proposed(
    mut args: Box<UsersArgs>,
    again: bool,
    report: &mut Report,
    further: &mut Vec<Flag>,
    config: &Config,
    shutdown: &Shutdown,
) -> anyhow::Result<Box<UsersArgs>> {
    let mut found = report.profile;
    // A list inside an object has to be found before its names are known.
    let wrapped = report.refused.as_ref().and_then(|error| match error.mends() {
        [flag, at] if flag == "--at" => Some(at.clone()),
        _ => None,
    });
    if found.is_none()
        && again
        && args.options.get("at").is_none()
        && let Some(at) = wrapped
    {
        args.options.set("at", Some(at));
        found = look(&args, config, shutdown).await?.profile;
        args.options.set("at", None);
    }
    let Some(profile) = found else {
        return Err(usage("no built-in profile fits this file; `muster profile list` shows them"));
    };
    if !again {
        return Err(usage(format!(
            "standard input and pipes can be read only once: give `--profile {profile}`, which fits"
        )));
    }
    args.options.set("profile", Some(profile.to_owned()));
    further.push(Flag::new("--profile", profile));
    *report = look(&args, config, shutdown).await?;
    Ok(args)
}

async fn look(args: &UsersArgs, config: &Config, shutdown: &Shutdown) -> anyhow::Result<Report> {
    let mut source = Source::open_to_look(&args.file, args.options.format()).await?;
    let asked = ImportRequest::from_pairs(args.pairs(&source)).map_err(wrong_option)?;
    let told = |error: RequestError| match error {
        RequestError::Options(OptionsError::Invalid(error)) => wrong_option(error),
        error => error.into(),
    };
    // A tenant's own profile is in the database.
    let asked = if let (Some(name), Some(server)) = (asked.tenants_profile(), &args.server) {
        let remote = Remote::new(server, &args.token)?;
        match remote.profile(name).await? {
            Some(pairs) => asked.with_options_of(&pairs).map_err(wrong_option)?,
            None => {
                return Err(usage(format!(
                    "--profile: the server has no profile {name}; `muster profile list` shows those it has"
                )));
            }
        }
    } else if asked.tenants_profile().is_some() {
        let look = async |session: &Session| {
            let tenant = session.tenant(&args.tenant).await?;
            with_profile(&asked, &session.store, tenant).await.map_err(told)
        };
        Box::pin(connect::with(config, Need::Look, shutdown, look)).await?
    } else {
        asked
    };
    let AskedImport { options, dialect, .. } = asked.asked(None).map_err(|error| told(error.into()))?;
    let limits = ReceiveLimits { dialect, ..receive_limits(config) };
    let inspecting = inspect::begin(options, source.encoding, limits);
    let read = async {
        loop {
            match source.next().await {
                Ok(Some(bytes)) if inspecting.push(bytes.clone()).await => {}
                Ok(_) => return None,
                Err(error) => {
                    let message = format!("the file cannot be read: {error}");
                    return Some(FileError::new(ErrorCode::UploadIncomplete, message));
                }
            }
        }
    };
    let failed = tokio::select! {
        failed = read => failed,
        () = shutdown.stopping() => return Err(Aborted.into()),
    };
    Ok(end(inspecting, failed).await)
}

async fn end(inspecting: Inspecting, failed: Option<FileError>) -> Report {
    match failed {
        Some(error) => inspecting.fail(error).await,
        None => inspecting.finish().await,
    }
}

fn tell(args: &UsersArgs, report: &Report, further: &[Flag], parse: Parse) -> anyhow::Result<Exit> {
    let name = args.file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let command = report.refused.is_none().then(|| command(further, parse));
    if args.json {
        json(&InspectOutput { file: &name, report, command })?;
    } else {
        stdout_line(text(&name, report, command.as_deref(), args.options.get("profile").is_some()))?;
    }
    Ok(match (&report.refused, report.invalid) {
        (Some(_), _) => Exit::Failure,
        (None, 0) => Exit::Done,
        (None, _) => Exit::FailedRecords,
    })
}

/// The order that the file proves, for an import that is to find it out.
pub(super) async fn proved_order(
    args: &UsersArgs,
    config: &Config,
    shutdown: &Shutdown,
) -> anyhow::Result<Dates> {
    let report = look(args, config, shutdown).await?;
    match report.days.option() {
        Some(order) => Ok(order),
        None => Err(usage(format!(
            "the file does not prove the order of its dates. {}",
            report.days.sentence().unwrap_or_default()
        ))),
    }
}
