//! Bodies that are read from the store while they are sent, a page at a time: memory does not grow with their length.

use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures_util::stream::{self, Stream, StreamExt};
use muster_store::StoreError;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::AppState;

/// How long a client may take for a page, however slowly it reads. One that reads nothing loses its connection earlier; but a client of
/// HTTP/2 can hold back one answer alone.
const READ_IN: Duration = Duration::from_secs(10 * 60);

/// The body that these pages make. The first page comes before the answer, so that a store that is away is an
/// error and no empty file.
pub(super) async fn body(
    state: &AppState,
    pages: impl Stream<Item = Result<Bytes, StoreError>> + Send + 'static,
) -> Result<Body, StoreError> {
    let mut pages = Box::pin(pages);
    let first = pages.next().await.transpose()?.unwrap_or_default();
    let (pieces, coming) = mpsc::channel::<Result<Bytes, std::io::Error>>(2);
    // A task of its own: were the reading dropped with its client, a statement would be cancelled midway.
    state.0.tasks.spawn(async move {
        let mut piece = Ok(first);
        loop {
            let broken = piece.is_err();
            if !matches!(timeout(READ_IN, pieces.send(piece)).await, Ok(Ok(()))) || broken {
                return;
            }
            piece = match pages.next().await {
                None => return,
                Some(Ok(bytes)) => Ok(bytes),
                Some(Err(error)) => {
                    tracing::error!(%error, "what was being sent could not be read from the store to its end");
                    Err(std::io::Error::other("the store failed"))
                }
            };
        }
    });
    let body =
        stream::unfold(coming, |mut coming| async { coming.recv().await.map(|piece| (piece, coming)) });
    Ok(Body::from_stream(body))
}
