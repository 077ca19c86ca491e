//! The operating system user that the engine runs as, and the ownership of its data.
//!
//! An ordinary user runs the engine as itself. As root the engine gets the rights of whoever owns the data; if that is
//! root too, the bundled engine runs as root, and an installed one, which refuses that, as `postgres` or `nobody`.

use std::fs;
use std::os::unix::fs::{MetadataExt, lchown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use super::EngineError;
use super::folder::DataFolder;

/// The user that the engine's programs run as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Account {
    pub(super) uid: u32,
    pub(super) gid: u32,
    name: String,
    /// It is not the user we run as.
    drop: bool,
}

impl Account {
    /// Chooses by the owner of the data. Refuses data that we have no right to run.
    pub(super) fn choose(folder: &DataFolder, bundled: bool) -> Result<Self, EngineError> {
        let ourselves = Self {
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
            name: String::new(),
            drop: false,
        };
        let owners = [owner(&folder.pg())?, owner(&folder.root)?];
        if ourselves.uid != 0 {
            return match owners {
                [Some((uid, _)), _] if uid != ourselves.uid => {
                    Err(EngineError::NotOwner { path: folder.pg(), owner: uid, uid: ourselves.uid })
                }
                _ => Ok(ourselves),
            };
        }
        let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
        if let Some((uid, gid)) = owners.into_iter().flatten().find(|(uid, _)| *uid != 0) {
            let known = parse(&users).find(|account| account.uid == uid);
            return Ok(known.unwrap_or_else(|| Self { uid, gid, name: uid.to_string(), drop: true }));
        }
        if bundled {
            return Ok(ourselves);
        }
        let named = |name: &str| parse(&users).find(|account| account.name == name);
        named("postgres").or_else(|| named("nobody")).ok_or(EngineError::NoAccount)
    }

    /// Has the command run as this user.
    pub(super) fn apply(&self, command: &mut Command) {
        if self.drop {
            // As root this also clears the supplementary groups.
            command.uid(self.uid).gid(self.gid);
        }
    }

    /// Gives the user what it needs in the data folder, and checks that it can get there. Our own files only: a folder
    /// that serves other purposes as well keeps its owner.
    pub(super) fn take_over(&self, folder: &DataFolder) -> Result<(), EngineError> {
        if !self.drop {
            return Ok(());
        }
        if folder.is_ours_alone()? {
            self.own(&folder.root)?;
        }
        self.own(&folder.lock())?;
        if fs::symlink_metadata(folder.pg()).is_ok_and(|pg| pg.uid() != self.uid) {
            self.own_tree(&folder.pg())?;
        }
        self.check_way(&folder.root)
    }

    /// Makes the user the owner of one file or folder.
    pub(super) fn own(&self, path: &Path) -> Result<(), EngineError> {
        if self.drop {
            lchown(path, Some(self.uid), Some(self.gid)).map_err(EngineError::io("hand over", path))?;
        }
        Ok(())
    }

    /// The folder itself comes last: as long as it is not handed over, the next start sees that there is more to do.
    fn own_tree(&self, path: &Path) -> Result<(), EngineError> {
        for entry in fs::read_dir(path).map_err(EngineError::io("read", path))? {
            let entry = entry.map_err(EngineError::io("read", path))?;
            match entry.file_type().map_err(EngineError::io("look at", path))?.is_dir() {
                true => self.own_tree(&entry.path())?,
                false => self.own(&entry.path())?,
            }
        }
        self.own(path)
    }

    /// Whether the user may enter the folder and all above it, by the plain permissions.
    pub(super) fn check_way(&self, path: &Path) -> Result<(), EngineError> {
        if !self.drop {
            return Ok(());
        }
        for folder in path.ancestors() {
            let found = fs::metadata(folder).map_err(EngineError::io("look at", folder))?;
            let needed = match (found.uid() == self.uid, found.gid() == self.gid) {
                (true, _) => 0o100,
                (false, true) => 0o010,
                (false, false) => 0o001,
            };
            if found.mode() & needed == 0 {
                return Err(EngineError::Unreachable {
                    blocked: folder.to_path_buf(),
                    account: self.name.clone(),
                });
            }
        }
        Ok(())
    }
}

/// Owner and group, `None` where nothing is.
fn owner(path: &Path) -> Result<Option<(u32, u32)>, EngineError> {
    match fs::metadata(path) {
        Ok(found) => Ok(Some((found.uid(), found.gid()))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(EngineError::io("look at", path)(source)),
    }
}

/// The accounts of a user file (passwd(5)). Root is none of them.
fn parse(users: &str) -> impl Iterator<Item = Account> {
    users.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?.to_owned();
        let uid = fields.nth(1)?.parse().ok().filter(|uid| *uid != 0)?;
        let gid = fields.next()?.parse().ok()?;
        Some(Account { uid, gid, name, drop: true })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_file_gives_accounts_without_root() {
        let users = "root:x:0:0:root:/root:/bin/sh\n# note\n\npostgres:x:101:104:x:/var:/bin/sh\nbad:x:y:z\n";
        let found: Vec<Account> = parse(users).collect();
        assert_eq!(found, [Account { uid: 101, gid: 104, name: "postgres".to_owned(), drop: true }]);
    }
}
