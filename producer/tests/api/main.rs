//! The HTTP API over a real socket.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may")]

mod access;
mod authgear;
mod bitcaster;
mod bounds;
mod ccai;
mod failed;
mod fuzz;
mod harness;
mod input;
mod keys;
mod limits;
mod profiles;
mod readiness;
mod reading;
mod tls;
mod uploads;
