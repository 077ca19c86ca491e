//! The engine that is included in the binary, and unpacking it.
//!
//! It is unpacked to a temporary folder and renamed when it is complete and on disk. So a folder with the
//! final name always holds a complete engine. Only the holder of the data folder's lock unpacks.

use std::path::PathBuf;

use super::EngineError;
use super::folder::DataFolder;

/// An engine for the target this program was built for.
#[cfg(feature = "embedded-postgres")]
struct Bundle {
    /// Version and the start of the archive's digest; names the folder.
    tag: &'static str,
    /// A zstd-compressed tar archive with `bin`, `lib` and `share`.
    archive: &'static [u8],
}

#[cfg(feature = "embedded-postgres")]
include!(concat!(env!("OUT_DIR"), "/engine_bundle.rs"));

/// The folder of the unpacked engine.
#[cfg(not(feature = "embedded-postgres"))]
pub(super) fn unpack(_data: &DataFolder) -> Result<PathBuf, EngineError> {
    Err(EngineError::NoBundledEngine)
}

/// The folder of the unpacked engine; unpacks it if need be.
#[cfg(feature = "embedded-postgres")]
pub(super) fn unpack(data: &DataFolder) -> Result<PathBuf, EngineError> {
    use std::fs;

    let Some(bundle) = BUNDLE else {
        return Err(EngineError::NoBundledEngine);
    };
    let engines = data.engine();
    let place = engines.join(bundle.tag);
    if place.is_dir() {
        return Ok(place);
    }
    // Other versions and unfinished ones. No server runs on this data folder now, so nobody needs them.
    match fs::remove_dir_all(&engines) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(EngineError::io("remove", &engines)(error));
        }
        _ => {}
    }
    let unfinished = engines.join(format!("{}.new", bundle.tag));
    fs::create_dir_all(&unfinished).map_err(EngineError::io("make", &unfinished))?;
    let unpacked =
        zstd::Decoder::new(bundle.archive).and_then(|tar| tar::Archive::new(tar).unpack(&unfinished));
    unpacked.map_err(EngineError::io("unpack the engine to", &unfinished))?;
    open_folders(&unfinished)
        .and_then(|()| super::folder::sync_tree(&unfinished))
        .map_err(EngineError::io("write the engine to disk in", &unfinished))?;
    fs::rename(&unfinished, &place)
        .and_then(|()| open_to_all(&engines))
        .and_then(|()| fs::File::open(&engines)?.sync_all())
        .map_err(EngineError::io("move the engine to", &place))?;
    tracing::info!(folder = %place.display(), "engine unpacked");
    Ok(place)
}

/// Lets every user read the engine, whatever the umask says: it may run as another user than the one who unpacks it.
#[cfg(feature = "embedded-postgres")]
fn open_folders(folder: &std::path::Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            open_folders(&entry.path())?;
        }
    }
    open_to_all(folder)
}

#[cfg(feature = "embedded-postgres")]
fn open_to_all(folder: &std::path::Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;

    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755))
}
