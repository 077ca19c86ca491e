//! The database files: created once, completely or not at all, and only used by the major version that created them.

use std::fs::{self, DirBuilder, File};
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;

use rustix::process::Signal;

use super::EngineError;
use super::account::Account;
use super::binaries::{Binaries, command};
use super::child::die_with_parent;
use super::folder::{DataFolder, UNFINISHED, last_lines, sync_tree};

/// The only database user. Whoever may open the socket is that user.
pub(super) const USER: &str = "muster";

/// Makes the database files if there are none; otherwise checks that the engine can use them.
///
/// `initdb` works in a folder of another name, which gets the right one when it is complete. So files of that name are
/// a whole database, whenever the power fails.
pub(super) fn ensure(data: &DataFolder, binaries: &Binaries, account: &Account) -> Result<(), EngineError> {
    let pg = data.pg();
    if pg.exists() {
        return check_version(data, binaries, account);
    }
    remove_unfinished(data);
    let unfinished = data.root.join(format!("{UNFINISHED}{}", std::process::id()));
    DirBuilder::new().mode(0o700).create(&unfinished).map_err(EngineError::io("make", &unfinished))?;
    account.own(&unfinished)?;

    let mut initdb = command(&binaries.initdb, account, data);
    initdb
        .args([
            "--username",
            USER,
            "--encoding=UTF8",
            "--no-locale",
            "--auth-local=trust",
            "--auth-host=reject",
        ])
        // Done below, in one go.
        .arg("--no-sync")
        .arg("--pgdata")
        .arg(&unfinished);
    // This thread waits for it, so the signal comes when the whole program ends; initdb then tidies up.
    die_with_parent(&mut initdb, Signal::TERM);
    let output = initdb
        .output()
        .map_err(|source| EngineError::CannotRun { program: binaries.initdb.clone(), source })?;
    if !output.status.success() {
        remove_unfinished(data);
        let said = [output.stdout, output.stderr].concat();
        return Err(EngineError::InitDb { status: output.status.to_string(), output: last_lines(&said) });
    }
    sync_tree(&unfinished)
        .and_then(|()| fs::rename(&unfinished, &pg))
        .and_then(|()| File::open(&data.root)?.sync_all())
        .map_err(EngineError::io("move the database files to", &pg))
}

/// What starts that were cut short left. A process of theirs may still be on its way out and write there; then the
/// rest is for the next start.
fn remove_unfinished(data: &DataFolder) {
    let Ok(entries) = fs::read_dir(&data.root) else {
        return;
    };
    for entry in entries.flatten() {
        if entry.file_name().to_str().is_some_and(|name| name.starts_with(UNFINISHED))
            && let Err(error) = fs::remove_dir_all(entry.path())
        {
            tracing::warn!(folder = %entry.path().display(), %error, "unfinished database files stay behind");
        }
    }
}

fn check_version(data: &DataFolder, binaries: &Binaries, account: &Account) -> Result<(), EngineError> {
    let path = data.pg().join("PG_VERSION");
    let found = match fs::read_to_string(&path) {
        Ok(found) => found.trim().to_owned(),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            "an unknown version (PG_VERSION is missing)".to_owned()
        }
        Err(source) => return Err(EngineError::io("read", &path)(source)),
    };
    let engine = binaries.major(account, data)?;
    match found == engine {
        true => Ok(()),
        false => Err(EngineError::VersionMismatch { path: data.pg(), found, engine }),
    }
}
