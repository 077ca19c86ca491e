//! AMQP properties and headers ↔ the seam's.

use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable};

use crate::message::{DecodeError, HeaderValue, Headers};

// Our own header on messages that the program dead-lettered.
const DEAD_REASON: &str = "muster-dead-reason";
// RabbitMQ's header on messages that the broker dead-lettered.
const FIRST_DEATH_REASON: &str = "x-first-death-reason";
// Quorum queues': how often the message came back; absent on the first delivery.
const DELIVERY_COUNT: &str = "x-delivery-count";
// The broker's record of dead-lettering. Never sent along: brokers before 4.0 take it for their own.
const DEATHS: [&str; 3] = ["x-death", FIRST_DEATH_REASON, DELIVERY_COUNT];

/// The properties of a message to publish.
pub(super) fn of(headers: &Headers) -> BasicProperties {
    let mut table = FieldTable::default();
    for (name, value) in headers.encode() {
        table.insert(name.into(), to_amqp(value));
    }
    persistent(BasicProperties::default())
        // What operators see of a message: ids only.
        .with_message_id(headers.to_string().into())
        .with_headers(table)
}

/// The properties of a dead letter: those of the message, and the reason.
pub(super) fn dead_lettered(original: BasicProperties, reason: &str) -> BasicProperties {
    let mut table = FieldTable::default();
    for (name, value) in original.headers().iter().flat_map(|headers| headers.inner()) {
        if !DEATHS.contains(&name.as_str()) {
            table.insert(name.clone(), value.clone());
        }
    }
    table.insert(DEAD_REASON.into(), AMQPValue::LongString(reason.into()));
    persistent(original).with_headers(table)
}

/// The headers of a delivery.
pub(super) fn headers(properties: &BasicProperties) -> Result<Headers, DecodeError> {
    Headers::decode(|name| look_up(properties, name).and_then(from_amqp))
}

/// How many times the message was delivered, this time included.
pub(super) fn delivery_count(properties: &BasicProperties) -> u32 {
    match look_up(properties, DELIVERY_COUNT).and_then(from_amqp) {
        Some(HeaderValue::Integer(returned)) => u32::try_from(returned).unwrap_or(u32::MAX).saturating_add(1),
        _ => 1,
    }
}

/// Why a message is in the dead-letter queue.
pub(super) fn dead_reason(properties: &BasicProperties) -> String {
    let text = |name| match look_up(properties, name).and_then(from_amqp) {
        Some(HeaderValue::Text(text)) => Some(text),
        _ => None,
    };
    text(DEAD_REASON).or_else(|| text(FIRST_DEATH_REASON)).unwrap_or_else(|| "unknown".to_owned())
}

fn persistent(properties: BasicProperties) -> BasicProperties {
    // 2: written to disk. Quorum queues do so anyway; set explicitly for a queue of another type used instead.
    properties.with_delivery_mode(2)
}

fn look_up<'a>(properties: &'a BasicProperties, name: &str) -> Option<&'a AMQPValue> {
    properties.headers().as_ref()?.inner().get(name)
}

fn to_amqp(value: HeaderValue) -> AMQPValue {
    match value {
        HeaderValue::Integer(value) => AMQPValue::LongLongInt(value),
        HeaderValue::Text(text) => AMQPValue::LongString(text.into()),
    }
}

// Brokers and other clients write an integer in whatever width suits them.
fn from_amqp(value: &AMQPValue) -> Option<HeaderValue> {
    Some(HeaderValue::Integer(match value {
        AMQPValue::ShortShortInt(value) => (*value).into(),
        AMQPValue::ShortShortUInt(value) => (*value).into(),
        AMQPValue::ShortInt(value) => (*value).into(),
        AMQPValue::ShortUInt(value) => (*value).into(),
        AMQPValue::LongInt(value) => (*value).into(),
        AMQPValue::LongUInt(value) => (*value).into(),
        AMQPValue::LongLongInt(value) => *value,
        AMQPValue::ShortString(text) => return Some(HeaderValue::Text(text.as_str().to_owned())),
        AMQPValue::LongString(text) => {
            return Some(HeaderValue::Text(String::from_utf8_lossy(text.as_bytes()).into_owned()));
        }
        _ => return None,
    }))
}
