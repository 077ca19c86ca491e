//! The Bulk User Management API of CCAI Platform: one module a section of the contract, one test a row.

mod client;
mod endpoints;
mod errors;
mod fields;
mod further_fields;
mod jobs;
mod semantics;
mod template;
mod upload;
mod users;
