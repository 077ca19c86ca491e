//! The store on a real PostgreSQL. Writes are done twice, and the second time must change nothing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod store {
    mod bulk;
    mod catalog;
    mod copying;
    mod deliveries;
    mod leftovers;
    mod migrate;
    mod pool;
    mod states;
    mod tenants;
    mod tokens;
    mod upserts;
    mod users;
}
