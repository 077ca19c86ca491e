//! `muster`, the one program: parses the command line, reads the configuration, starts logging and calls the command.
//!
//! One module a command. What they share: `connect` (the store, the engine and the queue of a command), `shutdown` (the two
//! steps of a signal), `failure` (how errors are told, and the exit codes), `output`.

mod args;
mod connect;
mod failure;
mod follow;
mod import;
mod output;
mod pipeline;
mod shutdown;
mod view;

use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use muster_shared::config::Config;

use crate::args::{Cli, Command};
use crate::failure::Ended;
use crate::shutdown::Shutdown;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let ended = run(cli);
    failure::exit(ended)
}

fn run(cli: Cli) -> anyhow::Result<Ended> {
    let config = cli.global.config()?;
    muster_shared::telemetry::init(&config.log, cli.command.log_filter())?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("the runtime cannot be started")?;
    let ended = runtime.block_on(dispatch(cli.command, config));
    // A thread may still wait for a terminal's input, and nobody will type it.
    runtime.shutdown_background();
    ended
}

async fn dispatch(command: Command, config: Config) -> anyhow::Result<Ended> {
    match command {
        Command::Import(args) => Box::pin(import::run(args, &config, &Shutdown::in_two_steps()?)).await,
    }
}
