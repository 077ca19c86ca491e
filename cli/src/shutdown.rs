//! Signals, in two steps: the first SIGINT or SIGTERM asks the command to finish its work and exit. A second one, or a time-out, aborts it.

use std::time::Duration;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::output::stderr_line;

/// How long a command may take to end once it was asked to.
const PATIENCE: Duration = Duration::from_secs(60);

/// What signals have asked for so far.
#[derive(Debug, Clone)]
pub(crate) struct Shutdown {
    stop: CancellationToken,
    abort: CancellationToken,
}

/// The command was ended by a signal before it was done.
#[derive(Debug)]
pub(crate) struct Aborted;

impl std::fmt::Display for Aborted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("stopped by a signal before it was done")
    }
}

impl std::error::Error for Aborted {}

impl Shutdown {
    /// For commands that have work to finish.
    pub(crate) fn in_two_steps() -> anyhow::Result<Self> {
        Self::start(true)
    }

    /// For commands that can end anywhere: the first signal aborts.
    pub(crate) fn at_once() -> anyhow::Result<Self> {
        Self::start(false)
    }

    fn start(two_steps: bool) -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("signals cannot be received");
        let (mut interrupt, mut terminate) =
            (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?);
        let shutdown = Self { stop: CancellationToken::new(), abort: CancellationToken::new() };
        let Self { stop, abort } = shutdown.clone();
        tokio::spawn(async move {
            let mut next = async || {
                tokio::select! { _ = interrupt.recv() => {} _ = terminate.recv() => {} }
            };
            next().await;
            stop.cancel();
            if two_steps {
                stderr_line("stopping: what runs is finished first; a second signal stops at once");
                // The time-out is the second step as much as the second signal.
                let _ = tokio::time::timeout(PATIENCE, next()).await;
            }
            abort.cancel();
        });
        Ok(shutdown)
    }

    /// Waits until the command is asked to end.
    pub(crate) async fn stopping(&self) {
        self.stop.cancelled().await;
    }

    /// Waits until the command is to be aborted.
    pub(crate) async fn aborting(&self) {
        self.abort.cancelled().await;
    }
}
