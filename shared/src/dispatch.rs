//! Which staged chunks go to the workers next. Pure: the window, and fair share across tenants and imports (P8).

use std::collections::HashMap;
use std::hash::Hash;

use crate::id::{ChunkId, ImportId, TenantId};

/// The first chunk of a lane that has not ended. Only heads may be dispatched: that keeps a lane in order (P4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LaneHead {
    /// The chunk.
    pub chunk: ChunkId,
    /// Its import.
    pub import: ImportId,
    /// Its tenant.
    pub tenant: TenantId,
    /// False while the chunk is with the workers, or not due yet.
    pub ready: bool,
    /// True while the chunk is with the workers.
    pub in_flight: bool,
}

/// Chooses chunks so that no more than `window` are with the workers: always one of the tenant that has fewest there, and of
/// its imports the one that has fewest there. Among equals the order of `heads` decides.
pub fn choose(heads: &[LaneHead], window: usize) -> Vec<ChunkId> {
    let mut by_tenant: HashMap<TenantId, usize> = HashMap::new();
    let mut by_import: HashMap<ImportId, usize> = HashMap::new();
    let mut free = window;
    for head in heads.iter().filter(|head| head.in_flight) {
        *by_tenant.entry(head.tenant).or_default() += 1;
        *by_import.entry(head.import).or_default() += 1;
        free = free.saturating_sub(1);
    }
    let mut ready: Vec<&LaneHead> = heads.iter().filter(|head| head.ready && !head.in_flight).collect();
    let mut chosen = Vec::new();
    while free > 0 {
        let share = |head: &LaneHead| (count(&by_tenant, head.tenant), count(&by_import, head.import));
        let Some((at, _)) = ready.iter().enumerate().min_by_key(|(at, head)| (share(head), *at)) else {
            break;
        };
        let head = ready.remove(at);
        *by_tenant.entry(head.tenant).or_default() += 1;
        *by_import.entry(head.import).or_default() += 1;
        chosen.push(head.chunk);
        free -= 1;
    }
    chosen
}

fn count<K: Eq + Hash>(counts: &HashMap<K, usize>, key: K) -> usize {
    counts.get(&key).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    fn head(chunk: i64, import: u128, tenant: i32, ready: bool, in_flight: bool) -> LaneHead {
        LaneHead {
            chunk: ChunkId::new(chunk),
            import: ImportId::new(Uuid::from_u128(import)),
            tenant: TenantId::new(tenant),
            ready,
            in_flight,
        }
    }

    #[test]
    fn a_small_import_is_not_starved_by_a_large_one() {
        let mut heads: Vec<LaneHead> = (0..16).map(|n| head(n, 1, 1, true, false)).collect();
        heads.push(head(100, 2, 2, true, false));
        heads.push(head(101, 3, 1, true, false));
        let chosen = choose(&heads, 4);
        assert!(chosen.contains(&ChunkId::new(100)) && chosen.contains(&ChunkId::new(101)), "{chosen:?}");
    }

    proptest! {
        #[test]
        fn the_window_holds_and_shares_are_even(
            cells in prop::collection::vec((0u128..5, 0i32..3, any::<bool>(), any::<bool>()), 0..60), window in 0usize..20,
        ) {
            let heads: Vec<LaneHead> = cells.iter().enumerate()
                .map(|(at, (import, tenant, ready, busy))| head(at as i64, *import * 3 + *tenant as u128, *tenant, *ready, *busy))
                .collect();
            let chosen = choose(&heads, window);
            let busy = heads.iter().filter(|head| head.in_flight).count();
            let ready = heads.iter().filter(|head| head.ready && !head.in_flight).count();
            prop_assert_eq!(chosen.len(), ready.min(window.saturating_sub(busy)));
            prop_assert!(chosen.iter().all(|id| heads.iter().any(|head| head.chunk == *id && head.ready && !head.in_flight)));
            // A tenant that still waits has no fewer with the workers than one that was chosen, but for the last choice.
            let share = |tenant: TenantId| heads.iter().filter(|head| head.tenant == tenant && (head.in_flight || chosen.contains(&head.chunk))).count();
            for waiting in heads.iter().filter(|head| head.ready && !head.in_flight && !chosen.contains(&head.chunk)) {
                for taken in heads.iter().filter(|head| chosen.contains(&head.chunk)) {
                    prop_assert!(share(waiting.tenant) + 1 >= share(taken.tenant));
                }
            }
        }
    }
}
