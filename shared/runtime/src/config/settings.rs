//! The list of settings: name, type, default, meaning.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use muster_domain::catalog::MAX_NAME_BYTES;
use muster_domain::normalise::has_forbidden_char;

use super::value::Setting;
use super::{ByteSize, Envelope, Key, LogFormat, Problem, Ratio, SecretUrl, Sources};

macro_rules! settings {
    ($(
        $(#[$section_doc:meta])*
        $section:ident: $Section:ident {
            $($name:ident: $type:ty = $default:expr, $(env $variable:literal,)? $meaning:literal;)*
        }
    )*) => {
        $(
            $(#[$section_doc])*
            #[derive(Debug, Clone, PartialEq)]
            pub struct $Section {
                $(#[doc = $meaning] pub $name: $type,)*
            }

            impl Default for $Section {
                fn default() -> Self {
                    Self { $($name: $default,)* }
                }
            }
        )*

        /// The whole configuration.
        #[derive(Debug, Clone, Default, PartialEq)]
        pub struct Config {
            $($(#[$section_doc])* pub $section: $Section,)*
            /// The configuration file that was read.
            pub file: Option<String>,
            pub(super) sources: Sources,
        }

        /// Every setting, in the order of the reference.
        pub const KEYS: &[Key] = &[
            $($(Key {
                section: stringify!($section),
                name: stringify!($name),
                meaning: $meaning,
                variable: first(&[$($variable)?]),
            },)*)*
        ];

        impl Config {
            /// Sets one value from its text. `Err` says what it must be.
            pub(super) fn set(&mut self, section: &str, name: &str, text: &str) -> Result<(), String> {
                match (section, name) {
                    $($((stringify!($section), stringify!($name)) => {
                        self.$section.$name = Setting::parse(text)?;
                    })*)*
                    _ => return Err("is not known".into()),
                }
                Ok(())
            }

            /// One value as text, secrets hidden.
            pub(crate) fn shown(&self, section: &str, name: &str) -> Option<String> {
                match (section, name) {
                    $($((stringify!($section), stringify!($name)) => self.$section.$name.show(),)*)*
                    _ => None,
                }
            }
        }
    };
}

const fn first(variable: &[&'static str]) -> Option<&'static str> {
    match variable {
        [first, ..] => Some(first),
        [] => None,
    }
}

settings! {
    /// Where users and imports are kept.
    database: DatabaseConfig {
        url: Option<SecretUrl> = None, env "DATABASE_URL",
            "PostgreSQL to use. Not set: a private one of Muster's own.";
        max_connections: u32 = 16,
            "Most connections of one process, those of its workers and uploads apart; at most half of the server's.";
        idle_timeout: Duration = Duration::from_secs(60),
            "How long a connection may be idle before it is given back to the server.";
        max_lifetime: Duration = Duration::from_secs(30 * 60),
            "How old a connection may get.";
        start_wait: Option<Duration> = None,
            "How long a start waits for a database that is away. Not set: a service for ever, a command 30 s.";
    }
    /// What carries chunks to the workers.
    broker: BrokerConfig {
        url: Option<SecretUrl> = None, env "AMQP_URL",
            "RabbitMQ to use. Not set: rows in PostgreSQL.";
        prefix: String = "muster".into(),
            "How the names of queues and exchanges begin.";
    }
    /// The private PostgreSQL, where no database is set.
    engine: EngineConfig {
        data_dir: PathBuf = ".muster".into(), env "MUSTER_DATA_DIR",
            "Folder of the private PostgreSQL.";
        postgres_bin: Option<PathBuf> = None,
            "Folder with the programs of an installed PostgreSQL, to be run instead of the bundled one.";
    }
    /// The HTTP server.
    http: HttpConfig {
        listen: SocketAddr = SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)),
            "Address and port to listen on.";
        header_timeout: Duration = Duration::from_secs(10),
            "How long a client may take for the head of a request.";
        ops_listen: Option<SocketAddr> = None,
            "Address and port for metrics, readiness and the documentation. Not set: they are with everything else.";
        tls_certificate: Option<PathBuf> = None,
            "Certificate for HTTPS (PEM), with those that lead from it to an authority; read again when it changes. Not set: plain HTTP.";
        tls_key: Option<PathBuf> = None,
            "Private key of the certificate (PEM).";
        tls_client_authority: Option<PathBuf> = None,
            "Authorities of clients (PEM): only clients with a certificate of theirs are let in. Not set: all are.";
        connections: u32 = 4096,
            "Most connections of clients at a time; who comes then waits.";
        auth_failures: u32 = 60,
            "Most failed authentications a minute from one address, or IPv6 network of 64 bits; who has shown a known credential within the hour is not limited. Behind a proxy all clients have one address: set it higher there.";
        token_failures: u32 = 10,
            "Most failed authentications a minute with tokens that begin alike, wherever they come from.";
        uploads: u32 = 32,
            "Most uploads at a time.";
        tenant_uploads: u32 = 8,
            "Most uploads of one tenant at a time.";
        followers: u32 = 256,
            "Most clients that follow events at a time.";
        tenant_followers: u32 = 64,
            "Most clients of one tenant that follow events at a time.";
        waiters: u32 = 256,
            "Most requests that wait for a change at a time.";
        tenant_waiters: u32 = 64,
            "Most requests of one tenant that wait for a change at a time.";
        upload_rate: ByteSize = ByteSize::kib(8),
            "Fewest bytes a second of an upload, while its client is waited for.";
        upload_rate_after: Duration = Duration::from_secs(30),
            "How long the client of an upload is waited for in all before its rate counts.";
        max_upload_bytes: ByteSize = ByteSize::gib(16),
            "Largest upload as it is sent.";
        request_timeout: Duration = Duration::from_secs(30),
            "How long a request other than an upload may take until its answer begins.";
        idle_body_timeout: Duration = Duration::from_secs(60),
            "How long a client may pause in the body of a request.";
        idle_answer_timeout: Duration = Duration::from_secs(60),
            "How long a client may read nothing of an answer; then its connection is ended.";
        public_url: Option<String> = None,
            "How clients reach this server; links in answers begin with it. Not set: links without a host.";
        user_connections: u32 = 16,
            "Most database connections for requests that write a single user.";
        shutdown_grace: Duration = Duration::from_secs(30),
            "How long requests under way may take once the server is to stop.";
    }
    /// The front door for clients of Bitcaster.
    bitcaster: BitcasterConfig {
        default_group: String = "Default".into(),
            "Group that users are enrolled in where none is named; made if it is new.";
    }
    /// The front door for clients of Authgear's User Import API.
    authgear: AuthgearConfig {
        envelope: Envelope = Envelope::Both,
            "The form of responses: result, bare, or both (a client finds the data in either place).";
        records_per_day: Option<u32> = None,
            "Most records that a tenant may send in a day, by UTC. Not set: no limit.";
        records_per_month: Option<u32> = None,
            "Most records that a tenant may send in a month, by UTC. Not set: no limit.";
    }
    /// The front door for clients of CCAI Platform.
    ccai: CcaiConfig {
        requests_per_second: Option<u32> = None,
            "Most requests a second of one tenant; 10 there. Not set: no limit.";
    }
    /// Receiving and staging.
    intake: IntakeConfig {
        uploads: u32 = 16,
            "Most uploads at a time of one process; each has a database connection of its own.";
        chunk_records: u32 = 2000,
            "Most records of a chunk.";
        chunk_bytes: ByteSize = ByteSize::mib(1),
            "Most bytes of a chunk, before compression.";
        lanes: u32 = 16,
            "Most lanes of an import: how many of its chunks can be applied at a time.";
        record_bytes: ByteSize = ByteSize::mib(1),
            "Largest record as it is sent.";
        header_bytes: ByteSize = ByteSize::kib(64),
            "Largest header line of a table.";
        fields: u32 = 256,
            "Most columns of a table, and most fields of a record.";
        depth: u32 = 8,
            "Most levels of JSON nesting in a record.";
        max_records: u32 = 10_000_000,
            "Most records of an upload.";
        max_decompressed_bytes: ByteSize = ByteSize::gib(64),
            "Largest upload after decompression.";
        max_ratio: u32 = 250,
            "How many times its size a compressed upload may grow to.";
        max_workbook_bytes: ByteSize = ByteSize::mib(512),
            "Largest workbook (XLSX), and largest file whose order of days is to be found out (dates=auto); it is kept in the folder for temporary files while it is received.";
        max_workbook_memory: ByteSize = ByteSize::mib(256),
            "Most bytes of a workbook's texts and styles, unpacked: what is held in memory while it is read.";
        repeats_memory: ByteSize = ByteSize::mib(32),
            "Most memory in which all uploads of a process together remember their users, 32 MiB for a million. A record about the user of an earlier record is then reported with that record's number, and a plan of a file that names each user once is less work.";
    }
    /// What one tenant may have.
    tenant: TenantConfig {
        imports: u32 = 100,
            "Most imports of one tenant that are being received, run or are paused.";
        records_per_day: Option<u32> = None,
            "Most records of one tenant in a day, by UTC. Not set: no limit.";
        stored_bytes: Option<ByteSize> = None,
            "Most bytes of one tenant's uploads that are kept, decompressed. Not set: no limit.";
    }
    /// Sending chunks to the workers.
    dispatch: DispatchConfig {
        window: Option<u32> = None,
            "Most chunks that are with the workers at a time. Not set: two for each chunk that all workers together apply at a time.";
        lease: Duration = Duration::from_secs(30),
            "A chunk that is with the workers for longer gives its place in the window to another.";
        poll: Duration = Duration::from_millis(250),
            "How often to look for work without a notification.";
        stall_after: Duration = Duration::from_secs(60),
            "How long an import may run without progress before readiness, metrics and the log report it as stalled.";
    }
    /// Applying chunks.
    worker: WorkerConfig {
        concurrency: Option<u32> = None,
            "Chunks that one process applies at a time. Not set: one a core, at least 2 and at most 8.";
        bytes_at_once: ByteSize = ByteSize::mib(4),
            "Most bytes of the chunks that one process applies at a time, decompressed; a larger chunk is applied alone.";
        attempts: u32 = 5,
            "How often a chunk is tried before it is dead.";
        backoff_initial: Duration = Duration::from_secs(1),
            "How long the first retry waits; each further one waits about twice as long.";
        backoff_max: Duration = Duration::from_secs(10 * 60),
            "Longest wait for a retry.";
        deadline: Duration = Duration::from_secs(15),
            "How long one step of applying a chunk may wait for the database before its connection is given up.";
        ops_listen: SocketAddr = SocketAddr::from((Ipv4Addr::LOCALHOST, 8081)),
            "Address and port of metrics, health and readiness of `muster worker`. If it is not set and the port is in use: any free one.";
        stop_grace: Duration = Duration::from_secs(20),
            "How long a worker that is asked to stop may take to finish what it has; what hangs is then cut off.";
    }
    /// Telling tenants' servers what happens to their imports.
    webhook: WebhookConfig {
        allow_private: bool = false,
            "Whether webhooks may lead to private, local and reserved addresses, and to servers without HTTPS.";
        per_tenant: u32 = 20,
            "Most webhooks of a tenant.";
        at_once: u32 = 8,
            "Most deliveries that one process makes at a time; to one webhook it is one.";
        timeout: Duration = Duration::from_secs(15),
            "How long a receiver may take to be reached and to answer, in all.";
        retry_for: Duration = Duration::from_secs(24 * 60 * 60),
            "How long a delivery that fails is tried again, from 5 seconds after the first try to once an hour.";
    }
    /// How long things are kept.
    retention: RetentionConfig {
        imports: Duration = Duration::from_secs(90 * 24 * 60 * 60),
            "How long an import that has ended is kept, with its records.";
        secrets: Duration = Duration::from_secs(7 * 24 * 60 * 60),
            "How long password hashes and TOTP secrets of failed records can be applied by a retry, after their import ended.";
        before_images: Duration = Duration::from_secs(30 * 24 * 60 * 60),
            "How long before-images are kept after an import ended; until then it can be undone. They are deleted with the import in any case.";
        waiting: Duration = Duration::from_secs(30 * 24 * 60 * 60),
            "How long an import waits for its start. An import that is not started by then is cancelled.";
        webhook_deliveries: Duration = Duration::from_secs(30 * 24 * 60 * 60),
            "How long a delivery of a webhook is kept after it was made or given up.";
    }
    /// What is logged, and how. Logs go to standard error.
    log: LogConfig {
        format: LogFormat = LogFormat::Auto,
            "auto, text or json. auto: text on a terminal, else json.";
        filter: Option<String> = None,
            "What to log, as in `info,muster_worker=debug`. Not set: info for services, warn for commands.";
    }
    /// Traces: what became of an import, from its upload to the commit of each chunk, with times.
    trace: TraceConfig {
        endpoint: Option<SecretUrl> = None,
            "Collector that is sent traces, by OTLP over HTTP as JSON, as in `http://localhost:4318`; where no path is given it is `/v1/traces`. Not set: no traces.";
        ratio: Ratio = Ratio::percent(10),
            "Which part of what begins here is traced, from 0 to 1. What comes with a trace context is traced where that says so.";
    }
}

impl WorkerConfig {
    /// How many chunks this process applies at a time.
    pub fn slots(&self) -> u32 {
        self.concurrency.unwrap_or_else(|| {
            let cores = std::thread::available_parallelism().map_or(2, |cores| cores.get());
            u32::try_from(cores).unwrap_or(u32::MAX).clamp(2, 8)
        })
    }
}

/// Largest chunk or record that can be set; whether they fit a message is for both together.
const LARGEST: ByteSize = ByteSize::mib(8);

impl Config {
    /// What the values, each well-formed, do not allow together or at all.
    pub(super) fn check(&self, problems: &mut Vec<Problem>) {
        let mut wrong = |key: &str, message: String| problems.push(self.problem(key, message));
        self.check_numbers(&mut wrong);
        for (key, size) in [
            ("intake.chunk_bytes", self.intake.chunk_bytes),
            ("intake.record_bytes", self.intake.record_bytes),
            ("intake.header_bytes", self.intake.header_bytes),
        ] {
            if !(ByteSize::kib(1)..=LARGEST).contains(&size) {
                wrong(key, format!("must be from 1 KiB to {LARGEST}: a chunk must fit a message"));
            }
        }
        if !(ByteSize::kib(64)..=ByteSize::mib(256)).contains(&self.intake.repeats_memory) {
            wrong(
                "intake.repeats_memory",
                "must be from 64 KiB to 256 MiB: all uploads together take as much".into(),
            );
        }
        if self.worker.backoff_initial > self.worker.backoff_max {
            wrong("worker.backoff_initial", "must not be longer than worker.backoff_max".into());
        }
        for (key, duration, least, most) in [
            ("worker.deadline", self.worker.deadline, 3, 300),
            ("worker.stop_grace", self.worker.stop_grace, 1, 50),
            ("webhook.timeout", self.webhook.timeout, 1, 60),
            ("http.idle_answer_timeout", self.http.idle_answer_timeout, 1, 3600),
        ] {
            if !(Duration::from_secs(least)..=Duration::from_secs(most)).contains(&duration) {
                wrong(key, format!("must be from {least}s to {most}s"));
            }
        }
        if self.dispatch.lease < Duration::from_secs(5) {
            wrong(
                "dispatch.lease",
                "must be at least 5s, or there is no window: healthy chunks take as long".into(),
            );
        }
        if !(Duration::from_secs(1)..=Duration::from_secs(24 * 60 * 60)).contains(&self.dispatch.stall_after)
        {
            wrong("dispatch.stall_after", "must be from 1s to 1d".into());
        }
        if self.dispatch.poll > Duration::from_secs(60) {
            wrong("dispatch.poll", "must be at most 1min".into());
        }
        self.check_texts(&mut wrong);
        // What they make together is asked of values that can be by themselves.
        if problems.is_empty() {
            self.check_together(&mut |key, message| problems.push(self.problem(key, message)));
        }
    }

    fn check_numbers(&self, wrong: &mut impl FnMut(&str, String)) {
        let numbers = [
            ("database.max_connections", self.database.max_connections, 2, 1000),
            ("intake.uploads", self.intake.uploads, 1, 1000),
            ("http.user_connections", self.http.user_connections, 1, 1000),
            ("http.connections", self.http.connections, 2, 1_000_000),
            ("http.auth_failures", self.http.auth_failures, 1, 1_000_000),
            ("http.token_failures", self.http.token_failures, 1, 1_000_000),
            ("http.uploads", self.http.uploads, 1, 10_000),
            ("http.tenant_uploads", self.http.tenant_uploads, 1, 10_000),
            ("http.followers", self.http.followers, 1, 100_000),
            ("http.tenant_followers", self.http.tenant_followers, 1, 100_000),
            ("http.waiters", self.http.waiters, 1, 100_000),
            ("http.tenant_waiters", self.http.tenant_waiters, 1, 100_000),
            ("intake.chunk_records", self.intake.chunk_records, 1, 100_000),
            ("intake.lanes", self.intake.lanes, 1, 1024),
            ("intake.max_ratio", self.intake.max_ratio, 2, 100_000),
            ("intake.fields", self.intake.fields, 1, 10_000),
            ("intake.depth", self.intake.depth, 1, 64),
            ("intake.max_records", self.intake.max_records, 1, u32::MAX),
            ("tenant.imports", self.tenant.imports, 1, 1_000_000),
            ("dispatch.window", self.dispatch.window.unwrap_or(1), 1, 10_000),
            ("worker.concurrency", self.worker.slots(), 1, 256),
            ("worker.attempts", self.worker.attempts, 1, 100),
            ("webhook.per_tenant", self.webhook.per_tenant, 1, 1_000),
            ("webhook.at_once", self.webhook.at_once, 1, 256),
        ];
        for (key, value, least, most) in numbers {
            if !(least..=most).contains(&value) {
                wrong(key, format!("must be from {least} to {most}"));
            }
        }
    }

    fn check_texts(&self, wrong: &mut impl FnMut(&str, String)) {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if self.broker.prefix.len() > 64 || !self.broker.prefix.chars().all(plain) {
            wrong("broker.prefix", "must be 1 to 64 letters, digits, '.', '_' and '-'".into());
        }
        let group = self.bitcaster.default_group.trim();
        if group.is_empty() || group.len() > MAX_NAME_BYTES || has_forbidden_char(group) {
            wrong("bitcaster.default_group", format!("must be 1 to {MAX_NAME_BYTES} visible characters"));
        }
        let urls = [
            ("database.url", &self.database.url, &["postgres", "postgresql"]),
            ("broker.url", &self.broker.url, &["amqp", "amqps"]),
            ("trace.endpoint", &self.trace.endpoint, &["http", "https"]),
        ];
        for (key, url, schemes) in urls {
            if url.as_ref().is_some_and(|url| !schemes.contains(&url.scheme())) {
                wrong(key, format!("must be a URL that begins with {}://", schemes.join(":// or ")));
            }
        }
        if self.ccai.requests_per_second == Some(0) {
            wrong("ccai.requests_per_second", "must be 1 or more".into());
        }
        let web = |url: &String| url.starts_with("http://") || url.starts_with("https://");
        if self.http.public_url.as_ref().is_some_and(|url| !web(url)) {
            wrong("http.public_url", "must be a URL that begins with http:// or https://".into());
        }
        if let Some(filter) = &self.log.filter
            && tracing_subscriber::EnvFilter::try_new(filter).is_err()
        {
            wrong("log.filter", "must be a level or a list of target=level, separated by commas".into());
        }
    }
}
