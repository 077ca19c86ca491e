//! The readiness of a program's parts. Each part is queried at intervals, however many clients ask, and never
//! while an earlier query is unanswered. The queries are in the crates of store and queue; the texts about
//! both are here.

use std::time::Duration;

use muster_domain::fault::{Mutant, mutant};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

/// How long an answer counts.
pub const COUNTS_FOR: Duration = Duration::from_secs(1);
/// How long a caller waits for an answer.
const ANSWER_IN: Duration = Duration::from_secs(3);
/// How long a part may take until it is given up, so that it can be asked again: its connection may lead nowhere.
const GIVEN_UP: Duration = Duration::from_secs(10);

/// A part that is asked, and what it answered last.
#[derive(Debug)]
pub struct Part<T>(Mutex<Kept<T>>);

#[derive(Debug)]
struct Kept<T> {
    last: Option<(Instant, Option<T>)>,
    asking: Option<JoinHandle<Option<T>>>,
}

impl<T> Default for Part<T> {
    fn default() -> Self {
        Self(Mutex::new(Kept { last: None, asking: None }))
    }
}

impl<T: Clone + Send + 'static> Part<T> {
    /// The last answer if it is recent enough, otherwise a new one, for which all concurrent callers wait; `None` where the part does not
    /// answer in time.
    ///
    /// The query runs in its own task, so a caller that stops waiting does not cancel a statement.
    pub async fn ask<F>(&self, good_for: Duration, question: impl FnOnce() -> F) -> Option<T>
    where
        F: Future<Output = Option<T>> + Send + 'static,
    {
        let mut kept = self.0.lock().await;
        if let Some((since, answer)) = &kept.last
            && since.elapsed() < good_for
            && !mutant(Mutant::AskEachTime)
        {
            return answer.clone();
        }
        // One that has its answer by now has an old one.
        let under_way =
            kept.asking.take().filter(|asking| !asking.is_finished() && !mutant(Mutant::LooksPileUp));
        let asking = match under_way {
            Some(asking) => kept.asking.insert(asking),
            None => {
                let question = question();
                let asked = async move { timeout(GIVEN_UP, question).await.ok().flatten() };
                kept.asking.insert(tokio::spawn(asked))
            }
        };
        let answer = match timeout(ANSWER_IN, asking).await {
            Ok(answer) => {
                kept.asking = None;
                answer.ok().flatten()
            }
            Err(_) => None,
        };
        kept.last = Some((Instant::now(), answer.clone()));
        answer
    }
}

/// What these words of store and queue mean, a sentence for each part that is not well.
pub fn reasons(store: &str, queue: &str) -> Vec<&'static str> {
    let store = match store {
        "ok" => None,
        "read_only" => Some("the database is a standby and takes no writes"),
        _ => Some("the database does not answer"),
    };
    let queue = match queue {
        "ok" => None,
        "blocked" => Some("the broker takes no messages: it has an alarm of memory or disk"),
        _ => Some("the queue cannot be reached"),
    };
    [store, queue].into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use futures_util::future::join_all;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_part_is_asked_once_a_second_however_many_look() {
        let (part, asked) = (Part::default(), Arc::new(AtomicU32::new(0)));
        let look = || {
            part.ask(COUNTS_FOR, || {
                let asked = asked.clone();
                async move { Some(asked.fetch_add(1, Ordering::Relaxed)) }
            })
        };
        assert!(join_all((0..100).map(|_| look())).await.into_iter().all(|answer| answer == Some(0)));
        tokio::time::advance(COUNTS_FOR).await;
        assert_eq!(look().await, Some(1));
        assert_eq!(asked.load(Ordering::Relaxed), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_part_that_does_not_answer_is_not_asked_again_until_it_is_given_up() {
        let (part, asked) = (Part::<()>::default(), Arc::new(AtomicU32::new(0)));
        let began = Instant::now();
        let look = || {
            part.ask(COUNTS_FOR, || {
                asked.fetch_add(1, Ordering::Relaxed);
                std::future::pending()
            })
        };
        while began.elapsed() < 3 * GIVEN_UP {
            assert_eq!(look().await, None);
            tokio::time::advance(COUNTS_FOR).await;
        }
        assert!(asked.load(Ordering::Relaxed) <= 4, "{asked:?}");
    }
}
