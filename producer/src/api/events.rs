//! Events of imports, read page by page or followed (server-sent events). Everything comes from the store, so
//! any producer serves it, and a client that lost the connection continues after the last number that it has.

use std::convert::Infallible;
use std::future::ready;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::sse::{self, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use futures_util::stream;
use muster_domain::fault::{Mutant, mutant};
use muster_domain::id::{ImportId, TenantId, TokenId};
use muster_domain::token::Scope;
use muster_store::events::{self, Event};
use muster_store::{Store, StoreError, reports, tokens};
use serde::Serialize;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, timeout};
use utoipa::ToSchema;
use uuid::Uuid;

use super::AppState;
use super::auth::Caller;
use super::error::ApiError;
use super::imports::views;
use super::params::{Id, Params, invalid, next_page};
use super::slots::Slot;

/// Events read at a time while they are followed.
const PAGE: i64 = 100;
/// How often to poll for new events without a notification.
const LOOK: Duration = Duration::from_millis(300);
const READ: Duration = Duration::from_secs(5);
/// How often the token of a follower and the progress of an import are checked.
const BEAT: Duration = Duration::from_secs(1);
const TOKEN: Duration = Duration::from_secs(3);
/// A line now and then, so that neither side takes the connection for dead. A client that reads nothing for so long is disconnected.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Pieces that wait for a slow reader.
const WAITING: usize = 8;

/// Something that happened.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct EventView {
    /// Its number: greater is later. `Last-Event-ID` of who follows.
    number: i64,
    /// `import`: it came into another state; `chunk_dead`.
    kind: String,
    /// The import.
    import: Uuid,
    /// When.
    at: DateTime<Utc>,
    /// Of an import `state` and `from`; of a chunk `chunk`, `lane` and `problem`.
    #[schema(value_type = Object)]
    data: serde_json::Value,
}

impl From<Event> for EventView {
    fn from(event: Event) -> Self {
        Self {
            number: event.number,
            kind: event.kind,
            import: event.import.get(),
            at: event.at,
            data: event.data,
        }
    }
}

/// A page of events.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct EventList {
    /// The events, the oldest first.
    events: Vec<EventView>,
    /// What to give as `after` to read on, now or later.
    next: i64,
    /// Address of the next page; null on the last that there is now.
    next_link: Option<String>,
}

/// Lists what happened to the tenant's imports, or follows it.
///
/// With `Accept: text/event-stream` the answer goes on: first the number to begin after, as an id
/// alone; then an event each with its number as id, from after `Last-Event-ID` or `after` on, else from now on. Otherwise it is a page.
#[utoipa::path(
    get, path = "/v1/events", tag = "events",
    params(("after" = Option<i64>, Query, description = "`next` of the page before; 0 for all that are kept"),
           ("limit" = Option<u16>, Query, description = "Most events of a page"),
           ("Last-Event-ID" = Option<i64>, Header, description = "the number after which to follow")),
    responses((status = 200, description = "A page of events, or events as they come", content(
        (EventList = "application/json"), (String = "text/event-stream")),
               headers(("Link" = String, description = "Address of the next page, `rel=\"next\"`; absent on the last that there is now")))),
)]
pub(super) async fn list(
    State(state): State<AppState>,
    caller: Caller,
    headers: HeaderMap,
    params: Params,
) -> Result<Response, ApiError> {
    let tenant = caller.may(Scope::ImportRead)?;
    answer(state, tenant, caller.token(), None, &headers, params).await
}

/// Lists what happened to an import, or follows it to its end.
///
/// With `Accept: text/event-stream` the answer goes on: an event each with its number as id, from the first or from after
/// `Last-Event-ID` or `after` on, whose number comes first as an id alone; between them `progress` with the current state of the import (without an id), and `end`
/// once the import is at its end. Otherwise it is a page.
#[utoipa::path(
    get, path = "/v1/imports/{id}/events", tag = "events",
    params(("id" = String, Path),
           ("after" = Option<i64>, Query, description = "`next` of the page before"),
           ("limit" = Option<u16>, Query, description = "Most events of a page"),
           ("Last-Event-ID" = Option<i64>, Header, description = "the number after which to follow")),
    responses((status = 200, description = "A page of events, or events as they come", content(
        (EventList = "application/json"), (String = "text/event-stream")),
               headers(("Link" = String, description = "Address of the next page, `rel=\"next\"`; absent on the last that there is now")))),
)]
pub(super) async fn of_import(
    State(state): State<AppState>,
    caller: Caller,
    Id(import): Id<ImportId>,
    headers: HeaderMap,
    params: Params,
) -> Result<Response, ApiError> {
    let tenant = caller.may(Scope::ImportRead)?;
    reports::import(&state.0.store, tenant, import).await?.ok_or(ApiError::NotFound)?;
    answer(state, tenant, caller.token(), Some(import), &headers, params).await
}

async fn answer(
    state: AppState,
    tenant: TenantId,
    token: TokenId,
    import: Option<ImportId>,
    headers: &HeaderMap,
    mut params: Params,
) -> Result<Response, ApiError> {
    let after: Option<i64> = params.take_after()?;
    let limit = params.take_limit(100, 1000)?;
    params.finish()?;
    let store = &state.0.store;
    if !wants_stream(headers) {
        return page(&state, tenant, import, after.unwrap_or(0), limit).await;
    }
    let after = match (last_event_id(headers)?.or(after), import) {
        (Some(after), _) => after,
        (None, Some(_)) => 0,
        (None, None) => events::last(store, tenant).await?,
    };
    let place = state.0.followers.take(tenant).map_err(|_| ApiError::TooManyFollowers)?;
    let (pieces, coming) = mpsc::channel(WAITING);
    let follower =
        Follower { state: state.clone(), tenant, token, import, after, pieces, shown: None, _place: place };
    state.0.tasks.spawn(follower.run());
    let body = stream::unfold(coming, |mut coming| async {
        coming.recv().await.map(|piece| (Ok::<sse::Event, Infallible>(piece), coming))
    });
    let mut response = Sse::new(body).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response();
    // Proxies that gather answers would keep events back.
    response.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

/// A page of events. Others come, so it always says where to read on; a link has it where there are more already.
async fn page(
    state: &AppState,
    tenant: TenantId,
    import: Option<ImportId>,
    after: i64,
    limit: u16,
) -> Result<Response, ApiError> {
    let most = i64::from(limit).saturating_add(1);
    let mut page = events::after(&state.0.store, tenant, import, after, most).await?;
    let more = page.len() > usize::from(limit);
    page.truncate(limit.into());
    let next = page.last().map_or(after, |event| event.number);
    let path =
        import.map_or_else(|| "/v1/events".to_owned(), |import| format!("/v1/imports/{import}/events"));
    let address = || format!("{}{path}?after={next}&limit={limit}", state.0.link_base);
    let next_link = (more && !mutant(Mutant::EventsWithoutLinks)).then(address);
    let headers = next_page(next_link.as_deref());
    let events = page.into_iter().map(Into::into).collect();
    Ok((headers, Json(EventList { events, next, next_link })).into_response())
}

fn wants_stream(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    accepted.flat_map(|value| value.split(',')).any(|one| one.trim().starts_with("text/event-stream"))
}

fn last_event_id(headers: &HeaderMap) -> Result<Option<i64>, ApiError> {
    let Some(value) = headers.get("last-event-id") else { return Ok(None) };
    match value.to_str().ok().and_then(|text| text.trim().parse().ok()) {
        Some(number) => Ok(Some(number)),
        None => Err(invalid("Last-Event-ID", "must be the number of an event")),
    }
}

/// One who follows.
struct Follower {
    state: AppState,
    tenant: TenantId,
    token: TokenId,
    import: Option<ImportId>,
    /// The number of the last event that was sent.
    after: i64,
    pieces: mpsc::Sender<sse::Event>,
    /// How the import stood when that was last sent.
    shown: Option<String>,
    _place: Slot,
}

/// Why following ends.
enum Ends {
    /// The reader is gone, or the import is at its end.
    Done,
    /// The store failed: the client comes again.
    Store(StoreError),
}

impl From<StoreError> for Ends {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl Follower {
    async fn run(mut self) {
        let (began, mut looked_at_token) = (Instant::now(), Instant::now());
        let mut news = self.state.0.news.clone();
        let stopping = self.state.0.stopping.clone();
        // Who comes again before anything has happened misses nothing of what happens meanwhile.
        let begins = sse::Event::default().id(self.after.to_string());
        if !mutant(Mutant::FollowersBeginNowhere) && self.send(begins).await.is_err() {
            return;
        }
        // There may be some already.
        let (mut told, mut looked) = (true, Instant::now());
        while began.elapsed() < self.state.0.followed {
            let step = async {
                if told || looked.elapsed() >= READ {
                    looked = Instant::now();
                    // One page a round: between two of them the token is looked at, and whether the server stops.
                    told = self.send_page().await?;
                }
                if told { Ok(()) } else { self.send_progress().await }
            };
            match step.await {
                Ok(()) => {}
                Err(Ends::Done) => return,
                Err(Ends::Store(error)) => {
                    tracing::debug!(%error, "events cannot be read; who follows them comes again");
                    return;
                }
            }
            if looked_at_token.elapsed() >= TOKEN && !mutant(Mutant::RevokedFollowsOn) {
                looked_at_token = Instant::now();
                if !matches!(tokens::is_good(&self.state.0.store, self.token).await, Ok(true)) {
                    return;
                }
            }
            tokio::select! {
                biased;
                () = stopping.cancelled(), if !mutant(Mutant::StopWaitsForFollowers) => return,
                () = self.pieces.closed() => return,
                // There is another page.
                () = ready(()), if told => {}
                // It counts as seen from here on, so it is noted.
                changed = news.changed() => match changed {
                    Ok(()) => told = !mutant(Mutant::NewsSeenAndForgotten),
                    Err(_) => sleep(BEAT).await,
                },
                () = sleep(BEAT) => {}
            }
        }
    }

    /// Sends the events that follow, a page of them. Returns whether there may be more.
    async fn send_page(&mut self) -> Result<bool, Ends> {
        let page = events::after(&self.state.0.store, self.tenant, self.import, self.after, PAGE).await?;
        let more = page.len() as i64 == PAGE;
        for event in page {
            let (number, kind) = (event.number, event.kind.clone());
            let data = serde_json::to_string(&EventView::from(event)).unwrap_or_default();
            self.send(sse::Event::default().id(number.to_string()).event(kind).data(data)).await?;
            self.after = number;
        }
        Ok(more)
    }

    /// Sends all events that there are of an import, which are few: how it moved, and its dead chunks.
    async fn send_events(&mut self) -> Result<(), Ends> {
        while self.send_page().await? {}
        Ok(())
    }

    /// Sends the state of the import if it has changed, and ends with the import.
    async fn send_progress(&mut self) -> Result<(), Ends> {
        let Some(import) = self.import else { return Ok(()) };
        let Some(report) = reports::import(&self.state.0.store, self.tenant, import).await? else {
            return Err(Ends::Done);
        };
        let ended = report.state.is_final();
        if ended {
            // Events from before its end are sent first, once they have their numbers.
            self.send_events().await?;
        }
        let view = views(&self.state, self.tenant, vec![report]).await.ok().and_then(|mut views| views.pop());
        let data = view.and_then(|view| serde_json::to_string(&view).ok());
        if let Some(data) = data.filter(|data| self.shown.as_ref() != Some(data)) {
            self.send(sse::Event::default().event("progress").data(data.clone())).await?;
            self.shown = Some(data);
        }
        if ended && !events::has_unnumbered(&self.state.0.store, self.tenant, import).await? {
            self.send_events().await?;
            self.send(sse::Event::default().event("end").data("{}")).await?;
            return Err(Ends::Done);
        }
        Ok(())
    }

    /// Ends with who is gone, and with who does not read: the place is for others.
    async fn send(&self, event: sse::Event) -> Result<(), Ends> {
        let sent = self.pieces.send(event);
        if mutant(Mutant::FollowerNeedNotRead) {
            return sent.await.map_err(|_| Ends::Done);
        }
        match timeout(KEEP_ALIVE, sent).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Ends::Done),
        }
    }
}

/// Looks for new events, once for all who follow, for as long as it is polled. No listener: that would hold a connection of the pool.
pub(crate) async fn look(store: Store, news: watch::Sender<i64>) {
    loop {
        sleep(LOOK).await;
        // The first one is the server's own.
        if news.receiver_count() <= 1 {
            continue;
        }
        match events::newest(&store).await {
            Ok(newest) => {
                news.send_if_modified(|known| std::mem::replace(known, newest) != newest);
            }
            Err(error) => tracing::debug!(%error, "events cannot be looked for; trying again"),
        }
    }
}
