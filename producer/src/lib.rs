//! The producer: receives uploads, stages their chunks durably, dispatches them, and reports what became of them.
//!
//! [`receive::begin`] takes one upload, [`Dispatcher::start`] carries staged chunks to the queue. The steps stand in modules of
//! their names: `receive` (with parse, validate and chunk inside), `stage`, `dispatch`; `api` is the front door over HTTP.

pub mod api;
mod app;
mod dispatch;
pub mod export;
pub mod inspect;
pub mod receive;
pub mod request;
mod single;
mod stage;
pub mod verify;
pub mod webhook;
pub mod workbook;

pub use app::{Producer, ProducerOptions};
pub use dispatch::{DispatchOptions, Dispatcher, Retention};
