//! Bitcaster's user API, its CSV files and its import command: contracts C, row by row.

mod addresses;
mod applications;
mod auth;
mod command;
mod create;
mod csv;
mod list;
mod modes;
mod paths;
mod update;

use std::io::Write;
use std::process::{Command, Stdio};

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::Tenant;

/// A tenant with two organizations, and a token that may write users in both.
pub(crate) struct Desk {
    pub(crate) tenant: Tenant,
    pub(crate) token: String,
}

/// An answer.
#[derive(Debug, PartialEq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) json: Value,
}

impl Answer {
    /// Makes sure of the status, and gives the body.
    #[track_caller]
    pub(crate) fn is(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.json);
        self.json
    }
}

impl Desk {
    pub(crate) async fn new() -> Self {
        let organizations =
            json!([{"slug": "my-org", "name": "My Company"}, {"slug": "other", "name": "Other Company"}]);
        let tenant = Tenant::with_catalog(json!({ "organizations": organizations })).await;
        let token = tenant.token("writer", &["users:write"]);
        Self { tenant, token }
    }

    /// A request with this `Authorization`.
    pub(crate) fn request(&self, method: Method, path: &str, authorization: &str) -> reqwest::RequestBuilder {
        let request = self.tenant.http.request(method, format!("{}{path}", self.tenant.url));
        request.header("authorization", authorization)
    }

    /// Sends a request with the desk's own token and this JSON, if any.
    pub(crate) async fn send(&self, method: Method, path: &str, body: Option<Value>) -> Answer {
        let request = self.request(method, path, &format!("Token {}", self.token));
        answer(match body {
            Some(body) => request.json(&body),
            None => request,
        })
        .await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, None).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        self.send(Method::POST, path, Some(body)).await
    }

    pub(crate) async fn patch(&self, path: &str, body: Value) -> Answer {
        self.send(Method::PATCH, path, Some(body)).await
    }

    /// Creates a user in `my-org`.
    pub(crate) async fn user(&self, body: Value) -> Value {
        self.post("/api/v1/user/my-org/", body).await.is(201)
    }

    /// The only user of the tenant, as the table has it.
    pub(crate) async fn only_user(&self) -> Value {
        let mut users = self.tenant.users().await;
        assert_eq!(users.len(), 1, "{users:?}");
        users.remove(0)
    }

    /// Organization and group of every membership, sorted.
    pub(crate) async fn memberships(&self) -> Vec<(String, String)> {
        let mut connection = self.tenant.store.connection().await.unwrap();
        sqlx::query_as(
            "select o.slug, g.name from memberships m join organizations o on o.id = m.organization_id
               join catalog_names g on g.id = m.group_id where m.tenant_id = $1 order by 1, 2",
        )
        .bind(self.tenant.id.get())
        .fetch_all(&mut connection)
        .await
        .unwrap()
    }

    /// Runs `muster bc import users - …` on this text.
    pub(crate) fn import(&self, csv: impl AsRef<[u8]>, args: &[&str]) -> Run {
        self.bc(&[&["-", "--tenant", &self.tenant.slug], args].concat(), csv.as_ref())
    }

    /// Runs `muster bc import users …` with this standard input.
    pub(crate) fn bc(&self, args: &[&str], input: &[u8]) -> Run {
        let variable = |name: &str| std::env::var(name).unwrap();
        let mut child = Command::new(variable("TEST_MUSTER_PROGRAM"))
            .args(["bc", "import", "users"])
            .args(args)
            .env("DATABASE_URL", variable("TEST_MUSTER_DATABASE_URL"))
            .env("AMQP_URL", variable("TEST_AMQP_URL"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // A program that refuses its arguments does not read.
        let _ = child.stdin.take().unwrap().write_all(input);
        let output = child.wait_with_output().unwrap();
        Run {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

/// What a run of the command came to.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Run {
    /// Makes sure of the exit code and of the lines printed.
    #[track_caller]
    pub(crate) fn prints(self, code: i32, lines: &[&str]) -> Self {
        assert_eq!(
            (self.code, self.stdout.lines().collect::<Vec<_>>().as_slice()),
            (Some(code), lines),
            "{self:#?}"
        );
        self
    }

    /// Makes sure of the two numbers of the last line.
    #[track_caller]
    pub(crate) fn counts(self, code: i32, created: u64, processed: u64) -> Self {
        let last = format!("Success! Processed {processed} lines, created/updated {created} users.");
        self.prints(code, &["Importing users into organization 'My Company'...", &last])
    }
}

/// Sends a request and reads the answer as JSON.
pub(crate) async fn answer(request: reqwest::RequestBuilder) -> Answer {
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    let text = response.text().await.unwrap();
    Answer { status, json: serde_json::from_str(&text).unwrap_or_else(|_| panic!("{status} {text:?}")) }
}

/// The path of a user of `my-org`.
pub(crate) fn path(email: &str) -> String {
    format!("/api/v1/user/my-org/{email}/")
}

/// The names of an object's fields.
pub(crate) fn keys(object: &Value) -> Vec<&str> {
    object.as_object().unwrap().keys().map(String::as_str).collect()
}
