//! The chunks that this process works on. They are written to the store about every second, so that the
//! search for lost chunks skips them ([`crate::dispatch::silent`]).
//!
//! This only affects how soon a lost chunk is found. A chunk that is taken for lost by mistake is sent again, which changes nothing (P3).

use std::collections::HashMap;
use std::num::NonZeroU16;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use muster_domain::fault::{Mutant, mutant};
use muster_domain::id::ChunkId;
use muster_runtime::clock;
use muster_runtime::supervise::{Progress, Supervised, supervise};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::holders::{self, Trouble};
use crate::{Store, StoreError};

/// How often a process says what it holds.
pub const BEAT: Duration = Duration::from_secs(1);

/// How long telling may take: over a connection that leads nowhere it would never end.
const TOLD_WITHIN: Duration = Duration::from_secs(5);
/// How long a process that stops may take to say so.
const LEAVE_WITHIN: Duration = Duration::from_secs(1);

/// Tells the store what this process holds. Dropped, it is silent, and a few seconds later counts as gone.
#[derive(Debug)]
pub struct Holding {
    store: Store,
    process: Uuid,
    holder: Holder,
    task: Supervised,
}

/// Notes what is held. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Holder(Arc<Mutex<HashMap<ChunkId, Noted>>>);

/// What is noted of a chunk.
#[derive(Debug, Default)]
struct Noted {
    /// How often it is held.
    times: usize,
    /// What was met last while it is held, and since when there is trouble.
    trouble: Option<(String, DateTime<Utc>)>,
}

/// A chunk that is held until this is dropped.
#[derive(Debug)]
pub struct Held {
    chunk: ChunkId,
    holder: Holder,
}

impl Holding {
    /// Starts to tell; `kind` is what the process does, and a worker has so many slots. The store may be away.
    pub fn start(store: Store, kind: &'static str, slots: Option<NonZeroU16>) -> Self {
        // A process that cannot say what it holds is taken for dead.
        let store = store.reserved();
        let (process, holder) = (clock::new_id(), Holder::default());
        let name = format!("{kind} {} on {}", std::process::id(), host());
        let teller = Teller { store: store.clone(), process, name, slots, holder: holder.clone() };
        let stop = CancellationToken::new();
        let task =
            supervise("holding", stop.clone(), move |progress| teller.clone().run(stop.clone(), progress));
        Self { store, process, holder, task }
    }

    /// What notes chunks.
    pub fn holder(&self) -> Holder {
        self.holder.clone()
    }

    /// Ends: nothing is held any more.
    pub async fn stop(self) {
        self.task.stop(LEAVE_WITHIN).await;
        let (store, process) = (self.store, self.process);
        // In a task of its own: the process may end while the statement is under way.
        let left = tokio::spawn(async move { holders::leave(&store, process).await });
        if !matches!(timeout(LEAVE_WITHIN, left).await, Ok(Ok(Ok(())))) {
            tracing::debug!(
                "the store could not be informed that this process ends; it will count as gone soon"
            );
        }
    }
}

/// What a process says of itself, and to whom.
#[derive(Clone)]
struct Teller {
    store: Store,
    process: Uuid,
    name: String,
    slots: Option<NonZeroU16>,
    holder: Holder,
}

impl Teller {
    async fn run(self, stop: CancellationToken, progress: Progress) {
        let mut beat = interval(BEAT);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = beat.tick() => {}
                () = stop.cancelled() => return,
            }
            match Store::within(TOLD_WITHIN, self.say()).await {
                Ok(()) => progress.note(),
                Err(error) => {
                    tracing::debug!(%error, "the store could not be informed of what this process holds")
                }
            }
        }
    }

    async fn say(&self) -> Result<(), StoreError> {
        let (chunks, trouble) = (self.holder.chunks(), self.holder.trouble());
        holders::say(&self.store, self.process, &self.name, self.slots, &chunks, trouble.as_ref()).await
    }
}

/// The name of this machine or container, if the system reports it.
fn host() -> String {
    let told =
        std::fs::read_to_string("/proc/sys/kernel/hostname").ok().or_else(|| std::env::var("HOSTNAME").ok());
    let name = told.map(|name| name.trim().to_owned()).filter(|name| !name.is_empty());
    name.unwrap_or_else(|| "this machine".into())
}

impl Holder {
    /// Notes a chunk as held.
    pub fn hold(&self, chunk: ChunkId) -> Held {
        self.lock().entry(chunk).or_default().times += 1;
        Held { chunk, holder: self.clone() }
    }

    /// Notes what is met with a chunk that is held, without any user's value. It is forgotten with the chunk.
    pub fn meets(&self, chunk: ChunkId, problem: &str) {
        if mutant(Mutant::WaitsInSilence) {
            return;
        }
        if let Some(noted) = self.lock().get_mut(&chunk) {
            let since = noted.trouble.take().map_or_else(clock::now, |(_, since)| since);
            noted.trouble = Some((problem.to_owned(), since));
        }
    }

    fn chunks(&self) -> Vec<ChunkId> {
        self.lock().keys().copied().collect()
    }

    /// The chunks that are in trouble, if any are, and what is met with the one that is for the longest.
    fn trouble(&self) -> Option<Trouble> {
        let held = self.lock();
        let troubled = || held.iter().filter_map(|(chunk, noted)| Some((*chunk, noted.trouble.as_ref()?)));
        let (_, (problem, since)) = troubled().min_by_key(|(chunk, (_, since))| (*since, *chunk))?;
        let chunks = troubled().map(|(chunk, _)| chunk).collect();
        Some(Trouble { chunks, problem: problem.clone(), since: *since })
    }

    // Nothing can panic while the lock is held.
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<ChunkId, Noted>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    /// The chunk.
    pub fn chunk(&self) -> ChunkId {
        self.chunk
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut held = self.holder.lock();
        if let Some(noted) = held.get_mut(&self.chunk) {
            noted.times -= 1;
            if noted.times == 0 {
                held.remove(&self.chunk);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_is_held_until_the_last_who_holds_it_lets_go() {
        let holder = Holder::default();
        let (first, second) = (holder.hold(ChunkId::new(1)), holder.hold(ChunkId::new(1)));
        drop(first);
        assert_eq!(holder.chunks(), [ChunkId::new(1)]);
        drop(second);
        assert!(holder.chunks().is_empty());
    }

    #[test]
    fn trouble_is_known_as_long_as_its_chunk_is_held() {
        let holder = Holder::default();
        holder.meets(ChunkId::new(1), "nobody holds it");
        let (first, _second) = (holder.hold(ChunkId::new(1)), holder.hold(ChunkId::new(2)));
        assert_eq!(holder.trouble(), None);
        holder.meets(ChunkId::new(1), "silence");
        let since = holder.trouble().unwrap().since;
        holder.meets(ChunkId::new(1), "still silence");
        let trouble = holder.trouble().unwrap();
        assert_eq!((trouble.chunks, trouble.since), (vec![ChunkId::new(1)], since));
        assert_eq!(trouble.problem, "still silence");
        drop(first);
        assert_eq!(holder.trouble(), None);
    }
}
