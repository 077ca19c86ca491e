//! `muster serve`, `producer`, `worker`: the services, until they are asked to end.

use std::io::{self, IsTerminal, Write};
use std::net::SocketAddr;
use std::path::Path;

use anyhow::Context;
use clap::Args;
use muster_domain::fault::{self, Mutant};
use muster_domain::token::Scope;
use muster_producer::Producer;
use muster_queue::Queue;
use muster_runtime::config::{Config, Source};
use muster_runtime::telemetry::exposition;
use muster_runtime::telemetry::series::Part;
use muster_store::Store;
use muster_store::tenants;
use muster_store::tokens::{self, NewToken};
use muster_worker::{Ops, Worker};

use crate::connect::{self, Need, Session};
use crate::failure::Exit;
use crate::output::{stderr_line, stdout_line};
use crate::pipeline::{producer_options, worker_options};
use crate::shutdown::{Aborted, Shutdown};

/// The operator's token of the embedded default.
const OPERATOR: &str = "operator";

/// Who made it, in the audit: the program, when it was started for the first time.
const FIRST_START: &str = "start";

/// The message if a worker did not end in time.
const CUT_OFF: &str = "stopped: what did not end in time was cut off and will be delivered again";

/// The file in the engine's folder to which it is written if there is no terminal.
const OPERATOR_FILE: &str = "operator.token";

/// Options of `muster serve`.
#[derive(Debug, Args)]
#[command(
    after_help = "A configured database that is away is waited for (database.start_wait, for ever where it is not set).\n\nExamples:\n  muster serve\n  muster serve --listen 0.0.0.0:8080\n  DATABASE_URL=postgres://… AMQP_URL=amqp://… muster serve --migrate"
)]
pub(crate) struct ServeArgs {
    #[command(flatten)]
    producer: ProducerArgs,
}

/// Options of `muster producer`.
#[derive(Debug, Args)]
#[command(
    after_help = "A database that is away is waited for (database.start_wait, for ever where it is not set).\n\nExamples:\n  DATABASE_URL=postgres://… AMQP_URL=amqp://… muster producer --listen 0.0.0.0:8080"
)]
pub(crate) struct ProducerArgs {
    /// Address and port to listen on [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
    /// Bring a configured database to this program's version first
    #[arg(long)]
    migrate: bool,
}

/// Options of `muster worker`.
#[derive(Debug, Args)]
#[command(
    after_help = "A database that is away is waited for (database.start_wait, for ever where it is not set).\n\nExamples:\n  DATABASE_URL=postgres://… AMQP_URL=amqp://… muster worker\n  MUSTER_WORKER_CONCURRENCY=8 muster worker"
)]
pub(crate) struct WorkerArgs {
    /// Bring a configured database to this program's version first
    #[arg(long)]
    migrate: bool,
}

/// A task that ends with its owner.
struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A program beside others.
fn share(migrate: bool) -> Need {
    if migrate { Need::ShareMigrated } else { Need::Share }
}

/// A program that is all there is to it.
fn whole(migrate: bool) -> Need {
    if migrate { Need::ServeMigrated } else { Need::Serve }
}

/// Runs `muster worker`.
pub(crate) async fn worker(args: &WorkerArgs, config: &Config, shutdown: &Shutdown) -> anyhow::Result<Exit> {
    let work = async |session: &Session| {
        let queue = session.queue(config)?;
        let _telling = AbortOnDrop(tokio::spawn(connect::tell_of_broker(queue.clone())));
        // First, so that nothing is counted before somebody records.
        exposition::start(Part::Worker);
        let worker = Worker::start(session.store.by_itself(), queue.clone(), worker_options(config));
        let ops = listen_for_operators(config, &session.store, &queue, &worker).await?;
        stdout_line(format_args!("metrics and readiness on http://{}", ops.local_addr()))?;
        tracing::info!(store = session.serving(), slots = config.worker.slots(), "worker started");
        shutdown.stopping().await;
        if !worker.stop().await {
            stderr_line(CUT_OFF);
            return Ok(Exit::Failure);
        }
        tracing::info!("worker stopped: everything it held is settled");
        Ok(Exit::Done)
    };
    in_order(Box::pin(connect::with(config, share(args.migrate), shutdown, work)).await)
}

/// The listener of operators. If the default port is in use, perhaps by another worker, the worker runs without it.
async fn listen_for_operators(
    config: &Config,
    store: &Store,
    queue: &Queue,
    worker: &Worker,
) -> anyhow::Result<Ops> {
    let listen = config.worker.ops_listen;
    let start = |listen| Ops::start(listen, store.clone(), queue.clone(), worker.progress());
    let started = match start(listen).await {
        Err(error)
            if error.kind() == io::ErrorKind::AddrInUse
                && config.source("worker.ops_listen") == Source::Default =>
        {
            start(SocketAddr::new(listen.ip(), 0)).await
        }
        started => started,
    };
    started.with_context(|| format!("cannot listen on {listen}: set worker.ops_listen to another address"))
}

/// A service that was asked to end while it started holds nothing: that is an end in order.
fn in_order(ended: anyhow::Result<Exit>) -> anyhow::Result<Exit> {
    match ended {
        Err(error) if error.is::<Aborted>() => {
            stderr_line("stopped before it had started");
            Ok(Exit::Done)
        }
        ended => ended,
    }
}

/// Runs `muster producer`.
pub(crate) async fn producer(
    args: &ProducerArgs,
    config: &Config,
    shutdown: &Shutdown,
) -> anyhow::Result<Exit> {
    Box::pin(services(args, false, config, shutdown)).await
}

/// Runs `muster serve`.
pub(crate) async fn serve(args: &ServeArgs, config: &Config, shutdown: &Shutdown) -> anyhow::Result<Exit> {
    Box::pin(services(&args.producer, true, config, shutdown)).await
}

async fn services(
    args: &ProducerArgs,
    with_worker: bool,
    config: &Config,
    shutdown: &Shutdown,
) -> anyhow::Result<Exit> {
    let work = async |session: &Session| {
        let (store, queue) = (&session.store.by_itself(), session.queue(config)?);
        let _telling = AbortOnDrop(tokio::spawn(connect::tell_of_broker(queue.clone())));
        let options = producer_options(config, args.listen);
        let listen = options.listen;
        let producer = Producer::start(store.clone(), queue.clone(), options).await.with_context(|| {
            format!("cannot listen on {listen}; name another address with --listen (port 0 takes a free one), or see to the certificate")
        })?;
        let worker = with_worker.then(|| Worker::start(store.clone(), queue.clone(), worker_options(config)));
        let scheme = if config.http.tls_certificate.is_some() { "https" } else { "http" };
        stdout_line(format_args!("listening on {scheme}://{}", producer.local_addr()))?;
        if session.runs_engine() && with_worker {
            tell_operator(store, &config.engine.data_dir).await?;
        }
        shutdown.stopping().await;
        let stop_worker = async {
            match worker {
                Some(worker) => worker.stop().await,
                None => true,
            }
        };
        // At the same time, so that the one's grace does not come on top of the other's.
        let (served, settled) = if fault::mutant(Mutant::GracesAddUp) {
            (producer.stop().await, stop_worker.await)
        } else {
            tokio::join!(producer.stop(), stop_worker)
        };
        served.context("the HTTP API did not end well")?;
        if !settled {
            stderr_line(CUT_OFF);
            return Ok(Exit::Failure);
        }
        tracing::info!("stopped: everything that was begun is finished");
        Ok(Exit::Done)
    };
    let need = if with_worker { whole(args.migrate) } else { share(args.migrate) };
    in_order(Box::pin(connect::with(config, need, shutdown, work)).await)
}

/// Writes a file that nobody else can read.
fn write_secret(path: &Path, text: &str) -> io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    writeln!(options.open(path)?, "{text}")
}

/// Makes a token for the operator of the default tenant, unless one was made before. It is printed where somebody looks on, and
/// else written to a file.
async fn tell_operator(store: &Store, folder: &Path) -> anyhow::Result<()> {
    let tenant = tenants::ensure_default(store).await?.into_inner();
    let scopes = [Scope::Ops, Scope::TenantsAll];
    let by =
        if fault::mutant(Mutant::FirstTokenUnaudited) { store.by_itself() } else { store.by(FIRST_START) };
    if let NewToken::Created(_, token) = tokens::create(&by, tenant.id, OPERATOR, &scopes).await? {
        if io::stdout().is_terminal() {
            stdout_line(format_args!("token: {}", token.reveal()))?;
            stderr_line(
                "this operator token of the tenant `default`, which opens all tenants at the console, is shown this once; `muster token create` makes others",
            );
        } else {
            // What a service prints is kept in logs, and many may read those.
            let file = folder.join(OPERATOR_FILE);
            write_secret(&file, token.reveal())
                .with_context(|| format!("the operator's token cannot be written to {}", file.display()))?;
            stdout_line(format_args!("token in {}", file.display()))?;
        }
    }
    Ok(())
}
