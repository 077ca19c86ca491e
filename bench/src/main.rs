//! Muster's benchmark: makes a file of users, and measures importing it against the fastest that the database can do.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for people at a terminal; it logs nothing"
)]

mod end_to_end;
mod fair;
mod floor;
mod generate;
mod guard;
mod http;
mod inspect;
mod muster;
mod pages;
mod postgres;
mod process;
mod report;
mod run;
mod services;
mod undo;

use std::path::PathBuf;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "muster-bench", about, version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Write a file of made-up users, and say what importing it must give.
    Generate {
        #[command(flatten)]
        order: generate::Order,
        /// Where to write the records (default: standard output).
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
        /// Where to write the manifest (default: standard error).
        #[arg(long, value_name = "FILE")]
        manifest: Option<PathBuf>,
    },
    /// Measure the floor and Muster, and check that every count is exact.
    ///
    /// TEST_DATABASE_URL and TEST_AMQP_URL name the servers; where one is not set, a private server is started, and
    /// stopped afterwards. Slowness is no failure; a wrong count is.
    Run {
        #[command(flatten)]
        arguments: run::Arguments,
        #[command(flatten)]
        muster: run::MusterArguments,
    },
    /// Measure how long small imports take beside a large one, and beside another tenant's flood and sick import.
    Fair {
        #[command(flatten)]
        arguments: fair::Arguments,
        #[command(flatten)]
        muster: run::MusterArguments,
    },
    /// Measure how long each page of the console takes with many imports in the store and a large one running.
    Pages {
        #[command(flatten)]
        arguments: pages::Arguments,
        #[command(flatten)]
        muster: run::MusterArguments,
    },
    /// Measure how long `muster inspect` takes for files of 1,000,000 records. No server is needed.
    Inspect {
        #[command(flatten)]
        arguments: inspect::Arguments,
    },
    /// Measure plans, before-images and undos beside the imports that they are about, and print the six ratios that are promised.
    Undo {
        #[command(flatten)]
        arguments: undo::Arguments,
        #[command(flatten)]
        muster: run::MusterArguments,
    },
    /// Measure the floor alone.
    Floor {
        #[command(flatten)]
        arguments: run::Arguments,
    },
    /// Clean up after a run.
    #[command(hide = true)]
    Guard,
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().command {
        Command::Generate { order, output, manifest } => {
            generate::command(&order, output.as_ref(), manifest.as_ref())
        }
        Command::Run { arguments, muster } => run::command(&arguments, Some(&muster)),
        Command::Fair { arguments, muster } => fair::command(&arguments, &muster),
        Command::Pages { arguments, muster } => pages::command(&arguments, &muster),
        Command::Inspect { arguments } => inspect::command(&arguments),
        Command::Undo { arguments, muster } => undo::command(&arguments, &muster),
        Command::Floor { arguments } => run::command(&arguments, None),
        Command::Guard => guard::command(),
    }
}
