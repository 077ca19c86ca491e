//! Authgear's User Import API (contracts, section A), a test a row; each module is one of its tables.

mod access;
mod differences;
mod endpoints;
mod errors;
mod fields;
mod outcomes;
mod project;
mod request;
mod update;
mod warnings;
