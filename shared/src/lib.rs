//! What producer and worker share: the domain (pure), and behind features the store, the queue and the embedded engine.

pub mod chunk;
pub mod clock;
pub mod dispatch;
#[cfg(feature = "embedded")]
pub mod embedded;
pub mod error;
mod error_code;
pub mod id;
pub mod import;
pub mod normalise;
pub mod options;
pub mod outcome;
pub mod parse;
pub mod plan;
pub mod record;
#[cfg(feature = "store")]
pub mod store;
#[cfg(feature = "testing")]
pub mod testing;
pub mod validate;
