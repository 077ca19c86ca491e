//! One program at a time on a data folder.
//!
//! It is a kernel lock on an open file, so it ends with its holder, however that ends. The content of the
//! file is only used in the message for a second program. Not for file systems shared between machines.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use super::EngineError;

/// A guest's look at the lock, or a holder that is just dying, may be in the way for a moment.
const PATIENCE: Duration = Duration::from_millis(300);
const POLL: Duration = Duration::from_millis(10);

/// The exclusive right to a data folder, held until it is dropped.
#[derive(Debug)]
pub(super) struct DataLock {
    file: File,
}

impl DataLock {
    /// Takes the lock, or says who has it.
    pub(super) fn take(path: &Path, data_dir: &Path) -> Result<Self, EngineError> {
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(super::folder::NO_LINK)
            .open(path)
            .map_err(EngineError::io("open the lock file", path))?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::Error(source)) => {
                    return Err(EngineError::Io { action: "lock", path: path.to_path_buf(), source });
                }
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => thread::sleep(POLL),
                Err(TryLockError::WouldBlock) => {
                    let (pid, command) =
                        holder(&mut file).unwrap_or_else(|| (0, "another program".to_owned()));
                    return Err(EngineError::InUse { data_dir: data_dir.to_path_buf(), pid, command });
                }
            }
        }
        let note = format!("{}\n{}\n", std::process::id(), program());
        let written =
            file.set_len(0).and_then(|()| file.rewind()).and_then(|()| file.write_all(note.as_bytes()));
        written.map_err(EngineError::io("write the lock file", path))?;
        Ok(Self { file })
    }

    /// Whether some program holds the lock now.
    pub(super) fn is_held(path: &Path) -> Result<bool, EngineError> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
            Err(source) => return Err(EngineError::io("open the lock file", path)(source)),
        };
        match file.try_lock_shared() {
            Ok(()) => Ok(false),
            Err(TryLockError::WouldBlock) => Ok(true),
            Err(TryLockError::Error(source)) => Err(EngineError::io("lock", path)(source)),
        }
    }
}

impl Drop for DataLock {
    fn drop(&mut self) {
        // The note goes before the lock does. If that fails, the next holder overwrites it.
        let _ = self.file.set_len(0);
    }
}

/// Process id and program, as the holder wrote them.
fn holder(file: &mut File) -> Option<(u32, String)> {
    let mut note = String::new();
    file.rewind().ok()?;
    file.read_to_string(&mut note).ok()?;
    let mut lines = note.lines();
    Some((lines.next()?.parse().ok()?, lines.next()?.to_owned()))
}

/// The program's file name and its subcommand. The other arguments may carry secrets.
fn program() -> String {
    let mut arguments = std::env::args_os();
    let name = arguments.next().unwrap_or_default();
    let name = Path::new(&name).file_name().unwrap_or_default().to_string_lossy().into_owned();
    match arguments.next().and_then(|first| first.into_string().ok()) {
        Some(first) if !first.is_empty() && first.bytes().all(|byte| byte.is_ascii_lowercase()) => {
            format!("{name} {first}")
        }
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn second_taker_is_told_who_holds_the_lock() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let held = DataLock::take(&path, folder.path()).unwrap();
        assert!(DataLock::is_held(&path).unwrap());
        let error = DataLock::take(&path, folder.path()).unwrap_err();
        let EngineError::InUse { pid, command, .. } = &error else { panic!("{error}") };
        assert_eq!(*pid, std::process::id());
        assert!(command.starts_with("muster_engine"), "{command}");
        drop(held);
        assert!(!DataLock::is_held(&path).unwrap());
        DataLock::take(&path, folder.path()).unwrap();
    }

    #[test]
    fn folder_without_a_lock_file_is_not_held() {
        let folder = tempfile::tempdir().unwrap();
        assert!(!DataLock::is_held(&folder.path().join("lock")).unwrap());
    }
}
