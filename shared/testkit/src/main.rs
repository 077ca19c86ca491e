//! `muster-soak`: kills everything at random, and tells whether every promise was kept.

use clap::Parser as _;
use muster_testkit::soak::{Options, run};

fn main() -> anyhow::Result<std::process::ExitCode> {
    let options = Options::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(run(options))
}
