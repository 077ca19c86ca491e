//! Spans as OTLP has them in JSON: `ExportTraceServiceRequest`. Ids are hexadecimal, 64-bit numbers are texts.

use serde_json::{Value as Json, json};

use super::{Ended, Value};

/// Bits of a span's flags: it is known whether the parent is of another process, and it is.
const REMOTE_IS_KNOWN: u32 = 0x100;
const IS_REMOTE: u32 = 0x200;
/// The status of what did not succeed.
const ERROR: u32 = 2;

/// The program that sends.
#[derive(Debug, Clone)]
pub(super) struct Resource {
    pub(super) service: &'static str,
    pub(super) version: &'static str,
    /// This process, for as long as it lives.
    pub(super) instance: uuid::Uuid,
}

/// The body of a request.
pub(super) fn body(resource: &Resource, spans: &[Ended]) -> Vec<u8> {
    let attributes = [
        ("service.name", Value::Word(resource.service)),
        ("service.version", Value::Word(resource.version)),
        ("service.instance.id", Value::Id(resource.instance)),
    ];
    let request = json!({
        "resourceSpans": [{
            "resource": { "attributes": attributes.iter().map(|(name, value)| attribute(name, value)).collect::<Vec<_>>() },
            "scopeSpans": [{
                "scope": { "name": "muster", "version": resource.version },
                "spans": spans.iter().map(span).collect::<Vec<_>>(),
            }],
        }],
    });
    request.to_string().into_bytes()
}

fn span(span: &Ended) -> Json {
    let began = span.began.timestamp_nanos_opt().unwrap_or_default();
    let remote = if span.remote { IS_REMOTE } else { 0 };
    let mut json = json!({
        "traceId": span.context.trace_id(),
        "spanId": hex(span.context.span()),
        "flags": u32::from(span.context.sampled()) | REMOTE_IS_KNOWN | remote,
        "name": span.name,
        "kind": span.kind as u32,
        "startTimeUnixNano": began.to_string(),
        "endTimeUnixNano": began.saturating_add(span.nanoseconds).to_string(),
        "attributes": span.attributes.iter().map(|(name, value)| attribute(name, value)).collect::<Vec<_>>(),
    });
    if let Some(parent) = span.parent {
        json["parentSpanId"] = hex(parent).into();
    }
    if span.failed {
        json["status"] = json!({ "code": ERROR });
    }
    json
}

fn attribute(name: &str, value: &Value) -> Json {
    let value = match value {
        Value::Number(number) => json!({ "intValue": number.to_string() }),
        Value::Word(word) => json!({ "stringValue": word }),
        Value::Id(id) => json!({ "stringValue": id.to_string() }),
        Value::Route(route) => json!({ "stringValue": route }),
    };
    json!({ "key": name, "value": value })
}

fn hex(id: [u8; 8]) -> String {
    format!("{:016x}", u64::from_be_bytes(id))
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use muster_domain::trace::TraceContext;
    use uuid::Uuid;

    use super::super::Kind;
    use super::*;

    #[test]
    fn a_span_is_written_as_the_protocol_has_it() {
        let parent = TraceContext::parse("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01").unwrap();
        let ended = Ended {
            context: parent.child([0, 0, 0, 0, 0, 0, 1, 2]).unwrap(),
            parent: Some(parent.span()),
            remote: true,
            name: "apply chunk".into(),
            kind: Kind::Consumer,
            began: DateTime::from_timestamp(1_700_000_000, 5).unwrap(),
            nanoseconds: 1_000_000_001,
            attributes: vec![
                ("muster.import", Value::Id(Uuid::from_u128(7))),
                ("muster.chunk", Value::Number(42)),
                ("muster.verdict", Value::Word("ack")),
            ],
            failed: true,
        };
        let resource = Resource { service: "muster-worker", version: "1.2.3", instance: Uuid::nil() };
        let written: Json = serde_json::from_slice(&body(&resource, &[ended])).unwrap();
        let text = |text: &str| json!({ "stringValue": text });
        assert_eq!(
            written,
            json!({ "resourceSpans": [{
                "resource": { "attributes": [
                    { "key": "service.name", "value": text("muster-worker") },
                    { "key": "service.version", "value": text("1.2.3") },
                    { "key": "service.instance.id", "value": text("00000000-0000-0000-0000-000000000000") },
                ]},
                "scopeSpans": [{
                    "scope": { "name": "muster", "version": "1.2.3" },
                    "spans": [{
                        "traceId": "0af7651916cd43dd8448eb211c80319c",
                        "spanId": "0000000000000102",
                        "parentSpanId": "b7ad6b7169203331",
                        "flags": 0x301,
                        "name": "apply chunk",
                        "kind": 5,
                        "startTimeUnixNano": "1700000000000000005",
                        "endTimeUnixNano": "1700000001000000006",
                        "attributes": [
                            { "key": "muster.import", "value": text("00000000-0000-0000-0000-000000000007") },
                            { "key": "muster.chunk", "value": { "intValue": "42" } },
                            { "key": "muster.verdict", "value": text("ack") },
                        ],
                        "status": { "code": 2 },
                    }],
                }],
            }]})
        );
    }
}
