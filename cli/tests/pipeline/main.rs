//! The whole way of the data, in one process, over a real PostgreSQL and both queues: what goes in, what comes out, and
//! what crashes leave. Needs `TEST_DATABASE_URL` and `TEST_AMQP_URL` (`make test` sets them).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test may"
)]

mod before_images;
mod connections;
mod corpus;
mod crash;
mod dispatching;
mod duplicates;
mod erase;
mod harness;
mod lifecycle;
mod lineage;
mod links;
mod outages;
mod outcomes;
mod parallel;
mod plan;
mod properties;
#[cfg(feature = "faults")]
mod receipt;
mod refusals;
mod retry;
mod secrets;
mod status;
mod undo;
mod witness;

/// Runs each test on RabbitMQ and on PostgreSQL rows.
macro_rules! on_both_queues {
    ($($name:ident),* $(,)?) => {
        mod rabbit {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() { super::$name(crate::harness::Backend::Rabbit).await; })*
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() { super::$name(crate::harness::Backend::Postgres).await; })*
        }
    };
}

/// Runs each test on the embedded default: the bundled engine with the queue in its rows.
macro_rules! on_the_bundled_engine {
    ($($name:ident),* $(,)?) => {
        #[cfg(feature = "embedded-postgres")]
        mod process {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() { super::$name(crate::harness::Backend::Bundled).await; })*
        }
    };
}
pub(crate) use {on_both_queues, on_the_bundled_engine};
