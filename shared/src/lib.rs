//! What producer and worker share: the domain (pure), and behind features the store, the queue and the embedded engine.

pub mod clock;
pub mod error;
mod error_code;
pub mod id;
pub mod parse;
pub mod record;
#[cfg(feature = "store")]
pub mod store;
#[cfg(feature = "testing")]
pub mod testing;
