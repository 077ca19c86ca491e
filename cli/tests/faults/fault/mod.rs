//! Tests that start processes: two at a time (see .config/nextest.toml).

mod commits;
mod foresight;
mod points;
mod webhooks;
