//! The worker: consumes chunks, plans and applies them, settles their deliveries.
//!
//! [`Worker::start`] begins, [`Worker::stop`] ends it; [`WorkerOptions`] says how many chunks it works on at once, when
//! it gives a chunk up, and how long it waits for what does not answer. Each step is a module of that name:
//! `consume`, `work`, `apply` (with `bisect`), `settle` (what is decided is in `settlement`). [`Ops`] is the listener of operators for a worker that is a process of its own.

mod app;
mod apply;
mod bisect;
mod consume;
mod deadline_pool;
mod log_lines;
mod memory_budget;
mod ops;
mod rules;
mod settle;
mod settlement;
mod shared;
mod spans;
mod work;

pub use app::{Worker, WorkerOptions};
pub use ops::Ops;
