//! Compresses chunks and looks for repeated users on a thread of its own, while the next records are parsed.

use muster_domain::error::{ErrorCode, FileError};
use muster_domain::receive::{Cut, Packing, Repeats, Staged};
use tokio::sync::mpsc;

use super::Failure;

/// Passes on what is to be staged, until there is nothing more or nobody takes it. True if each record is known to mean another user.
pub(super) fn pack(
    repeats: Option<Repeats>,
    mut cut: mpsc::Receiver<Cut>,
    packed: &mpsc::Sender<Staged>,
) -> Result<bool, Failure> {
    let mut packing = Packing::new(repeats).map_err(uncompressed)?;
    while let Some(cut) = cut.blocking_recv() {
        let taken = packing.pack(cut, |staged| packed.blocking_send(staged).is_ok()).map_err(uncompressed)?;
        if !taken {
            break;
        }
    }
    Ok(packing.users_differ())
}

fn uncompressed(error: std::io::Error) -> Failure {
    tracing::error!(%error, "a chunk could not be compressed");
    Failure::Abort(FileError::new(ErrorCode::Internal, "a chunk could not be compressed"))
}
