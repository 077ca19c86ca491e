//! Tools that test Muster from outside. None of them is part of the program.
//!
//! [`soak`] is the randomised kill soak: real processes and servers, seeded faults, and an oracle that knows what every
//! record must come to. The program `muster-soak` runs it.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for people at a terminal; it logs nothing"
)]

pub mod soak;
