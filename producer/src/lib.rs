//! The producer: receives uploads, stages their chunks durably, dispatches them, and reports what became of them.
//!
//! Each step is a module of that name: [`receive`] (with parse, validate and chunk inside), `stage`, `dispatch`; [`api`] has the
//! front doors over HTTP. The types that matter:
//!
//! - [`Producer`] is all of it in a process, set up by [`ProducerOptions`]; it is started, and stopped in order;
//! - [`receive::begin`] opens a [`receive::Upload`], which takes a file piece by piece and ends with a [`receive::Receipt`];
//! - [`request::ResolvedImport`] is what somebody asked, with its names looked up: ready for `receive::begin`;
//! - [`Dispatcher`] carries staged chunks to the queue, and its sweep finds what was lost; [`Retention`] says what is deleted when;
//! - [`export`] writes failed records, [`inspect`] and [`verify`] read a file without storing anything, [`workbook`] makes a table of a sheet;
//! - [`webhook`] sends what happens to whoever wants to be told.

pub mod api;
mod app;
mod dispatch;
pub mod export;
pub mod inspect;
mod mending;
pub mod receive;
pub mod request;
mod stage;
mod user_write;
pub mod verify;
pub mod webhook;
pub mod workbook;

pub use app::{Producer, ProducerOptions};
pub use dispatch::{DispatchOptions, Dispatcher, Retention};
