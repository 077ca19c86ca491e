//! Hostile imports through the whole pipeline, beside an oracle that reads the files from top to bottom (P2, P3, P4).
//!
//! Each case is a tenant of its own with one to four imports, cut and spread at random, worked on by workers of which some
//! are cut off in the middle, from messages that come several times, while they are paused and retried, chunks of them die and
//! the database refuses some users ([`asks`]). What became of every record, and every user in the end, must be what *some*
//! order gives ([`search`]); for records of one identifier that is the order of the file, and one that comes too late for
//! it is superseded ([`order`]). Readers look on all the while ([`watch`]).
//!
//! `MUSTER_SEED` runs one case (`MUSTER_CASES` times), `MUSTER_CASES` says how many cases there are, and with
//! `MUSTER_MINUTES` the cases go on for so long, both queues together, from a seed that is printed
//! (`make properties MINUTES=60`).

mod asks;
mod case;
mod copies;
mod order;
mod search;
pub(crate) mod watch;
pub(crate) mod world;

use std::time::{Duration, Instant};

use crate::harness::{Backend, Pipeline};
use case::Case;

/// How much of a run a queue has. RabbitMQ's cases go the same way but for the queue, so some of them will do.
struct Part {
    /// Cases of a run that is not told how long or how many.
    cases: u64,
    /// Quarters of the time of a run that is told how long.
    quarters: u64,
}

/// The longest run that is not told how long or how many.
const PLAIN: Duration = Duration::from_secs(120);

const ROWS: Part = Part { cases: 30, quarters: 3 };
const RABBIT: Part = Part { cases: 8, quarters: 1 };

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_import_comes_to_what_some_serial_order_gives() {
    run(Backend::Postgres, ROWS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_import_comes_to_what_some_serial_order_gives_over_rabbit() {
    run(Backend::Rabbit, RABBIT).await;
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

async fn run(backend: Backend, part: Part) {
    let time = number("MUSTER_MINUTES").map(|minutes| Duration::from_secs(15 * minutes * part.quarters));
    let cases = number("MUSTER_CASES").unwrap_or(if time.is_some() { u64::MAX } else { part.cases });
    let repeated = number("MUSTER_SEED");
    let first = match (repeated, time) {
        (Some(seed), _) => seed,
        (None, None) => 0,
        (None, Some(_)) => u64::try_from(muster_runtime::clock::now().timestamp()).unwrap() << 20,
    };
    let mut pipeline = Pipeline::new(backend).await;
    // A dispatcher that dies can claim a chunk as its last act: only the lease brings that one back. A short one also
    // dispatches anew what is merely slow, which must not show.
    pipeline.lease = Duration::from_secs(5);
    asks::install(&pipeline).await;
    let started = Instant::now();
    let (mut done, mut records, mut told) = (0, 0, Duration::ZERO);
    // On a slow machine a run that is told nothing has fewer cases.
    let longest = if repeated.is_some() || cases != part.cases { Duration::MAX } else { PLAIN };
    while done < cases && started.elapsed() < time.unwrap_or(longest) {
        let seed = if repeated.is_some() { first } else { first + done };
        let case = Case::make(seed);
        match world::play(&mut pipeline, &case).await {
            Ok(count) => records += count,
            Err(problem) => panic!(
                "{problem}\n{case}\nrepeat it with: MUSTER_SEED={seed} MUSTER_CASES=50 cargo nextest run -p muster-cli \
                 --all-features --test pipeline any_import_comes ({backend:?})"
            ),
        }
        done += 1;
        if started.elapsed() >= told + Duration::from_secs(60) {
            told = started.elapsed();
            println!("{backend:?}: {} s, {done} cases, {records} records, last seed {seed}", told.as_secs());
        }
    }
    println!(
        "{backend:?}: {} s, {done} cases from seed {first}, {records} records",
        started.elapsed().as_secs()
    );
    pipeline.finish().await;
}
