//! Inspects a file without importing it: the steps of an upload up to its records. No store is needed.

use bytes::Bytes;
use muster_domain::error::{ErrorCode, FileError};
use muster_domain::inspect::{Inspection, Report};
use muster_domain::options::{ImportOptions, Rows};
use muster_domain::parse::{Dialect, Format, ParseLimits};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::receive::{Compression, Decoded, Failure, Piece, ReceiveLimits, decode};
use crate::workbook::Spool;

/// Pieces waiting between two tasks.
const WAITING: usize = 8;

/// A file that is being looked at.
#[derive(Debug)]
pub struct Inspecting {
    pieces: mpsc::Sender<Piece>,
    decoding: JoinHandle<Result<(), Failure>>,
    looking: JoinHandle<(Inspection, bool)>,
}

/// Gets ready for the bytes of a file that would be imported with these options.
pub fn begin(options: ImportOptions, encoding: Compression, limits: ReceiveLimits) -> Inspecting {
    let dialect = Dialect { flexible: options.rows == Rows::Flexible, ..limits.dialect };
    let (pieces, incoming) = mpsc::channel(WAITING);
    let (decoded, mut to_look) = mpsc::channel(WAITING);
    let decoding = tokio::spawn(decode(encoding, limits, incoming, decoded));
    let looking = tokio::task::spawn_blocking(move || {
        let book = options.format == Format::Xlsx;
        let spool = book.then(|| Spool::new(limits.book, options.sheet.as_deref())).transpose();
        let mut inspection =
            Inspection::in_dialect(options, limits.parse, dialect).remembering(limits.repeats);
        let mut spool = match spool {
            Ok(spool) => spool,
            Err(error) => {
                inspection.stop(error);
                return (inspection, true);
            }
        };
        while let Some(decoded) = to_look.blocking_recv() {
            let Decoded::Bytes(bytes) = decoded else {
                if let Some(spool) = spool {
                    rows(spool, &mut inspection);
                }
                return (inspection, true);
            };
            let going = match &mut spool {
                None => inspection.feed(&bytes),
                Some(spool) => spool.write(&bytes).map_err(|error| inspection.stop(error)).is_ok(),
            };
            if !going {
                return (inspection, true);
            }
        }
        (inspection, false)
    });
    Inspecting { pieces, decoding, looking }
}

/// Looks at the rows of a workbook.
fn rows(spool: Spool, inspection: &mut Inspection) {
    let bytes = spool.bytes();
    let read = spool.rows(&mut |piece| match inspection.feed(piece) {
        true => Ok(()),
        // It was refused already, and its own error takes precedence.
        false => Err(FileError::new(ErrorCode::Internal, "the file is refused")),
    });
    match read {
        Ok(sheet) => inspection.of_sheet(sheet, bytes),
        Err(error) => inspection.stop(error),
    }
}

impl Inspecting {
    /// Takes the next piece. False if nothing more need be read.
    pub async fn push(&self, bytes: Bytes) -> bool {
        bytes.is_empty() || self.pieces.send(Piece::Bytes(bytes)).await.is_ok()
    }

    /// Ends the file, and returns the report.
    pub async fn finish(self) -> Report {
        self.end(Piece::End).await
    }

    /// Ends it for a reason that the transport knows.
    pub async fn fail(self, error: FileError) -> Report {
        self.end(Piece::Failed(error)).await
    }

    async fn end(self, last: Piece) -> Report {
        // If the receiver is gone, the file was refused already.
        let _ = self.pieces.send(last).await;
        let decoded = self.decoding.await;
        let broken = |message: &str| FileError::new(ErrorCode::Internal, message);
        match (self.looking.await, decoded) {
            (Ok((inspection, true)), _) => inspection.finish(),
            (Ok((inspection, false)), Ok(Err(Failure::Refuse(error) | Failure::Abort(error)))) => {
                inspection.refuse(error)
            }
            (Ok((inspection, false)), _) => {
                inspection.refuse(broken("the file could not be read to its end"))
            }
            (Err(error), _) => {
                tracing::error!(%error, "looking at a file did not end well");
                Inspection::new(ImportOptions::default(), ParseLimits::default())
                    .refuse(broken("looking at the file failed"))
            }
        }
    }
}
