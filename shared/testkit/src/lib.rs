//! For tests alone; no program has it. Tests of every crate use it, those below it in `shared/` as a dev-dependency. What matters:
//!
//! - [`oracle::Oracle`] tells what an import must come to, record by record; [`engine::Engine`] runs the shipped parser, validation and
//!   planner on a [`table::Table`] that stands for the store; [`undo::Reference`] is the rule by which an undo takes back;
//! - [`hostile::Upload`] makes files that are as hostile as they can be, [`fuzz`] changes bytes at random, by a seed ([`random::Random`]);
//! - [`free_address`] is one for a server that a test starts;
//! - [`corpus`] and [`input`] read the files of `shared/test_data` and what they must come to, [`sources`] the project's own sources;
//! - with the feature `database`: [`TestDatabase`], a database of one's own on the real PostgreSQL, and [`proxy::Proxy`], which breaks
//!   connections;
//! - with the feature `soak`: [`soak`], the randomised kill soak on real processes and servers. The program `muster-soak` runs it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a harness panics where a program would not"
)]
#![cfg_attr(
    feature = "soak",
    allow(
        clippy::print_stdout,
        clippy::print_stderr,
        reason = "a program for people at a terminal; it logs nothing"
    )
)]

mod address;
pub mod corpus;
#[cfg(feature = "database")]
mod database;
pub mod engine;
pub mod fuzz;
pub mod hostile;
pub mod input;
pub mod oracle;
#[cfg(feature = "database")]
pub mod proxy;
pub mod random;
#[cfg(feature = "soak")]
pub mod soak;
pub mod sources;
pub mod table;
pub mod undo;

pub use address::free_address;

#[cfg(feature = "database")]
pub use database::TestDatabase;
