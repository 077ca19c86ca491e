use std::collections::VecDeque;

use proptest::prelude::*;
use uuid::Uuid;

use super::*;

fn head(chunk: i64, import: u128, tenant: i32, ready: bool, in_flight: bool) -> LaneHead {
    LaneHead {
        chunk: ChunkId::new(chunk),
        import: ImportId::new(Uuid::from_u128(import)),
        tenant: TenantId::new(tenant),
        size: 1_000_000,
        ready,
        in_flight,
    }
}

#[test]
fn the_window_follows_from_the_workers_unless_it_is_set() {
    assert_eq!(window(None, None), 16, "no worker lives, or nobody asked yet");
    for (slots, places) in [(0, 4), (1, 4), (2, 4), (3, 6), (8, 16), (300, 600)] {
        assert_eq!(window(None, Some(slots)), places, "{slots}");
    }
    assert_eq!(window(Some(3), Some(100)), 3);
}

#[test]
fn a_small_import_is_not_starved_by_a_large_one() {
    let mut heads: Vec<LaneHead> = (0..16).map(|n| head(n, 1, 1, true, false)).collect();
    heads.push(head(100, 2, 2, true, false));
    heads.push(head(101, 3, 1, true, false));
    let chosen = FairShare::default().choose(&heads, 4);
    assert!(chosen.contains(&ChunkId::new(100)) && chosen.contains(&ChunkId::new(101)), "{chosen:?}");
}

#[test]
fn among_equals_the_older_import_goes_first_and_in_it_the_chunk_staged_first() {
    let heads = [head(7, 2, 1, true, false), head(9, 1, 1, true, false), head(8, 1, 1, true, false)];
    let chosen = FairShare::default().choose(&heads, 2);
    assert_eq!(chosen, [ChunkId::new(8), ChunkId::new(7)]);
}

#[test]
fn tenants_that_are_more_than_the_places_are_served_in_turn() {
    let heads: Vec<LaneHead> = (0..40)
        .map(|n| head(n, n.unsigned_abs().into(), i32::try_from(n).unwrap_or(0), true, false))
        .collect();
    let mut fair = FairShare::default();
    let mut served: Vec<ChunkId> = (0..10).flat_map(|_| fair.choose(&heads, 4)).collect();
    served.sort_unstable();
    served.dedup();
    assert_eq!(served.len(), 40, "each of 40 tenants once in 40 choices");
}

#[test]
fn a_small_import_that_comes_late_gets_a_place_within_four_choices() {
    let large: Vec<LaneHead> =
        (0..160).map(|n| head(n, u128::from(n.unsigned_abs()) / 10, 1, true, false)).collect();
    let small = LaneHead { size: 200, ..head(1000, 99, 1, true, false) };
    let mut fair = FairShare::default();
    for choices_before in 0..8 {
        let mut heads = large.clone();
        heads.push(small);
        let mut from_now = fair.clone();
        let next: Vec<ChunkId> = (0..4).flat_map(|_| from_now.choose(&heads, 1)).collect();
        assert!(next.contains(&small.chunk), "after {choices_before} choices: {next:?}");
        fair.choose(&large, 1);
    }
}

/// Imports of one tenant, all there from the start, each of `chunks` in `lanes`; the workers end what they hold in the order in
/// which they got it. Returns after how many chunks each import ended.
fn run(imports: usize, chunks: usize, lanes: usize, window: usize) -> Vec<usize> {
    // Chunks left in each lane of each import.
    let mut left: Vec<Vec<usize>> = (0..imports)
        .map(|_| (0..lanes).map(|lane| chunks / lanes + usize::from(lane < chunks % lanes)).collect())
        .collect();
    let id = |import: usize, lane: usize| ChunkId::new(i64::try_from(import * lanes + lane).unwrap_or(0));
    let mut with_workers: VecDeque<(usize, usize)> = VecDeque::new();
    let (mut fair, mut applied, mut ended) = (FairShare::default(), 0, vec![0; imports]);
    loop {
        let mut heads = Vec::new();
        for (import, lanes_left) in left.iter().enumerate() {
            for (lane, _) in lanes_left.iter().enumerate().filter(|(_, left)| **left > 0) {
                let busy = with_workers.contains(&(import, lane));
                heads.push(LaneHead { chunk: id(import, lane), ..head(0, import as u128, 1, !busy, busy) });
            }
        }
        for chunk in fair.choose(&heads, window) {
            let at = usize::try_from(chunk.get()).unwrap_or(0);
            with_workers.push_back((at / lanes, at % lanes));
        }
        let Some((import, lane)) = with_workers.pop_front() else { return ended };
        left[import][lane] -= 1;
        applied += 1;
        if left[import].iter().sum::<usize>() == 0 {
            ended[import] = applied;
        }
    }
}

proptest! {
    #[test]
    fn the_window_holds_and_shares_are_even(
        cells in prop::collection::vec((0u128..5, 0i32..3, any::<bool>(), any::<bool>()), 0..60), window in 0usize..20,
    ) {
        let heads: Vec<LaneHead> = cells.iter().enumerate()
            .map(|(at, (import, tenant, ready, busy))| head(at as i64, *import * 3 + *tenant as u128, *tenant, *ready, *busy))
            .collect();
        let chosen = FairShare::default().choose(&heads, window);
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

    #[test]
    fn imports_end_in_their_turn_however_many_there_are(
        imports in 1usize..60, chunks in 1usize..12, lanes in 1usize..6, window in 1usize..20,
    ) {
        let ended = run(imports, chunks, lanes, window);
        for (at, end) in ended.iter().enumerate() {
            // At most a window's imports share the places with this one, and each of them ends no later.
            prop_assert!(*end <= (at + 1 + window) * chunks, "import {} of {}: {}", at, imports, end);
        }
    }

    #[test]
    fn what_has_a_message_or_a_holder_is_never_lost(silent in 0usize..20, waiting in 0u64..20, looks in 1u64..10) {
        let chunks: Vec<ChunkId> = (0..silent).map(|n| ChunkId::new(n as i64)).collect();
        let (mut silence, mut lost) = (Silence::default(), Vec::new());
        for look in 0..looks {
            lost = silence.lost(&chunks, waiting, Duration::from_millis(500 * look), Duration::from_millis(1200));
            if look < 3 {
                prop_assert!(lost.is_empty(), "taken for lost before its time");
            }
        }
        prop_assert!(lost.len() <= silent.saturating_sub(usize::try_from(waiting).unwrap_or(0)));
        prop_assert!(lost.iter().zip(&chunks).all(|(lost, chunk)| lost == chunk), "the first sent first");
    }
}

#[test]
fn a_chunk_that_is_held_in_between_is_not_lost() {
    let (mut silence, chunk, patience) = (Silence::default(), [ChunkId::new(1)], Duration::from_secs(1));
    let mut look =
        |silent: &[ChunkId], at: u64| silence.lost(silent, 0, Duration::from_secs(at), patience).len();
    assert_eq!((look(&chunk, 0), look(&[], 1), look(&chunk, 2), look(&chunk, 3)), (0, 0, 0, 1));
}
