//! `muster inspect FILE`: what a file is, what its columns mean, what is wrong with it, and the command that imports it. Nothing is stored and
//! no database is needed.
//!
//! Where the file would be refused and the message has flags that mend it, the inspection goes on with them, so that one look shows all.

use std::fmt::Write;

use clap::{Args, Parser};
use muster_producer::inspect::{self, Inspecting};
use muster_producer::request::{ImportRequest, RequestError};
use muster_shared::config::Config;
use muster_shared::error::{ErrorCode, FileError};
use muster_shared::inspect::{DayOrder, Problem, Report};
use muster_shared::options::Dates;
use muster_shared::validate::quoted;
use serde::Serialize;

use super::UsersArgs;
use super::local::wrong_option;
use super::source::Source;
use crate::args::{Cli, Command};
use crate::connect::{self, Need, Session};
use crate::failure::{Ended, usage};
use crate::imports::Remote;
use crate::output::{answer, json, number, table};
use crate::pipeline::receive_limits;
use crate::profile::of_server;
use crate::shutdown::{Aborted, Shutdown};

/// Times that flags of a message are followed.
const ROUNDS: usize = 8;
/// Problems that are shown to people.
const SHOWN: usize = 20;

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
    users: Box<UsersArgs>,
}

/// What programs are told.
#[derive(Debug, Serialize)]
struct Told<'r> {
    file: &'r str,
    #[serde(flatten)]
    report: &'r Report,
    /// The command that imports the file; none where no command would.
    #[serde(skip_serializing_if = "Option::is_none")]
    command: Option<String>,
}

/// Runs the command.
pub(crate) async fn run(args: InspectArgs, config: &Config, shutdown: &Shutdown) -> anyhow::Result<Ended> {
    let mut args = args.users;
    let mut further: Vec<String> = Vec::new();
    // Proposed, and taken only to show what it comes to: the command that is printed names it.
    let auto = args.options.profile.as_deref() == Some("auto");
    if auto {
        args.options.profile = None;
    }
    // The same is done with the order of days, once the columns are known.
    let order = args.options.dates.as_deref() == Some("auto");
    if order {
        args.options.dates = None;
    }
    let mut report = look(&args, config, shutdown).await?;
    if auto {
        args = proposed(args, &mut report, &mut further, config, shutdown).await?;
    }
    let mut proved = !order;
    for _ in 0..ROUNDS {
        if report.refused.is_none() && !proved && args.file != std::path::Path::new("-") {
            proved = true;
            if let Some(order) = report.days.option().filter(|order| *order != Dates::Iso) {
                args.options.dates = Some(order.as_str().to_owned());
                further.extend(["--dates".to_owned(), order.as_str().to_owned()]);
                report = look(&args, config, shutdown).await?;
            }
        }
        let flags = report.refused.as_ref().and_then(|error| flags(&error.message));
        // Standard input can be read only once.
        let Some(flags) = flags.filter(|_| args.file != std::path::Path::new("-")) else { break };
        let words = words(flags);
        let Some(with) = parsed(&further, &words) else { break };
        let next = look(&with, config, shutdown).await?;
        if next.refused.as_ref().is_some_and(|error| report.refused.as_ref() == Some(error)) {
            break;
        }
        further.extend(words);
        (args, report) = (with, next);
    }
    tell(&args, &report, &further)
}

/// `--profile auto`: the file once more, with the profile that it looks like.
async fn proposed(
    mut args: Box<UsersArgs>,
    report: &mut Report,
    further: &mut Vec<String>,
    config: &Config,
    shutdown: &Shutdown,
) -> anyhow::Result<Box<UsersArgs>> {
    // A list inside an object has to be found before its names are known.
    let wrapped = |report: &Report| {
        let flags = report.refused.as_ref().and_then(|error| flags(&error.message))?;
        flags.strip_prefix("--at ").map(str::to_owned)
    };
    let mut found = report.profile;
    if found.is_none()
        && args.options.at.is_none()
        && let Some(at) = wrapped(&*report)
    {
        args.options.at = Some(at);
        found = look(&args, config, shutdown).await?.profile;
        args.options.at = None;
    }
    let Some(profile) = found else {
        return Err(usage(
            "the file looks like none that a built-in profile is for; `muster profile list` shows them",
        ));
    };
    args.options.profile = Some(profile.to_owned());
    further.extend(["--profile".to_owned(), profile.to_owned()]);
    *report = look(&args, config, shutdown).await?;
    Ok(args)
}

/// The command line with further flags.
fn parsed(further: &[String], words: &[String]) -> Option<Box<UsersArgs>> {
    let line = without_auto(std::env::args())
        .into_iter()
        .chain(further.iter().cloned())
        .chain(words.iter().cloned());
    match Cli::try_parse_from(line).ok()?.command {
        Command::Inspect(args) => Some(args.users),
        _ => None,
    }
}

async fn look(args: &UsersArgs, config: &Config, shutdown: &Shutdown) -> anyhow::Result<Report> {
    let mut source = Source::open(&args.file, args.options.format).await?;
    let asked = ImportRequest::from_pairs(args.pairs(&source)).map_err(wrong_option)?;
    let told = |error: RequestError| match error {
        RequestError::Invalid(error) => wrong_option(error),
        error => error.into(),
    };
    // A tenant's own profile is in the database.
    let asked = if let (Some(name), Some(server)) = (asked.tenants_profile(), &args.server) {
        let remote = Remote::new(server, &args.token)?;
        match of_server(&remote, name).await? {
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
            asked.with_profile(&session.store, tenant).await.map_err(told)
        };
        Box::pin(connect::with(config, Need::Look, shutdown, look)).await?
    } else {
        asked
    };
    let (options, reading) = asked.reading(None).map_err(told)?;
    let mut limits = receive_limits(config);
    limits.parse = reading.limits(limits.parse);
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

/// The flags in a message that mend what it tells.
fn flags(message: &str) -> Option<&str> {
    let mapped = message.split_once("as in: ").and_then(|(_, rest)| rest.split_once(" (nothing after"));
    let flags = match mapped {
        Some((flags, _)) => flags,
        None => message.split('`').find(|part| part.starts_with("--"))?,
    };
    let whole = flags.contains(' ') && !flags.contains("NAME=");
    whole.then_some(flags)
}

/// Words as a shell makes them of what [`quoted`] wrote.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    let mut escaped = false;
    for c in line.chars() {
        match (quote, c) {
            (None, '\\') if !escaped => {
                escaped = true;
                continue;
            }
            (None, '"' | '\'') if !escaped => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (Some(open), c) if c == open => quote = None,
            (None, ' ') => words.extend(word.take()),
            _ => word.get_or_insert_default().push(c),
        }
        escaped = false;
    }
    words.extend(word);
    words
}

/// The words without `--profile auto` and `--dates auto`, in whose place stands what they came to.
fn without_auto(words: impl Iterator<Item = String>) -> Vec<String> {
    let mut kept: Vec<String> = Vec::new();
    for word in words {
        match word.as_str() {
            "--profile=auto" | "--dates=auto" => {}
            "auto" if kept.last().is_some_and(|last| last == "--profile" || last == "--dates") => {
                kept.pop();
            }
            _ => kept.push(word),
        }
    }
    kept
}

/// The command that imports the file as it was looked at.
fn command(further: &[String]) -> String {
    let given = without_auto(std::env::args().skip_while(|word| word != "inspect").skip(1));
    let given = given.into_iter().filter(|word| word != "--json");
    let words: Vec<String> = given.chain(further.iter().cloned()).collect();
    let words: Vec<_> = words.iter().map(|word| quoted(word)).collect();
    format!("muster import users {}", words.join(" "))
}

fn tell(args: &UsersArgs, report: &Report, further: &[String]) -> anyhow::Result<Ended> {
    let name = args.file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let command = report.refused.is_none().then(|| command(further));
    if args.json {
        json(&Told { file: &name, report, command })?;
    } else {
        answer(text(&name, report, command.as_deref(), args.options.profile.is_some()))?;
    }
    Ok(match (&report.refused, report.invalid) {
        (Some(_), _) => Ended::Unwell,
        (None, 0) => Ended::Done,
        (None, _) => Ended::FailedRecords,
    })
}

fn text(name: &str, report: &Report, command: Option<&str>, profiled: bool) -> String {
    let mut text = format!("{name}: {} in {}", report.format, report.encoding);
    // Writing to a String cannot fail, here and below.
    if report.sheet.is_none() && !report.encoding_known.is_empty() && report.refused.is_none() {
        let _ = write!(text, " ({})", report.encoding_known);
    }
    if let Some(sheet) = &report.sheet {
        let _ = write!(text, ", sheet {sheet}");
    } else if let Some(delimiter) = report.delimiter {
        let _ = write!(text, ", delimiter {}", delimiter.as_str());
    }
    let _ = write!(text, ", {} records", number(report.records));
    if report.skipped_lines > 0 {
        let what = if report.skipped.is_empty() { "empty".to_owned() } else { report.skipped.join(", ") };
        let _ = write!(text, "\n{} lines before the header are skipped: {what}", report.skipped_lines);
    }
    if let Some(profile) = report.profile
        && !profiled
    {
        let _ =
            write!(text, "\nIt looks like a file that the profile {profile} is for: `--profile {profile}`");
    }
    if let Some(error) = &report.refused {
        let _ = write!(text, "\n\nIt would be refused: {error} [{}]", error.code);
    }
    if !report.columns.is_empty() {
        let rows: Vec<Vec<String>> = report
            .columns
            .iter()
            .map(|column| {
                let name = column.name.split_whitespace().collect::<Vec<_>>().join(" ");
                vec![name, column.field.clone().unwrap_or_else(|| "left out".into()), column.by.into()]
            })
            .collect();
        let _ = write!(text, "\n\n{}", table(&["COLUMN", "FIELD", "KNOWN BY"], &rows));
    }
    for (at, record) in report.first.iter().enumerate() {
        let fields: Vec<String> = record.iter().map(|(field, value)| format!("{field}: {value}")).collect();
        let _ = write!(text, "\n{}record {}  {}", if at == 0 { "\n" } else { "" }, at + 1, fields.join(", "));
    }
    if report.invalid > 0 {
        let (invalid, records) = (number(report.invalid), number(report.records));
        let _ = write!(text, "\n\n{invalid} of {records} records would fail");
    }
    for (at, problem) in report.problems.iter().take(SHOWN).enumerate() {
        let _ = write!(text, "{}{}", if at == 0 { "\n\n" } else { "\n" }, told(problem));
    }
    if report.problems.len() > SHOWN {
        let _ = write!(text, "\nand {} further causes (`--json` has them)", report.problems.len() - SHOWN);
    }
    if let Some(days) = days(report.days) {
        let _ = write!(text, "\n\n{days}");
    }
    if report.needs_catalog {
        text.push_str(
            "\n\nRoles, groups, teams and locations are looked up in the catalog when the file is imported.",
        );
    }
    if let Some(command) = command {
        let _ = write!(text, "\n\nTo import it:\n  {command}");
    }
    text
}

/// In which order the days of the file are written.
fn days(order: DayOrder) -> Option<&'static str> {
    match order {
        DayOrder::Iso => None,
        DayOrder::Dmy => Some("Days are written day first, which is the only order that fits: `--dates dmy`"),
        DayOrder::Mdy => {
            Some("Days are written month first, which is the only order that fits: `--dates mdy`")
        }
        DayOrder::Unproved => Some(
            "Each day fits both orders: ask whoever made the file, and add `--dates dmy` or `--dates mdy`",
        ),
        DayOrder::Mixed => {
            Some("Some days are written day first and some month first: no order fits all of them")
        }
    }
}

/// The order that the file proves, for an import that is to find it out.
pub(super) async fn proved_order(
    args: &UsersArgs,
    config: &Config,
    shutdown: &Shutdown,
) -> anyhow::Result<Dates> {
    let other = tokio::fs::metadata(&args.file).await.is_ok_and(|metadata| !metadata.is_file());
    if other || args.file == std::path::Path::new("-") {
        return Err(usage(
            "what is no file can be read only once: say which order days have, `--dates dmy` or `--dates mdy`",
        ));
    }
    let report = look(args, config, shutdown).await?;
    match report.days.option() {
        Some(order) => Ok(order),
        None => Err(usage(format!(
            "the order of days is not proved by the file. {}",
            days(report.days).unwrap_or_default()
        ))),
    }
}

fn told(problem: &Problem) -> String {
    let field = problem.field.as_deref().map(|field| format!("{field}: ")).unwrap_or_default();
    let code = problem.code.map_or_else(|| "warning".to_owned(), |code| code.to_string());
    let places: Vec<String> = problem
        .first
        .iter()
        .map(|place| format!("record {}, line {}", number(place.record), number(place.line)))
        .collect();
    let more = if problem.count > problem.first.len() as u64 { "; …" } else { "" };
    format!(
        "{:>9}  {field}{} [{code}]\n           {}{more}",
        number(problem.count),
        problem.message,
        places.join("; ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_found_in_messages_that_have_some_to_follow() {
        let columns = "2 columns are not known: `A B`, `C`. Say what it is, as in: --column \"A B=custom__a_b\" --column C= (nothing after the `=`)";
        assert_eq!(
            flags(columns).map(words),
            Some(vec!["--column".into(), "A B=custom__a_b".into(), "--column".into(), "C=".into()])
        );
        assert_eq!(flags("skip it with `--skip-lines 2` (or `--skip-lines auto`)"), Some("--skip-lines 2"));
        assert_eq!(flags("leave `--encoding` out"), None);
        assert_eq!(flags("as in `--column \"NAME=email\"`"), None);
        assert_eq!(words(&quoted("it's $5")), ["it's $5"]);
    }
}
