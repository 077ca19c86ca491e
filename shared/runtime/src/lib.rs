//! The base of every Muster process: configuration, logs and metrics, retries.
//!
//! Knows tokio and the domain, and neither the database nor the broker. The types that matter:
//!
//! - [`config::Config`]: every setting, from the command line, the environment and files, checked together;
//! - [`telemetry`]: logs, the table of metrics ([`telemetry::series`]), and traces ([`telemetry::traces`]);
//! - [`retry::Policy`] and [`retry::Backoff`]: when to try again; [`retry::ErrorKind`] says whether that can help;
//! - [`supervise::Supervised`]: a task that is started again where it ends, and [`supervise::Progress`], by which readiness knows;
//! - [`readiness::Part`]: something that is asked how it fares, once in a while;
//! - [`clock`]: the one place that reads the time and makes ids; the domain takes both as arguments.

pub mod clock;
pub mod config;
pub mod limits;
pub mod readiness;
pub mod retry;
pub mod socket;
pub mod supervise;
pub mod telemetry;
