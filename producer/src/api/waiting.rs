//! Requests that wait for a change: so many at a time, each no longer than its client and the server.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use muster_domain::fault::{Mutant, mutant};
use muster_domain::id::TenantId;
use tokio::time::{Instant, sleep};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::AppState;
use super::error::ApiError;
use super::slots::Slot;

/// Whether somebody still waits for the answer of a request. A request runs on when nobody does, so it has to look.
#[derive(Debug, Clone, Default)]
pub(super) struct Client(CancellationToken);

impl Client {
    /// Whoever drops this waits for the answer no more.
    pub(super) fn waits(&self) -> DropGuard {
        self.0.clone().drop_guard()
    }
}

impl FromRequestParts<AppState> for Client {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &AppState) -> Result<Self, Infallible> {
        Ok(parts.extensions.get::<Self>().cloned().unwrap_or_default())
    }
}

/// A request that waits.
#[derive(Debug)]
pub(super) struct Waiting {
    until: Instant,
    client: Client,
    stopping: CancellationToken,
    /// None where it does not wait.
    _place: Option<Slot>,
}

impl Waiting {
    /// Takes a place for a request that waits for so long, from now on.
    pub(super) fn begin(
        state: &AppState,
        tenant: TenantId,
        client: Client,
        wait: Duration,
    ) -> Result<Self, ApiError> {
        let take = || state.0.waiters.take(tenant).map_err(|_| ApiError::TooManyWaiters);
        let place = if wait.is_zero() { None } else { Some(take()?) };
        Ok(Self { until: Instant::now() + wait, client, stopping: state.0.stopping.clone(), _place: place })
    }

    /// Pauses until it is time to look again. Returns whether it is: not when the time is over, nor once the client is gone or the server is
    /// to stop.
    pub(super) async fn pause(&self, pause: Duration) -> bool {
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return false;
        }
        tokio::select! {
            () = sleep(pause.min(left)) => true,
            () = self.client.0.cancelled(), if !mutant(Mutant::WaitsForNobody) => false,
            () = self.stopping.cancelled() => false,
        }
    }
}
