//! The span of a delivery, below that of its message ([`traces`]).

use muster_queue::Message;
use muster_runtime::telemetry::traces::{self, Kind, Span, Value};

use crate::settlement::Settlement;

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
pub(crate) fn tell(span: &mut Span, settlement: Settlement) {
    let (word, well) = match settlement {
        Settlement::Ack => ("ack", true),
        Settlement::Wait(_) => ("wait", true),
        Settlement::Hold | Settlement::GiveBack => ("give_back", true),
        Settlement::Defer(_) => ("defer", false),
        Settlement::RetryLater(_) => ("put_off", false),
        Settlement::MarkDead => ("dead", false),
        Settlement::DeadLetter(_) => ("dead_letter", false),
    };
    span.set("muster.verdict", Value::Word(word));
    if !well {
        span.fail();
    }
}
