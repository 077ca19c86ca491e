//! What all parts of a run share.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chrono::{DateTime, Utc};
use muster_queue::Topology;
use muster_runtime::clock;
use uuid::Uuid;

use crate::random::Random;

use super::api::Api;
use super::db::Db;
use super::journal::{Journal, held};
use super::model::Users;
use super::noted::Recoveries;
use super::options::Options;
use super::program::Process;
use super::relay::Relay;
use super::servers::Server;

/// Spaces from here on are given out one by one.
const LATER_SPACES: u32 = 9_000;

/// A tenant under test.
#[derive(Debug, Clone)]
pub(crate) struct Tenant {
    pub(crate) id: i32,
}

/// The ways of one process to the servers.
#[derive(Debug)]
pub(crate) struct Ways {
    pub(crate) process: String,
    pub(crate) database: Relay,
    pub(crate) broker: Relay,
}

/// Users that one client keeps, for the comparison at the end.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) tenant: usize,
    pub(crate) users: Users,
    /// No longer exact, for a reason that was noted.
    pub(crate) retired: bool,
}

/// An import that was accepted.
#[derive(Debug, Clone)]
pub(crate) struct Accepted {
    pub(crate) id: Uuid,
    pub(crate) tenant: usize,
    pub(crate) total: u64,
    /// Whether the client got the answer.
    pub(crate) acknowledged: bool,
}

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) options: Options,
    pub(crate) journal: Arc<Journal>,
    pub(crate) postgres: Server,
    pub(crate) rabbit: Server,
    pub(crate) topology: Topology,
    pub(crate) db: Db,
    pub(crate) api: Api,
    pub(crate) tenants: Vec<Tenant>,
    pub(crate) producers: Vec<Arc<Process>>,
    pub(crate) workers: Vec<Arc<Process>>,
    /// Of the last producer and the last worker; the others reach the servers without a relay.
    pub(crate) ways: Vec<Ways>,
    pub(crate) recoveries: Recoveries,
    /// Clients begin new imports.
    pub(crate) uploading: AtomicBool,
    /// Everything must end now.
    pub(crate) closing: AtomicBool,
    /// Publish each message four times more.
    pub(crate) copying: AtomicBool,
    /// The broker is away on purpose: every upload must be accepted.
    pub(crate) must_accept: AtomicBool,
    pub(crate) kills: AtomicU64,
    pub(crate) accepted: Mutex<HashMap<Uuid, Accepted>>,
    /// Labels of uploads that came to nothing, by tenant.
    pub(crate) nothing: Mutex<Vec<(usize, String)>>,
    /// Series by their space.
    pub(crate) kept: Mutex<HashMap<u32, Kept>>,
    outages: Mutex<Vec<Outage>>,
    labels: AtomicU32,
    spaces: AtomicU32,
}

/// A server was away.
#[derive(Debug, Clone)]
pub(crate) struct Outage {
    pub(crate) from: DateTime<Utc>,
    pub(crate) until: Option<DateTime<Utc>>,
}

/// What a [`World`] is made of.
pub(crate) struct Parts {
    pub(crate) options: Options,
    pub(crate) journal: Arc<Journal>,
    pub(crate) postgres: Server,
    pub(crate) rabbit: Server,
    pub(crate) topology: Topology,
    pub(crate) db: Db,
    pub(crate) api: Api,
    pub(crate) tenants: Vec<Tenant>,
    pub(crate) producers: Vec<Arc<Process>>,
    pub(crate) workers: Vec<Arc<Process>>,
    pub(crate) ways: Vec<Ways>,
}

impl World {
    pub(crate) fn new(parts: Parts) -> Self {
        Self {
            options: parts.options,
            journal: parts.journal,
            postgres: parts.postgres,
            rabbit: parts.rabbit,
            topology: parts.topology,
            db: parts.db,
            api: parts.api,
            tenants: parts.tenants,
            producers: parts.producers,
            workers: parts.workers,
            ways: parts.ways,
            recoveries: Recoveries::default(),
            uploading: AtomicBool::new(true),
            closing: AtomicBool::new(false),
            copying: AtomicBool::new(false),
            must_accept: AtomicBool::new(false),
            kills: AtomicU64::new(0),
            accepted: Mutex::default(),
            nothing: Mutex::default(),
            kept: Mutex::default(),
            outages: Mutex::default(),
            labels: AtomicU32::new(0),
            spaces: AtomicU32::new(LATER_SPACES),
        }
    }

    pub(crate) fn uploading(&self) -> bool {
        self.uploading.load(Ordering::SeqCst) && !self.closing()
    }

    pub(crate) fn closing(&self) -> bool {
        self.closing.load(Ordering::SeqCst)
    }

    /// A label for a file, new in this run.
    pub(crate) fn label(&self, space: u32) -> String {
        format!("s{space}-{}", self.labels.fetch_add(1, Ordering::Relaxed))
    }

    /// A space of addresses that nobody has used.
    pub(crate) fn new_space(&self) -> u32 {
        self.spaces.fetch_add(1, Ordering::Relaxed)
    }

    /// Notes an accepted import.
    pub(crate) fn accept(&self, import: Accepted) {
        self.journal.count("accepted imports", 1);
        self.journal.count("accepted records", import.total);
        held(&self.accepted).insert(import.id, import);
    }

    /// A server goes away. The number is for [`back`](Self::back).
    pub(crate) fn away(&self) -> usize {
        let mut outages = held(&self.outages);
        outages.push(Outage { from: clock::now(), until: None });
        outages.len() - 1
    }

    /// It is back.
    pub(crate) fn back(&self, outage: usize) -> DateTime<Utc> {
        let now = clock::now();
        if let Some(outage) = held(&self.outages).get_mut(outage) {
            outage.until = Some(now);
        }
        now
    }

    /// Whether a server was away at some time between these two.
    pub(crate) fn was_away(&self, from: DateTime<Utc>, until: DateTime<Utc>) -> bool {
        let outages = held(&self.outages);
        outages.iter().any(|outage| outage.from < until && outage.until.is_none_or(|end| end > from))
    }

    pub(crate) fn processes(&self) -> impl Iterator<Item = &Arc<Process>> {
        self.producers.iter().chain(&self.workers)
    }
}

/// Waits a random time.
pub(crate) async fn pause(random: &mut Random, least: u64, most: u64) {
    let least = usize::try_from(least).unwrap_or(0);
    let most = usize::try_from(most).unwrap_or(0);
    let milliseconds = random.between(least, most);
    tokio::time::sleep(Duration::from_millis(milliseconds as u64)).await;
}
