//! The benchmark: floor and Muster in turn, each in a fresh database of one server.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};

use crate::end_to_end::{self, EndToEnd};
use crate::floor::{self, FloorTime};
use crate::generate::{Manifest, Order, generate_file};
use crate::guard::{self, Guard, Leftover};
use crate::muster::{self, Muster};
use crate::postgres;
use crate::report::Report;
use crate::services::{self, Services};

/// What to measure.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// How many new users.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    records: u64,
    /// The seed of the file.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How often; the medians count.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// Keep the databases and the files, and say where they are.
    #[arg(long)]
    keep: bool,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

/// How Muster runs.
#[derive(Debug, clap::Args)]
pub(crate) struct MusterArguments {
    /// How many worker processes.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) workers: u32,
    /// The program to measure (default: the release build of this checkout, built if it is not up to date).
    #[arg(long, value_name = "FILE")]
    pub(crate) muster: Option<PathBuf>,
    /// Another build to measure in the same run, in turn with the first: what counts is the ratio of each pair.
    #[arg(long, value_name = "FILE")]
    pub(crate) beside: Option<PathBuf>,
}

/// The empty database of the program that is measured, and that of the one beside it.
const TEMPLATE: &str = "template";
const TEMPLATE_BESIDE: &str = "template_beside";

/// Everything that all measurements of a run share.
struct Run<'a> {
    arguments: &'a Arguments,
    guard: Guard,
    services: Services,
    folder: PathBuf,
    file: PathBuf,
    manifest: Manifest,
    /// How the names of this run's databases and queues begin.
    name: String,
}

/// The server's autovacuum begins each minute. A run that meets it takes a second longer than one that does not.
const NO_AUTOVACUUM: &str = "do $$ declare t text; begin
    for t in select format('%I', tablename) from pg_tables where schemaname = 'public' loop
        execute 'alter table ' || t || ' set (autovacuum_enabled = off)';
    end loop;
end $$";

/// `muster-bench run`, and without Muster `muster-bench floor`.
pub(crate) fn command(arguments: &Arguments, with: Option<&MusterArguments>) -> anyhow::Result<()> {
    let root = services::root()?;
    let found =
        |file: &PathBuf| file.canonicalize().with_context(|| format!("cannot find {}", file.display()));
    let program = match with {
        None => None,
        Some(MusterArguments { muster: Some(file), .. }) => Some(found(file)?),
        Some(_) => Some(muster::build(&root)?),
    };
    let beside = with.and_then(|with| with.beside.as_ref()).map(found).transpose()?;
    let mut guard = Guard::start()?;
    let name = format!("muster_bench_{}", std::process::id());
    let services = services::find(&root, &mut guard, with.is_some(), &name)?;
    let folder = guard::folder(&mut guard, arguments.keep)?;
    let file = folder.join("users.csv");
    eprintln!("generating {} records", arguments.records);
    let manifest = generate_file(&Order::clean(arguments.records, arguments.seed), &file)?;
    let mut run = Run { arguments, guard, services, folder, file, manifest, name };
    let mut report = Report::new(arguments.records, run.manifest.bytes, &run.services.versions);
    if let Some(with) = with {
        report.workers = with.workers;
    }
    run.template(TEMPLATE, &root, program.as_deref())?;
    if let Some(beside) = &beside {
        run.template(TEMPLATE_BESIDE, &root, Some(beside))?;
    }
    for number in 1..=arguments.runs {
        eprint!("run {number} of {}: floor", arguments.runs);
        let (time, content) = run.floor(number)?;
        eprint!(" {:.2} s", time.total);
        report.floors.push(time);
        let mut programs: Vec<_> = program.iter().map(|program| ("Muster", TEMPLATE, program)).collect();
        programs.extend(beside.iter().map(|program| ("beside", TEMPLATE_BESIDE, program)));
        // Neither of the two always comes first.
        if number % 2 == 0 {
            programs.reverse();
        }
        for (what, template, program) in programs {
            eprint!(", {what} …");
            let name = format!("{what}_{number}").to_lowercase();
            let workers = report.workers;
            let time = run.muster(&name, template, program, workers, &content)?;
            eprint!(" {:.2} s", time.first.completed);
            if template == TEMPLATE { report.musters.push(time) } else { report.beside.push(time) }
        }
        eprintln!();
    }
    if arguments.keep {
        eprintln!("kept: {} and the databases {}_*", run.folder.display(), run.name);
    }
    run.guard.finish()?;
    if arguments.json {
        println!("{:#}", report.to_json())
    } else {
        print!("{}", report.text())
    }
    Ok(())
}

impl Run<'_> {
    /// A database that others are copies of: Muster's tables, empty.
    fn template(&mut self, what: &str, root: &Path, program: Option<&Path>) -> anyhow::Result<()> {
        let (name, url) = self.database(what, "template0")?;
        match program {
            None => postgres::apply_migrations(&url, &root.join("migrations"))?,
            Some(program) => {
                let muster = self.program(program, url.clone(), &name)?;
                muster.call(&["migrate"]).map(drop)?;
            }
        }
        postgres::psql(&url, &[NO_AUTOVACUUM], None).map(drop)
    }

    /// The floor's time, and the fingerprint of the users that came out.
    fn floor(&mut self, number: u32) -> anyhow::Result<(FloorTime, String)> {
        let (name, url) = self.database(&format!("floor_{number}"), &format!("{}_{TEMPLATE}", self.name))?;
        let time = floor::measure(&url, &self.file)?;
        let count = postgres::row(&url, "select count(*) from users")?.join("|");
        ensure!(count == self.manifest.users.to_string(), "the floor has made {count} users");
        let content = end_to_end::content(&url)?;
        self.done_with(&name)?;
        Ok((time, content))
    }

    fn muster(
        &mut self,
        what: &str,
        template: &str,
        program: &Path,
        workers: u32,
        content: &str,
    ) -> anyhow::Result<EndToEnd> {
        let (name, url) = self.database(what, &format!("{}_{template}", self.name))?;
        let folder = self.folder.clone();
        let amqp = self.services.amqp.clone().context("no broker")?;
        let muster = Muster {
            program,
            folder: &folder,
            database: url,
            amqp: &amqp,
            prefix: name.clone(),
            variables: &[],
        };
        let time =
            end_to_end::measure(&mut self.guard, &muster, workers, &self.file, &self.manifest, content)?;
        self.done_with(&name)?;
        Ok(time)
    }

    fn program<'b>(
        &'b self,
        program: &'b Path,
        database: String,
        prefix: &str,
    ) -> anyhow::Result<Muster<'b>> {
        let amqp = self.services.amqp.as_deref().context("no broker")?;
        Ok(Muster {
            program,
            folder: &self.folder,
            database,
            amqp,
            prefix: prefix.to_owned(),
            variables: &[],
        })
    }

    /// A fresh database: its name, its URL.
    fn database(&mut self, what: &str, template: &str) -> anyhow::Result<(String, String)> {
        let name = format!("{}_{what}", self.name);
        let server = &self.services.database;
        if !self.arguments.keep {
            self.guard.add(&Leftover::Database { server: server.clone(), name: name.clone() })?;
        }
        let url = postgres::create_database(server, &name, template)?;
        Ok((name, url))
    }

    /// Drops a database at once, so that cleaning up after it does not disturb what is measured next.
    fn done_with(&mut self, name: &str) -> anyhow::Result<()> {
        if self.arguments.keep {
            return Ok(());
        }
        let server = self.services.database.clone();
        postgres::drop_database(&server, name)?;
        self.guard.forget(&Leftover::Database { server, name: name.to_owned() })
    }
}
