//! The parse step as its callers see it: bytes in pieces in, records and errors out.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking"
)]
#![allow(clippy::cast_possible_truncation, reason = "offsets in uploads of a few kilobytes")]
#![allow(missing_docs, reason = "nothing here is for others")]

mod differential;
mod fuzz;
mod limits;
mod oddities;
mod pieces;
mod python;
mod seen;
