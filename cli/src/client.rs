//! The client of Muster's own HTTP API. All requests of commands to a server (`--server`) go through it.
//!
//! What can be asked is the table of [`operations`], each with its address, its parameters and the type of
//! its answer. Tests compare every row with docs/openapi.json. So an unknown operation or parameter, or a
//! response that cannot be parsed, fails in a test and not on a user's machine.

pub(crate) mod answers;
#[cfg(test)]
mod document;
pub(crate) mod operations;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use muster_domain::catalog::FieldError;
use muster_domain::error::ErrorCode;
use muster_domain::fault::{Mutant, mutant};
use muster_domain::tenant::Slug;
use reqwest::{Client, RequestBuilder, Response};
use serde::Deserialize;
use serde::de::DeserializeOwned;

pub(crate) use operations::Call;

use crate::failure::{usage, wrong_option};

/// How long an answer may take that is not a file and does not wait for anything.
const ANSWER: Duration = Duration::from_secs(60);

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
    /// The error as without a server: with its place, and a wrong option as one of the command line.
    fn into_error(self) -> anyhow::Error {
        if mutant(Mutant::ServerErrorWithoutPlace) {
            let field = self.field.map(|field| format!("{field}: ")).unwrap_or_default();
            return Refused { told: format!("{field}{} [{}]", self.message, self.code), code: self.code }
                .into();
        }
        if let Some(field) = self.field.as_deref().filter(|_| self.code == ErrorCode::InvalidRequest.as_str())
        {
            // Here the option precedes the message.
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

/// The token to show a server, and where it comes from: options of every command that asks one.
#[derive(Debug, Args)]
pub(crate) struct ServerToken {
    /// The token to show the server
    #[arg(long, global = true, env = "MUSTER_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// File with the token, `-` for standard input; a token on the command line can be read by every user of the machine
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

    /// The request of a call, with the token.
    pub(crate) fn request<T: 'static>(&self, call: &Call<T>) -> RequestBuilder {
        let request = self.client.request(call.method().clone(), format!("{}{}", self.base, call.path()));
        let request = request.query(call.query()).bearer_auth(&self.token);
        match call.body() {
            Some(body) => request.json(body),
            None => request,
        }
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
            Ok(Problem { error }) => error.into_error(),
            Err(_) => {
                let told = format!("the server {} answered with {status}; is it a muster?", self.base);
                Refused { code: String::new(), told }.into()
            }
        })
    }

    /// Asks for something, and reads the answer.
    pub(crate) async fn ask<T: DeserializeOwned + 'static>(&self, call: Call<T>) -> anyhow::Result<T> {
        self.read(self.send(self.request(&call).timeout(ANSWER)).await?).await
    }

    /// The same of what takes as long as there is to do.
    pub(crate) async fn ask_without_limit<T: DeserializeOwned + 'static>(
        &self,
        call: Call<T>,
    ) -> anyhow::Result<T> {
        self.read(self.send(self.request(&call)).await?).await
    }

    async fn read<T: DeserializeOwned>(&self, response: Response) -> anyhow::Result<T> {
        let answer = response.json().await.map_err(reqwest::Error::without_url);
        answer.with_context(|| format!("the answer of {} cannot be understood", self.base))
    }

    /// The options of a profile that it has.
    pub(crate) async fn profile(&self, name: &str) -> anyhow::Result<Option<Vec<(String, String)>>> {
        // Names of another form do not exist and cannot be part of an address.
        let Ok(name) = name.parse::<Slug>() else { return Ok(None) };
        match self.ask(operations::PROFILES_SHOW.at(&[&name])).await {
            Ok(own) => Ok(Some(own.options.into_iter().collect())),
            Err(error)
                if error.downcast_ref::<Refused>().is_some_and(|refused| refused.is(ErrorCode::NotFound)) =>
            {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}
