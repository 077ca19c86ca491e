//! The layout of the data folder, and the folder for the socket.
//!
//! ```text
//! <data folder>/lock         held by the program that runs the engine
//! <data folder>/engine/…     the unpacked bundled engine, one folder a version
//! <data folder>/pg/          the database files
//! <data folder>/s/           the socket, only for the user that runs the engine
//! <data folder>/engine.log   the engine's own log, and the one before it
//! ```

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::xxh3_64;

use super::EngineError;

/// The port is only a part of the socket's name: the engine listens on no network.
pub(super) const PORT: u16 = 5432;
const SOCKET_NAME: &str = ".s.PGSQL.5432";
/// `sun_path` in `sockaddr_un` less its closing zero byte: 108 bytes on Linux, 104 on the BSDs and macOS.
const SOCKET_PATH_LIMIT: usize = if cfg!(target_os = "linux") { 107 } else { 103 };
/// Above this, a start puts the old log aside.
const LOG_LIMIT: u64 = 8 << 20;
const TAIL_BYTES: u64 = 4096;
const TAIL_LINES: usize = 20;
/// For files that we open to write as root in a folder where another user may put a link.
pub(super) const NO_LINK: i32 = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
/// Names that a data folder of ours may hold. One with anything else in it belongs to somebody for another purpose too.
const OUR_NAMES: [&str; 6] = ["lock", "engine", "pg", "s", "engine.log", "engine.log.old"];
/// Unfinished `initdb` folders start with this.
pub(super) const UNFINISHED: &str = "pg.new-";

/// A data folder that exists.
#[derive(Debug, Clone)]
pub(super) struct DataFolder {
    pub(super) root: PathBuf,
}

impl DataFolder {
    /// Creates the folder if it is missing, accessible to this user only.
    pub(super) fn create(path: &Path) -> Result<Self, EngineError> {
        let mut builder = DirBuilder::new();
        builder
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(EngineError::io("make the data folder", path))?;
        Self::open(path)?
            .ok_or_else(|| EngineError::io("find the data folder", path)(ErrorKind::NotFound.into()))
    }

    /// The folder, if there is one.
    pub(super) fn open(path: &Path) -> Result<Option<Self>, EngineError> {
        match fs::canonicalize(path) {
            // The path is used in settings and addresses, which are text, and through initdb in shell commands, in double quotes.
            Ok(root) => match root.to_str() {
                Some(text) if !text.contains(['"', '$', '`', '\\']) && !text.contains(char::is_control) => {
                    Ok(Some(Self { root }))
                }
                _ => Err(EngineError::PathUnusable { path: root }),
            },
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(source) => Err(EngineError::io("open the data folder", path)(source)),
        }
    }

    pub(super) fn lock(&self) -> PathBuf {
        self.root.join("lock")
    }

    pub(super) fn pg(&self) -> PathBuf {
        self.root.join("pg")
    }

    pub(super) fn log(&self) -> PathBuf {
        self.root.join("engine.log")
    }

    #[cfg_attr(
        not(feature = "embedded-postgres"),
        expect(dead_code, reason = "only the bundled engine is unpacked")
    )]
    pub(super) fn engine(&self) -> PathBuf {
        self.root.join("engine")
    }

    /// Whether the folder holds nothing but what we put there, and may change hands as a whole.
    pub(super) fn is_ours_alone(&self) -> Result<bool, EngineError> {
        let entries =
            fs::read_dir(&self.root).map_err(EngineError::io("read the data folder", &self.root))?;
        Ok(entries.flatten().all(|entry| {
            let name = entry.file_name();
            name.to_str().is_some_and(|name| OUR_NAMES.contains(&name) || name.starts_with(UNFINISHED))
        }))
    }

    /// Opens the log to append to; gives its length too, where this start's part begins.
    pub(super) fn open_log(&self) -> Result<(File, u64), EngineError> {
        let path = self.log();
        if fs::metadata(&path).is_ok_and(|log| log.len() > LOG_LIMIT) {
            let old = self.root.join("engine.log.old");
            fs::rename(&path, &old).map_err(EngineError::io("put aside the engine's log", &path))?;
        }
        let open = || {
            let log =
                OpenOptions::new().append(true).create(true).mode(0o600).custom_flags(NO_LINK).open(&path)?;
            let length = log.metadata()?.len();
            Ok((log, length))
        };
        open().map_err(EngineError::io("open the engine's log", &path))
    }

    /// The last lines of the log after that position, for an error message.
    pub(super) fn log_tail(&self, from: u64) -> String {
        let read = || -> std::io::Result<Vec<u8>> {
            let mut log = File::open(self.log())?;
            let start = from.max(log.metadata()?.len().saturating_sub(TAIL_BYTES));
            log.seek(SeekFrom::Start(start))?;
            let mut bytes = Vec::new();
            log.read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        last_lines(&read().unwrap_or_default())
    }
}

/// The end of a program's output, for an error message.
pub(super) fn last_lines(output: &[u8]) -> String {
    let text = String::from_utf8_lossy(output);
    let lines: Vec<&str> = text.lines().collect();
    lines.get(lines.len().saturating_sub(TAIL_LINES)..).unwrap_or_default().join("\n")
}

/// Flushes a folder's files to the disk, so that a later rename covers all of them. On Linux in one go for
/// the whole file system: a thousand files one by one take seconds on a busy disk.
#[cfg(target_os = "linux")]
pub(super) fn sync_tree(folder: &Path) -> std::io::Result<()> {
    Ok(rustix::fs::syncfs(File::open(folder)?)?)
}

/// Flushes a folder's files to the disk, so that a later rename covers all of them.
#[cfg(not(target_os = "linux"))]
pub(super) fn sync_tree(folder: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            sync_tree(&entry.path())?;
        } else if kind.is_file() {
            File::open(entry.path())?.sync_all()?;
        }
    }
    File::open(folder)?.sync_all()
}

/// The folder of the socket.
#[derive(Debug, Clone)]
pub(super) struct SocketFolder {
    pub(super) path: PathBuf,
    /// It is outside the data folder, where other users may write too.
    outside: bool,
}

impl SocketFolder {
    /// Inside the data folder if the path is short enough for a socket, else one of our own among the temporary files,
    /// with a name that the same data folder and user always get.
    pub(super) fn choose(folder: &DataFolder, uid: u32) -> Self {
        let inside = folder.root.join("s");
        if fits(&inside) {
            return Self { path: inside, outside: false };
        }
        let name = format!("muster-{uid}-{:016x}", xxh3_64(folder.root.as_os_str().as_encoded_bytes()));
        let temporary = std::env::temp_dir().join(&name);
        let usable = temporary.is_absolute() && temporary.to_str().is_some() && fits(&temporary);
        let path = if usable { temporary } else { Path::new("/tmp").join(&name) };
        Self { path, outside: true }
    }

    /// Creates it if it is missing and makes the user that runs the engine its owner. Anything else at this
    /// path is refused, since the owner of the folder decides who answers on the socket.
    pub(super) fn prepare(&self, uid: u32, gid: u32) -> Result<(), EngineError> {
        match DirBuilder::new().mode(0o700).create(&self.path) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                return Err(EngineError::io("make the socket's folder", &self.path)(error));
            }
            _ => {}
        }
        // As root, a start that was cut short may have left it ours.
        let owner = fs::symlink_metadata(&self.path).map_err(EngineError::io("look at", &self.path))?.uid();
        let ours = rustix::process::geteuid().as_raw();
        if owner == ours && owner != uid {
            self.check(ours)?;
            std::os::unix::fs::lchown(&self.path, Some(uid), Some(gid))
                .map_err(EngineError::io("hand over", &self.path))?;
        }
        if !self.outside {
            fs::set_permissions(&self.path, Permissions::from_mode(0o700))
                .map_err(EngineError::io("close to other users", &self.path))?;
        }
        self.check(uid)
    }

    /// Whether only that user can have put something into the folder.
    pub(super) fn check(&self, uid: u32) -> Result<(), EngineError> {
        let found = fs::symlink_metadata(&self.path).map_err(EngineError::io("look at", &self.path))?;
        let reason = if !found.is_dir() {
            "it is not a folder"
        } else if found.uid() != uid {
            "it belongs to another user"
        } else if found.mode() & 0o077 != 0 {
            "other users may enter it"
        } else {
            return Ok(());
        };
        Err(EngineError::SocketFolder { path: self.path.clone(), reason })
    }

    /// A folder that a running engine named.
    pub(super) fn existing(path: PathBuf) -> Self {
        Self { path, outside: true }
    }

    /// Removes what a dead server left. Only for the holder of the lock, with no server running.
    pub(super) fn clear(&self) {
        for name in [SOCKET_NAME.to_owned(), format!("{SOCKET_NAME}.lock")] {
            // Usually the server has done so itself.
            let _ = fs::remove_file(self.path.join(name));
        }
    }

    /// As `clear`, and removes the folder.
    pub(super) fn remove(&self) {
        self.clear();
        let _ = fs::remove_dir(&self.path);
    }
}

fn fits(folder: &Path) -> bool {
    folder.join(SOCKET_NAME).as_os_str().len() <= SOCKET_PATH_LIMIT
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_path_gets_a_short_socket_folder_with_a_constant_name() {
        let short = DataFolder { root: PathBuf::from("/data") };
        assert_eq!(SocketFolder::choose(&short, 7).path, Path::new("/data/s"));

        let long = DataFolder { root: Path::new("/data").join("x".repeat(120)) };
        let chosen = SocketFolder::choose(&long, 7);
        assert!(fits(&chosen.path), "{chosen:?}");
        assert_eq!(chosen.path, SocketFolder::choose(&long, 7).path);
        assert_ne!(chosen.path, SocketFolder::choose(&long, 8).path);
    }

    #[test]
    fn socket_folder_that_others_may_enter_is_refused() {
        let temporary = tempfile::tempdir().unwrap();
        let ours = rustix::process::geteuid().as_raw();
        let path = temporary.path().join("open");
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o777)).unwrap();
        let refused = SocketFolder::existing(path).prepare(ours, 0).unwrap_err();
        assert!(
            matches!(refused, EngineError::SocketFolder { reason: "other users may enter it", .. }),
            "{refused}"
        );
    }

    #[test]
    fn socket_folder_behind_a_link_is_refused() {
        let temporary = tempfile::tempdir().unwrap();
        let ours = rustix::process::geteuid().as_raw();
        let path = temporary.path().join("link");
        std::os::unix::fs::symlink(temporary.path(), &path).unwrap();
        let refused = SocketFolder::existing(path).prepare(ours, 0).unwrap_err();
        assert!(
            matches!(refused, EngineError::SocketFolder { reason: "it is not a folder", .. }),
            "{refused}"
        );
    }

    #[test]
    fn tail_is_the_end() {
        let text = (0..100).map(|line| format!("line {line}\n")).collect::<String>();
        let tail = last_lines(text.as_bytes());
        assert!(tail.starts_with("line 80\n") && tail.ends_with("line 99"), "{tail}");
        assert_eq!(last_lines(b""), "");
    }

    #[test]
    fn folder_with_strangers_files_is_not_ours_alone() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = DataFolder::create(&temporary.path().join("data")).unwrap();
        fs::write(folder.lock(), "").unwrap();
        assert!(folder.is_ours_alone().unwrap());
        fs::write(folder.root.join("users.csv"), "").unwrap();
        assert!(!folder.is_ours_alone().unwrap());
    }
}
