//! Hostile cases by their seeds, as many as the environment asks for.
//!
//! `MUSTER_SEED` runs one case (`MUSTER_CASES` times), `MUSTER_CASES` says how many there are, and with `MUSTER_MINUTES` they go on for so
//! long, from a seed that is printed.

use std::time::{Duration, Instant};

use crate::harness::{Backend, Pipeline};

/// A run of cases over one queue.
pub(crate) struct Run {
    /// Name of the test, or what it begins with.
    pub(crate) test: &'static str,
    /// The queue, for people.
    pub(crate) backend: Backend,
    /// Cases of a run that is not told how long or how many.
    pub(crate) cases: u64,
    /// The longest such run: on a slow machine it has fewer cases.
    pub(crate) longest: Duration,
    /// Seconds of each minute that a run is told: several tests share them.
    pub(crate) seconds_a_minute: u64,
    /// How often a case is to be repeated until it fails again.
    pub(crate) repeats: u64,
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

/// Plays one case after the other. The first that is not as it must be fails the test, and says how to repeat it.
pub(crate) async fn repeat(
    run: &Run,
    pipeline: &mut Pipeline,
    mut play: impl AsyncFnMut(&mut Pipeline, u64) -> Result<(), String>,
) {
    let Run { test, backend, repeats, .. } = *run;
    let time = number("MUSTER_MINUTES").map(|minutes| Duration::from_secs(run.seconds_a_minute * minutes));
    let cases = number("MUSTER_CASES").unwrap_or(if time.is_some() { u64::MAX } else { run.cases });
    let repeated = number("MUSTER_SEED");
    let first = match (repeated, time) {
        (Some(seed), _) => seed,
        (None, None) => 0,
        // Runs over different queues, which often begin in the same second, have cases of their own.
        (None, Some(_)) => {
            let second = u64::try_from(muster_runtime::clock::now().timestamp()).unwrap();
            (second << 20) + (u64::from(backend == Backend::Rabbit) << 19)
        }
    };
    let longest = if repeated.is_some() || cases != run.cases { Duration::MAX } else { run.longest };
    let started = Instant::now();
    let (mut done, mut told) = (0, Duration::ZERO);
    while done < cases && started.elapsed() < time.unwrap_or(longest) {
        let seed = if repeated.is_some() { first } else { first + done };
        if let Err(problem) = play(pipeline, seed).await {
            panic!(
                "{problem}\nrepeat it with: MUSTER_SEED={seed} MUSTER_CASES={repeats} cargo nextest run -p muster-cli --all-features \
                 --test pipeline {test} ({backend:?})"
            );
        }
        done += 1;
        if started.elapsed() >= told + Duration::from_secs(60) {
            told = started.elapsed();
            println!("{backend:?}: {} s, {done} cases, last seed {seed}", told.as_secs());
        }
    }
    println!("{backend:?}: {} s, {done} cases from seed {first}", started.elapsed().as_secs());
}
