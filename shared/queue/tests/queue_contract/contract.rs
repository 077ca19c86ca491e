//! One function a promise; each takes a queue that is its own and leaves it empty.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use muster_queue::{DecodeError, Headers, MAX_BODY, Message, QueueError};
use muster_runtime::retry::ErrorKind;
use tokio::task::JoinSet;
use tokio::time::timeout;
use uuid::Uuid;

use crate::harness::{Backend, DELIVERY_LIMIT, PATIENCE, Rig, chunk, message, next, nothing, until_depth};

pub(crate) async fn confirmed_publish_is_delivered(rig: Arc<Rig>) {
    let mut consumer = rig.queue.consumer(1).await.unwrap();
    rig.queue.publish(message(1)).await.unwrap();
    let delivery = next(&mut consumer).await;
    assert_eq!(delivery.body, Ok(message(1)));
    assert!(!delivery.redelivered);
    assert_eq!(delivery.delivery_count, 1);
    delivery.ack().await.unwrap();
    consumer.close().await;
}

pub(crate) async fn what_was_published_before_the_consumer_came_is_delivered(rig: Arc<Rig>) {
    rig.elsewhere().publish(message(1)).await.unwrap();
    let mut consumer = rig.queue.consumer(1).await.unwrap();
    next(&mut consumer).await.ack().await.unwrap();
    // And what another process publishes while it waits.
    rig.elsewhere().publish(message(2)).await.unwrap();
    next(&mut consumer).await.ack().await.unwrap();
    consumer.close().await;
}

pub(crate) async fn deliveries_come_in_order(rig: Arc<Rig>) {
    for number in 0..50 {
        rig.queue.publish(message(number)).await.unwrap();
    }
    let mut consumer = rig.queue.consumer(8).await.unwrap();
    for number in 0..50 {
        let delivery = next(&mut consumer).await;
        assert_eq!(chunk(&delivery), number);
        delivery.ack().await.unwrap();
    }
    consumer.close().await;
}

pub(crate) async fn ack_removes(rig: Arc<Rig>) {
    rig.queue.publish(message(1)).await.unwrap();
    let mut consumer = rig.queue.consumer(1).await.unwrap();
    next(&mut consumer).await.ack().await.unwrap();
    consumer.close().await;
    let mut later = rig.queue.consumer(1).await.unwrap();
    nothing(&mut later).await;
    later.close().await;
    until_depth(&rig.queue, 0, 0).await;
}

pub(crate) async fn requeue_brings_it_back_as_redelivered(rig: Arc<Rig>) {
    rig.queue.publish(message(1)).await.unwrap();
    let mut consumer = rig.queue.consumer(1).await.unwrap();
    next(&mut consumer).await.requeue().await.unwrap();
    let delivery = next(&mut consumer).await;
    assert!(delivery.redelivered);
    assert_eq!(delivery.delivery_count, 2);
    assert_eq!(delivery.body, Ok(message(1)));
    delivery.ack().await.unwrap();
    consumer.close().await;
}

pub(crate) async fn dropping_unsettled_requeues(rig: Arc<Rig>) {
    rig.queue.publish(message(1)).await.unwrap();
    let mut consumer = rig.queue.consumer(1).await.unwrap();
    drop(next(&mut consumer).await);
    let delivery = next(&mut consumer).await;
    assert!(delivery.redelivered);
    // A message apart from the right to settle it: dropping the right requeues, too.
    let (body, settler) = delivery.into_parts();
    assert_eq!(body, Ok(message(1)));
    drop(settler);
    next(&mut consumer).await.ack().await.unwrap();
    consumer.close().await;
}

pub(crate) async fn dropping_the_consumer_requeues_what_it_had_not_yielded(rig: Arc<Rig>) {
    for number in 0..4 {
        rig.queue.publish(message(number)).await.unwrap();
    }
    let mut consumer = rig.queue.consumer(4).await.unwrap();
    let first = next(&mut consumer).await;
    drop(consumer);
    until_depth(&rig.queue, 3, 0).await;
    drop(first);
    until_depth(&rig.queue, 4, 0).await;
    rig.queue.purge().await.unwrap();
}

pub(crate) async fn a_closed_consumer_lets_its_deliveries_be_settled(rig: Arc<Rig>) {
    for number in 0..3 {
        rig.queue.publish(message(number)).await.unwrap();
    }
    let mut consumer = rig.queue.consumer(3).await.unwrap();
    let (first, second) = (next(&mut consumer).await, next(&mut consumer).await);
    consumer.stop();
    assert!(consumer.next().await.is_none());
    let closing = tokio::spawn(consumer.close());
    until_depth(&rig.queue, 1, 0).await;
    first.ack().await.unwrap();
    assert!(!closing.is_finished());
    second.ack().await.unwrap();
    timeout(PATIENCE, closing).await.expect("closing ends with the last settled").unwrap();
    until_depth(&rig.queue, 1, 0).await;
    rig.queue.purge().await.unwrap();
}

pub(crate) async fn losing_the_consumers_process_requeues(rig: Arc<Rig>) {
    rig.queue.publish(message(1)).await.unwrap();
    let elsewhere = rig.elsewhere();
    let mut lost = elsewhere.consumer(1).await.unwrap();
    let held = next(&mut lost).await;
    let mut consumer = rig.queue.consumer(1).await.unwrap();
    nothing(&mut consumer).await;
    // With the queue's last handle go its connections, as they do with a process.
    drop((elsewhere, lost));
    let delivery = next(&mut consumer).await;
    assert!(delivery.redelivered);
    assert!(matches!(held.ack().await, Err(QueueError::Lost)));
    delivery.ack().await.unwrap();
    consumer.close().await;
}

pub(crate) async fn prefetch_bounds_what_is_unsettled(rig: Arc<Rig>) {
    for number in 0..5 {
        rig.queue.publish(message(number)).await.unwrap();
    }
    let mut consumer = rig.queue.consumer(2).await.unwrap();
    let (first, second) = (next(&mut consumer).await, next(&mut consumer).await);
    until_depth(&rig.queue, 3, 0).await;
    nothing(&mut consumer).await;
    first.ack().await.unwrap();
    let third = next(&mut consumer).await;
    nothing(&mut consumer).await;
    until_depth(&rig.queue, 2, 0).await;
    for delivery in [second, third] {
        delivery.ack().await.unwrap();
    }
    for _ in 0..2 {
        next(&mut consumer).await.ack().await.unwrap();
    }
    consumer.close().await;
}

pub(crate) async fn a_dead_letter_keeps_its_reason(rig: Arc<Rig>) {
    rig.queue.publish(message(1)).await.unwrap();
    let mut consumer = rig.queue.consumer(1).await.unwrap();
    next(&mut consumer).await.dead_letter("body_version_unknown").await.unwrap();
    until_depth(&rig.queue, 0, 1).await;
    nothing(&mut consumer).await;
    let mut taken = rig.queue.dead_letters(10).await.unwrap();
    assert_eq!(taken.len(), 1);
    let dead = taken.remove(0);
    assert_eq!(dead.reason, "body_version_unknown");
    assert_eq!(dead.delivery.body, Ok(message(1)));
    dead.delivery.ack().await.unwrap();
    until_depth(&rig.queue, 0, 0).await;
    assert!(rig.queue.dead_letters(10).await.unwrap().is_empty());
    consumer.close().await;
}

pub(crate) async fn dead_letters_are_taken_once_and_stay_until_acked(rig: Arc<Rig>) {
    let mut consumer = rig.queue.consumer(1).await.unwrap();
    for number in 0..3 {
        rig.queue.publish(message(number)).await.unwrap();
        next(&mut consumer).await.dead_letter("a").await.unwrap();
    }
    consumer.close().await;
    until_depth(&rig.queue, 0, 3).await;
    let taken = rig.queue.dead_letters(2).await.unwrap();
    assert_eq!(taken.iter().map(|dead| chunk(&dead.delivery)).collect::<Vec<_>>(), [0, 1]);
    let elsewhere = rig.elsewhere();
    let mut others = elsewhere.dead_letters(10).await.unwrap();
    assert_eq!(others.iter().map(|dead| chunk(&dead.delivery)).collect::<Vec<_>>(), [2]);
    drop(taken);
    // More often than the delivery limit, which does not apply to dead letters.
    for _ in 0..=DELIVERY_LIMIT {
        until_depth(&rig.queue, 0, 2).await;
        drop(rig.queue.dead_letters(2).await.unwrap());
    }
    until_depth(&rig.queue, 0, 2).await;
    // Parked again: another reason, nothing else.
    others.remove(0).delivery.dead_letter("b").await.unwrap();
    until_depth(&rig.queue, 0, 3).await;
    let taken = rig.queue.dead_letters(10).await.unwrap();
    for dead in taken {
        assert!(["a", "b"].contains(&dead.reason.as_str()), "{}", dead.reason);
        dead.delivery.ack().await.unwrap();
    }
    until_depth(&rig.queue, 0, 0).await;
}

pub(crate) async fn what_cannot_be_decoded_is_a_delivery_and_can_be_dead_lettered(rig: Arc<Rig>) {
    rig.publish_poison().await;
    let mut consumer = rig.queue.consumer(1).await.unwrap();
    let delivery = next(&mut consumer).await;
    assert!(matches!(delivery.body, Err(DecodeError::Missing(_) | DecodeError::Invalid(_))));
    delivery.dead_letter("undecodable").await.unwrap();
    consumer.close().await;
    until_depth(&rig.queue, 0, 1).await;
    let dead = rig.queue.dead_letters(1).await.unwrap().remove(0);
    assert_eq!(dead.reason, "undecodable");
    assert!(dead.delivery.body.is_err());
    dead.delivery.ack().await.unwrap();
}

pub(crate) async fn the_delivery_limit_makes_dead_letters(rig: Arc<Rig>) {
    rig.queue.publish(message(1)).await.unwrap();
    let mut consumer = rig.queue.consumer(1).await.unwrap();
    // It may come back so often, which makes one delivery more.
    for count in 1..=DELIVERY_LIMIT + 1 {
        let delivery = next(&mut consumer).await;
        assert_eq!(delivery.delivery_count, count);
        delivery.requeue().await.unwrap();
    }
    until_depth(&rig.queue, 0, 1).await;
    nothing(&mut consumer).await;
    consumer.close().await;
    let dead = rig.queue.dead_letters(1).await.unwrap().remove(0);
    assert_eq!(dead.reason, "delivery_limit");
    assert_eq!(dead.delivery.body, Ok(message(1)));
    dead.delivery.ack().await.unwrap();
}

pub(crate) async fn publishing_to_a_deleted_queue_fails_and_declares_it_again(rig: Arc<Rig>) {
    rig.queue.publish(message(1)).await.unwrap();
    rig.elsewhere().delete().await.unwrap();
    let error = rig.queue.publish(message(2)).await.unwrap_err();
    assert!(matches!(error, QueueError::Unroutable { .. }), "{error}");
    assert_eq!(error.kind(), ErrorKind::Transient);
    rig.queue.publish(message(3)).await.unwrap();
    let mut consumer = rig.queue.consumer(1).await.unwrap();
    let delivery = next(&mut consumer).await;
    assert_eq!(chunk(&delivery), 3);
    delivery.ack().await.unwrap();
    consumer.close().await;
}

pub(crate) async fn a_consumer_outlives_its_queue(rig: Arc<Rig>) {
    let mut consumer = rig.queue.consumer(1).await.unwrap();
    rig.queue.publish(message(1)).await.unwrap();
    next(&mut consumer).await.ack().await.unwrap();
    rig.elsewhere().delete().await.unwrap();
    let elsewhere = rig.elsewhere();
    elsewhere.publish(message(2)).await.unwrap();
    let delivery = next(&mut consumer).await;
    assert_eq!(chunk(&delivery), 2);
    delivery.ack().await.unwrap();
    consumer.close().await;
}

pub(crate) async fn bodies_of_any_size_up_to_the_limit(rig: Arc<Rig>) {
    let mut consumer = rig.queue.consumer(1).await.unwrap();
    for size in [0, 1, 131_064, 131_072, 1024 * 1024, MAX_BODY] {
        let body: Bytes = (0..size).map(|at| u8::try_from(at % 251).unwrap()).collect();
        let sent = Message { body, ..message(1) };
        rig.queue.publish(sent.clone()).await.unwrap();
        let delivery = next(&mut consumer).await;
        assert!(delivery.body == Ok(sent), "a body of {size} bytes came back as another");
        delivery.ack().await.unwrap();
    }
    let body = Bytes::from(vec![0; MAX_BODY + 1]);
    let error = rig.queue.publish(Message { body, ..message(1) }).await.unwrap_err();
    assert!(matches!(error, QueueError::TooLarge { size } if size == MAX_BODY + 1));
    assert_eq!(error.kind(), ErrorKind::Permanent);
    consumer.close().await;
}

pub(crate) async fn headers_come_back_as_they_were(rig: Arc<Rig>) {
    let mut consumer = rig.queue.consumer(1).await.unwrap();
    let all = Headers {
        version: u16::MAX,
        tenant: Some(i32::MIN),
        import_id: Uuid::max(),
        chunk_id: i64::MAX,
        attempt: u32::MAX,
        traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned()),
    };
    let none = Headers { tenant: None, chunk_id: i64::MIN, traceparent: None, ..all.clone() };
    for headers in [all, none] {
        rig.queue.publish(Message { headers: headers.clone(), body: Bytes::new() }).await.unwrap();
        let delivery = next(&mut consumer).await;
        assert_eq!(delivery.body.as_ref().unwrap().headers, headers);
        delivery.ack().await.unwrap();
    }
    consumer.close().await;
}

pub(crate) async fn concurrent_publishes_lose_and_double_nothing(rig: Arc<Rig>) {
    let mut publishers = JoinSet::new();
    for number in 0..500 {
        let queue = rig.queue.clone();
        publishers.spawn(async move { queue.publish(message(number)).await });
    }
    let mut consumer = rig.queue.consumer(50).await.unwrap();
    let mut seen = BTreeSet::new();
    while seen.len() < 500 {
        let delivery = next(&mut consumer).await;
        assert!(seen.insert(chunk(&delivery)), "{} came twice", chunk(&delivery));
        delivery.ack().await.unwrap();
    }
    assert!(publishers.join_all().await.into_iter().all(|published| published.is_ok()));
    nothing(&mut consumer).await;
    consumer.close().await;
}

pub(crate) async fn two_consumers_share_without_doubles(rig: Arc<Rig>) {
    let elsewhere = rig.elsewhere();
    let mut consumers = [rig.queue.consumer(1).await.unwrap(), elsewhere.consumer(1).await.unwrap()];
    for number in 0..100 {
        rig.queue.publish(message(number)).await.unwrap();
    }
    // Each holds one before either goes on: so both take part.
    let mut held = Vec::new();
    for consumer in &mut consumers {
        held.push(next(consumer).await);
    }
    let mut seen: BTreeSet<i64> = held.iter().map(chunk).collect();
    for delivery in held {
        delivery.ack().await.unwrap();
    }
    let [first, second] = &mut consumers;
    while seen.len() < 100 {
        let delivery = tokio::select! {
            delivery = next(first) => delivery,
            delivery = next(second) => delivery,
        };
        assert!(seen.insert(chunk(&delivery)), "{} came twice", chunk(&delivery));
        delivery.ack().await.unwrap();
    }
    for consumer in consumers {
        consumer.close().await;
    }
}

pub(crate) async fn depth_counts_waiting_messages_and_dead_letters(rig: Arc<Rig>) {
    until_depth(&rig.queue, 0, 0).await;
    for number in 0..5 {
        rig.queue.publish(message(number)).await.unwrap();
    }
    until_depth(&rig.queue, 5, 0).await;
    let mut consumer = rig.queue.consumer(2).await.unwrap();
    let first = next(&mut consumer).await;
    // Two are on their way to the consumer: they count in neither.
    until_depth(&rig.queue, 3, 0).await;
    first.dead_letter("x").await.unwrap();
    until_depth(&rig.queue, 2, 1).await;
    drop(consumer);
    until_depth(&rig.queue, 4, 1).await;
    rig.queue.purge().await.unwrap();
}

pub(crate) async fn purge_empties_both_queues(rig: Arc<Rig>) {
    let mut consumer = rig.queue.consumer(1).await.unwrap();
    rig.queue.publish(message(1)).await.unwrap();
    next(&mut consumer).await.dead_letter("x").await.unwrap();
    consumer.close().await;
    rig.queue.publish(message(2)).await.unwrap();
    until_depth(&rig.queue, 1, 1).await;
    rig.queue.purge().await.unwrap();
    until_depth(&rig.queue, 0, 0).await;
}

pub(crate) async fn check_names_the_server(rig: Arc<Rig>) {
    let server = rig.queue.check().await.unwrap();
    let name = match rig.backend {
        Backend::Rabbit { .. } => "rabbitmq",
        Backend::Postgres { .. } => "postgres",
    };
    assert_eq!(server.backend, name);
    let version = server.version.expect("the server tells its version");
    assert!(version.starts_with(|first: char| first.is_ascii_digit()), "{version}");
}
