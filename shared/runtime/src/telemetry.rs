//! What operators see: logs here, metrics in [`series`] and [`exposition`], traces in [`traces`].
//!
//! Logs are written to standard error as text or as JSON, panics included.
//!
//! Standard output is for the results of commands.

pub mod exposition;
pub mod series;
pub mod traces;

use std::io::IsTerminal;
use std::panic::PanicHookInfo;

use tracing_subscriber::EnvFilter;

use crate::config::{LogConfig, LogFormat};

/// Starts logging and takes over the reporting of panics. Call it once, first thing after reading the configuration.
///
/// `default_filter` is used where `log.filter` is not set: `info` for services, `warn` for commands.
pub fn init(log: &LogConfig, default_filter: &str) -> Result<(), TelemetryError> {
    let filter = EnvFilter::try_new(log.filter.as_deref().unwrap_or(default_filter))
        .map_err(|error| TelemetryError(error.to_string()))?;
    let terminal = std::io::stderr().is_terminal();
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = match log.format {
        LogFormat::Text => lines.with_ansi(terminal).try_init(),
        LogFormat::Auto if terminal => lines.with_ansi(true).try_init(),
        LogFormat::Auto | LogFormat::Json => lines.json().flatten_event(true).try_init(),
    };
    started.map_err(|error| TelemetryError(error.to_string()))?;
    std::panic::set_hook(Box::new(log_panic));
    Ok(())
}

/// Logging could not be started.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("logging cannot be started: {0}")]
pub struct TelemetryError(String);

/// Logs a panic, once: this takes the place of the default report.
fn log_panic(panic: &PanicHookInfo<'_>) {
    let thread = std::thread::current();
    let location = panic.location().map(ToString::to_string).unwrap_or_default();
    let backtrace = std::backtrace::Backtrace::capture();
    tracing::error!(
        thread = thread.name().unwrap_or("unnamed"),
        location,
        message_text = message(panic.payload().downcast_ref::<&'static str>().copied()),
        backtrace = matches!(backtrace.status(), std::backtrace::BacktraceStatus::Captured)
            .then(|| tracing::field::display(&backtrace)),
        "the program panicked"
    );
}

/// A message that was built at run time may contain a user's value; a literal of the program does not.
fn message(literal: Option<&'static str>) -> &'static str {
    literal.unwrap_or("(not shown; the location says where)")
}
