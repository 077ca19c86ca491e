//! The HTTP API over a real socket.

mod access;
mod failed;
mod harness;
mod reading;
mod uploads;
