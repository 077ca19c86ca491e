//! `muster bc import users FILE`: Bitcaster's `bc import users`, with its options, its rules for the file and its lines.
//!
//! Intended differences from the original are listed in docs/front-doors/bitcaster.md, above all the exit code.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use muster_domain::catalog::Organization;
use muster_domain::error::ErrorCode;
use muster_domain::fault::{Mutant, mutant};
use muster_domain::field::{Blank, Field, FieldRule, FieldTable, METADATA_PATTERN};
use muster_domain::id::{GroupId, ImportId, TenantId};
use muster_domain::import::ImportState;
use muster_domain::options::{EmptyCell, Enrolment, ImportOptions, OnExisting, Rows, UnknownColumns};
use muster_domain::outcome::Counts;
use muster_domain::parse::{Dialect, Format};
use muster_domain::receive::{NewImport, Provenance};
use muster_domain::tenant::Slug;
use muster_producer::inspect;
use muster_producer::receive::ReceiveLimits;
use muster_producer::request::ResolvedImport;
use muster_runtime::clock;
use muster_runtime::config::Config;
use muster_store::catalog;

use crate::connect::{self, Need, OPERATOR, Session};
use crate::failure::{Exit, usage};
use crate::follow::drive;
use crate::import::{ReceivedImport, Source, Unreceived, take_in, view};
use crate::invocation::Invocation;
use crate::output::{number, stderr_line, stdout_line};
use crate::pipeline::receive_limits;
use crate::progress::Progress;
use crate::shutdown::{Aborted, Shutdown};

/// Most characters of a name, and of an e-mail address, which is the username.
const NAME_CHARS: u16 = 150;
/// The organization of Bitcaster's own makers, which is never meant where none is named.
const MAKERS: &str = "os4d";

/// Options of `muster bc`.
#[derive(Debug, Args)]
pub(crate) struct BcArgs {
    #[command(subcommand)]
    what: BcCommand,
}

#[derive(Debug, Subcommand)]
enum BcCommand {
    /// Import from a file
    Import(ImportArgs),
}

#[derive(Debug, Args)]
struct ImportArgs {
    #[command(subcommand)]
    what: Imported,
}

#[derive(Debug, Subcommand)]
enum Imported {
    /// Import users from a CSV file: new ones are created, those that exist are enrolled and left as they are
    #[command(after_help = EXAMPLES)]
    Users(UsersArgs),
}

const EXAMPLES: &str = "\
Examples:
  muster bc import users employees.csv
  muster bc import users employees.csv --org my-company --group developers

Columns: email, first_name, last_name, custom__KEY, custom__KEY[] (a, b), custom__KEY{} (k=v, n=1).
Exit codes: 0 done, 1 could not run, 2 wrong usage, 3 done with failed records.";

#[derive(Debug, Args)]
struct UsersArgs {
    /// The CSV file; `-` reads standard input
    #[arg(value_name = "CSV_FILE")]
    file: PathBuf,
    /// Organization to enrol the users in [default: the first by name]
    #[arg(long, value_name = "SLUG")]
    org: Option<String>,
    /// Group to enrol the users in; it must exist [default: the setting bitcaster.default_group]
    #[arg(long, value_name = "NAME")]
    group: Option<String>,
    /// The tenant whose users they are
    #[arg(long, value_name = "SLUG", default_value = Slug::DEFAULT)]
    tenant: Slug,
}

/// Runs the command.
pub(crate) async fn run(args: &BcArgs, config: &Config, shutdown: &Shutdown) -> anyhow::Result<Exit> {
    let BcCommand::Import(ImportArgs { what: Imported::Users(args) }) = &args.what;
    // As in Bitcaster, a file that is not there is a mistake in the command.
    let source = Source::open(&args.file, Some(Format::Csv)).await;
    let source = source.map_err(|error| usage(format!("{error:#}")))?;
    let work = async |session: &Session| import(args, source, config, session, shutdown).await;
    match Box::pin(connect::with(config, Need::Work, shutdown, work)).await {
        Err(error) if !error.is::<Aborted>() => failed(&format!("An error occurred: {error:#}")),
        ended => ended,
    }
}

async fn import(
    args: &UsersArgs,
    source: Source,
    config: &Config,
    session: &Session,
    shutdown: &Shutdown,
) -> anyhow::Result<Exit> {
    let tenant = session.enabled_tenant(&args.tenant).await?;
    let Some(organization) = organization(args, session, tenant).await? else {
        return match &args.org {
            Some(slug) => failed(&format!("Error: Organization '{slug}' not found.")),
            None => failed("Error: No local organization found."),
        };
    };
    let Some(group) = group(args, config, session, tenant).await? else {
        let name = args.group.as_deref().unwrap_or_default();
        let org = args.org.as_deref().unwrap_or("None");
        return failed(&format!("Error: Group '{name}' not found in organization '{org}'."));
    };
    stdout_line(format_args!("Importing users into organization '{}'...", organization.1.name))?;
    let enrolment = Enrolment { organization_id: organization.0, group_id: group.get() };
    let options = ImportOptions {
        organization: Some(organization.1.slug),
        group: args.group.clone(),
        ..options(enrolment)
    };
    let id = ImportId::new(clock::new_id());
    let provenance = Provenance { actor: Some(OPERATOR.to_owned()), ..Provenance::default() };
    let new = NewImport { id, tenant, filename: source.name.clone(), options, idempotency: None, provenance };
    let lax_quotes = !mutant(Mutant::StrayQuoteFails);
    let dialect = Dialect { lax_quotes, ..Dialect::default() };
    let resolved = ResolvedImport { import: new, dialect, brake: 0 };
    // Bitcaster's program shows no progress: there is some on a terminal, and none elsewhere.
    let progress = Progress::new(!std::io::stderr().is_terminal());
    let invocation = Invocation::new(None, None, &args.tenant);
    let taken = take_in(resolved, source, config, session, &invocation, &progress, shutdown).await;
    let taken = match taken {
        Err(error) if is_unknown_column(&error) => match rows_without_address(&args.file, config).await {
            Some(rows) => {
                progress.clear();
                return print_result(
                    &Counts { total: rows, failed: rows, ..Counts::default() },
                    id,
                    &invocation,
                );
            }
            None => return Err(error),
        },
        taken => taken?,
    };
    let view = match taken {
        ReceivedImport::Runs(import) => drive(session, config, tenant, import, &progress, shutdown).await?,
        ReceivedImport::Waits(import) => view(&session.store, tenant, import).await?,
    };
    progress.clear();
    if view.state != ImportState::Completed {
        return failed(&format!("An error occurred: the import is {}", view.state));
    }
    print_result(&view.counts, view.id, &invocation)
}

/// The organization named; without a name the first one, by name.
async fn organization(
    args: &UsersArgs,
    session: &Session,
    tenant: TenantId,
) -> anyhow::Result<Option<(i32, Organization)>> {
    let slug = match &args.org {
        Some(slug) => slug.parse::<Slug>().ok(),
        None => {
            let all = catalog::get(&session.store, tenant).await?.organizations;
            let local = all.into_iter().filter(|one| !one.name.eq_ignore_ascii_case(MAKERS));
            local.min_by(|a, b| a.name.cmp(&b.name)).and_then(|first| first.slug.parse().ok())
        }
    };
    let Some(slug) = slug else { return Ok(None) };
    let found = catalog::find_organization(session.store.pool(), tenant, &slug).await?;
    Ok(found.map(|(id, organization)| (id.get(), organization)))
}

/// The group named, which must be there; without a name the default one, which need not.
async fn group(
    args: &UsersArgs,
    config: &Config,
    session: &Session,
    tenant: TenantId,
) -> anyhow::Result<Option<GroupId>> {
    Ok(match &args.group {
        Some(name) => catalog::find_group(session.store.pool(), tenant, name).await?,
        None => Some(catalog::ensure_group(&session.store, tenant, &config.bitcaster.default_group).await?),
    })
}

/// Bitcaster's rules for the file.
fn options(enrolment: Enrolment) -> ImportOptions {
    let name = |name, field| FieldRule::new(name, field).blank(Blank::Absent).longest(NAME_CHARS);
    ImportOptions {
        format: Format::Csv,
        on_existing: OnExisting::Enrol,
        default_address: true,
        // An empty cell of custom fields is an empty text.
        empty_cells: EmptyCell::Keep,
        rows: Rows::Flexible,
        fields: Some(FieldTable(vec![
            FieldRule::new("email", Field::Email).longest(NAME_CHARS),
            name("first_name", Field::GivenName),
            name("last_name", Field::FamilyName),
            FieldRule::new(METADATA_PATTERN, Field::Metadata).verbatim(),
        ])),
        enrolment: Some(enrolment),
        ..ImportOptions::default()
    }
}

fn is_unknown_column(error: &anyhow::Error) -> bool {
    let refused = error.downcast_ref::<Unreceived>();
    refused.is_some_and(|refused| refused.0.code == ErrorCode::CsvHeaderUnknown)
        && !mutant(Mutant::UnknownColumnAtOnce)
}

/// Bitcaster looks at the columns when it comes to the first row with a valid address, and drops the rows before it: so many rows there
/// are, where no row has one. `None` where one has, or where the file cannot be read twice.
async fn rows_without_address(file: &Path, config: &Config) -> Option<u64> {
    let mut source =
        Source::open_to_look(file, Some(Format::Csv)).await.ok().filter(|source| source.size.is_some())?;
    let options = ImportOptions {
        unknown_columns: UnknownColumns::Ignore,
        fields: Some(FieldTable(vec![FieldRule::new("email", Field::Email).longest(NAME_CHARS)])),
        format: Format::Csv,
        rows: Rows::Flexible,
        ..ImportOptions::default()
    };
    let dialect = Dialect { lax_quotes: true, ..Dialect::default() };
    let limits = ReceiveLimits { dialect, ..receive_limits(config) };
    let inspecting = inspect::begin(options, source.encoding, limits);
    while let Some(bytes) = source.next().await.ok()? {
        if !inspecting.push(bytes).await {
            break;
        }
    }
    let report = inspecting.finish().await;
    (report.refused.is_none() && report.invalid == report.records).then_some(report.records)
}

/// Bitcaster counts every row as processed, and every user of the file as created or updated, one that was there too.
fn print_result(counts: &Counts, import: ImportId, invocation: &Invocation) -> anyhow::Result<Exit> {
    let users = counts.inserted + counts.updated + counts.skipped;
    let line = format!("Success! Processed {} lines, created/updated {users} users.", counts.total);
    stdout_line(coloured(&line, GREEN))?;
    if counts.failed == 0 {
        return Ok(Exit::Done);
    }
    let records = if counts.failed == 1 { "record" } else { "records" };
    stderr_line(format_args!(
        "{} {records} failed: {}",
        number(counts.failed),
        invocation.failed(import, Format::Csv)
    ));
    Ok(Exit::FailedRecords)
}

const GREEN: u8 = 32;
const RED: u8 = 31;

/// Prints an error to standard output, as Bitcaster does.
fn failed(line: &str) -> anyhow::Result<Exit> {
    stdout_line(coloured(line, RED))?;
    Ok(Exit::Failure)
}

/// In colour on a terminal.
fn coloured(line: &str, colour: u8) -> String {
    if std::io::stdout().is_terminal() { format!("\x1b[{colour}m{line}\x1b[0m") } else { line.to_owned() }
}
