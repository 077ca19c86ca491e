//! Everything that runs an engine: several processes each, so few at a time.

mod admin;
mod bounds;
mod crash;
mod honest;
mod import;
mod imports;
mod serve;
mod services;
mod start;
