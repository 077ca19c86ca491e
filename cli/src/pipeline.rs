//! The job in this process: a dispatcher and a worker on one store and queue.

use std::net::SocketAddr;
use std::num::NonZeroU32;

use muster_domain::chunk::ChunkLimits;
use muster_domain::intake::Memory;
use muster_domain::parse::{Dialect, ParseLimits};
use muster_domain::webhook::Schedule;
use muster_producer::api::{AuthgearOptions, HttpOptions, TlsFiles};
use muster_producer::receive::ReceiveLimits;
use muster_producer::webhook::{Targets, WebhookOptions};
use muster_producer::workbook::BookLimits;
use muster_producer::{DispatchOptions, Dispatcher, ProducerOptions, Retention};
use muster_queue::Queue;
use muster_runtime::config::Config;
use muster_store::Store;
use muster_store::authgear::Quota;
use muster_store::quota::TenantLimits;
use muster_worker::{Worker, WorkerOptions};

/// The bounds of an upload that the configuration sets.
pub(crate) fn receive_limits(config: &Config) -> ReceiveLimits {
    let intake = &config.intake;
    ReceiveLimits {
        parse: ParseLimits {
            record_bytes: intake.record_bytes.as_usize(),
            header_bytes: intake.header_bytes.as_usize(),
            fields: intake.fields as usize,
            depth: intake.depth as usize,
            ..ParseLimits::default()
        },
        dialect: Dialect::default(),
        chunk: ChunkLimits {
            records: intake.chunk_records,
            bytes: intake.chunk_bytes.as_usize(),
            lanes: intake.lanes,
        },
        decompressed_bytes: Some(intake.max_decompressed_bytes.bytes()),
        ratio: Some(u64::from(intake.max_ratio)),
        book: BookLimits {
            bytes: intake.max_workbook_bytes.bytes(),
            memory: intake.max_workbook_memory.bytes(),
            unpacked: Some(intake.max_decompressed_bytes.bytes()),
        },
        brake: None,
        repeats: Memory::of(intake.repeats_memory.as_usize()),
        records: Some(u64::from(intake.max_records)),
        tenant: TenantLimits {
            imports: Some(config.tenant.imports),
            records_per_day: config.tenant.records_per_day.map(u64::from),
            stored_bytes: config.tenant.stored_bytes.map(|size| size.bytes()),
        },
    }
}

/// How the configuration wants a worker to work.
pub(crate) fn worker_options(config: &Config) -> WorkerOptions {
    WorkerOptions {
        // Checked when the configuration was read: at most 256.
        concurrency: u16::try_from(config.worker.slots()).unwrap_or(u16::MAX),
        bytes_at_once: config.worker.bytes_at_once.as_usize(),
        attempts: config.worker.attempts,
        first_delay: config.worker.backoff_initial,
        longest_delay: config.worker.backoff_max,
        deadline: config.worker.deadline,
        grace: config.worker.stop_grace,
    }
}

/// How the configuration wants a dispatcher to work.
pub(crate) fn dispatch_options(config: &Config) -> DispatchOptions {
    DispatchOptions {
        window: config.dispatch.window.map(|places| places as usize),
        lease: config.dispatch.lease,
        poll: config.dispatch.poll,
        stall_after: config.dispatch.stall_after,
        retention: Some(Retention {
            imports: config.retention.imports,
            secrets: config.retention.secrets,
            before_images: config.retention.before_images,
            waiting: config.retention.waiting,
        }),
        attempts: config.worker.attempts,
        ..DispatchOptions::default()
    }
}

/// How the configuration wants a producer to work.
pub(crate) fn producer_options(config: &Config, listen: Option<SocketAddr>) -> ProducerOptions {
    ProducerOptions {
        listen: listen.unwrap_or(config.http.listen),
        http: HttpOptions {
            header_timeout: config.http.header_timeout,
            idle_body_timeout: config.http.idle_body_timeout,
            idle_answer_timeout: config.http.idle_answer_timeout,
            tls: config.http.tls_certificate.clone().zip(config.http.tls_key.clone()).map(
                |(certificate, key)| {
                    let client_authority = config.http.tls_client_authority.clone();
                    TlsFiles { certificate, key, client_authority }
                },
            ),
            ops_listen: config.http.ops_listen,
            connections: config.http.connections as usize,
            auth_failures: NonZeroU32::new(config.http.auth_failures),
            token_failures: NonZeroU32::new(config.http.token_failures),
            uploads: config.http.uploads as usize,
            tenant_uploads: config.http.tenant_uploads as usize,
            followers: config.http.followers as usize,
            tenant_followers: config.http.tenant_followers as usize,
            waiters: config.http.waiters as usize,
            tenant_waiters: config.http.tenant_waiters as usize,
            followed: HttpOptions::default().followed,
            upload_rate: Some(config.http.upload_rate.bytes()),
            upload_rate_after: config.http.upload_rate_after,
            shutdown_grace: config.http.shutdown_grace,
            max_upload_bytes: Some(config.http.max_upload_bytes.bytes()),
            request_timeout: config.http.request_timeout,
            public_url: config.http.public_url.clone(),
            authgear: AuthgearOptions {
                envelope: config.authgear.envelope,
                quota: Quota {
                    per_day: config.authgear.records_per_day.map(u64::from),
                    per_month: config.authgear.records_per_month.map(u64::from),
                },
            },
            user_connections: config.http.user_connections as usize,
            default_group: config.bitcaster.default_group.clone(),
            ccai_requests_per_second: config.ccai.requests_per_second.and_then(NonZeroU32::new),
        },
        dispatch: dispatch_options(config),
        receive: receive_limits(config),
        webhooks: webhook_options(config),
    }
}

/// Where the configuration lets webhooks lead.
pub(crate) fn webhook_targets(config: &Config) -> Targets {
    Targets { allow_private: config.webhook.allow_private, ..Targets::default() }
}

fn webhook_options(config: &Config) -> WebhookOptions {
    let webhook = &config.webhook;
    WebhookOptions {
        targets: webhook_targets(config),
        most: webhook.per_tenant,
        at_once: webhook.at_once,
        timeout: webhook.timeout,
        schedule: Schedule { give_up_after: webhook.retry_for, ..Schedule::default() },
        keep: Some(config.retention.webhook_deliveries),
        ..WebhookOptions::default()
    }
}

/// A dispatcher and a worker. Dropped, both are aborted: what they held is delivered again.
#[derive(Debug)]
pub(crate) struct Pipeline {
    dispatcher: Dispatcher,
    worker: Worker,
}

impl Pipeline {
    /// Starts both.
    pub(crate) fn start(store: &Store, queue: &Queue, config: &Config) -> Self {
        Self {
            worker: Worker::start(store.clone(), queue.clone(), worker_options(config)),
            dispatcher: Dispatcher::start(store.clone(), queue.clone(), dispatch_options(config)),
        }
    }

    /// Something new is staged.
    pub(crate) fn wake(&self) {
        self.dispatcher.wake();
    }

    /// Stops both at the same time, finishes what is being applied, and returns when all of it is settled.
    pub(crate) async fn stop(self) {
        tokio::join!(self.dispatcher.stop(), self.worker.stop());
    }
}
