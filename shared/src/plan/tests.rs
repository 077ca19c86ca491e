//! The planner beside the oracle ([`crate::testing::oracle`]): hostile uploads through parse, validate, cut and plan, and
//! written the way the store writes.

mod effects;
mod properties;
mod table;
