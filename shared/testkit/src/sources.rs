//! The project's own sources, for tests that look whether what a table names is there.

use std::fs;
use std::path::{Path, PathBuf};

/// The folder of the project.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Every Rust file of the crates, as one text.
///
/// # Panics
/// When a file cannot be read.
pub fn all() -> String {
    let mut all = String::new();
    let mut folders: Vec<PathBuf> =
        ["shared", "producer", "worker", "cli"].iter().map(|name| root().join(name)).collect();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                all.push_str(&fs::read_to_string(&path).unwrap());
            }
        }
    }
    all
}
