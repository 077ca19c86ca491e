//! Forms with a file (multipart/form-data): the body is bounded as that of every upload is, and what a refused form leaves unread is read
//! and thrown away, so that its client comes to read the answer.

use std::pin::Pin;
use std::sync::Arc;

use axum::RequestExt;
use axum::body::Body;
use axum::extract::multipart::{Field, Multipart, MultipartError};
use axum::extract::{DefaultBodyLimit, FromRequest, Request};
use axum::http::{HeaderMap, header};
use bytes::Bytes;
use futures_util::stream::{self, Stream, StreamExt};
use muster_domain::error::{ErrorCode, FileError};
use tokio::sync::Mutex;

use super::incoming::{BodyLimits, Watch, bounded, drain, too_large};

type Pieces = Pin<Box<dyn Stream<Item = Result<Bytes, std::io::Error>> + Send>>;

/// A form that is being read.
pub(super) struct Form {
    parts: Multipart,
    rest: Rest,
    watch: Watch,
}

/// What is left of the body of a form.
pub(super) struct Rest(Arc<Mutex<Pieces>>);

/// A part of a form.
pub(super) struct Part<'f> {
    field: Field<'f>,
    watch: &'f Watch,
}

/// A body that says itself that it is too large is not read.
pub(super) fn check_declared_size(headers: &HeaderMap, limits: BodyLimits) -> Result<(), FileError> {
    let declared =
        headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    match (limits.bytes, declared) {
        (Some(limit), Some(size)) if size > limit => Err(too_large(limit)),
        _ => Ok(()),
    }
}

impl Form {
    /// Opens a form; `Err` where the body is none.
    pub(super) async fn open(request: Request, limits: BodyLimits, watch: &Watch) -> Result<Self, Rest> {
        let (head, body) = request.into_parts();
        let pieces: Pieces = Box::pin(bounded(body, limits, watch.clone()));
        let pieces = Arc::new(Mutex::new(pieces));
        // Shared, so that what a refused form leaves unread can be drained.
        let shared = stream::unfold(pieces.clone(), |pieces| async {
            let piece = pieces.lock().await.next().await?;
            Some((piece, pieces))
        });
        let mut request = Request::from_parts(head, Body::from_stream(shared));
        DefaultBodyLimit::disable().apply(&mut request);
        let rest = Rest(pieces);
        match Multipart::from_request(request.with_limited_body(), &()).await {
            Ok(parts) => Ok(Self { parts, rest, watch: watch.clone() }),
            Err(_) => Err(rest),
        }
    }

    /// The next part, if there is one.
    pub(super) async fn next(&mut self) -> Result<Option<Part<'_>>, FileError> {
        let Self { parts, watch, .. } = self;
        let watch: &Watch = watch;
        let found = parts.next_field().await.map_err(|error| failure(watch, &error))?;
        if found.is_some() {
            watch.seen();
        }
        Ok(found.map(|field| Part { field, watch }))
    }

    /// What is left of it.
    pub(super) fn rest(self) -> Rest {
        self.rest
    }
}

impl Rest {
    /// Reads it and throws it away, within bounds.
    pub(super) async fn drain(self) {
        drain(&mut *self.0.lock().await).await;
    }
}

impl Part<'_> {
    pub(super) fn name(&self) -> Option<&str> {
        self.field.name()
    }

    pub(super) fn file_name(&self) -> Option<&str> {
        self.field.file_name()
    }

    pub(super) fn content_type(&self) -> Option<&str> {
        self.field.content_type()
    }

    /// Its next bytes.
    pub(super) async fn piece(&mut self) -> Result<Option<Bytes>, FileError> {
        let piece = self.field.chunk().await.map_err(|error| failure(self.watch, &error))?;
        if piece.is_some() {
            self.watch.seen();
        }
        Ok(piece)
    }

    /// All of it; `None` where that is more than `most` bytes.
    pub(super) async fn bytes(mut self, most: usize) -> Result<Option<Vec<u8>>, FileError> {
        let mut bytes = Vec::new();
        while let Some(piece) = self.piece().await? {
            bytes.extend_from_slice(&piece);
            if bytes.len() > most {
                return Ok(None);
            }
        }
        Ok(Some(bytes))
    }

    /// Reads a part that is not used. The watch bounds what is read without anything being found.
    pub(super) async fn pass_over(mut self) -> Result<(), FileError> {
        while self.field.chunk().await.map_err(|error| failure(self.watch, &error))?.is_some() {}
        Ok(())
    }
}

/// The body's own error counts, where it has one; else the form is at fault.
fn failure(watch: &Watch, error: &MultipartError) -> FileError {
    tracing::debug!(%error, "a form could not be read");
    let damaged = || FileError::new(ErrorCode::MultipartInvalid, "the form is damaged or cut short");
    watch.error().unwrap_or_else(damaged)
}
