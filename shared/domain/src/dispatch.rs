//! Which staged chunks go to the workers next, and which of those that went are lost. Pure: the window, fair share across tenants
//! and imports (P8), and what the silence of a chunk means.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use crate::fault::{Mutant, mutant};
use crate::id::{ChunkId, ImportId, TenantId};

/// Places in the window while nothing is known of the workers.
const WINDOW: usize = 16;
/// Places in the smallest window that follows from the workers.
const SMALLEST_WINDOW: usize = 4;

/// How many chunks may be with the workers at a time: what is set, or two for each chunk that the workers apply at a time. So no
/// worker waits for a chunk, and a new import waits behind few of the others' (P8).
pub fn window(set: Option<usize>, slots: Option<u64>) -> usize {
    let twice = |slots: u64| usize::try_from(slots.saturating_mul(2)).unwrap_or(usize::MAX);
    set.or_else(|| slots.map(|slots| twice(slots).max(SMALLEST_WINDOW))).unwrap_or(WINDOW)
}

/// A chunk that may go to the workers, or is there already. Only the first open chunk of a lane may go, and only while no other of
/// its lane is there: that keeps a lane in order (P4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LaneHead {
    /// The chunk.
    pub chunk: ChunkId,
    /// Its import.
    pub import: ImportId,
    /// Its tenant.
    pub tenant: TenantId,
    /// Records of its import.
    pub size: u64,
    /// May go to the workers. False while the chunk is with them.
    pub ready: bool,
    /// Holds a place in the window: with the workers, and not past its lease.
    pub in_flight: bool,
}

/// Each tenant's fourth choice goes to its smallest import, so that a small one need not wait until the older ones have ended.
const SMALLEST_EVERY: u64 = 4;

/// Shares the window out, fairly over time.
///
/// Each place goes to the tenant that has fewest; among equals to the one that was served least recently. Of the tenant's imports
/// the one that has fewest gets it; among equals the oldest, so that imports end in their turn however many there are (V7). Of an
/// import, the chunk that was staged first.
#[derive(Debug, Clone, Default)]
pub struct FairShare {
    turn: u64,
    tenants: HashMap<TenantId, Served>,
}

/// What a tenant was given so far.
#[derive(Debug, Clone, Copy, Default)]
struct Served {
    last: u64,
    choices: u64,
}

/// What a tenant has while places are shared out.
#[derive(Debug, Default)]
struct Share {
    places: usize,
    imports: BTreeMap<ImportId, Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    places: usize,
    size: u64,
    /// The last is next.
    ready: Vec<ChunkId>,
}

impl FairShare {
    /// Chooses chunks so that no more than `window` hold a place.
    pub fn choose(&mut self, heads: &[LaneHead], window: usize) -> Vec<ChunkId> {
        let mut shares = shares(heads);
        self.tenants.retain(|tenant, _| shares.contains_key(tenant));
        let busy = heads.iter().filter(|head| head.in_flight).count();
        let mut chosen = Vec::new();
        while busy + chosen.len() < window {
            let next = shares.iter_mut().filter(|(_, share)| share.oldest_ready().is_some());
            let next = next.min_by_key(|(tenant, share)| {
                let last = self.tenants.get(tenant).map_or(0, |served| served.last);
                (share.places, last, share.oldest_ready())
            });
            let Some((tenant, share)) = next else { break };
            let served = self.tenants.entry(*tenant).or_default();
            let Some(chunk) = share.take(served.choices % SMALLEST_EVERY == SMALLEST_EVERY - 1) else {
                break;
            };
            self.turn += 1;
            served.last = self.turn;
            served.choices += 1;
            chosen.push(chunk);
        }
        chosen
    }
}

fn shares(heads: &[LaneHead]) -> BTreeMap<TenantId, Share> {
    let mut shares: BTreeMap<TenantId, Share> = BTreeMap::new();
    for head in heads {
        let share = shares.entry(head.tenant).or_default();
        let import = share.imports.entry(head.import).or_default();
        if head.in_flight {
            share.places += 1;
            import.places += 1;
        } else if head.ready {
            import.size = head.size;
            import.ready.push(head.chunk);
        }
    }
    for import in shares.values_mut().flat_map(|share| share.imports.values_mut()) {
        import.ready.sort_unstable_by_key(|chunk| Reverse(*chunk));
    }
    shares
}

impl Share {
    fn oldest_ready(&self) -> Option<ImportId> {
        self.imports.iter().find(|(_, import)| !import.ready.is_empty()).map(|(id, _)| *id)
    }

    fn take(&mut self, smallest: bool) -> Option<ChunkId> {
        let ready = self.imports.iter_mut().filter(|(_, import)| !import.ready.is_empty());
        let (_, import) = if smallest && !mutant(Mutant::NoPlaceForSmall) {
            ready.min_by_key(|(id, import)| (import.size, **id))?
        } else if mutant(Mutant::YoungestFirst) {
            ready.min_by_key(|(id, import)| (import.places, Reverse(**id)))?
        } else {
            ready.min_by_key(|(id, import)| (import.places, **id))?
        };
        self.places += 1;
        import.places += 1;
        import.ready.pop()
    }
}

/// Finds lost chunks among the silent ones: dispatched, published, and held by no process that lives.
///
/// Each of them should have a message that waits in the queue. Where there are more of them than messages, some have none; the queue
/// is first in, first out, so these are the ones that were sent first. They are lost when it is so for a while, since a message on
/// its way to a worker is neither in the queue nor held. A chunk taken for lost by mistake is sent again and then has a message. So
/// the number of messages soon equals the number of chunks again, even if no worker runs.
#[derive(Debug, Default)]
pub struct Silence {
    since: HashMap<ChunkId, Duration>,
}

impl Silence {
    /// Looks at the silent chunks, in the order in which they were sent, and at the number of messages that wait; `now` is the time
    /// since any fixed moment. Returns those that seem to be lost for `patience` by now.
    pub fn lost(
        &mut self,
        silent: &[ChunkId],
        waiting: u64,
        now: Duration,
        patience: Duration,
    ) -> Vec<ChunkId> {
        let without_message = silent.len().saturating_sub(usize::try_from(waiting).unwrap_or(usize::MAX));
        let quarantine = silent.get(..without_message).unwrap_or_default();
        self.since.retain(|chunk, _| quarantine.contains(chunk));
        let mut lost = Vec::new();
        for chunk in quarantine {
            if now.saturating_sub(*self.since.entry(*chunk).or_insert(now)) >= patience {
                self.since.remove(chunk);
                lost.push(*chunk);
            }
        }
        lost
    }
}

#[cfg(test)]
mod tests;
