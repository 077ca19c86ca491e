//! Imports behind a server, over its HTTP API.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use bytes::Bytes;
use clap::Args;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use muster_producer::api::{ChunkList, ChunkView};
use muster_shared::catalog::FieldError;
use muster_shared::error::ErrorCode;
use muster_shared::fault::{Mutant, mutant};
use muster_shared::id::ImportId;
use muster_shared::import::ImportState;
use muster_shared::store::chunks::ChunkFilter;
use muster_shared::store::problems::Problems;
use reqwest::{Client, Method, RequestBuilder, Response};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::backend::{CauseArgs, Outcomes, RecordView, Steer};
use crate::failure::usage;
use crate::import::wrong_option;
use crate::view::View;

/// Imports on a page of the list, where the whole list is gone through.
const PAGE: u32 = 100;

/// A server and the token for it.
pub(crate) struct Remote {
    client: Client,
    base: String,
    token: String,
}

/// What the API says is wrong.
#[derive(Debug, Deserialize)]
struct Problem {
    error: ProblemDetail,
}

#[derive(Debug, Deserialize)]
struct ProblemDetail {
    code: String,
    message: String,
    #[serde(default)]
    field: Option<String>,
    #[serde(default)]
    record: Option<u64>,
    #[serde(default)]
    line: Option<u64>,
    #[serde(default)]
    column: Option<u64>,
    #[serde(default)]
    request_id: Option<String>,
}

impl ProblemDetail {
    /// The error as it would be told without a server: with its place, and a wrong option as one of the command line.
    fn told(self) -> anyhow::Error {
        if mutant(Mutant::ServerErrorWithoutPlace) {
            let field = self.field.map(|field| format!("{field}: ")).unwrap_or_default();
            return Refused { told: format!("{field}{} [{}]", self.message, self.code), code: self.code }
                .into();
        }
        if let Some(field) = self.field.as_deref().filter(|_| self.code == ErrorCode::InvalidRequest.as_str())
        {
            // The option stands before the message here.
            let message = self.message.strip_prefix(field).map_or(self.message.as_str(), str::trim_start);
            return wrong_option(FieldError::new(ErrorCode::InvalidRequest, field, message));
        }
        let parts: Vec<String> = [("record", self.record), ("line", self.line), ("column", self.column)]
            .into_iter()
            .filter_map(|(word, number)| number.map(|number| format!("{word} {number}")))
            .collect();
        let place = if parts.is_empty() { String::new() } else { format!(" ({})", parts.join(", ")) };
        let request = self.request_id.map(|id| format!(" (request {id})")).unwrap_or_default();
        let told = format!("{}{place} [{}]{request}", self.message, self.code);
        Refused { code: self.code, told }.into()
    }
}

/// An answer of the server that is not success.
#[derive(Debug)]
pub(crate) struct Refused {
    code: String,
    told: String,
}

impl Refused {
    /// Whether it is for this reason.
    pub(crate) fn is(&self, code: ErrorCode) -> bool {
        self.code == code.as_str()
    }
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.told)
    }
}

impl std::error::Error for Refused {}

#[derive(Deserialize)]
struct ImportsPage {
    imports: Vec<View>,
    #[serde(default)]
    next: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct RecordsPage {
    records: Vec<RecordView>,
}

/// The token to show a server, and where it comes from: options of every command that asks one.
#[derive(Debug, Args)]
pub(crate) struct ServerToken {
    /// The token to show the server
    #[arg(long, global = true, env = "MUSTER_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// File that the token stands in, `-` for standard input: what is on a command line everybody on the machine can read
    #[arg(
        id = "token_file",
        long = "token-file",
        global = true,
        value_name = "FILE",
        env = "MUSTER_TOKEN_FILE",
        conflicts_with = "token"
    )]
    file: Option<PathBuf>,
}

impl ServerToken {
    /// The file, where one is named.
    pub(crate) fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    fn read(&self) -> anyhow::Result<String> {
        let text = match (&self.token, &self.file) {
            (Some(token), _) => token.clone(),
            (None, Some(file)) if file == Path::new("-") => {
                io::read_to_string(io::stdin()).context("the token cannot be read from standard input")?
            }
            (None, Some(file)) => std::fs::read_to_string(file)
                .with_context(|| format!("the token's file {} cannot be read", file.display()))?,
            (None, None) => {
                return Err(usage(
                    "a server wants a token: set MUSTER_TOKEN, or name a file with --token-file",
                ));
            }
        };
        Ok(text.trim().to_owned())
    }
}

impl Remote {
    /// A client for the server at `url`. Nothing is sent yet.
    pub(crate) fn new(url: &str, token: &ServerToken) -> anyhow::Result<Self> {
        let token = token.read()?;
        if !(url.starts_with("http://") || url.starts_with("https://")) {
            return Err(usage("--server takes a URL that begins with http:// or https://"));
        }
        // Err means that one is installed already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder()
            .user_agent(concat!("muster/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(Duration::from_secs(10))
            .build()
            .context("the HTTP client cannot be made")?;
        Ok(Self { client, base: url.trim_end_matches('/').to_owned(), token })
    }

    /// A request with the token.
    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.base)).bearer_auth(&self.token)
    }

    /// Sends a request. An answer that is not success is an error that says what the server said.
    pub(crate) async fn send(&self, request: RequestBuilder) -> anyhow::Result<Response> {
        let sent = request.send().await.map_err(reqwest::Error::without_url);
        let response = sent.with_context(|| format!("the server {} cannot be reached", self.base))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let body = response.bytes().await.unwrap_or_default();
        Err(match serde_json::from_slice::<Problem>(&body) {
            Ok(Problem { error }) => error.told(),
            Err(_) => {
                let told = format!("the server {} answered with {status}; is it a muster?", self.base);
                Refused { code: String::new(), told }.into()
            }
        })
    }

    /// Asks for something, and reads the answer.
    pub(crate) async fn get<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, String)],
    ) -> anyhow::Result<T> {
        let request = self.request(Method::GET, path).query(query).timeout(Duration::from_secs(60));
        let response = self.send(request).await?;
        let answer = response.json().await.map_err(reqwest::Error::without_url);
        answer.with_context(|| format!("the answer of {} cannot be understood", self.base))
    }

    pub(crate) async fn list(&self, state: Option<ImportState>, limit: u32) -> anyhow::Result<Vec<View>> {
        let mut views = Vec::new();
        let mut after: Option<String> = None;
        while views.len() < limit as usize {
            let left = limit - u32::try_from(views.len()).unwrap_or(limit);
            let (page, next) = self.page(state, after.take(), left.min(PAGE)).await?;
            views.extend(page);
            after = next;
            if after.is_none() {
                break;
            }
        }
        Ok(views)
    }

    async fn page(
        &self,
        state: Option<ImportState>,
        after: Option<String>,
        limit: u32,
    ) -> anyhow::Result<(Vec<View>, Option<String>)> {
        let mut query = vec![("limit", limit.to_string())];
        query.extend(state.map(|state| ("state", state.to_string())));
        query.extend(after.map(|after| ("before", after)));
        let page: ImportsPage = self.get("/v1/imports", &query).await?;
        let next = page.next.and_then(|next| next.as_str().map(str::to_owned));
        Ok((page.imports, next))
    }

    /// The import that has this idempotency key.
    pub(crate) async fn by_key(&self, key: &str) -> anyhow::Result<Option<View>> {
        let page: ImportsPage = self.get("/v1/imports", &[("idempotency_key", key.to_owned())]).await?;
        Ok(page.imports.into_iter().next())
    }

    pub(crate) async fn show(&self, id: ImportId) -> anyhow::Result<View> {
        self.get(&format!("/v1/imports/{id}"), &[]).await
    }

    pub(crate) async fn ids_with(&self, part: &str) -> anyhow::Result<Vec<ImportId>> {
        let mut found = Vec::new();
        let mut after = None;
        loop {
            let (page, next) = self.page(None, after, PAGE).await?;
            let named = |id: &ImportId| {
                let text = id.to_string();
                text.starts_with(part) || text.ends_with(part)
            };
            found.extend(page.iter().map(|view| view.id).filter(named));
            after = next;
            if after.is_none() || found.len() > 1 {
                return Ok(found);
            }
        }
    }

    pub(crate) async fn records(
        &self,
        id: ImportId,
        outcome: Option<Outcomes>,
        cause: &CauseArgs,
        after: u64,
        limit: u64,
    ) -> anyhow::Result<Vec<RecordView>> {
        let mut query = vec![("after", after.to_string()), ("limit", limit.to_string())];
        query.extend(cause.query());
        query.extend(outcome.map(|outcome| ("outcome", outcome.word().to_owned())));
        let page: RecordsPage = self.get(&format!("/v1/imports/{id}/records"), &query).await?;
        Ok(page.records)
    }

    pub(crate) async fn chunks(
        &self,
        id: ImportId,
        filter: ChunkFilter,
        limit: u64,
    ) -> anyhow::Result<Vec<ChunkView>> {
        let mut query = vec![("limit", limit.to_string())];
        query.extend(filter.state.map(|state| ("state", state.to_string())));
        query.extend(filter.problem.then(|| ("problem", "true".to_owned())));
        query.extend(filter.after.map(|after| ("after", after.to_string())));
        let page: ChunkList = self.get(&format!("/v1/imports/{id}/chunks"), &query).await?;
        Ok(page.chunks)
    }

    pub(crate) async fn problems(&self, id: ImportId, limit: u8) -> anyhow::Result<Problems> {
        let path = format!("/v1/imports/{id}/problems");
        self.get(&path, &[("limit", limit.to_string())]).await
    }

    pub(crate) async fn failed(
        &self,
        id: ImportId,
        format: &str,
        cause: &CauseArgs,
    ) -> anyhow::Result<BoxStream<'static, anyhow::Result<Bytes>>> {
        let response =
            self.request(Method::GET, &format!("/v1/imports/{id}/failed.{format}")).query(&cause.query());
        let response = self.send(response).await?;
        let pieces = response.bytes_stream();
        Ok(pieces.map(|piece| piece.map_err(|error| anyhow!(error.without_url()))).boxed())
    }

    pub(crate) async fn steer(&self, id: ImportId, steer: Steer, cause: &CauseArgs) -> anyhow::Result<View> {
        let path = format!("/v1/imports/{id}/{}", steer.word());
        let mut query = cause.query();
        if let Steer::Proceed(Some(on_drift)) = steer {
            query.push(("on_drift", on_drift.as_str().to_owned()));
        }
        self.send(self.request(Method::POST, &path).query(&query).timeout(Duration::from_secs(60))).await?;
        self.show(id).await
    }

    /// The import that an answer to an upload is about.
    pub(crate) async fn accepted(response: Response) -> anyhow::Result<View> {
        match response.json().await {
            Ok(view) => Ok(view),
            Err(_) => bail!(
                "the server took the file, but its answer cannot be understood; `muster imports list` shows it"
            ),
        }
    }
}
