//! What producer and worker share: the domain (pure), and behind features the store, the queue and the embedded engine.

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
pub mod field;
pub mod id;
pub mod import;
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
pub mod rules;
#[cfg(feature = "store")]
pub mod store;
#[cfg(feature = "runtime")]
pub mod telemetry;
pub mod tenant;
#[cfg(feature = "testing")]
pub mod testing;
pub mod token;
pub mod user;
pub mod validate;
pub mod warning;
