//! The contracts of the systems whose clients must work unmodified, row by row, over a real socket: against the `muster`
//! that `deploy/local/server.sh` started on a real PostgreSQL and a real RabbitMQ. Each test has a tenant of its own.

mod authgear;
mod bitcaster;
mod harness;
