//! The faults, chosen by a seed, one after the other. What was broken is brought back after a while, beside the next faults.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use chrono::{DateTime, Utc};
use lapin::{Connection, ConnectionProperties};
use muster_runtime::clock;
use rustix::process::Signal;
use serde_json::json;
use sqlx::Row as _;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::random::Random;

use super::program::Process;
use super::servers::signal;
use super::world::World;

macro_rules! faults {
    ($($(#[$doc:meta])* $fault:ident = $name:literal, $weight:literal;)*) => {
        /// What can be done to a running system.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Fault { $($(#[$doc])* $fault,)* }

        impl Fault {
            /// Each with its weight, where no mix is named. The numbers of SIGKILLs are those of the long run.
            pub(crate) const USUAL: &[(Self, usize)] = &[$((Self::$fault, $weight),)*];

            pub(crate) fn name(self) -> &'static str {
                match self { $(Self::$fault => $name,)* }
            }
        }
    };
}

faults! {
    /// SIGKILL to a worker.
    WorkerKill = "worker", 60;
    /// SIGKILL to a producer.
    ProducerKill = "producer", 20;
    /// SIGKILL to the broker.
    BrokerKill = "broker", 10;
    /// SIGKILL to one backend of PostgreSQL: all sessions end.
    BackendKill = "backend", 6;
    /// SIGKILL to PostgreSQL's main process.
    PostgresKill = "postgres", 4;
    /// A worker stands still for a while.
    WorkerFreeze = "freeze", 8;
    /// A worker is asked to stop, and started again.
    WorkerRestart = "worker-restart", 6;
    /// The same with a producer.
    ProducerRestart = "producer-restart", 4;
    /// The connections of a process to PostgreSQL or to the broker stay open and carry nothing more.
    HalfOpen = "half-open", 4;
    /// Some sessions of PostgreSQL are ended by it.
    Terminate = "terminate", 5;
    /// All connections to the broker are closed by it.
    CloseConnections = "close-connections", 2;
    /// The queue is emptied.
    Purge = "purge", 3;
    /// The queue is deleted.
    Delete = "delete", 3;
    /// The broker is killed and its data removed.
    Wipe = "wipe", 2;
}

impl Fault {
    /// The faults and weights that the options ask for.
    pub(crate) fn mix(asked: &[String]) -> anyhow::Result<Vec<(Self, usize)>> {
        if asked.is_empty() {
            return Ok(Self::USUAL.to_vec());
        }
        let one = |text: &String| {
            let (name, weight) = text.split_once('=').with_context(|| format!("{text}: not name=weight"))?;
            let fault = Self::USUAL.iter().find(|(fault, _)| fault.name() == name);
            let (fault, _) = fault.with_context(|| format!("there is no fault {name}"))?;
            Ok((*fault, weight.parse().with_context(|| format!("{text}: the weight is no number"))?))
        };
        asked.iter().map(one).collect()
    }

    /// How many processes it kills.
    fn kills(self) -> u64 {
        match self {
            Self::WorkerKill
            | Self::ProducerKill
            | Self::BrokerKill
            | Self::BackendKill
            | Self::PostgresKill
            | Self::Wipe => 1,
            _ => 0,
        }
    }
}

/// Until when faults are made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Until {
    pub(crate) time: Instant,
    /// So many SIGKILLs are enough, if the other targets are met too.
    pub(crate) kills: Option<u64>,
    pub(crate) imports: Option<u64>,
    pub(crate) records: Option<u64>,
}

impl Until {
    fn reached(&self, world: &World) -> bool {
        let met = |target: Option<u64>, is: u64| target.is_none_or(|target| is >= target);
        let targets = self.kills.is_some() || self.imports.is_some() || self.records.is_some();
        Instant::now() >= self.time
            || targets
                && met(self.kills, world.kills.load(Ordering::SeqCst))
                && met(self.imports, world.journal.counted("accepted imports"))
                && met(self.records, world.journal.counted("accepted records"))
    }
}

/// Faults that were made, until what they broke is back.
pub(crate) type Mending = JoinSet<anyhow::Result<()>>;

/// Waits until everything is back.
pub(crate) async fn mended(mut mending: Mending) -> anyhow::Result<()> {
    while let Some(mended) = mending.join_next().await {
        mended??;
    }
    Ok(())
}

/// Makes faults until it is enough. What was broken is brought back meanwhile and afterwards: [`mended`] waits for it.
pub(crate) async fn nemesis(
    world: &Arc<World>,
    seed: u64,
    mix: &[(Fault, usize)],
    until: Until,
    mending: &mut Mending,
) -> anyhow::Result<()> {
    let mut random = Random::new(seed);
    let sum: usize = mix.iter().map(|(_, weight)| weight).sum();
    while !until.reached(world) {
        if sum == 0 {
            sleep(Duration::from_millis(200)).await;
            continue;
        }
        let mut at = random.below(sum);
        let chosen = mix.iter().find(|(_, weight)| {
            let here = at < *weight;
            at = at.saturating_sub(*weight);
            here
        });
        let fault = chosen.map_or(Fault::WorkerKill, |(fault, _)| *fault);
        let mut own = Random::new(random.bits());
        let world_too = world.clone();
        mending.spawn(async move {
            match strike(&world_too, fault, &mut own).await {
                Ok(true) => {
                    world_too.journal.count(&format!("fault {}", fault.name()), 1);
                    Ok(())
                }
                Ok(false) => Ok(()),
                Err(error) => Err(error.context(format!("the fault {}", fault.name()))),
            }
        });
        while let Some(mended) = mending.try_join_next() {
            mended??;
        }
        let every = usize::try_from(world.options.every().as_millis()).unwrap_or(3000);
        let pause = Duration::from_millis(random.between(every / 4, every * 7 / 4) as u64);
        sleep(pause.min(until.time.saturating_duration_since(Instant::now()))).await;
    }
    Ok(())
}

/// One fault, until it is healed. False where there was nothing to break.
async fn strike(world: &World, fault: Fault, random: &mut Random) -> anyhow::Result<bool> {
    let mut worker = random.pick(&world.workers).clone();
    let producer = random.pick(&world.producers).clone();
    let away = Duration::from_millis(random.between(0, 2000) as u64);
    let struck = match fault {
        Fault::WorkerKill => {
            let mut held = held_chunks(world, &worker.name).await;
            if random.percent(70) {
                // In the middle of its work, where there is any: killing those that wait proves little.
                for _ in 0..60 {
                    if !held.is_empty() {
                        break;
                    }
                    sleep(Duration::from_millis(5)).await;
                    worker = random.pick(&world.workers).clone();
                    held = held_chunks(world, &worker.name).await;
                }
            }
            let at = clock::now();
            let killed = worker.end(Signal::KILL, away);
            note(world, fault, &worker.name, killed);
            world.recoveries.worker_died("worker killed: its chunk is applied", at, held);
            killed
        }
        Fault::ProducerKill => {
            let with_workers = dispatched(world).await;
            let at = clock::now();
            let killed = producer.end(Signal::KILL, away);
            note(world, fault, &producer.name, killed);
            world.recoveries.worker_died(
                "producer killed: each chunk that was out is applied",
                at,
                with_workers,
            );
            killed
        }
        Fault::WorkerFreeze => freeze(world, &worker, random).await,
        Fault::WorkerRestart | Fault::ProducerRestart => {
            let process = if fault == Fault::WorkerRestart { &worker } else { &producer };
            note(world, fault, &process.name, true);
            process.restart(away).await
        }
        Fault::BackendKill | Fault::PostgresKill => postgres(world, fault, away).await?,
        Fault::BrokerKill | Fault::Wipe => broker(world, fault, away).await?,
        Fault::HalfOpen => half_open(world, random).await,
        Fault::Terminate => terminate(world).await,
        Fault::CloseConnections | Fault::Purge | Fault::Delete => queue(world, fault).await,
    };
    if struck {
        world.kills.fetch_add(fault.kills(), Ordering::SeqCst);
    }
    Ok(struck)
}

fn note(world: &World, fault: Fault, whom: &str, struck: bool) {
    world.journal.event("struck", json!({"fault": fault.name(), "whom": whom, "struck": struck}));
}

/// The chunks whose rows are locked by a session of this process: those that it is applying.
const HELD: &str = "select c.id from chunks c
  where c.state = 'dispatched'
    and c.xmax::text in (select a.backend_xid::text from pg_stat_activity a
                          where a.backend_xid is not null and a.application_name = $1)";

async fn held_chunks(world: &World, process: &str) -> Vec<i64> {
    let rows = world.db.glance(HELD, |query| query.bind(process.to_owned())).await.unwrap_or_default();
    rows.iter().filter_map(|row| row.try_get(0).ok()).collect()
}

async fn dispatched(world: &World) -> Vec<i64> {
    let sql = "select c.id from chunks c join imports i on i.id = c.import_id
                where c.state = 'dispatched' and i.state = 'running'";
    let rows = world.db.glance(sql, |query| query).await.unwrap_or_default();
    rows.iter().filter_map(|row| row.try_get(0).ok()).collect()
}

async fn freeze(world: &World, worker: &Process, random: &mut Random) -> bool {
    let held = held_chunks(world, &worker.name).await;
    if !worker.freeze(true) {
        return false;
    }
    note(world, Fault::WorkerFreeze, &worker.name, true);
    let longest = (world.options.every * 4.0).clamp(1.0, 12.0);
    sleep(Duration::from_secs_f64(longest * random.between(1, 100) as f64 / 100.0)).await;
    let at = clock::now();
    worker.freeze(false);
    world.recoveries.worker_died("worker goes on: its chunk is applied", at, held);
    true
}

/// A process' connections to the database or to the broker carry nothing more. It must go on with new ones, and what it had
/// must be done by somebody.
async fn half_open(world: &World, random: &mut Random) -> bool {
    if world.ways.is_empty() {
        return false;
    }
    let ways = random.pick(&world.ways);
    if random.percent(60) {
        let mut held = held_chunks(world, &ways.process).await;
        for _ in 0..100 {
            if !held.is_empty() {
                break;
            }
            sleep(Duration::from_millis(5)).await;
            held = held_chunks(world, &ways.process).await;
        }
        let at = clock::now();
        ways.database.halve();
        note(world, Fault::HalfOpen, &format!("{} and the database", ways.process), true);
        world.recoveries.worker_died(
            "half-open connection: the chunk that was being applied is applied",
            at,
            held,
        );
        if let Some(seconds) = world.connects_again(&ways.process, at).await {
            world.recoveries.connected_again(seconds);
        }
        return true;
    }
    let with_workers = dispatched(world).await;
    let at = clock::now();
    ways.broker.halve();
    note(world, Fault::HalfOpen, &format!("{} and the broker", ways.process), true);
    let kind = "half-open connection to the broker: each chunk that was out is applied";
    world.recoveries.worker_died(kind, at, with_workers);
    true
}

/// A backend is killed, or the whole server.
async fn postgres(world: &World, fault: Fault, away: Duration) -> anyhow::Result<bool> {
    let Ok(_turn) = world.postgres.turn.try_lock() else { return Ok(false) };
    if fault == Fault::BackendKill {
        let sql = "select pid from pg_stat_activity
                    where backend_type = 'client backend' and application_name <> 'soak' order by random() limit 1";
        let rows = world.db.glance(sql, |query| query).await.unwrap_or_default();
        let Some(pid) = rows.first().and_then(|row| row.try_get::<i32, _>(0).ok()) else { return Ok(false) };
        let outage = world.away();
        note(world, fault, &pid.to_string(), true);
        signal(pid, Signal::KILL);
        sleep(Duration::from_millis(50)).await;
        world.db.rows("select 1", |query| query).await?;
        world.recoveries.healed("database back: the next chunk is applied", world.back(outage));
        return Ok(true);
    }
    let outage = world.away();
    note(world, fault, "postgres", true);
    world.postgres.kill().await?;
    sleep(away / 4).await;
    world.postgres.up().await?;
    world.recoveries.healed("database back: the next chunk is applied", world.back(outage));
    Ok(true)
}

/// The broker is killed, and perhaps its data removed.
async fn broker(world: &World, fault: Fault, away: Duration) -> anyhow::Result<bool> {
    let Ok(_turn) = world.rabbit.turn.try_lock() else { return Ok(false) };
    let outage = world.away();
    note(world, fault, "rabbitmq", true);
    world.rabbit.kill().await?;
    let lost = if fault == Fault::Wipe { Some(dispatched(world).await) } else { None };
    if fault == Fault::Wipe {
        world.rabbit.wipe()?;
    }
    sleep(away).await;
    let at = start_broker(world, outage).await?;
    if let Some(lost) = lost {
        world.recoveries.healed("broker's data lost: the next chunk is applied", at);
        world.recoveries.worker_died("broker's data lost: each chunk that was out is applied", at, lost);
    } else {
        world.recoveries.healed("broker back: the next chunk is applied", at);
        world.recoveries.can_publish("broker back: the next chunk is published", at);
    }
    Ok(true)
}

/// Starts the broker. Returns when it first answered.
pub(crate) async fn start_broker(world: &World, outage: usize) -> anyhow::Result<DateTime<Utc>> {
    let answers = async {
        loop {
            let connecting = Connection::connect(world.rabbit.url(), ConnectionProperties::default());
            if let Ok(Ok(connection)) = timeout(Duration::from_secs(3), connecting).await {
                let at = world.back(outage);
                // The answer to the close is of no interest, and may take long.
                tokio::spawn(timeout(Duration::from_secs(5), async move {
                    connection.close(200, "done".into()).await
                }));
                return at;
            }
            sleep(Duration::from_millis(50)).await;
        }
    };
    let (up, at) = tokio::join!(world.rabbit.up(), timeout(Duration::from_secs(900), answers));
    let fields = json!({"answered": at.as_ref().ok(), "script_done": clock::now()});
    world.journal.event("broker_started", fields);
    up?;
    at.context("the broker does not answer")
}

async fn terminate(world: &World) -> bool {
    let sql = "select pg_terminate_backend(pid) from (
                 select pid from pg_stat_activity
                  where backend_type = 'client backend' and application_name <> 'soak' and random() < 0.4) some";
    note(world, Fault::Terminate, "sessions", true);
    world.db.glance(sql, |query| query).await.is_some_and(|rows| !rows.is_empty())
}

/// Faults of a broker that runs.
async fn queue(world: &World, fault: Fault) -> bool {
    let Ok(_turn) = world.rabbit.turn.try_lock() else { return false };
    let lost = dispatched(world).await;
    let done = match fault {
        Fault::CloseConnections => world.rabbit.ctl(&["close_all_connections", "soak"]).await.map(drop),
        _ => world.rabbit.lose_queue(&world.topology.queue(), fault == Fault::Delete).await,
    };
    note(world, fault, "queue", done.is_ok());
    let at = clock::now();
    match (&done, fault) {
        (Ok(()), Fault::Purge | Fault::Delete) => {
            world.recoveries.healed("queue lost: the next chunk is applied", at);
            world.recoveries.worker_died("queue lost: each chunk that was out is applied", at, lost);
        }
        (Err(error), _) => world.journal.event("not_struck", json!({"error": error.to_string()})),
        _ => {}
    }
    done.is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mix_names_faults_that_there_are() {
        assert_eq!(Fault::mix(&["worker=3".into()]).unwrap(), [(Fault::WorkerKill, 3)]);
        assert!(Fault::mix(&["nobody=3".into()]).is_err());
        assert!(Fault::mix(&["worker".into()]).is_err());
        assert_eq!(Fault::mix(&[]).unwrap().len(), Fault::USUAL.len());
    }
}
