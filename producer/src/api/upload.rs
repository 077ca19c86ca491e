//! `POST /v1/imports`: the body is streamed into receiving, and the response is sent once everything is staged durably.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, StreamExt};
use muster_domain::error::{ErrorCode, FileError};
use muster_domain::fault::{Mutant, mutant};
use muster_domain::id::{ImportId, TenantId};
use muster_domain::import::ImportState;
use muster_domain::parse::Format;
use muster_domain::record::Origin;
use muster_domain::request::ImportRequest;
use muster_domain::token::Scope;
use muster_runtime::clock;
use muster_store::reports;

use super::AppState;
use super::auth::Caller;
use super::error::ApiError;
use super::imports::{answer, awaited};
use super::incoming::{BodyLimits, Watch, bounded, drain, encoding, held_back, single};
use super::multipart::{Form, Part, check_declared_size};
use super::params::{MOST_WAIT, Params, invalid};
use super::view::ImportView;
use super::waiting::{Client, Waiting};
use crate::mending::{Beginning, read_as_before};
use crate::receive::{self, Compression, ReceiveError, ReceiveLimits, Upload};
use crate::request::resolve;

/// Longest value of an option in a form, in bytes.
const OPTION_BYTES: usize = 1024;

/// Uploads a file of users. Answers once everything is staged durably.
///
/// The body is the file itself, or a form whose options come before its part `file`. Options may be given in the query.
// The options are those of the table: `document/options.rs` puts them in.
#[utoipa::path(
    post, path = "/v1/imports", tag = "imports",
    params(
        ("Idempotency-Key" = Option<String>, Header, description = "the same key, options and file give the same import"),
        ("Content-Encoding" = Option<String>, Header, description = "gzip or zstd"),
        ("Prefer" = Option<String>, Header,
         description = "`respond-async`: the answer comes as soon as everything is staged, as it does anyway; `wait=30`: it waits so many \
                        seconds for the end of the import, and is 200 where that came"),
    ),
    request_body(content((Vec<u8> = "application/octet-stream"), (Vec<u8> = "text/csv"), (Vec<u8> = "application/x-ndjson"),
                         (Vec<u8> = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"), (Vec<u8> = "multipart/form-data")),
                 description = "The file, also as application/json. Where `format` is given, any media type will do"),
    responses((status = 202, description = "Staged durably", body = ImportView,
               headers(("Location" = String, description = "The import's address"),
                       ("Preference-Applied" = String, description = "What of `Prefer` was done"),
                       ("Retry-After" = u64, description = "After how many seconds to ask for the import"))),
              (status = 200, description = "With `Prefer: wait`: the import has ended", body = ImportView,
               headers(("Location" = String, description = "The import's address"),
                       ("Preference-Applied" = String, description = "What of `Prefer` was done")))),
)]
pub(super) async fn create(
    State(state): State<AppState>,
    caller: Caller,
    client: Client,
    params: Params,
    request: Request,
) -> Result<Response, ApiError> {
    let tenant = caller.may(Scope::ImportWrite)?;
    let place = state.0.slots.take(tenant)?;
    let headers = request.headers();
    let mut intake = Intake {
        request: ImportRequest::from_pairs(params.into_pairs())?,
        key: single(headers, "idempotency-key")?.map(str::to_owned),
        encoding: encoding(headers)?,
        media_type: single(headers, header::CONTENT_TYPE.as_str())?.map(str::to_owned),
        state,
        tenant,
        actor: caller.actor(),
        watch: Watch::default(),
    };
    check_declared_size(headers, intake.limits()).map_err(ApiError::Body)?;
    let mut preference = Preference::of(headers);
    let form =
        intake.media_type.as_deref().is_some_and(|media_type| essence(media_type) == "multipart/form-data");
    let received = if form { intake.form(request).await } else { intake.raw(request.into_body()).await };
    let import = match received {
        Ok(import) => import,
        Err(Stopped::Known(import)) => import,
        Err(Stopped::Because(error)) => return Err(error),
    };
    intake.state.0.wake.notify_one();
    let state = &intake.state;
    let mut report = reports::import(&state.0.store, tenant, import).await?.ok_or(ApiError::NotFound)?;
    // It is a wish, and the upload is done: where no place is free, the answer comes at once.
    let waiting = preference.wait.and_then(|wait| Waiting::begin(state, tenant, client, wait).ok());
    match &waiting {
        Some(waiting) => {
            // Others may come while its client waits.
            let kept = mutant(Mutant::WaitingKeepsPlace).then_some(place);
            report = awaited(state, report, waiting, |_| false).await?;
            drop(kept);
        }
        None => preference.wait = None,
    }
    // What has come to its end is not only accepted any more.
    let ended = report.state.is_final() && preference.wait.is_some();
    let status = if ended { StatusCode::OK } else { StatusCode::ACCEPTED };
    let location = [(header::LOCATION, format!("{}/v1/imports/{import}", state.0.link_base))];
    Ok((location, preference.applied(), answer(state, status, report)).into_response())
}

/// The client's preference (RFC 7240): a response at once, or after the end of the import.
#[derive(Debug, Clone, Copy, Default)]
struct Preference {
    asynchronous: bool,
    wait: Option<Duration>,
}

impl Preference {
    /// Reads what is known of the header, the first of each name (section 2); anything else is no error.
    fn of(headers: &HeaderMap) -> Self {
        let mut preference = Self::default();
        let mut waits = false;
        let texts = headers.get_all("prefer").iter().filter_map(|value| value.to_str().ok());
        for wish in texts.flat_map(|text| text.split(',')) {
            let wish = wish.split(';').next().unwrap_or_default();
            let (name, value) = wish.split_once('=').unwrap_or((wish, ""));
            let (name, value) = (name.trim(), value.trim().trim_matches('"'));
            if name.eq_ignore_ascii_case("respond-async") {
                preference.asynchronous = true;
            } else if name.eq_ignore_ascii_case("wait") && !std::mem::replace(&mut waits, true) {
                preference.wait =
                    value.parse().ok().map(|seconds| Duration::from_secs(seconds).min(MOST_WAIT));
            }
        }
        preference
    }

    /// What of it was done.
    fn applied(self) -> HeaderMap {
        let applied = match (self.wait, self.asynchronous) {
            (Some(wait), _) => HeaderValue::from_str(&format!("wait={}", wait.as_secs())).ok(),
            (None, true) => Some(HeaderValue::from_static("respond-async")),
            (None, false) => None,
        };
        applied.map(|applied| (HeaderName::from_static("preference-applied"), applied)).into_iter().collect()
    }
}

/// Why an upload ends before its end.
enum Stopped {
    /// Its key is that of an import that is there.
    Known(ImportId),
    Because(ApiError),
}

impl<E: Into<ApiError>> From<E> for Stopped {
    fn from(error: E) -> Self {
        Self::Because(error.into())
    }
}

/// Whether the lines of a body were lost on its way: `curl -d @file` takes the line ends out of a file and calls it a form.
struct Lines {
    /// The body may have lost them, and none was seen so far.
    missing: bool,
    bytes: usize,
}

impl Lines {
    fn of(media_type: Option<&str>, format: Option<Format>) -> Self {
        let by_lines = matches!(format, Some(Format::Csv | Format::Ndjson));
        let form =
            media_type.is_some_and(|media_type| essence(media_type) == "application/x-www-form-urlencoded");
        Self { missing: by_lines && form && !mutant(Mutant::LostLinesTaken), bytes: 0 }
    }

    fn see(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len();
        self.missing &= !bytes.iter().any(|byte| matches!(byte, b'\n' | b'\r'));
    }

    fn lost(&self) -> Option<FileError> {
        let message = "the body has no line end: curl's -d takes them out of a file, so send it with --data-binary @FILE";
        (self.missing && self.bytes > 0).then(|| FileError::new(ErrorCode::InvalidRequest, message))
    }
}

fn essence(media_type: &str) -> String {
    media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

struct Intake {
    state: AppState,
    tenant: TenantId,
    actor: String,
    request: ImportRequest,
    key: Option<String>,
    /// None: as the file's own name says.
    encoding: Option<Compression>,
    media_type: Option<String>,
    watch: Watch,
}

impl Intake {
    fn limits(&self) -> BodyLimits {
        BodyLimits { bytes: self.state.0.max_upload_bytes, pace: self.state.0.pace }
    }

    /// Opens the import and gets ready for its bytes.
    async fn begin(&self, media_type: Option<&str>, origin: Option<Origin>) -> Result<Upload, Stopped> {
        let store = &self.state.0.store;
        let id = ImportId::new(clock::new_id());
        let request = read_as_before(&self.request, store, self.tenant, origin).await?;
        let mut resolved = resolve(&request, store, self.tenant, id, media_type, self.key.as_deref()).await?;
        resolved.import.provenance.actor = Some(self.actor.clone());
        let (dialect, brake) = (resolved.dialect, Some(resolved.brake));
        let limits = ReceiveLimits { dialect, brake, ..self.state.0.limits };
        Ok(receive::begin(store, resolved.import, self.compression(), limits).await?)
    }

    fn compression(&self) -> Compression {
        self.encoding.unwrap_or_else(|| Compression::of_upload(self.request.filename()))
    }

    /// The beginning of its file, which may tell how it is read.
    fn beginning(&self, media_type: Option<&str>) -> Beginning {
        // What is refused whatever the file is, is refused before it comes.
        let asked = self.request.asked(media_type).ok().filter(|_| self.request.profile().is_none());
        Beginning::of(asked.map(|asked| asked.options.format), self.compression())
    }

    /// The body is the file.
    async fn raw(&mut self, body: Body) -> Result<ImportId, Stopped> {
        let mut pieces = bounded(body, self.limits(), self.watch.clone()).fuse();
        let media_type = self.media_type.clone();
        let beginning = self.beginning(media_type.as_deref());
        let (held, origin) = held_back(&mut pieces, beginning, &self.watch).await;
        let upload = match self.begin(media_type.as_deref(), origin).await {
            Ok(upload) => upload,
            Err(stopped) => {
                drain(&mut pieces).await;
                return Err(stopped);
            }
        };
        let mut pieces = stream::iter(held).chain(pieces);
        let mut lines = Lines::of(media_type.as_deref(), self.request.format(media_type.as_deref()));
        while let Some(piece) = pieces.next().await {
            self.watch.seen();
            match piece {
                Ok(bytes) => {
                    lines.see(&bytes);
                    if !upload.push(bytes).await {
                        break;
                    }
                }
                Err(_) => return Err(upload.fail(self.body_error()).await.into()),
            }
        }
        let finished = match lines.lost() {
            Some(error) => {
                // All other errors of the rest of the file follow from that.
                let import = upload.import();
                let _ = upload.fail(error.clone()).await;
                Err(ApiError::Upload(import, error).into())
            }
            None => finish(upload).await,
        };
        drain(&mut pieces).await;
        finished
    }

    fn body_error(&self) -> FileError {
        self.watch.error().unwrap_or_else(|| {
            FileError::new(ErrorCode::UploadIncomplete, "the upload stopped before its end")
        })
    }

    /// The body is a form: options, then the file.
    async fn form(&mut self, request: Request) -> Result<ImportId, Stopped> {
        let mut form = match Form::open(request, self.limits(), &self.watch).await {
            Ok(form) => form,
            Err(rest) => {
                rest.drain().await;
                return Err(ApiError::Multipart("the form has no boundary".into()).into());
            }
        };
        let received = self.parts(&mut form).await;
        if received.is_err() {
            form.rest().drain().await;
        }
        received
    }

    async fn parts(&mut self, form: &mut Form) -> Result<ImportId, Stopped> {
        while let Some(part) = form.next().await.map_err(ApiError::Body)? {
            let name = part.name().map(str::to_owned).unwrap_or_default();
            if name == "file" {
                let received = self.file(part).await?;
                return end(form, received).await;
            }
            let value = option(&name, part).await?;
            self.request.set(&name, &value)?;
        }
        Err(ApiError::Multipart("the form has no part `file`".into()).into())
    }

    /// The part with the file; its name and type may be in its headers.
    async fn file(&mut self, mut part: Part<'_>) -> Result<Upload, Stopped> {
        if let Some(name) = part.file_name() {
            self.request.default_filename(name);
        }
        let media_type = part.content_type().map(str::to_owned);
        let mut beginning = self.beginning(media_type.as_deref());
        let mut stopped = None;
        while beginning.wants_more() && stopped.is_none() {
            match part.piece().await {
                Ok(Some(bytes)) => beginning.push(bytes),
                ended => stopped = Some(ended),
            }
        }
        let (held, origin) = beginning.end();
        let upload = self.begin(media_type.as_deref(), origin).await?;
        for bytes in held {
            if !upload.push(bytes).await {
                return Ok(upload);
            }
        }
        match stopped {
            Some(Err(error)) => return Err(upload.fail(error).await.into()),
            Some(Ok(_)) => return Ok(upload),
            None => {}
        }
        loop {
            match part.piece().await {
                Ok(Some(bytes)) => {
                    if !upload.push(bytes).await {
                        return Ok(upload);
                    }
                }
                Ok(None) => return Ok(upload),
                Err(error) => return Err(upload.fail(error).await.into()),
            }
        }
    }
}

/// A part of a form that is an option.
async fn option(name: &str, part: Part<'_>) -> Result<String, ApiError> {
    let value = part.bytes(OPTION_BYTES).await.map_err(ApiError::Body)?;
    let value = value.ok_or_else(|| invalid(name.chars().take(60).collect::<String>(), "is too long"))?;
    String::from_utf8(value).map_err(|_| invalid(name, "is not UTF-8"))
}

/// Nothing may follow the file, and the form must have its end.
async fn end(form: &mut Form, upload: Upload) -> Result<ImportId, Stopped> {
    let error = match form.next().await {
        Ok(None) => return finish(upload).await,
        Ok(Some(_)) => FileError::new(
            ErrorCode::MultipartInvalid,
            "something follows the part `file`: it must be the last, and options come before it",
        ),
        Err(error) => error,
    };
    Err(upload.fail(error).await.into())
}

async fn finish(upload: Upload) -> Result<ImportId, Stopped> {
    let import = upload.import();
    let receipt = match upload.finish().await {
        Ok(receipt) => receipt,
        Err(ReceiveError::Known(import, _)) => return Err(Stopped::Known(import)),
        Err(error) => return Err(error.into()),
    };
    if receipt.state == ImportState::Refused {
        let message = format!(
            "{} of {} records are invalid, and the import was to refuse them",
            receipt.counts.failed, receipt.counts.total
        );
        return Err(ApiError::Upload(import, FileError::new(ErrorCode::InvalidRecords, message)).into());
    }
    Ok(import)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_each_preference_counts_and_what_cannot_be_done_is_ignored() {
        let of = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append("prefer", HeaderValue::from_static(value));
            }
            let preference = Preference::of(&headers);
            (preference.wait.map(|wait| wait.as_secs()), preference.asynchronous)
        };
        assert_eq!(of(&["wait=5, wait=9"]), (Some(5), false));
        assert_eq!(of(&["wait=5", "Wait=9, wait=x"]), (Some(5), false));
        assert_eq!(of(&["wait=x, wait=9"]), (None, false));
        assert_eq!(of(&["respond-async; a=1, wait=\"7\"; b=2"]), (Some(7), true));
        assert_eq!(of(&["handling=lenient", "wait=99999999"]), (Some(MOST_WAIT.as_secs()), false));
    }
}
