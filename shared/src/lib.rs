//! What producer and worker share: the domain (pure), and behind features the store, the queue and the embedded engine.
//!
//! A file goes through [`parse::Parser`], which gives a [`record::RawRecord`] each; [`validate::validate`] makes a
//! [`record::Record`] or a list of [`error::RecordError`] of it, by the [`rules::Rules`] that [`options::ImportOptions`],
//! [`field::FieldTable`] and the catalog make. [`chunk::ChunkCutter`] cuts records into chunks, one lane each.
//! [`plan::Plan`] says what a chunk does to the users that exist; [`outcome::OutcomeSheet`] has the outcome of each of its
//! records. States are in [`import`], ids in [`id`], error codes with their pages in [`error::ErrorCode`].
//!
//! Behind features: `store::Store` (PostgreSQL; one function an operation), `queue::Queue` (RabbitMQ or rows),
//! `embedded::EmbeddedEngine` (a private PostgreSQL), `config::Config`. Without features the crate names none of sqlx,
//! lapin, axum and tokio.

pub mod catalog;
pub mod chunk;
pub mod clock;
#[cfg(feature = "runtime")]
pub mod config;
pub mod dispatch;
#[cfg(feature = "embedded")]
pub mod embedded;
pub mod error;
mod error_code;
pub mod fault;
pub mod field;
pub mod formula;
#[cfg(feature = "store")]
pub mod holding;
pub mod id;
pub mod import;
pub mod inspect;
pub mod intake;
pub mod normalise;
pub mod options;
pub mod outcome;
pub mod parse;
pub mod plan;
pub mod profile;
#[cfg(feature = "queue")]
pub mod queue;
pub mod record;
#[cfg(feature = "runtime")]
pub mod retry;
pub mod rsa_key;
pub mod rules;
#[cfg(feature = "store")]
pub mod store;
#[cfg(feature = "runtime")]
pub mod supervise;
#[cfg(feature = "runtime")]
pub mod telemetry;
pub mod tenant;
#[cfg(feature = "testing")]
pub mod testing;
pub mod token;
pub mod unique;
pub mod user;
pub mod validate;
pub mod warning;
