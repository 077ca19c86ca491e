//! Hostile imports through the whole pipeline, beside an oracle that reads the files from top to bottom (P2, P3, P4).
//!
//! Each case is a tenant of its own with one to four imports, cut and spread at random, worked on by workers of which some
//! are cut off in the middle, from messages that come several times, while they are paused and retried, chunks of them die and
//! the database refuses some users ([`asks`]). What became of every record, and every user in the end, must be what *some*
//! order gives ([`search`]); for records of one identifier that is the order of the file, and one that comes too late for
//! it is superseded ([`order`]). Readers look on all the while ([`watch`]).
//!
//! The environment says which cases there are, and for how long they go on ([`repeat`]; `make properties MINUTES=60`).

mod asks;
mod case;
mod copies;
mod order;
pub(crate) mod repeat;
mod search;
pub(crate) mod watch;
pub(crate) mod world;

use std::time::Duration;

use crate::harness::{Backend, Pipeline};
use case::Case;
use repeat::{Run, repeat};

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

async fn run(backend: Backend, part: Part) {
    let mut pipeline = Pipeline::new(backend).await;
    // A dispatcher that dies can claim a chunk as its last act: only the lease brings that one back. A short one also
    // dispatches anew what is merely slow, which must not show.
    pipeline.lease = Duration::from_secs(5);
    asks::install(&pipeline).await;
    let run = Run {
        test: "any_import_comes",
        backend,
        cases: part.cases,
        longest: PLAIN,
        seconds_a_minute: 15 * part.quarters,
        repeats: 50,
    };
    let mut records = 0;
    repeat(&run, &mut pipeline, async |pipeline, seed| {
        let case = Case::make(seed);
        let played = world::play(pipeline, &case).await;
        records += played.map_err(|problem| format!("{problem}\n{case}"))?;
        Ok(())
    })
    .await;
    println!("{backend:?}: {records} records");
    pipeline.finish().await;
}
