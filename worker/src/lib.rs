//! The worker: consumes chunks, plans and applies them, settles their deliveries.
//!
//! [`Worker::start`] begins, [`Worker::stop`] ends it; [`WorkerOptions`] says how many chunks it works on at once and when
//! it gives a chunk up. The steps stand in modules of their names: `consume`, `apply`, `settle`.

mod app;
mod apply;
mod consume;
mod settle;
mod slots;

pub use app::{Worker, WorkerOptions};
