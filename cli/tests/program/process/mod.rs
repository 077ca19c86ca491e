//! Everything that runs an engine: several processes each, so few at a time.

mod admin;
mod alerts;
mod bounds;
mod canary;
mod cases;
mod crash;
mod honest;
mod import;
mod imports;
mod input;
mod lineage;
mod plan;
mod profiles;
mod serve;
mod services;
mod start;
mod top;
mod traces;
mod undo;
mod users;
mod webhooks;
