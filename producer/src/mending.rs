//! A file that brings failed records of another import again is read as that import read its file, where the request does not say
//! otherwise: what a column means is not asked twice.

use std::ops::ControlFlow;

use bytes::Bytes;
use muster_domain::id::TenantId;
use muster_domain::parse::{Format, first_origin};
use muster_domain::record::Origin;
use muster_domain::request::ImportRequest;
use muster_store::{Store, StoreError, reports};

use crate::receive::Compression;

/// Most bytes that are held back.
const LONGEST: usize = 64 * 1024;

/// The beginning of an upload, held back until it tells whether the file brings failed records again.
#[derive(Debug)]
pub(crate) struct Beginning {
    held: Vec<Bytes>,
    text: Vec<u8>,
    found: ControlFlow<Option<Origin>>,
    /// How much text there is to be before it is looked at again: not once for each of many small pieces.
    next: usize,
}

impl Beginning {
    /// Of an upload of this format. Of a compressed one, a workbook and a list in JSON nothing is held back: their beginning is no text
    /// in which an origin stands.
    pub(crate) fn of(format: Option<Format>, encoding: Compression) -> Self {
        let told = matches!(format, Some(Format::Csv | Format::Ndjson)) && encoding == Compression::Identity;
        let found = if told { ControlFlow::Continue(()) } else { ControlFlow::Break(None) };
        Self { held: Vec::new(), text: Vec::new(), found, next: 0 }
    }

    /// Whether more of the upload is needed.
    pub(crate) fn wants_more(&self) -> bool {
        self.found.is_continue()
    }

    /// Takes the next piece.
    pub(crate) fn push(&mut self, piece: Bytes) {
        self.text.extend_from_slice(piece.get(..LONGEST).unwrap_or(&piece));
        let ends_line = piece.iter().any(|byte| matches!(byte, b'\n' | b'\r'));
        if ends_line && self.text.len() >= self.next || self.text.len() >= LONGEST {
            self.found = first_origin(&self.text, false);
            self.next = self.text.len() + self.text.len() / 8;
        }
        self.held.push(piece);
    }

    /// The pieces, and the first failed record that the file brings again.
    pub(crate) fn end(self) -> (Vec<Bytes>, Option<Origin>) {
        let found = self
            .found
            .break_value()
            .unwrap_or_else(|| first_origin(&self.text, true).break_value().flatten());
        (self.held, found)
    }
}

/// The request, with what the import of this failed record was asked where it does not say that itself.
pub(crate) async fn read_as_before(
    request: &ImportRequest,
    store: &Store,
    tenant: TenantId,
    origin: Option<Origin>,
) -> Result<ImportRequest, StoreError> {
    let Some(origin) = origin.filter(|_| request.profile().is_none()) else { return Ok(request.clone()) };
    let before = reports::import(store, tenant, origin.import).await?;
    Ok(match before.filter(|report| report.options.undo.is_none()) {
        Some(report) => request.read_as_before(&report.options, &report.columns),
        None => request.clone(),
    })
}
