//! Traces: spans with times, each below another one, from an upload over dispatch and queue to the commit of each chunk.
//!
//! Off unless [`start`] was called; a span is then a look at one variable. A span that has ended goes into a queue of
//! [`QUEUE`] spans, from which a task sends them (`export`); where the queue is full it is dropped and counted. So nothing
//! here waits, and nothing here can fail what it watches.
//!
//! Which span is the current one is known by the task ([`within`]): what is opened by [`span`] stands below it. Between
//! processes a [`TraceContext`] is carried, by the row of the import and the header of the message, also where this process
//! sends no traces itself.
//!
//! No span has a value of a user: an attribute is a number, an id, a word that stands in the program, or the template of a
//! route ([`Value`]), and an error is told as one, without its words.

mod encode;
mod export;

use std::borrow::Cow;
use std::sync::OnceLock;
use std::time::Instant;

use chrono::{DateTime, Utc};
use muster_domain::fault::{Mutant, mutant};
use muster_domain::trace::TraceContext;
use rand::RngCore;
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::clock;
use crate::config::Ratio;

pub use export::{Carrier, Exporter, Refused, Taken};

/// Spans that wait to be sent.
pub const QUEUE: usize = 4096;

static TRACER: OnceLock<Tracer> = OnceLock::new();

tokio::task_local! {
    /// The context of what this task works on.
    static CURRENT: Option<TraceContext>;
}

/// Makes spans, and knows where they go.
#[derive(Debug, Clone)]
struct Tracer {
    ended: mpsc::Sender<Ended>,
    ratio: Ratio,
}

/// What a span stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A step within a program.
    Internal = 1,
    /// A request that is answered.
    Server = 2,
    /// A message that is sent.
    Producer = 4,
    /// A message that is worked on.
    Consumer = 5,
}

/// What an attribute may be: nothing that a user wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// A number.
    Number(i64),
    /// A word that stands in the program.
    Word(&'static str),
    /// An id of ours.
    Id(Uuid),
    /// A method or a route as the program has them, with names in the place of values.
    Route(String),
}

/// A span that has ended.
#[derive(Debug, Clone, PartialEq)]
struct Ended {
    context: TraceContext,
    parent: Option<[u8; 8]>,
    /// The parent is a span of another process.
    remote: bool,
    name: Cow<'static, str>,
    kind: Kind,
    began: DateTime<Utc>,
    nanoseconds: i64,
    attributes: Vec<(&'static str, Value)>,
    failed: bool,
}

/// A span. Dropped, it ends; where nothing is traced it is nothing.
#[derive(Debug, Default)]
pub struct Span {
    /// What stands below it, and what is carried to others.
    context: Option<TraceContext>,
    open: Option<Box<Open>>,
}

#[derive(Debug)]
struct Open {
    tracer: Tracer,
    clock: Instant,
    span: Ended,
    /// It is not told of.
    doubtful: bool,
}

/// Traces from now on, until [`Exporter::stop`]. Of several calls in a process the first one counts.
///
/// `service` is the name under which tools show this program.
pub fn start(service: &'static str, ratio: Ratio, carrier: impl Carrier) -> Exporter {
    let (ended, spans) = mpsc::channel(QUEUE);
    let _ = TRACER.set(Tracer { ended, ratio });
    Exporter::start(service, spans, carrier)
}

/// A span of what comes from outside: a request, or a command. It is part of the trace that `given` (a `traceparent`) names and
/// recorded if that says so. Without one it begins a trace, a part of which is recorded.
pub fn entry(given: Option<&str>, name: &'static str, kind: Kind) -> Span {
    let given = given.and_then(TraceContext::parse);
    match TRACER.get() {
        Some(tracer) => tracer.entry(given, name, kind),
        None => Span::closed(given),
    }
}

/// A span of what another process began: part of the trace that `given` names, and nothing without one.
pub fn continued(given: Option<&str>, name: &'static str, kind: Kind) -> Span {
    let given = given.and_then(TraceContext::parse);
    match (TRACER.get(), given) {
        (Some(tracer), Some(given)) => tracer.child(given, true, name, kind),
        _ => Span::closed(given),
    }
}

/// A span below the current one.
pub fn span(name: &'static str) -> Span {
    let Some(tracer) = TRACER.get() else { return Span::default() };
    match carried() {
        Some(parent) => tracer.child(parent, false, name, Kind::Internal),
        None => Span::default(),
    }
}

/// The context of what this task works on, to be carried to others. Whether it is recorded is part of it.
pub fn carried() -> Option<TraceContext> {
    CURRENT.try_with(|current| *current).ok().flatten()
}

/// The id of the trace that this task works on, for lines of the log.
pub fn trace_id() -> Option<String> {
    carried().map(|context| context.trace_id())
}

/// Runs something below a span, or in the place of a trace that was carried here.
pub fn within<T>(context: Option<TraceContext>, work: impl Future<Output = T>) -> impl Future<Output = T> {
    CURRENT.scope(context, work)
}

impl Tracer {
    fn entry(&self, given: Option<TraceContext>, name: &'static str, kind: Kind) -> Span {
        if let Some(given) = given {
            return self.child(given, true, name, kind);
        }
        let mut rng = clock::rng();
        let (mut trace, mut span) = ([0; 16], [0; 8]);
        rng.fill_bytes(&mut trace);
        rng.fill_bytes(&mut span);
        let sampled = self.ratio.takes(rng.next_u64());
        match TraceContext::root(trace, span, sampled) {
            Some(context) if sampled => self.open(context, None, false, name, kind),
            context => Span::closed(context),
        }
    }

    fn child(&self, parent: TraceContext, remote: bool, name: &'static str, kind: Kind) -> Span {
        if !parent.sampled() && !mutant(Mutant::UnsampledTraced) {
            return Span::closed(Some(parent));
        }
        let mut span = [0; 8];
        clock::rng().fill_bytes(&mut span);
        match parent.child(span) {
            Some(context) => self.open(context, Some(parent.span()), remote, name, kind),
            None => Span::closed(Some(parent)),
        }
    }

    fn open(
        &self,
        context: TraceContext,
        parent: Option<[u8; 8]>,
        remote: bool,
        name: &'static str,
        kind: Kind,
    ) -> Span {
        let span = Ended {
            context,
            parent,
            remote,
            name: name.into(),
            kind,
            began: clock::now(),
            nanoseconds: 0,
            attributes: Vec::new(),
            failed: false,
        };
        let open = Open { tracer: self.clone(), clock: Instant::now(), span, doubtful: false };
        Span { context: Some(context), open: Some(Box::new(open)) }
    }

    /// Hands a span to the task that sends them; never waits.
    fn end(&self, span: Ended) {
        if self.ended.try_send(span).is_err() && !mutant(Mutant::DropsUncounted) {
            metrics::counter!("muster_trace_spans_total", "result" => "dropped").increment(1);
        }
    }
}

impl Span {
    fn closed(context: Option<TraceContext>) -> Self {
        Self { context, open: None }
    }

    /// What is done below it, and by others for it, belongs here.
    pub fn context(&self) -> Option<TraceContext> {
        self.context.or_else(carried)
    }

    /// The header of a message or request that carries it on.
    pub fn traceparent(&self) -> Option<String> {
        self.context().map(|context| context.to_string())
    }

    /// Adds an attribute.
    pub fn set(&mut self, name: &'static str, value: Value) {
        if let Some(open) = &mut self.open {
            open.span.attributes.push((name, value));
        }
    }

    /// Names it by the route of its request: the program's template, never an address.
    pub fn route(&mut self, method: &str, route: &str) {
        if let Some(open) = &mut self.open {
            open.span.name = format!("{method} {route}").into();
            open.span.attributes.push(("http.request.method", Value::Route(method.to_owned())));
            open.span.attributes.push(("http.route", Value::Route(route.to_owned())));
        }
    }

    /// Says which import it is about, of which tenant.
    pub fn about(&mut self, import: Uuid, tenant: Option<i32>) {
        self.set("muster.import", Value::Id(import));
        if let Some(tenant) = tenant {
            self.set("muster.tenant", Value::Number(tenant.into()));
        }
    }

    /// Says how many there are of something.
    pub fn count(&mut self, name: &'static str, count: u64) {
        self.set(name, Value::Number(i64::try_from(count).unwrap_or(i64::MAX)));
    }

    /// What it stands for did not succeed.
    pub fn fail(&mut self) {
        if let Some(open) = &mut self.open {
            open.span.failed = true;
        }
    }

    /// It is told of only if it is [kept](Self::keep) later.
    pub fn doubt(&mut self) {
        if let Some(open) = &mut self.open {
            open.doubtful = true;
        }
    }

    /// It is told of.
    pub fn keep(&mut self) {
        if let Some(open) = &mut self.open {
            open.doubtful = false;
        }
    }

    /// It ends here.
    pub fn end(self) {
        drop(self);
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        let Some(open) = self.open.take() else { return };
        let Open { tracer, clock, mut span, doubtful } = *open;
        if doubtful {
            return;
        }
        span.nanoseconds = i64::try_from(clock.elapsed().as_nanos()).unwrap_or(i64::MAX);
        span.failed |= std::thread::panicking();
        tracer.end(span);
    }
}

#[cfg(test)]
mod tests {
    use metrics_exporter_prometheus::PrometheusBuilder;

    use super::*;

    const SAMPLED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    const QUIET: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";

    fn tracer(ratio: Ratio, most: usize) -> (Tracer, mpsc::Receiver<Ended>) {
        let (ended, spans) = mpsc::channel(most);
        (Tracer { ended, ratio }, spans)
    }

    fn entry(tracer: &Tracer, given: Option<&str>) -> Span {
        tracer.entry(given.and_then(TraceContext::parse), "entry", Kind::Server)
    }

    #[test]
    fn a_client_decides_whether_its_request_is_recorded_and_else_the_ratio_does() {
        for (given, ratio, recorded) in [
            (Some(SAMPLED), Ratio::percent(0), true),
            (Some(QUIET), Ratio::WHOLE, false),
            (None, Ratio::WHOLE, true),
            (None, Ratio::percent(0), false),
            (Some("nonsense"), Ratio::WHOLE, true),
        ] {
            let (tracer, mut spans) = tracer(ratio, 4);
            let span = entry(&tracer, given);
            let context = span.context().unwrap();
            // It is carried on in either case, so that everybody decides alike.
            assert_eq!(context.sampled(), recorded, "{given:?}");
            drop(tracer.child(context, false, "step", Kind::Internal));
            span.end();
            let told: Vec<Ended> = std::iter::from_fn(|| spans.try_recv().ok()).collect();
            assert_eq!(told.len(), if recorded { 2 } else { 0 }, "{given:?} at {ratio}");
            for ended in &told {
                assert_eq!(ended.context.trace(), context.trace());
            }
            if let [step, whole] = &told[..] {
                assert_eq!((step.parent, step.remote), (Some(context.span()), false));
                let client = given.and_then(TraceContext::parse).map(|context| context.span());
                assert_eq!((whole.parent, whole.remote), (client, client.is_some()));
            }
        }
    }

    #[test]
    fn a_part_of_what_begins_here_is_recorded() {
        let (tracer, _spans) = tracer(Ratio::percent(25), 8);
        let recorded = (0..2000).filter(|_| entry(&tracer, None).context().unwrap().sampled()).count();
        assert!((350..650).contains(&recorded), "{recorded}");
    }

    #[test]
    fn spans_that_find_the_queue_full_are_dropped_and_counted() {
        let recorder = PrometheusBuilder::new().build_recorder();
        metrics::with_local_recorder(&recorder, || {
            let (tracer, mut spans) = tracer(Ratio::WHOLE, 3);
            for _ in 0..10 {
                entry(&tracer, None).end();
            }
            assert_eq!(std::iter::from_fn(|| spans.try_recv().ok()).count(), 3);
        });
        let text = recorder.handle().render();
        assert!(text.contains("muster_trace_spans_total{result=\"dropped\"} 7"), "{text}");
    }

    #[tokio::test]
    async fn what_runs_within_a_span_stands_below_it_and_carries_its_trace() {
        let given = TraceContext::parse(SAMPLED);
        assert_eq!(carried(), None);
        within(given, async {
            assert_eq!(carried(), given);
            assert_eq!(trace_id().as_deref(), Some("0af7651916cd43dd8448eb211c80319c"));
            // Nothing is traced in this process, and yet it is carried on.
            assert_eq!(span("step").traceparent().as_deref(), Some(SAMPLED));
            assert_eq!(tokio::spawn(async { carried() }).await.unwrap(), None, "a task of its own");
        })
        .await;
        assert_eq!(super::entry(Some(QUIET), "request", Kind::Server).traceparent().as_deref(), Some(QUIET));
        assert_eq!(super::entry(None, "request", Kind::Server).traceparent(), None);
        assert_eq!(continued(Some(SAMPLED), "message", Kind::Consumer).context(), given);
        assert_eq!(continued(None, "message", Kind::Consumer).context(), None);
    }

    #[test]
    fn a_span_that_a_panic_ends_has_failed_and_one_that_is_doubted_is_not_told() {
        let (tracer, mut spans) = tracer(Ratio::WHOLE, 4);
        let panics = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _span = entry(&tracer, None);
            panic!("on purpose");
        }));
        assert!(panics.is_err());
        assert!(spans.try_recv().unwrap().failed);
        for kept in [false, true] {
            let mut span = entry(&tracer, None);
            span.doubt();
            if kept {
                span.keep();
            }
            span.end();
            assert_eq!(spans.try_recv().is_ok(), kept);
        }
    }
}
