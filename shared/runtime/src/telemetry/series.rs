//! Every metric, in one table: name, kind, labels with all of their values, meaning. docs/metrics.md and the
//! HELP and TYPE lines of `/metrics` are generated from it, and [`expose`] creates every series at the start
//! with 0.

use std::fmt::Write;

use muster_domain::error::ErrorCode;
use muster_domain::fault::{Mutant, mutant};
use muster_domain::import::{ChunkState, ImportState};

/// What kind of metric it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only rises, and starts at 0 with the process.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts by bounds: of [`SECONDS`].
    Histogram,
}

/// Which programs have a series. `muster serve` is both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Those that receive and dispatch.
    Producer,
    /// Those that apply.
    Worker,
    /// All.
    Both,
}

/// The values of a label.
#[derive(Debug, Clone, Copy)]
pub enum Values {
    /// These.
    These(&'static [&'static str]),
    /// Every error code of a record.
    Codes,
    /// Every state of an import.
    ImportStates,
    /// Every state of a chunk.
    ChunkStates,
    /// The methods of routes, and `other` for a method that a route does not have. An answer to `HEAD` counts as one to `GET`.
    Methods,
    /// The routes of the API as they are documented, those of the console, and `-` for addresses and methods that no route has.
    Routes,
    /// The program's version.
    Version,
}

/// A metric.
#[derive(Debug, Clone, Copy)]
pub struct Series {
    /// Its name.
    pub name: &'static str,
    /// Its kind.
    pub kind: Kind,
    /// Its labels.
    pub labels: &'static [(&'static str, Values)],
    /// Which programs have it.
    pub part: Part,
    /// What it is, in one sentence.
    pub help: &'static str,
}

/// Bounds of the histograms, in seconds.
pub const SECONDS: [f64; 12] = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 60.0, 600.0, 3600.0];

/// Status of an answer, as far as requests are counted by it.
pub const STATUS_CLASSES: &[&str] = &["1xx", "2xx", "3xx", "4xx", "5xx"];
/// Status of an answer that is no success, each by itself; every other one is `other`.
pub const REFUSALS: &[&str] = &[
    "400", "401", "403", "404", "405", "408", "409", "413", "415", "422", "429", "500", "501", "503", "507",
    "other",
];
/// Methods that routes have. Any other one is `other`.
pub const METHODS: &[&str] = &["GET", "POST", "PUT", "PATCH", "DELETE", "other"];

const OUTCOMES: Values = Values::These(&["inserted", "updated", "skipped", "failed"]);
/// Names of the tasks that are supervised.
pub const TASKS: &[&str] = &[
    "dispatch",
    "dispatch wake-ups",
    "lost chunks",
    "dead letters",
    "dead receivers",
    "dead holders",
    "keys of plans",
    "events",
    "bulk actions",
    "corrected records",
    "marks of commits",
    "stuck copies",
    "stalled imports",
    "retention",
    "holding",
    "webhooks",
    "worker",
];

macro_rules! series {
    ($($name:literal $kind:ident $part:ident { $($label:ident: $values:expr),* } $help:literal;)*) => {
        /// All of them, in the order of the page.
        pub const SERIES: &[Series] = &[$(Series {
            name: $name,
            kind: Kind::$kind,
            labels: &[$((stringify!($label), $values)),*],
            part: Part::$part,
            help: $help,
        },)*];
    };
}

series! {
    "muster_build_info" Gauge Both { version: Values::Version } "Always 1; the label says which program it is.";
    "muster_records_total" Counter Both { outcome: OUTCOMES }
        "Records by outcome, each once, after its commit; those that fail while staging included, single requests not.";
    "muster_failures_total" Counter Both { code: Values::Codes }
        "Failed records by their first error, each once.";
    "muster_imports" Gauge Producer { state: Values::ImportStates } "Imports that are kept, by state.";
    "muster_imports_stalled" Gauge Producer {}
        "Running imports without progress for longer than dispatch.stall_after, those apart that wait for their turn.";
    "muster_oldest_pending_seconds" Gauge Producer {}
        "Age of the oldest running import since it began to run; 0 without any.";
    "muster_chunks" Gauge Producer { state: Values::ChunkStates } "Chunks of imports that have not ended, by state.";
    "muster_chunks_dispatched_total" Counter Producer {} "Chunks published and confirmed.";
    "muster_chunks_lost_total" Counter Producer {} "Chunks sent again because no process held them and no message carried them.";
    "muster_chunk_attempts_total" Counter Worker {} "Deliveries that began to be applied.";
    "muster_chunks_put_off_total" Counter Worker { spends: Values::These(&["attempt", "nothing"]) }
        "Chunks deferred to be tried later, and whether that spent an attempt.";
    "muster_chunks_dead_total" Counter Both {} "Chunks whose attempts were spent, or that could not be read.";
    "muster_chunk_seconds" Histogram Worker {} "Time from the delivery of a chunk to its commit.";
    "muster_apply_seconds" Histogram Worker {} "Time of the try that was committed, waiting for a connection included.";
    "muster_plan_seconds" Histogram Both {} "Time to decide what records do to users, without the database.";
    "muster_dispatch_window_used" Gauge Producer {} "Places in the window that are in use.";
    "muster_dispatch_window_size" Gauge Producer {} "Places in the window.";
    "muster_queue_messages" Gauge Producer { state: Values::These(&["ready", "unacked", "dead"]) }
        "Messages: waiting, with consumers (published chunks that do not wait), and dead letters.";
    "muster_queue_consumers" Gauge Producer {} "Consumers of the queue.";
    "muster_queue_reachable" Gauge Producer {} "1 where the queue answers and takes messages, else 0.";
    "muster_processes" Gauge Producer { kind: Values::These(&["worker", "dispatcher"]) } "Processes that said within three seconds that they live.";
    "muster_worker_slots" Gauge Worker { state: Values::These(&["busy", "free"]) } "Chunks that this process can apply at a time.";
    "muster_uploads_total" Counter Producer { result: Values::These(&["received", "refused", "aborted", "failed"]) }
        "Uploads of files: received, refused for what is in them, aborted half-way, failed in the store.";
    "muster_upload_bytes_total" Counter Producer {} "Bytes of uploads as they came, compressed where they were.";
    "muster_http_requests_total" Counter Producer { method: Values::Methods, route: Values::Routes, status: Values::These(STATUS_CLASSES) }
        "Requests by route and class of status.";
    "muster_http_refusals_total" Counter Producer { status: Values::These(REFUSALS) } "Requests that were answered with an error, by status.";
    "muster_http_request_seconds" Histogram Producer { method: Values::Methods, route: Values::Routes }
        "Time from the head of a request to the head of its answer.";
    "muster_store_reachable" Gauge Producer {} "1 where the database answers and takes writes, else 0.";
    "muster_store_connections" Gauge Both { state: Values::These(&["open", "idle", "in_use"]) } "Connections of the pool to the database.";
    "muster_store_connections_max" Gauge Both {} "Most connections of the pool.";
    "muster_webhook_deliveries_total" Counter Producer { result: Values::These(&["delivered", "put_off", "given_up", "gone"]) }
        "Attempts to deliver to webhooks: delivered, to be tried again, given up after a day, and refused permanently (410).";
    "muster_trace_spans_total" Counter Both { result: Values::These(&["sent", "dropped", "refused"]) }
        "Spans of traces: sent to the collector, dropped because too many waited, lost because the collector did not take them.";
    "muster_task_restarts_total" Counter Both { task: Values::These(TASKS) } "Tasks that ended when they should not have, and were started again.";
}

impl Kind {
    /// The word of the text format.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

impl Values {
    /// All values, as far as they are known without the program's routes.
    pub fn all(self) -> Vec<&'static str> {
        match self {
            Self::These(values) => values.to_vec(),
            Self::Codes => ErrorCode::ALL.iter().map(|code| code.as_str()).collect(),
            Self::ImportStates => ImportState::ALL.iter().map(|state| state.as_str()).collect(),
            Self::ChunkStates => ChunkState::ALL.iter().map(|state| state.as_str()).collect(),
            Self::Methods => METHODS.to_vec(),
            Self::Routes => Vec::new(),
            Self::Version => vec![env!("CARGO_PKG_VERSION")],
        }
    }

    /// What the page says of them.
    fn shown(self) -> String {
        match self {
            Self::Codes => "every [error code](errors.md)".into(),
            Self::Routes => "every route of the API and of the console, and `-` for what no route has".into(),
            Self::Version => "the program's version".into(),
            values => values.all().iter().map(|value| format!("`{value}`")).collect::<Vec<_>>().join(", "),
        }
    }
}

impl Series {
    /// Whether a program of this part has it.
    pub fn is_of(&self, part: Part) -> bool {
        self.part == Part::Both || part == Part::Both || self.part == part
    }

    /// Every combination of its labels' values; none where routes are among them, which the producer names.
    pub fn combinations(&self) -> Vec<Vec<(&'static str, &'static str)>> {
        self.labels.iter().fold(vec![Vec::new()], |known, (name, values)| {
            let values = values.all();
            let longer = |labels: Vec<(&'static str, &'static str)>| {
                values
                    .iter()
                    .map(move |value| [labels.clone(), vec![(*name, *value)]].concat())
                    .collect::<Vec<_>>()
            };
            known.into_iter().flat_map(longer).collect()
        })
    }
}

/// Makes every series of a part there, at 0. Does nothing if no recorder is installed.
pub fn expose(part: Part) {
    if mutant(Mutant::SeriesAppearLate) {
        return;
    }
    for series in SERIES.iter().filter(|series| series.is_of(part)) {
        for labels in series.combinations() {
            expose_one(series, &labels);
        }
    }
    metrics::gauge!("muster_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
}

/// The same of the series by route.
pub fn expose_routes<'r>(routes: impl IntoIterator<Item = (&'static str, &'r str)>) {
    for (method, route) in routes {
        let labels = [("method", method.to_owned()), ("route", route.to_owned())];
        drop(metrics::histogram!("muster_http_request_seconds", &labels));
        for status in STATUS_CLASSES {
            let [method, route] = labels.clone();
            let labels = [method, route, ("status", (*status).to_owned())];
            metrics::counter!("muster_http_requests_total", &labels).increment(0);
        }
    }
}

fn expose_one(series: &Series, labels: &[(&'static str, &'static str)]) {
    let name = series.name;
    let labels: Vec<metrics::Label> =
        labels.iter().map(|(label, value)| metrics::Label::from_static_parts(label, value)).collect();
    match series.kind {
        Kind::Counter => metrics::counter!(name, labels).increment(0),
        Kind::Gauge => metrics::gauge!(name, labels).increment(0.0),
        Kind::Histogram => drop(metrics::histogram!(name, labels)),
    }
}

/// Tells the recorder what each metric is.
pub(super) fn describe() {
    for series in SERIES {
        match series.kind {
            Kind::Counter => metrics::describe_counter!(series.name, series.help),
            Kind::Gauge => metrics::describe_gauge!(series.name, series.help),
            Kind::Histogram => metrics::describe_histogram!(series.name, series.help),
        }
    }
}

/// The table of the page, in Markdown.
pub fn page() -> String {
    let mut text = String::from("| Metric | Kind | Labels | Is | In |\n|---|---|---|---|---|\n");
    for series in SERIES {
        let labels: Vec<String> =
            series.labels.iter().map(|(name, values)| format!("`{name}`: {}", values.shown())).collect();
        let labels = if labels.is_empty() { "–".to_owned() } else { labels.join("; ") };
        let part = match series.part {
            Part::Producer => "producer",
            Part::Worker => "worker",
            Part::Both => "both",
        };
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "| `{}` | {} | {labels} | {} | {part} |",
            series.name,
            series.kind.as_str(),
            series.help
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_prometheus_and_each_stands_once() {
        for (at, series) in SERIES.iter().enumerate() {
            let name = series.name;
            assert!(
                name.starts_with("muster_") && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'),
                "{name}"
            );
            assert_eq!(series.kind == Kind::Counter, name.ends_with("_total"), "{name}");
            assert!(series.kind != Kind::Histogram || name.ends_with("_seconds"), "{name}");
            assert!(series.help.ends_with('.'), "{name}: {}", series.help);
            assert!(SERIES.iter().skip(at + 1).all(|other| other.name != name), "{name} stands twice");
        }
    }

    #[test]
    fn every_combination_of_label_values_is_there_from_the_start() {
        let of = |name: &str| SERIES.iter().find(|series| series.name == name).unwrap().combinations();
        assert_eq!(of("muster_chunks_dead_total"), [Vec::new()]);
        assert_eq!(
            of("muster_chunks_put_off_total"),
            [vec![("spends", "attempt")], vec![("spends", "nothing")]]
        );
        assert_eq!(of("muster_failures_total").len(), ErrorCode::ALL.len());
        assert!(of("muster_http_requests_total").is_empty(), "the routes are the producer's to name");
    }
}
