//! The contracts of the systems whose clients must work unmodified, row by row, over a real socket: against the `muster`
//! that `deploy/local/server.sh` started on a real PostgreSQL and a real RabbitMQ. Each test has a tenant of its own.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may")]

mod authgear;
mod bitcaster;
mod ccai;
mod harness;
