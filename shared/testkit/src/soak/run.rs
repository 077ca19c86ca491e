//! A run from its start to its end.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use muster_queue::Topology;
use muster_runtime::clock;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::random::Random;

use super::api::Api;
use super::clients;
use super::contended::contended;
use super::copies::copies;
use super::db::Db;
use super::journal::{Journal, Wrong};
use super::nemesis::{Fault, Until, mended, nemesis};
use super::options::Options;
use super::phases;
use super::program::{Process, Program};
use super::relay::Relay;
use super::report::Run;
use super::servers::Server;
use super::unclash::unclash;
use super::watch;
use super::witness;
use super::world::{Parts, Tenant, Ways, World};

/// How the names of the queues begin.
const PREFIX: &str = "soak";

/// Runs the soak. The exit code says whether anything was wrong.
pub async fn run(mut options: Options) -> anyhow::Result<ExitCode> {
    let root = root()?;
    options.program = options.program.canonicalize().context("there is no such program: build it first")?;
    std::fs::create_dir_all(options.dir.parent().unwrap_or(Path::new(".")))?;
    std::fs::create_dir(&options.dir).context("the work folder must not exist")?;
    options.dir = options.dir.canonicalize()?;
    let seeds = seeds(&options.seed)?;
    println!("soak: seed {seeds:?}, work folder {}", options.dir.display());
    let mix = Fault::mix(&options.mix)?;
    let world = Arc::new(set_up(&root, options).await?);
    let mut terminated = signal(SignalKind::terminate())?;
    let ran = tokio::select! {
        ran = whole(&world, &root, seeds, mix) => ran,
        _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("interrupted")),
        _ = terminated.recv() => Err(anyhow::anyhow!("terminated")),
    };
    world.closing.store(true, Ordering::SeqCst);
    take_down(&world).await;
    Ok(if ran? { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The checkout: the nearest folder above the working folder that has the script of the servers.
fn root() -> anyhow::Result<PathBuf> {
    let here = std::env::current_dir()?;
    let found = here.ancestors().find(|folder| folder.join("deploy/local/services.sh").is_file());
    found.map(Path::to_owned).context("start this inside Muster's checkout")
}

fn seeds(asked: &[String]) -> anyhow::Result<Vec<u64>> {
    let one = |text: &String| match text.as_str() {
        // Short enough to be typed again.
        "random" => Ok(rand_seed()),
        number => number.parse().with_context(|| format!("the seed {number} is no number")),
    };
    asked.iter().map(one).collect()
}

fn rand_seed() -> u64 {
    u64::from(clock::new_id().as_fields().3[7]) << 24 | u64::from(clock::now().timestamp_subsec_micros())
}

fn free_port() -> anyhow::Result<u16> {
    // Nobody else is expected to take it in the moment between; it is kept for the whole run.
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

async fn set_up(root: &Path, options: Options) -> anyhow::Result<World> {
    let journal = Arc::new(Journal::new(&options.dir)?);
    let (postgres, rabbit) = tokio::join!(
        Server::start(root, "postgres", options.dir.join("postgres")),
        Server::start(root, "rabbitmq", options.dir.join("rabbitmq"))
    );
    let (postgres, rabbit) = (postgres?, rabbit?);
    let mut environment = BTreeMap::from(
        [
            ("DATABASE_URL", postgres.url()),
            ("AMQP_URL", rabbit.url()),
            ("MUSTER_BROKER_PREFIX", PREFIX),
            ("MUSTER_LOG_FORMAT", "text"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned())),
    );
    for setting in &options.set {
        let (name, value) = setting.split_once('=').context("--set wants NAME=VALUE")?;
        environment.insert(name.into(), value.into());
    }
    let program = Program { path: options.program.clone(), dir: options.dir.clone(), environment };
    program.call(&["migrate"]).await?;
    let db = Db::new(postgres.url())?;
    db.script(witness::SCHEMA).await.context("the witness")?;
    let (tenants, tokens) = tenants(&program, &db, options.tenants).await?;
    let mut bases = Vec::new();
    let mut producers = Vec::new();
    let mut ways = Vec::new();
    for number in 0..options.producers {
        let address = format!("127.0.0.1:{}", free_port()?);
        let name = format!("producer{number}");
        let last = number + 1 == options.producers;
        let mut settings = ways_of(&name, &postgres, &rabbit, last.then_some(&mut ways)).await?;
        settings.push(("MUSTER_HTTP_LISTEN", address.clone()));
        producers.push(Process::start(&program, &journal, &name, "producer", &settings));
        bases.push(format!("http://{address}"));
    }
    let mut workers = Vec::new();
    for number in 0..options.workers {
        let name = format!("worker{number}");
        let last = number + 1 == options.workers;
        let settings = ways_of(&name, &postgres, &rabbit, last.then_some(&mut ways)).await?;
        workers.push(Process::start(&program, &journal, &name, "worker", &settings));
    }
    let api = Api::new(bases, tokens)?;
    for base in api.bases() {
        let ready = async {
            while api.plain(base, "/readyz").await.is_none() {
                sleep(Duration::from_millis(100)).await;
            }
        };
        timeout(Duration::from_secs(60), ready).await.context("a producer does not answer")?;
    }
    let topology = Topology::new(PREFIX)?;
    Ok(World::new(Parts {
        options,
        journal,
        postgres,
        rabbit,
        topology,
        db,
        api,
        tenants,
        producers,
        workers,
        ways,
    }))
}

/// How a process reaches the servers: its sessions carry its name, and they go through a relay where `relayed` is given.
async fn ways_of(
    name: &str,
    postgres: &Server,
    rabbit: &Server,
    relayed: Option<&mut Vec<Ways>>,
) -> anyhow::Result<Vec<(&'static str, String)>> {
    let named = |url: &str| format!("{url}?application_name={name}");
    let Some(ways) = relayed else { return Ok(vec![("DATABASE_URL", named(postgres.url()))]) };
    let database = Relay::before(&named(postgres.url())).await?;
    let broker = Relay::before(rabbit.url()).await?;
    let settings = vec![("DATABASE_URL", database.url.clone()), ("AMQP_URL", broker.url.clone())];
    ways.push(Ways { process: name.to_owned(), database, broker });
    Ok(settings)
}

async fn tenants(program: &Program, db: &Db, number: usize) -> anyhow::Result<(Vec<Tenant>, Vec<String>)> {
    let mut tenants = Vec::new();
    let mut tokens = Vec::new();
    for at in 0..number {
        let slug = format!("soak{at}");
        program.call(&["tenant", "create", &slug]).await?;
        let scopes = ["--scope", "import:write", "--scope", "import:read"];
        let create = ["token", "create", "--tenant", &slug, "--name", "soak"];
        let printed = program.call(&[&create[..], &scopes[..]].concat()).await?;
        let token = printed.split_whitespace().find(|word| word.starts_with("mst_"));
        tokens.push(token.context("`muster token create` has printed no token")?.to_owned());
        let bound = slug.clone();
        let rows =
            db.rows("select id from tenants where slug = $1", |query| query.bind(bound.clone())).await?;
        let row = rows.first().context("the tenant is not there")?;
        tenants.push(Tenant { id: sqlx::Row::try_get(row, 0)? });
    }
    Ok((tenants, tokens))
}

/// Everything between setting up and taking down. True if nothing was wrong.
async fn whole(
    world: &Arc<World>,
    root: &Path,
    seeds: Vec<u64>,
    mix: Vec<(Fault, usize)>,
) -> anyhow::Result<bool> {
    let began = Instant::now();
    let mut watchers = JoinSet::new();
    watchers.spawn(watch::readers(world.clone(), seeds[0]));
    watchers.spawn(watch::progress(world.clone()));
    watchers.spawn(copies(world.clone()));
    if world.options.flood > 0 {
        phases::flood(world, seeds[0]).await?;
    }
    if world.options.broker_away > 0 {
        phases::broker_away(world, seeds[0]).await?;
    }
    let faults_began = Instant::now();
    let mut clients = start_clients(world, &seeds);
    let targets = faults(world, &seeds, &mix).await?;
    let fault_seconds = faults_began.elapsed().as_secs_f64();
    world.uploading.store(false, Ordering::SeqCst);
    heal(world).await?;
    let settle = Duration::from_secs(world.options.settle);
    let until = Instant::now() + settle;
    while !clients.is_empty() {
        match timeout(until.saturating_duration_since(Instant::now()), clients.join_next()).await {
            Ok(Some(ended)) => harness(world, ended.context("a client panicked").flatten()),
            Ok(None) => break,
            Err(_) => {
                let fields = json!({"clients": clients.len(), "seconds": settle.as_secs()});
                let what = "imports do not end after the last fault was healed";
                world.journal.violation(Wrong::NotEnded, what, 1, fields);
                break;
            }
        }
    }
    world.final_checks().await?;
    let times = world.recovery_times().await?;
    world.closing.store(true, Ordering::SeqCst);
    while let Some(ended) = watchers.join_next().await {
        harness(world, ended.context("a watcher panicked").flatten());
    }
    let seconds = began.elapsed().as_secs_f64();
    let good = world.report(root, &Run { seeds, seconds, fault_seconds, times, targets_missed: targets })?;
    if world.options.spoil {
        let unseen = world.unseen_damages().await?;
        println!(
            "  damage done on purpose: {}",
            if unseen.is_empty() { "all of it was seen" } else { "NOT ALL SEEN" }
        );
        unseen.iter().for_each(|what| println!("  NOT SEEN: {what}"));
        return Ok(good && unseen.is_empty());
    }
    Ok(good)
}

/// A harness that fails proves nothing.
fn harness(world: &World, ended: anyhow::Result<()>) {
    if let Err(error) = ended {
        let fields = json!({"error": format!("{error:#}")});
        world.journal.violation(Wrong::Differs, "the harness itself failed", 1, fields);
    }
}

/// Which tenants' clients follow which seed: in turn.
fn start_clients(world: &Arc<World>, seeds: &[u64]) -> JoinSet<anyhow::Result<()>> {
    let mut clients = JoinSet::new();
    let mut space = 0;
    for tenant in 0..world.tenants.len() {
        let mut random = Random::new(seeds[tenant % seeds.len()]);
        for _ in 0..tenant {
            random.bits();
        }
        let mut random = Random::new(random.bits());
        for _ in 0..world.options.series {
            space += 1;
            clients.spawn(clients::series(world.clone(), tenant, space, random.bits()));
        }
        let shared = phases::SHARED + u32::try_from(tenant).unwrap_or(0);
        for _ in 0..2 {
            clients.spawn(contended(world.clone(), tenant, shared, random.bits()));
        }
        if tenant == 0 {
            clients.spawn(unclash(world.clone(), tenant, phases::UNCLASH, random.bits()));
        }
    }
    clients
}

/// The faults of each seed, one seed after the other. Returns the targets that were not reached.
async fn faults(world: &Arc<World>, seeds: &[u64], mix: &[(Fault, usize)]) -> anyhow::Result<Vec<String>> {
    let began = Instant::now();
    let options = &world.options;
    let all = seeds.len() as u64;
    // What one seed broke may be brought back while the next one goes on.
    let mut mending = JoinSet::new();
    for (number, seed) in (1..).zip(seeds) {
        let share = |target: Option<u64>| target.map(|target| target * number / all);
        #[allow(clippy::cast_precision_loss)]
        let time = began + options.length().mul_f64(number as f64 / all as f64);
        let (kills, imports, records) =
            (share(options.kills), share(options.imports), share(options.records));
        world.journal.event("seed", json!({"seed": seed}));
        let until = Until { time, kills, imports, records };
        nemesis(world, *seed, mix, until, &mut mending).await?;
    }
    mended(mending).await?;
    let reached = [
        ("SIGKILLs", options.kills, world.kills.load(Ordering::SeqCst)),
        ("imports", options.imports, world.journal.counted("accepted imports")),
        ("records", options.records, world.journal.counted("accepted records")),
    ];
    let missed = reached.into_iter().filter_map(|(name, target, is)| {
        target.filter(|target| is < *target).map(|target| format!("{target} {name} (there were {is})"))
    });
    Ok(missed.collect())
}

/// Everything runs again.
async fn heal(world: &World) -> anyhow::Result<()> {
    let (postgres, rabbit) = tokio::join!(world.postgres.up(), world.rabbit.up());
    postgres?;
    rabbit?;
    for worker in &world.workers {
        worker.freeze(false);
    }
    world.journal.event("healed", json!({}));
    Ok(())
}

async fn take_down(world: &World) {
    let processes: Vec<Arc<Process>> = world.processes().cloned().collect();
    let mut closing: JoinSet<()> =
        processes.into_iter().map(|process| async move { process.close().await }).collect();
    while closing.join_next().await.is_some() {}
    world.db.close().await;
    let purge = !world.options.keep;
    let (postgres, rabbit) = tokio::join!(world.postgres.down(purge), world.rabbit.down(purge));
    for error in [postgres, rabbit].into_iter().filter_map(Result::err) {
        eprintln!("soak: a server was not stopped: {error:#}");
    }
}
