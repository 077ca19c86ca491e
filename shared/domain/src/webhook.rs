//! Webhooks: which events of imports a tenant's servers are notified of, the payloads, and when a delivery is retried.
//!
//! Pure: the shell reads events and writes deliveries (`muster_store::deliveries`), and the producer sends them. A payload has ids,
//! states, counts and codes, and no value of a user.

pub mod address;
mod secret;

use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use rand::Rng;
use serde_json::{Map, Value, json};

use crate::backoff::delay;
use crate::error::ErrorCode;
use crate::id::ImportId;
use crate::import::ImportState;
use crate::outcome::Counts;

pub use secret::{InvalidSecret, SealedSecret, WebhookSecret, signature_header};

/// The brake stopped an import: most of its first records failed for one cause.
pub const BRAKED: &str = "import.braked";
/// The share of an import's failed records is above what the webhook says.
pub const FAILING: &str = "import.failing";
/// A chunk is dead.
pub const CHUNK_DEAD: &str = "chunk.dead";
/// Somebody tries the webhook.
pub const PING: &str = "muster.ping";

/// Most names that a webhook may choose: longer lists are a mistake.
pub const MOST_EVENTS: usize = 64;
/// Most characters of a problem in a payload.
const PROBLEM_CHARS: usize = 1_000;
/// Fewest records with an outcome that say something about an import which still runs.
const FEWEST: u64 = 100;

/// The names that a webhook can choose from.
pub fn event_types() -> Vec<String> {
    let states = ImportState::ALL.iter().map(|state| of_state(state.as_str()));
    states.chain([BRAKED.to_owned(), CHUNK_DEAD.to_owned()]).collect()
}

fn of_state(state: &str) -> String {
    format!("import.{state}")
}

/// Something that happened, as the store has it.
#[derive(Debug, Clone)]
pub struct Happening {
    /// Number of the event.
    pub number: i64,
    /// The import.
    pub import: ImportId,
    /// When.
    pub at: DateTime<Utc>,
    /// Kind of the event: `import`, `chunk_dead`.
    pub kind: String,
    /// What: of an import `state` and `from`; of a chunk `chunk`, `lane` and `problem`.
    pub data: Value,
    /// Code of why the import was refused or aborted.
    pub error: Option<String>,
    /// Counts of the import, where it has its final ones.
    pub counts: Option<Counts>,
}

impl Happening {
    /// Whether the import came to its end with an outcome for each record.
    pub fn is_completion(&self) -> bool {
        self.kind == "import" && self.data["state"] == ImportState::Completed.as_str()
    }

    /// What it is called, the most exact name first.
    fn names(&self) -> Vec<String> {
        if self.kind != "import" {
            // Kinds that a newer program writes have names of the same form.
            return vec![self.kind.replacen('_', ".", 1)];
        }
        let state = self.data["state"].as_str().unwrap_or_default();
        let mut names = vec![of_state(state)];
        if state == ImportState::Refused.as_str()
            && self.error.as_deref() == Some(ErrorCode::MostlyInvalid.as_str())
        {
            names.insert(0, BRAKED.to_owned());
        }
        names
    }

    /// Under which name a webhook is told that wants these; `None` where it is not told. No names at all are all.
    pub fn told_as(&self, wanted: &[String]) -> Option<String> {
        self.names().into_iter().find(|name| wanted.is_empty() || wanted.contains(name))
    }

    /// What is sent, under this name.
    pub fn payload(&self, name: &str, tenant: &str) -> String {
        let mut data = Map::new();
        data.insert("event".into(), self.number.into());
        data.insert("tenant".into(), tenant.into());
        data.insert("import".into(), json!(self.import));
        for (key, value) in self.data.as_object().into_iter().flatten() {
            let shown = match value {
                Value::String(text) => shortened(text).into(),
                other => other.clone(),
            };
            data.insert(key.clone(), shown);
        }
        if self.kind == "import" {
            data.extend(self.error.as_ref().map(|code| ("error".to_owned(), json!(code))));
            data.extend(self.counts.as_ref().map(|counts| ("counts".to_owned(), json!(counts))));
        }
        envelope(name, self.at, data)
    }
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(PROBLEM_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// The body of a delivery.
fn envelope(name: &str, at: DateTime<Utc>, data: Map<String, Value>) -> String {
    json!({ "type": name, "timestamp": at.to_rfc3339_opts(SecondsFormat::Millis, true), "data": data })
        .to_string()
}

/// What is sent when somebody tries the webhook.
pub fn ping_payload(tenant: &str, webhook: uuid::Uuid, at: DateTime<Utc>) -> String {
    let data = json!({ "tenant": tenant, "webhook": webhook });
    envelope(PING, at, data.as_object().cloned().unwrap_or_default())
}

/// What is sent of an import with too many failed records.
pub fn failing_payload(
    tenant: &str,
    import: ImportId,
    counts: &Counts,
    above: u8,
    at: DateTime<Utc>,
) -> String {
    let data = json!({ "tenant": tenant, "import": import, "above": above, "failed_percent": share(counts), "counts": counts });
    envelope(FAILING, at, data.as_object().cloned().unwrap_or_default())
}

/// Failed records in percent of those that have an outcome, with one decimal, rounded down.
fn share(counts: &Counts) -> f64 {
    let settled = counts.total.saturating_sub(counts.pending);
    counts.failed.saturating_mul(1_000).checked_div(settled).unwrap_or(0) as f64 / 10.0
}

/// Whether so many records have failed that a webhook is told which wants to know of more than `above` percent. Of an import that
/// still runs, a few records say nothing.
pub fn is_failing(counts: &Counts, above: u8) -> bool {
    let settled = counts.total.saturating_sub(counts.pending);
    let says_something = settled >= FEWEST || counts.pending == 0;
    says_something && counts.failed.saturating_mul(100) > settled.saturating_mul(above.into())
}

/// When a delivery that failed is tried again.
#[derive(Debug, Clone, Copy)]
pub struct Schedule {
    /// Pause after the first try; each further one is twice as long.
    pub first: Duration,
    /// Longest pause.
    pub longest: Duration,
    /// After how long from its first try no further one begins.
    pub give_up_after: Duration,
}

impl Default for Schedule {
    fn default() -> Self {
        Self {
            first: Duration::from_secs(5),
            longest: Duration::from_secs(60 * 60),
            give_up_after: Duration::from_secs(24 * 60 * 60),
        }
    }
}

impl Schedule {
    /// Part of a pause by which it is made shorter or longer at random.
    const JITTER: f64 = 0.25;

    /// The pause after so many tries, at least as long as the receiver asked for, and an hour at most for its asking.
    pub fn pause(&self, attempts: u32, asked: Option<Duration>, rng: &mut impl Rng) -> Duration {
        let pause = delay(attempts, (self.first, self.longest), Self::JITTER, rng.random::<f64>());
        pause.max(asked.unwrap_or_default().min(self.longest))
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;
    use uuid::Uuid;

    use super::*;

    fn happening(kind: &str, data: Value, error: Option<&str>) -> Happening {
        Happening {
            number: 7,
            import: ImportId::new(Uuid::nil()),
            at: DateTime::from_timestamp(1_700_000_000, 0).unwrap(),
            kind: kind.into(),
            data,
            error: error.map(str::to_owned),
            counts: None,
        }
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_webhook_is_told_what_it_wants_under_the_most_exact_name() {
        let completed = happening("import", json!({"state": "completed", "from": "running"}), None);
        assert_eq!(completed.told_as(&[]).as_deref(), Some("import.completed"));
        assert_eq!(completed.told_as(&names(&["import.completed"])).as_deref(), Some("import.completed"));
        assert_eq!(completed.told_as(&names(&["import.running", "chunk.dead"])), None);
        let braked = happening("import", json!({"state": "refused"}), Some("mostly_invalid"));
        assert_eq!(braked.told_as(&[]).as_deref(), Some("import.braked"));
        assert_eq!(braked.told_as(&names(&["import.refused"])).as_deref(), Some("import.refused"));
        let refused = happening("import", json!({"state": "refused"}), Some("file_empty"));
        assert_eq!(refused.told_as(&names(&["import.braked"])), None);
        let dead = happening("chunk_dead", json!({"chunk": 3}), None);
        assert_eq!(dead.told_as(&[]).as_deref(), Some("chunk.dead"));
        for name in [completed.told_as(&[]), braked.told_as(&[]), dead.told_as(&[])] {
            assert!(event_types().contains(&name.unwrap()));
        }
    }

    #[test]
    fn a_payload_has_ids_and_states_and_stays_small() {
        let long = "é".repeat(50_000);
        let dead = happening("chunk_dead", json!({"chunk": 3, "lane": 1, "problem": long}), None);
        let payload = dead.payload("chunk.dead", "acme");
        assert!(payload.len() < 8 * 1024, "{}", payload.len());
        let told: Value = serde_json::from_str(&payload).unwrap();
        assert_eq!(
            (&told["type"], &told["timestamp"]),
            (&json!("chunk.dead"), &json!("2023-11-14T22:13:20.000Z"))
        );
        assert_eq!(told["data"]["problem"].as_str().unwrap().chars().count(), PROBLEM_CHARS + 1);
        assert_eq!((&told["data"]["event"], &told["data"]["chunk"]), (&json!(7), &json!(3)));
    }

    #[test]
    fn failures_are_told_of_above_the_share_and_not_of_a_few_records() {
        let counts = |total, pending, failed| Counts { total, pending, failed, ..Counts::default() };
        assert!(is_failing(&counts(10, 0, 1), 0), "of an import that has ended, one is one");
        assert!(!is_failing(&counts(10, 0, 1), 10), "10 % are not more than 10 %");
        assert!(is_failing(&counts(1_000, 0, 101), 10));
        assert!(!is_failing(&counts(1_000, 901, 99), 10), "it has just begun");
        assert!(is_failing(&counts(1_000, 900, 11), 10));
        assert!(!is_failing(&counts(0, 0, 0), 0));
        assert_eq!(share(&counts(1_000, 0, 123)), 12.3);
    }

    #[test]
    fn pauses_grow_to_the_longest_with_jitter_and_a_receiver_may_ask_for_more() {
        let (schedule, mut rng) = (Schedule::default(), StdRng::seed_from_u64(1));
        for (attempts, seconds) in
            [(1, 5.0), (2, 10.0), (5, 80.0), (10, 2_560.0), (11, 3_600.0), (4_000_000_000, 3_600.0)]
        {
            for _ in 0..50 {
                let pause = schedule.pause(attempts, None, &mut rng).as_secs_f64();
                assert!((seconds * 0.75..=seconds * 1.25).contains(&pause), "{attempts}: {pause}");
            }
        }
        let asked = |seconds| Some(Duration::from_secs(seconds));
        assert_eq!(schedule.pause(1, asked(60), &mut rng), Duration::from_secs(60));
        assert_eq!(schedule.pause(1, asked(1_000_000), &mut rng), Duration::from_secs(3_600));
    }
}
