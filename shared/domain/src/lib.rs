//! The pure core of Muster, from bytes to outcomes. Nothing here waits, connects or reads a clock: time, ids and randomness are
//! arguments, and no tokio, sqlx, lapin or axum is in this crate's tree. In the order of the data's way, the types that matter:
//!
//! - [`parse::Parser`] makes [`record::RawRecord`]s of bytes, and [`intake`] looks at each for what people's files have wrong;
//! - [`options::ImportOptions`], the fields' table and a catalog make [`rules::Rules`], by which [`validate::validate`] makes a
//!   [`record::Record`] of a raw one, or [`error::RecordError`]s;
//! - [`chunk::ChunkCutter`] cuts records into chunks, [`dispatch`] chooses which of them go to the workers;
//! - [`plan::plan`] says what a chunk does to the users that are there, [`planned`] what of that is kept to be looked at,
//!   [`undo`] how it is taken back;
//! - [`outcome::Verdict`] and its counts are what became of each record, [`import::ImportState`] and [`import::ChunkState`] of the whole;
//! - [`trace::TraceContext`]: which trace a piece of work belongs to;
//! - [`fault`]: failpoints and mutants, compiled out unless a test asks for them.

mod apart;
pub mod apply;
pub mod backoff;
pub mod bound;
pub mod bulk;
pub mod catalog;
pub mod chunk;
mod column_name;
pub mod digits;
pub mod dispatch;
mod effect;
pub mod erase;
pub mod error;
mod error_code;
pub mod fault;
pub mod field;
pub mod formula;
pub mod id;
pub mod import;
pub mod import_profile;
pub mod inspect;
pub mod intake;
pub mod json_words;
pub mod normalise;
pub mod options;
pub mod outcome;
pub mod parse;
pub mod plan;
pub mod planned;
pub mod profile;
pub mod progress;
pub mod quantity;
pub mod receipt;
pub mod receive;
pub mod record;
pub mod request;
pub mod rsa_key;
pub mod rules;
pub mod tenant;
pub mod token;
pub mod trace;
mod typed;
pub mod undo;
mod undo_limits;
pub mod unique;
pub mod user;
pub mod validate;
pub mod warning;
pub mod webhook;
