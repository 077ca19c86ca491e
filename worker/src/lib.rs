//! The worker: consumes chunks, plans and applies them, settles their deliveries.
//!
//! [`Worker::start`] begins, [`Worker::stop`] ends it; [`WorkerOptions`] says how many chunks it works on at once, when
//! it gives a chunk up, and how long it waits for what does not answer. The steps stand in modules of their names:
//! `consume`, `work`, `apply` (with `split`), `settle` (what is decided is in `verdict`). [`Ops`] is the listener of operators for a worker that is a process of its own.

mod app;
mod apply;
mod canon;
mod consume;
mod ops;
mod room;
mod rules;
mod settle;
mod shared;
mod slots;
mod spans;
mod split;
mod verdict;
mod work;

pub use app::{Worker, WorkerOptions};
pub use ops::Ops;
