//! The HTTP API over a real socket.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test may"
)]

mod access;
mod answers;
mod asking;
mod audit;
mod authgear;
mod bitcaster;
mod bounds;
mod bulk;
#[path = "../common/case_table.rs"]
mod case_table;
mod cases;
mod ccai;
mod console;
mod document;
mod events;
mod examples;
mod failed;
mod fuzz;
mod harness;
mod input;
mod keys;
mod limits;
mod lineage;
mod matrix;
mod metrics;
mod plans;
mod profiles;
mod readiness;
mod reading;
mod second_lock;
mod status;
mod tls;
mod undo;
mod uploads;
mod webhooks;
