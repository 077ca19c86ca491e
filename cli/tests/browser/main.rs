//! The console in a real browser: headless Chromium, driven as a person would use it. Needs what `deploy/local/browser.sh install` brings.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may")]

mod driver;
mod process;
mod rig;
