//! Muster's benchmark: makes a file of users, and measures importing it against the fastest that the database can do.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for people at a terminal; it logs nothing"
)]

mod generate;

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
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().command {
        Command::Generate { order, output, manifest } => {
            generate::command(&order, output.as_ref(), manifest.as_ref())
        }
    }
}
