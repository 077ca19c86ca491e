//! The parse step as its callers see it: bytes in pieces in, records and errors out.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(missing_docs, reason = "nothing here is for others")]

mod differential;
mod limits;
mod oddities;
mod pieces;
mod seen;
