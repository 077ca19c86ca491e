//! The engine's two programs: the bundled ones or installed ones.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::account::Account;
use super::folder::DataFolder;
use super::{EngineError, bundle};

/// Where `postgres` and `initdb` are.
#[derive(Debug, Clone)]
pub(super) struct Binaries {
    pub(super) postgres: PathBuf,
    pub(super) initdb: PathBuf,
}

impl Binaries {
    /// The installed ones in `folder`, or else the bundled ones, unpacked if they are not yet.
    pub(super) fn find(folder: Option<&Path>, data: &DataFolder) -> Result<Self, EngineError> {
        match folder {
            Some(folder) => Self::installed(folder),
            None => {
                let bin = bundle::unpack(data)?.join("bin");
                Ok(Self { postgres: bin.join("postgres"), initdb: bin.join("initdb") })
            }
        }
    }

    fn installed(folder: &Path) -> Result<Self, EngineError> {
        let find = |program: &'static str| match std::path::absolute(folder.join(program)) {
            Ok(path) if path.is_file() => Ok(path),
            _ => Err(EngineError::BinariesMissing { folder: folder.to_path_buf(), missing: program }),
        };
        Ok(Self { postgres: find("postgres")?, initdb: find("initdb")? })
    }

    /// The engine's major version: 17 of "postgres (PostgreSQL) 17.5".
    pub(super) fn major(&self, account: &Account, data: &DataFolder) -> Result<String, EngineError> {
        let failed = |source| EngineError::CannotRun { program: self.postgres.clone(), source };
        let output = command(&self.postgres, account, data).arg("--version").output().map_err(failed)?;
        let text = String::from_utf8_lossy(&output.stdout);
        major(&text).map(str::to_owned).ok_or_else(|| {
            let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            failed(std::io::Error::other(format!("{}, it said: {said}", output.status)))
        })
    }
}

/// A command of the engine: as that user, with nothing of our terminal and with no setting from our environment.
pub(super) fn command(program: &Path, account: &Account, data: &DataFolder) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("PG") || name.starts_with("LC_") || name.starts_with("LANG") {
            command.env_remove(&*name);
        }
    }
    // TZ spares initdb the search for the system's time zone; the engine works in UTC throughout.
    command.env("LC_ALL", "C").env("TZ", "UTC").current_dir(&data.root).stdin(Stdio::null());
    // A Ctrl-C at the terminal is for us: we decide when the engine stops.
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    account.apply(&mut command);
    command
}

fn major(version: &str) -> Option<&str> {
    let number = version.trim().rsplit_once("(PostgreSQL) ")?.1;
    let end = number.find(|sign: char| !sign.is_ascii_digit()).unwrap_or(number.len());
    number.get(..end).filter(|major| !major.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn major_version_is_read_from_what_the_programs_say() {
        assert_eq!(major("postgres (PostgreSQL) 17.5\n"), Some("17"));
        assert_eq!(major("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)"), Some("15"));
        assert_eq!(major("postgres (PostgreSQL) 18beta1"), Some("18"));
        assert_eq!(major("something else"), None);
    }

    #[test]
    fn folder_without_the_programs_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let error = Binaries::installed(folder.path()).unwrap_err();
        assert!(matches!(error, EngineError::BinariesMissing { missing: "postgres", .. }), "{error}");
    }
}
