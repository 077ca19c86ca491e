//! The task that sends spans: some at a time, with a few tries. A collector that is away or slow costs spans, and nothing else.

use std::time::Duration;

use muster_domain::fault::{Mutant, mutant};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::Ended;
use super::encode::{Resource, body};
use crate::clock;
use crate::retry::{Backoff, Policy};

/// Most spans of a request.
const BATCH: usize = 512;
/// How long a span waits for others.
const LINGER: Duration = Duration::from_secs(1);
/// Tries of a request.
const TRIES: u32 = 3;
/// What is between them.
const PAUSES: Policy = Policy { longest: Duration::from_secs(2), ..Policy::RECONNECT };

/// Brings a request to the collector.
pub trait Carrier: Send + Sync + 'static {
    /// Sends a body, which is JSON, once. It must end within seconds.
    fn carry(&self, body: Vec<u8>) -> impl Future<Output = Result<Taken, Refused>> + Send;
}

/// The collector has the request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Taken {
    /// Spans that it did not keep.
    pub rejected: u64,
}

/// The collector does not have it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct Refused {
    /// Why.
    pub why: String,
    /// Trying again may help.
    pub again: bool,
}

/// The task. Dropped, it goes on until the process ends.
#[derive(Debug)]
pub struct Exporter {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Exporter {
    pub(super) fn start(service: &'static str, spans: mpsc::Receiver<Ended>, carrier: impl Carrier) -> Self {
        let stop = CancellationToken::new();
        let instance = clock::new_id();
        let resource = Resource { service, version: env!("CARGO_PKG_VERSION"), instance };
        let run = Run { carrier, resource, stop: stop.clone(), away: false };
        Self { stop, task: tokio::spawn(run.run(spans)) }
    }

    /// Sends what there is, for as long as the grace lasts; what is left then is lost.
    pub async fn stop(mut self, grace: Duration) {
        self.stop.cancel();
        let grace = if mutant(Mutant::FlushWaits) { Duration::from_secs(3600) } else { grace };
        if timeout(grace, &mut self.task).await.is_err() {
            self.task.abort();
            tracing::warn!("the collector of traces did not take the last spans in time; they are lost");
        }
    }
}

struct Run<C> {
    carrier: C,
    resource: Resource,
    stop: CancellationToken,
    /// The last request was not taken, which has been told.
    away: bool,
}

impl<C: Carrier> Run<C> {
    async fn run(mut self, mut spans: mpsc::Receiver<Ended>) {
        while let Some(batch) = self.next(&mut spans).await {
            self.send(&batch).await;
        }
    }

    /// The next spans. `None` once the process stops and there are no more.
    async fn next(&self, spans: &mut mpsc::Receiver<Ended>) -> Option<Vec<Ended>> {
        let first = tokio::select! {
            biased;
            span = spans.recv() => span,
            () = self.stop.cancelled() => None,
        };
        if self.stop.is_cancelled() && mutant(Mutant::TracesNotFlushed) {
            return None;
        }
        let mut batch = Vec::from_iter(first);
        let gather = async {
            while batch.len() < BATCH {
                match spans.recv().await {
                    Some(span) => batch.push(span),
                    None => return,
                }
            }
        };
        tokio::select! {
            () = gather => {}
            () = sleep(LINGER) => {}
            () = self.stop.cancelled() => {}
        }
        while batch.len() < BATCH
            && let Ok(span) = spans.try_recv()
        {
            batch.push(span);
        }
        (!batch.is_empty()).then_some(batch)
    }

    /// Sends a request, and counts what became of its spans.
    async fn send(&mut self, batch: &[Ended]) {
        let count = batch.len() as u64;
        match self.tried(batch).await {
            Ok(Taken { rejected }) => {
                let rejected = rejected.min(count);
                metrics::counter!("muster_trace_spans_total", "result" => "sent").increment(count - rejected);
                metrics::counter!("muster_trace_spans_total", "result" => "refused").increment(rejected);
                if std::mem::take(&mut self.away) {
                    tracing::info!("the collector of traces takes spans again");
                }
            }
            Err(error) => {
                metrics::counter!("muster_trace_spans_total", "result" => "refused").increment(count);
                // Once, however long it lasts.
                if !std::mem::replace(&mut self.away, true) {
                    tracing::warn!(%error, "the collector of traces does not take spans; they are lost until it does");
                }
            }
        }
    }

    async fn tried(&self, batch: &[Ended]) -> Result<Taken, Refused> {
        let body = body(&self.resource, batch);
        let mut backoff = Backoff::new(PAUSES);
        let mut tries = 1;
        loop {
            match self.carrier.carry(body.clone()).await {
                Err(Refused { again: true, .. }) if tries < TRIES => {
                    tries += 1;
                    // Whoever stops has no time for pauses, but for another try.
                    tokio::select! {
                        () = sleep(backoff.delay()) => {}
                        () = self.stop.cancelled() => {}
                    }
                }
                answer => return answer,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use metrics_exporter_prometheus::PrometheusBuilder;
    use muster_domain::trace::TraceContext;
    use serde_json::Value as Json;

    use super::super::{Kind, Tracer};
    use super::*;
    use crate::config::Ratio;

    type Answer = Option<Result<Taken, Refused>>;

    /// A collector: what it answers to each request, the last of them for ever; `None` means never.
    #[derive(Clone, Default)]
    struct Answers {
        answers: Arc<Mutex<Vec<Answer>>>,
        bodies: Arc<Mutex<Vec<Vec<u8>>>>,
    }

    impl Answers {
        fn of(answers: impl IntoIterator<Item = Answer>) -> Self {
            let answers = Arc::new(Mutex::new(answers.into_iter().collect()));
            Self { answers, bodies: Arc::default() }
        }

        fn requests(&self) -> Vec<usize> {
            let spans = |body: &Vec<u8>| {
                let body: Json = serde_json::from_slice(body).unwrap();
                body["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().unwrap().len()
            };
            self.bodies.lock().unwrap().iter().map(spans).collect()
        }
    }

    impl Carrier for Answers {
        async fn carry(&self, body: Vec<u8>) -> Result<Taken, Refused> {
            self.bodies.lock().unwrap().push(body);
            let answer = {
                let mut answers = self.answers.lock().unwrap();
                if answers.len() > 1 { answers.remove(0) } else { answers[0].clone() }
            };
            match answer {
                Some(answer) => answer,
                None => std::future::pending().await,
            }
        }
    }

    const TAKEN: Option<Result<Taken, Refused>> = Some(Ok(Taken { rejected: 0 }));

    fn refused(again: bool) -> Option<Result<Taken, Refused>> {
        Some(Err(Refused { why: "the answer was 503".into(), again }))
    }

    fn end_spans(tracer: &Tracer, count: usize) {
        let parent = TraceContext::parse("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01").unwrap();
        for _ in 0..count {
            tracer.child(parent, false, "step", Kind::Internal).end();
        }
    }

    fn begin(collector: &Answers, most: usize) -> (Tracer, Exporter) {
        let (ended, spans) = mpsc::channel(most);
        let exporter = Exporter::start("muster-test", spans, collector.clone());
        (Tracer { ended, ratio: Ratio::WHOLE }, exporter)
    }

    /// Sends some spans, stops, and says what was counted.
    async fn counted(collector: &Answers, spans: usize) -> String {
        let recorder = PrometheusBuilder::new().build_recorder();
        let _here = metrics::set_default_local_recorder(&recorder);
        let (tracer, exporter) = begin(collector, 4096);
        end_spans(&tracer, spans);
        exporter.stop(Duration::from_secs(60)).await;
        recorder.handle().render()
    }

    #[tokio::test(start_paused = true)]
    async fn what_has_ended_is_sent_some_at_a_time_and_the_rest_at_the_stop() {
        let collector = Answers::of([TAKEN]);
        let text = counted(&collector, 1300).await;
        assert_eq!(collector.requests(), [512, 512, 276]);
        assert!(text.contains("muster_trace_spans_total{result=\"sent\"} 1300"), "{text}");
    }

    #[tokio::test(start_paused = true)]
    async fn few_spans_wait_a_second_for_others() {
        let collector = Answers::of([TAKEN]);
        let (tracer, exporter) = begin(&collector, 16);
        end_spans(&tracer, 2);
        sleep(Duration::from_millis(500)).await;
        end_spans(&tracer, 3);
        assert!(collector.requests().is_empty());
        sleep(Duration::from_secs(1)).await;
        assert_eq!(collector.requests(), [5]);
        exporter.stop(Duration::from_secs(1)).await;
        assert_eq!(collector.requests(), [5], "an empty request is not sent");
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_collector_does_not_take_is_tried_thrice_if_that_can_help_and_then_lost() {
        for (answers, tries, told) in [
            (vec![refused(true), refused(true), TAKEN], 3, "{result=\"sent\"} 5"),
            (vec![refused(true)], 3, "{result=\"refused\"} 5"),
            (vec![refused(false)], 1, "{result=\"refused\"} 5"),
            (vec![Some(Ok(Taken { rejected: 2 }))], 1, "{result=\"refused\"} 2"),
            (vec![Some(Ok(Taken { rejected: 99 }))], 1, "{result=\"refused\"} 5"),
        ] {
            let collector = Answers::of(answers);
            let text = counted(&collector, 5).await;
            assert_eq!(collector.requests(), vec![5; tries]);
            assert!(text.contains(told), "{text}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_collector_that_hangs_holds_up_neither_spans_nor_the_stop() {
        let collector = Answers::of([None]);
        let (tracer, exporter) = begin(&collector, 16);
        end_spans(&tracer, 1);
        sleep(Duration::from_secs(5)).await;
        assert_eq!(collector.requests(), [1]);
        // Whoever works is not held up by a full queue either: this returns.
        end_spans(&tracer, 100);
        let began = tokio::time::Instant::now();
        exporter.stop(Duration::from_secs(2)).await;
        assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    }
}
