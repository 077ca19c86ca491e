//! Compresses chunks on a thread of its own, while the next records are parsed.

use muster_domain::chunk::{Compressor, SealedChunk};
use muster_domain::error::{ErrorCode, FileError};
use muster_domain::receive::Staged;
use tokio::sync::mpsc;

use super::Failure;

/// Passes on what is to be staged, the chunks compressed, until there is nothing more or nobody takes it.
pub(super) fn seal(
    mut cut: mpsc::Receiver<Staged>,
    sealed: &mpsc::Sender<Staged<SealedChunk>>,
) -> Result<(), Failure> {
    let mut compressor = Compressor::new().map_err(uncompressed)?;
    while let Some(staged) = cut.blocking_recv() {
        let staged = match staged {
            Staged::Chunk(chunk) => Staged::Chunk(chunk.seal(&mut compressor).map_err(uncompressed)?),
            Staged::Issues(issues) => Staged::Issues(issues),
            Staged::Keys(keys) => Staged::Keys(keys),
            Staged::End => Staged::End,
        };
        if sealed.blocking_send(staged).is_err() {
            break;
        }
    }
    Ok(())
}

fn uncompressed(error: std::io::Error) -> Failure {
    tracing::error!(%error, "a chunk could not be compressed");
    Failure::Abort(FileError::new(ErrorCode::Internal, "a chunk could not be compressed"))
}
