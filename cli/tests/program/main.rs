//! The program as people run it: a process with arguments, files and signals, judged by its exit code and what it prints.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test may"
)]

#[path = "../../../producer/tests/common/case_table.rs"]
mod case_table;
mod collector;
mod harness;
mod process;
mod usage;
