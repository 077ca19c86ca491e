//! What a run is asked to do.

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

/// Options of `muster-soak`.
#[derive(Debug, Clone, Parser)]
#[command(
    name = "muster-soak",
    about = "Kills Muster's processes and servers at random, and checks every promise",
    version
)]
pub struct Options {
    /// The program to test
    #[arg(long, default_value = "target/debug/muster")]
    pub program: PathBuf,
    /// Work folder; it must not exist. The evidence stays there
    #[arg(long, default_value = ".services/soak")]
    pub dir: PathBuf,
    /// Seeds, one after the other; `random` takes one and prints it
    #[arg(long, value_delimiter = ',', default_value = "1")]
    pub seed: Vec<String>,
    /// How long to break things, for all seeds together
    #[arg(long, default_value_t = 5.0)]
    pub minutes: f64,
    /// SIGKILLs to reach; none: as many as the time holds
    #[arg(long)]
    pub kills: Option<u64>,
    /// Accepted imports to reach
    #[arg(long)]
    pub imports: Option<u64>,
    /// Accepted records to reach
    #[arg(long)]
    pub records: Option<u64>,
    /// Mean time between two faults, in seconds
    #[arg(long, default_value_t = 3.0)]
    pub every: f64,
    /// Tenants
    #[arg(long, default_value_t = 4)]
    pub tenants: usize,
    /// Series of imports over addresses of their own, for each tenant
    #[arg(long, default_value_t = 3)]
    pub series: usize,
    /// Most records of an import
    #[arg(long, default_value_t = 20_000)]
    pub most: usize,
    /// Producers
    #[arg(long, default_value_t = 2)]
    pub producers: usize,
    /// Workers
    #[arg(long, default_value_t = 3)]
    pub workers: usize,
    /// Faults and their weights, as in `worker=60,producer=20`; see `nemesis.rs` for the names
    #[arg(long, value_delimiter = ',')]
    pub mix: Vec<String>,
    /// Before the faults: this many records, the message of each of their chunks published five times
    #[arg(long, default_value_t = 0)]
    pub flood: u64,
    /// Before the faults: the broker is killed, its data removed, and it stays away for so many seconds; every upload must be
    /// accepted meanwhile
    #[arg(long, default_value_t = 0)]
    pub broker_away: u64,
    /// How long everything may take to end after the last fault, in seconds
    #[arg(long, default_value_t = 180)]
    pub settle: u64,
    /// Longest time until work goes on after a fault was healed, in seconds; more is a violation
    #[arg(long, default_value_t = 30.0)]
    pub recovery: f64,
    /// Settings of the program, as in `MUSTER_INTAKE_CHUNK_RECORDS=500`
    #[arg(long, value_name = "NAME=VALUE")]
    pub set: Vec<String>,
    /// After the comparison at the end, damage the database and a log and compare again: a run in which a damage is not seen
    /// has a blind oracle, and fails
    #[arg(long)]
    pub spoil: bool,
    /// Leave the servers' data in the work folder
    #[arg(long)]
    pub keep: bool,
}

impl Options {
    pub(crate) fn every(&self) -> Duration {
        Duration::from_secs_f64(self.every)
    }

    pub(crate) fn length(&self) -> Duration {
        Duration::from_secs_f64(self.minutes * 60.0)
    }
}
