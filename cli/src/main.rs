//! `muster`, the one program: parses the command line, reads the configuration, starts logging and calls the command.
//!
//! One module a command, all of them named in `args`. What they share, and what knows no command:
//!
//! - `connect`: the store, the engine and the queue of a command, opened and closed in one place;
//! - `client`: the API of a server, its operations and its answers;
//! - `follow` and `progress`: an import is driven or watched to its end, and shown meanwhile; `pipeline`:
//!   what drives it; - `failure`: errors and exit codes; `shutdown`: the two steps of a signal;
//! - `output`, `invocation`, `view`, `values`: what is printed, how a command is named to people, an import as the API shows it, values of options.

mod args;
mod audit;
mod bc;
mod catalog;
mod client;
mod completions;
mod configuration;
mod connect;
mod doctor;
mod explain;
mod failure;
mod follow;
mod import;
mod imports;
mod invocation;
mod keys;
mod migrate;
mod output;
mod pipeline;
mod profile;
mod progress;
mod receipts;
mod service;
mod shutdown;
mod tenants;
mod tokens;
mod top;
mod traces;
mod users;
mod values;
mod verify;
mod view;
mod webhook;

use std::process::ExitCode;

use anyhow::Context;
use clap::{CommandFactory as _, Parser};
use muster_runtime::config::Config;

use crate::args::{Cli, Command};
use crate::failure::Exit;
use crate::shutdown::{Aborted, Shutdown};
use crate::traces::Traces;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    muster_domain::fault::init();
    let cli = Cli::parse();
    let ended = run(cli);
    failure::exit(ended)
}

fn run(cli: Cli) -> anyhow::Result<Exit> {
    // These two answer whatever the configuration says.
    match &cli.command {
        Command::Completions(args) => return completions::run(args, Cli::command()),
        Command::Explain(args) => return explain::run(args),
        _ => {}
    }
    let config = match (cli.global.config(), &cli.command) {
        (Ok(config), _) => config,
        (Err(error), Command::Doctor(args)) => return doctor::misconfigured(args, &error),
        (Err(error), _) => return Err(error),
    };
    muster_runtime::telemetry::init(&config.log, cli.command.log_filter())?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        // An upload has two threads of its own, of which one waits for the other, and there may be 1,000 uploads. Threads are
        // started as they are needed.
        .max_blocking_threads(4_096)
        .build()
        .context("the runtime cannot be started")?;
    let ended = runtime.block_on(traced(cli.command, config));
    // A thread may still wait for terminal input that will never come.
    runtime.shutdown_background();
    ended
}

/// Runs the command, and sends its traces where they are wanted.
async fn traced(command: Command, config: Config) -> anyhow::Result<Exit> {
    let traces = Traces::start(&command, &config)?;
    let ended = Box::pin(dispatch(command, config)).await;
    // After a second signal the program does not wait.
    if !matches!(&ended, Err(error) if error.is::<Aborted>()) {
        traces.stop().await;
    }
    ended
}

async fn dispatch(command: Command, config: Config) -> anyhow::Result<Exit> {
    let config = &config;
    let (steps, once) = (Shutdown::in_two_steps, Shutdown::at_once);
    match command {
        Command::Import(args) => Box::pin(import::run(args, config, &steps()?)).await,
        Command::Inspect(args) => {
            Box::pin(import::inspect::run(args, config, &once()?, Cli::inspected)).await
        }
        Command::Bc(args) => Box::pin(bc::run(&args, config, &steps()?)).await,
        Command::Imports(args) if args.works() => Box::pin(imports::run(&args, config, &steps()?)).await,
        Command::Imports(args) => Box::pin(imports::run(&args, config, &once()?)).await,
        Command::Top(args) => Box::pin(top::run(&args, config, &once()?)).await,
        Command::Serve(args) => Box::pin(service::serve(&args, config, &steps()?)).await,
        Command::Producer(args) => Box::pin(service::producer(&args, config, &steps()?)).await,
        Command::Worker(args) => Box::pin(service::worker(&args, config, &steps()?)).await,
        Command::Migrate(args) => Box::pin(migrate::run(&args, config, &once()?)).await,
        Command::Doctor(args) => Box::pin(doctor::run(&args, config, &once()?)).await,
        Command::Tenant(args) => Box::pin(tenants::run(&args, config, &once()?)).await,
        Command::Token(args) => Box::pin(tokens::run(&args, config, &once()?)).await,
        Command::Users(args) => Box::pin(users::run(&args, config, &once()?)).await,
        Command::Receipts(args) => Box::pin(receipts::run(&args, config, &once()?)).await,
        Command::Verify(args) => Box::pin(verify::run(&args, config)).await,
        Command::Profile(args) => Box::pin(profile::run(&args, config, &once()?)).await,
        Command::Webhook(args) => Box::pin(webhook::run(&args, config, &once()?)).await,
        Command::Audit(args) => Box::pin(audit::run(&args, config, &once()?)).await,
        Command::Catalog(args) => Box::pin(catalog::run(&args, config, &once()?)).await,
        Command::Config(args) => configuration::run(&args, config),
        Command::Explain(args) => explain::run(&args),
        Command::Completions(args) => completions::run(&args, Cli::command()),
    }
}
