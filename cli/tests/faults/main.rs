//! Faults at named places, over the real program: processes die, fail and stall at each point of `muster_domain::fault`, and each
//! record is applied exactly once all the same. Needs the feature `faults`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may")]

#[path = "../program/harness.rs"]
#[allow(dead_code, reason = "shared with the tests of the program")]
mod desk;
mod fault;
mod rig;
mod service;
