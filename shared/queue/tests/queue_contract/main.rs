//! What the queue seam promises, each promise one function that both backends run; and what only one of them can fail.
//!
//! Needs `TEST_DATABASE_URL` (a PostgreSQL where databases can be made) and `TEST_AMQP_URL` (a RabbitMQ). Fails without.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::disallowed_methods, reason = "names of queues and databases must differ from run to run")]

mod contract;
mod harness;
mod postgres_only;
mod rabbit_only;

macro_rules! promises {
    ($($promise:ident)*) => {
        mod rabbit {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $promise() {
                    crate::harness::run(crate::harness::Rig::rabbit(), crate::contract::$promise).await;
                }
            )*
        }
        mod postgres {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $promise() {
                    crate::harness::run(crate::harness::Rig::postgres().await, crate::contract::$promise).await;
                }
            )*
        }
    };
}

promises! {
    confirmed_publish_is_delivered
    what_was_published_before_the_consumer_came_is_delivered
    deliveries_come_in_order
    ack_removes
    requeue_brings_it_back_as_redelivered
    dropping_unsettled_requeues
    dropping_the_consumer_requeues_what_it_had_not_yielded
    a_closed_consumer_lets_its_deliveries_be_settled
    losing_the_consumers_process_requeues
    prefetch_bounds_what_is_unsettled
    a_dead_letter_keeps_its_reason
    dead_letters_are_taken_once_and_stay_until_acked
    what_cannot_be_decoded_is_a_delivery_and_can_be_dead_lettered
    the_delivery_limit_makes_dead_letters
    publishing_to_a_deleted_queue_fails_and_declares_it_again
    a_consumer_outlives_its_queue
    bodies_of_any_size_up_to_the_limit
    headers_come_back_as_they_were
    concurrent_publishes_lose_and_double_nothing
    two_consumers_share_without_doubles
    depth_counts_waiting_messages_and_dead_letters
    purge_empties_both_queues
    check_names_the_server
}
