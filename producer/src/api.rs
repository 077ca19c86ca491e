//! The HTTP front doors: Muster's own API (`/v1/imports`, `/v1/users`, `/v1/catalog`), those for clients of
//! other systems, and the endpoints for operators.
//!
//! Guarantees: a request acts only for the tenant of its token, all errors have one shape and a stable code,
//! and no user's value is logged. A handler runs to its end even if its client disconnects, so that no
//! statement is cancelled midway.

mod app;
mod audit;
mod auth;
mod auth_limit;
mod authgear;
mod bitcaster;
mod bulk;
mod catalog;
mod ccai;
mod chunks;
mod console;
mod document;
mod error;
mod events;
mod figures;
mod history;
mod imports;
mod incoming;
mod inspect;
mod mask;
mod multipart;
mod ops;
mod paged;
mod params;
mod plans;
mod profiles;
mod receipts;
mod records;
mod report_page;
mod routes;
mod serve;
mod slots;
mod stalls;
mod tls;
mod trace;
mod trail;
mod undo;
mod unread;
mod upload;
mod users;
mod view;
mod waiting;
mod webhooks;

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use muster_queue::Queue;
use muster_runtime::supervise::Progress;
use muster_store::Store;
use muster_store::status::Bounds;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use app::Audience;
pub use audit::{AuditList, AuditView};
pub use authgear::{AuthgearOptions, decode_import_id};
pub use bulk::{BulkList, BulkRefusal, BulkView, too_many as too_many_in_bulk};
pub use chunks::{ChunkList, ChunkView};
pub use console::{ConsoleRoute, ROUTES as CONSOLE_ROUTES};
pub use error::{ApiError, ErrorBody, ErrorDetail, WebhookRefusal};
pub(crate) use events::look;
pub use history::{HistoryActor, HistoryEntry, HistoryField, HistoryPage};
pub use plans::{PlanView, PlannedChange, PlannedList, PlannedView};
pub use profiles::{ProfileList, ProfileView};
pub use receipts::{PROGRAM, ReceiptKeyView};
pub use report_page::{ReportPage, page as report_page};
pub use routes::openapi;
pub(crate) use serve::{open_tls, serve};
pub use tls::TlsFiles;
pub use undo::{UndoPreview, UndoView};
pub use users::{ErasedView, UserList};
pub use view::{
    FamilyView, ImportDetails, ImportLinks, ImportList, ImportView, MemberView, RecordList, RecordView,
};
pub use webhooks::{
    DeliveryList, DeliveryView, TryView, WebhookCreated, WebhookList, WebhookSecretView, WebhookView,
};

use incoming::Pace;

use crate::Dispatcher;
use crate::receive::ReceiveLimits;
use crate::user_write::UserWriter;
use crate::webhook::WebhookOptions;

/// How the HTTP API behaves towards its clients.
#[derive(Debug, Clone)]
pub struct HttpOptions {
    /// How long a client may take for the head of a request.
    pub header_timeout: Duration,
    /// How long a client may pause in the body of a request.
    pub idle_body_timeout: Duration,
    /// How long a client may read nothing of an answer.
    pub idle_answer_timeout: Duration,
    /// Most connections of clients at a time.
    pub connections: usize,
    /// Most failed authentications a minute from one address; none means no limit.
    pub auth_failures: Option<NonZeroU32>,
    /// Most failed authentications a minute with credentials that begin alike; none means no limit.
    pub token_failures: Option<NonZeroU32>,
    /// Most uploads at a time, in all and of one tenant.
    pub uploads: usize,
    /// The same of one tenant.
    pub tenant_uploads: usize,
    /// Most who follow events at a time, in all.
    pub followers: usize,
    /// The same of one tenant.
    pub tenant_followers: usize,
    /// Most requests that wait for a change at a time, in all.
    pub waiters: usize,
    /// The same of one tenant.
    pub tenant_waiters: usize,
    /// How long one answer follows events; its client goes on with another.
    pub followed: Duration,
    /// Fewest bytes a second of an upload, while its client is waited for; none means any rate will do.
    pub upload_rate: Option<u64>,
    /// How long a client is waited for in all before its rate counts.
    pub upload_rate_after: Duration,
    /// Certificate and key for HTTPS; none serves plain HTTP.
    pub tls: Option<TlsFiles>,
    /// Where metrics, readiness and the documentation are, where that is not with everything else.
    pub ops_listen: Option<SocketAddr>,
    /// Largest upload as it is sent; none means no limit.
    pub max_upload_bytes: Option<u64>,
    /// How long a request other than an upload may take until its answer begins.
    pub request_timeout: Duration,
    /// What links in answers begin with; none means links without a host.
    pub public_url: Option<String>,
    /// Most connections for requests that write a single user.
    pub user_connections: usize,
    /// Name of the group that a front door enrols users in where its clients name none.
    pub default_group: String,
    /// Most requests a second of one tenant at the front door for CCAI Platform; none means no limit.
    pub ccai_requests_per_second: Option<NonZeroU32>,
    /// How long requests under way may take once the server is to stop.
    pub shutdown_grace: Duration,
    /// The front door for clients of Authgear's User Import API.
    pub authgear: AuthgearOptions,
}

impl Default for HttpOptions {
    fn default() -> Self {
        Self {
            header_timeout: Duration::from_secs(10),
            idle_body_timeout: Duration::from_secs(60),
            idle_answer_timeout: Duration::from_secs(60),
            connections: 4096,
            auth_failures: None,
            token_failures: None,
            uploads: 32,
            tenant_uploads: 8,
            followers: 256,
            tenant_followers: 64,
            waiters: 256,
            tenant_waiters: 64,
            followed: Duration::from_secs(15 * 60),
            upload_rate: Some(8 * 1024),
            upload_rate_after: Duration::from_secs(30),
            tls: None,
            ops_listen: None,
            max_upload_bytes: None,
            request_timeout: Duration::from_secs(30),
            public_url: None,
            user_connections: 16,
            default_group: "Default".into(),
            ccai_requests_per_second: None,
            shutdown_grace: Duration::from_secs(30),
            authgear: AuthgearOptions::default(),
        }
    }
}

/// What all requests share. Cheap to clone.
#[derive(Debug, Clone)]
pub struct AppState(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    store: Store,
    queue: Queue,
    wake: Arc<Notify>,
    dispatcher: Progress,
    /// The surroundings that the progress of imports depends on.
    bounds: Bounds,
    limits: ReceiveLimits,
    webhooks: WebhookOptions,
    /// How the body of an upload has to come.
    pace: Pace,
    slots: slots::Slots,
    /// Places of those who follow events.
    followers: slots::Slots,
    /// Places of requests that wait for a change.
    waiters: slots::Slots,
    /// How long one answer follows events.
    followed: Duration,
    /// The number of the newest event, as long as somebody follows.
    news: watch::Receiver<i64>,
    /// The server is to stop.
    stopping: CancellationToken,
    /// Answers go over HTTPS.
    encrypted: bool,
    checks: ops::Checks,
    max_upload_bytes: Option<u64>,
    request_timeout: Duration,
    link_base: String,
    user_writer: UserWriter,
    default_group: String,
    known_tokens: auth::KnownTokens,
    auth_limit: auth_limit::AuthLimit,
    authgear: AuthgearOptions,
    ccai_rate: ccai::RateLimit,
    tasks: TaskTracker,
}

impl AppState {
    /// State of a server; the dispatcher is notified when something new is staged, `news` announces events,
    /// and streams of events end when it is `stopping`.
    #[expect(clippy::too_many_arguments, reason = "each is a part of the server of its own")]
    pub fn new(
        store: Store,
        queue: Queue,
        dispatcher: &Dispatcher,
        limits: ReceiveLimits,
        http: &HttpOptions,
        webhooks: WebhookOptions,
        news: watch::Receiver<i64>,
        stopping: CancellationToken,
    ) -> Self {
        let link_base = http.public_url.as_deref().unwrap_or_default().trim_end_matches('/').to_owned();
        Self(Arc::new(Shared {
            user_writer: UserWriter::new(store.clone(), http.user_connections),
            default_group: http.default_group.clone(),
            store,
            queue,
            wake: dispatcher.wake_handle(),
            dispatcher: dispatcher.progress(),
            bounds: dispatcher.bounds(),
            limits,
            webhooks,
            pace: Pace {
                pause: http.idle_body_timeout,
                rate: http.upload_rate.unwrap_or(0),
                after: http.upload_rate_after,
            },
            slots: slots::Slots::new(http.uploads, http.tenant_uploads),
            followers: slots::Slots::new(http.followers, http.tenant_followers),
            waiters: slots::Slots::new(http.waiters, http.tenant_waiters),
            followed: http.followed,
            news,
            stopping,
            encrypted: http.tls.is_some(),
            checks: ops::Checks::default(),
            max_upload_bytes: http.max_upload_bytes,
            request_timeout: http.request_timeout,
            link_base,
            known_tokens: auth::KnownTokens::default(),
            auth_limit: auth_limit::AuthLimit::new(http.auth_failures, http.token_failures),
            authgear: http.authgear,
            ccai_rate: ccai::RateLimit::new(http.ccai_requests_per_second),
            tasks: TaskTracker::new(),
        }))
    }
}
