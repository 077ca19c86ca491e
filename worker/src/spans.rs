//! The span of a delivery, below that of its message ([`traces`]).

use muster_queue::Message;
use muster_runtime::telemetry::traces::{self, Kind, Span, Value};

use crate::verdict::Verdict;

/// Begins with the delivery.
pub(crate) fn begin(message: &Message) -> Span {
    let headers = &message.headers;
    let mut span = traces::continued(headers.traceparent.as_deref(), "apply chunk", Kind::Consumer);
    span.about(headers.import_id, headers.tenant);
    span.set("muster.chunk", Value::Number(headers.chunk_id));
    span.count("muster.attempt", headers.attempt.into());
    span
}

/// Says what becomes of the delivery.
pub(crate) fn tell(span: &mut Span, verdict: Verdict) {
    let (word, well) = match verdict {
        Verdict::Ack => ("ack", true),
        Verdict::Wait(_) => ("wait", true),
        Verdict::Hold | Verdict::GiveBack => ("give_back", true),
        Verdict::Defer(_) => ("defer", false),
        Verdict::PutOff(_) => ("put_off", false),
        Verdict::Bury => ("dead", false),
        Verdict::DeadLetter(_) => ("dead_letter", false),
    };
    span.set("muster.verdict", Value::Word(word));
    if !well {
        span.fail();
    }
}
