//! The planner beside the oracle ([`muster_testkit::oracle`]): hostile uploads through parse, validate, cut and plan, and
//! written the way the store writes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod account;
mod addresses;
mod effects;
mod properties;
