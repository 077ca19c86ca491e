//! A file whose date order is detected (`dates=auto`) waits on disk until it was inspected as a whole, and is received then.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};

use muster_domain::error::{ErrorCode, FileError};
use muster_domain::inspect::DayLook;
use muster_domain::options::{Dates, ImportOptions};
use muster_domain::parse::{Dialect, ParseLimits};

/// Bytes that are read at a time.
const PIECE: usize = 64 * 1024;

/// The text of such a file. Nothing is left of it once it is dropped.
pub(crate) struct Waiting {
    file: File,
    bytes: u64,
    most: u64,
    look: DayLook,
}

impl Waiting {
    /// None where the options say the order. `most` bytes may wait.
    pub(crate) fn new(
        options: &ImportOptions,
        (limits, dialect): (ParseLimits, Dialect),
        most: u64,
    ) -> Result<Option<Self>, FileError> {
        if options.dates != Dates::Auto {
            return Ok(None);
        }
        let file = tempfile::tempfile().map_err(|error| no_room(&error))?;
        Ok(Some(Self { file, bytes: 0, most, look: DayLook::in_dialect(options.clone(), limits, dialect) }))
    }

    /// Takes the next piece.
    pub(crate) fn write(&mut self, piece: &[u8]) -> Result<(), FileError> {
        self.bytes += piece.len() as u64;
        if self.bytes > self.most {
            let message = format!(
                "the file is larger than the {} bytes that may wait until the order of its days is known (`intake.max_workbook_bytes`): \
                 name it with `--dates dmy` or `--dates mdy`",
                self.most
            );
            return Err(FileError::new(ErrorCode::DaysUnproved, message));
        }
        self.look.feed(piece)?;
        self.file.write_all(piece).map_err(|error| no_room(&error))
    }

    /// The order that the file proves, and the file from its beginning.
    pub(crate) fn end(self) -> Result<(Dates, Pieces), FileError> {
        let Self { mut file, look, .. } = self;
        let proof = look.finish()?;
        let dates = proof.option().ok_or_else(|| {
            let told = proof.sentence().unwrap_or_default();
            FileError::new(
                ErrorCode::DaysUnproved,
                format!("the file does not prove the order of its dates. {told}"),
            )
        })?;
        file.seek(SeekFrom::Start(0)).map_err(|error| no_room(&error))?;
        Ok((dates, Pieces(file)))
    }
}

/// A file that has waited.
pub(crate) struct Pieces(File);

impl Pieces {
    /// Hands it over.
    pub(crate) fn each<E: From<FileError>>(
        mut self,
        mut take: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut piece = vec![0; PIECE];
        loop {
            match self.0.read(&mut piece) {
                Ok(0) => return Ok(()),
                Ok(bytes) => take(piece.get(..bytes).unwrap_or_default())?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(no_room(&error).into()),
            }
        }
    }
}

fn no_room(error: &io::Error) -> FileError {
    tracing::error!(%error, "a file could not wait on disk");
    FileError::new(
        ErrorCode::Unavailable,
        "the file could not be kept until the order of its days was known; try again later, or name it with `dates`",
    )
}
