//! What a client of the API does, on a tenant of its own.

use muster_domain::token::Scope;
use muster_store::tokens::{self, NewToken};
use reqwest::multipart::{Form, Part};
use reqwest::{Method, RequestBuilder, Response};
use serde_json::{Value, json};

use crate::harness::{Tenant, until};

pub(crate) const BASE: &str = "/apps/api/v1";

/// An API credential of a tenant with three roles, two teams, two locations and at most five chats.
pub(crate) struct Api {
    pub(crate) tenant: Tenant,
    pub(crate) token: String,
}

/// A user with what every row must have.
pub(crate) fn person(email: &str, more: Value) -> Value {
    let mut user = json!({"email": email, "first_name": "John", "last_name": "Doe"});
    if let (Some(user), Value::Object(more)) = (user.as_object_mut(), more) {
        user.extend(more);
    }
    user
}

/// A form with this text as its file.
pub(crate) fn form(text: impl Into<String>) -> Form {
    Form::new().part("file", Part::text(text.into()).file_name("users.json"))
}

pub(crate) async fn json_of(response: Response) -> (u16, Value) {
    let status = response.status().as_u16();
    let text = response.text().await.unwrap();
    (status, serde_json::from_str(&text).unwrap_or_else(|_| panic!("{status}: {text}")))
}

pub(crate) async fn ok(request: RequestBuilder) -> Value {
    let (status, body) = json_of(request.send().await.unwrap()).await;
    assert_eq!(status, 200, "{body}");
    body
}

/// The status of an error, whose shape is checked.
pub(crate) async fn refused(request: RequestBuilder) -> u16 {
    let (status, body) = json_of(request.send().await.unwrap()).await;
    let keys: Vec<&String> = body.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["message"], "{body}");
    assert!(!body["message"].as_str().unwrap().is_empty());
    status
}

pub(crate) fn id_of(body: &Value) -> i64 {
    body["id"].as_i64().unwrap()
}

impl Api {
    pub(crate) async fn new() -> Self {
        let catalog = json!({
            "roles": ["Admin", "Agent", "Manager"], "teams": ["Sales", "Support"],
            "locations": ["Mexico", "Rome"], "limits": {"max_chat_limit": 5},
        });
        let tenant = Tenant::with_catalog(catalog).await;
        let token = token(&tenant, "api_user_name_1", &[Scope::Ops]).await;
        Self { tenant, token }
    }

    pub(crate) fn at(&self, method: Method, path: &str) -> RequestBuilder {
        let url = format!("{}{path}", self.tenant.url);
        self.tenant.http.request(method, url).basic_auth(&self.tenant.slug, Some(&self.token))
    }

    pub(crate) fn get(&self, path: &str) -> RequestBuilder {
        self.at(Method::GET, &format!("{BASE}/{path}"))
    }

    pub(crate) fn post(&self, path: &str) -> RequestBuilder {
        self.at(Method::POST, &format!("{BASE}/{path}"))
    }

    pub(crate) fn put(&self, path: &str) -> RequestBuilder {
        self.at(Method::PUT, &format!("{BASE}/{path}"))
    }

    pub(crate) fn start(&self, id: i64) -> RequestBuilder {
        self.post("bulk/users/proceed").json(&json!({"id": id}))
    }

    /// Uploads a file; gives its job.
    pub(crate) async fn upload(&self, text: impl Into<String>) -> i64 {
        let body = ok(self.post("bulk/users/upload").multipart(form(text))).await;
        assert_eq!(body["status"], "created");
        id_of(&body)
    }

    pub(crate) async fn job(&self, id: i64) -> Value {
        ok(self.get(&format!("bulk/users/jobs/{id}"))).await
    }

    pub(crate) async fn status(&self, id: i64) -> String {
        self.job(id).await["status"].as_str().unwrap().to_owned()
    }

    /// The job once it has ended.
    pub(crate) async fn completed(&self, id: i64) -> Value {
        until("the job completes", || async {
            Some(self.job(id).await).filter(|job| job["status"] == "completed")
        })
        .await
    }

    /// Uploads users and applies them; gives the job at its end.
    pub(crate) async fn apply(&self, users: &[Value]) -> Value {
        let id = self.upload(json!(users).to_string()).await;
        let job = self.job(id).await;
        assert_eq!(job["status"], "valid_scheme", "{job}");
        ok(self.start(id)).await;
        self.completed(id).await
    }

    /// The same, where every row is applied.
    pub(crate) async fn apply_all(&self, users: &[Value]) {
        let job = self.apply(users).await;
        assert_eq!((&job["affected_rows"], &job["failed_rows"]), (&json!(users.len()), &json!(0)), "{job}");
    }

    /// The scheme errors of a file that has some: message, column, row.
    pub(crate) async fn scheme_errors(&self, text: impl Into<String>) -> Vec<(String, u64, Option<u64>)> {
        let id = self.upload(text).await;
        assert_eq!(self.status(id).await, "invalid_scheme");
        let log = ok(self.get(&format!("bulk/users/errors/scheme/{id}"))).await;
        let errors = log.as_array().unwrap();
        let error = |error: &Value| {
            let message = error["message"].as_str().unwrap().to_owned();
            (message, error["column"].as_u64().unwrap(), error["row"].as_u64())
        };
        errors.iter().map(error).collect()
    }

    /// One user whose upload has exactly this error in its one row.
    pub(crate) async fn assert_scheme_error(&self, user: Value, message: &str, column: u64) {
        let told = format!("{user}");
        let errors = self.scheme_errors(json!([user]).to_string()).await;
        assert_eq!(errors, [(message.to_owned(), column, Some(1))], "{told}");
    }

    /// A user as the API gives it back.
    pub(crate) async fn user(&self, email: &str) -> Value {
        let mut found = ok(self.get("users").query(&[("email", email)])).await;
        assert_eq!(found.as_array().unwrap().len(), 1, "{email}: {found}");
        found[0].take()
    }

    /// One field of a user after each of some uploads of it: what is sent and what is there then.
    pub(crate) async fn assert_field_goes(&self, name: &str, steps: &[(Value, Value)]) {
        let email = format!("{}@example.com", name.replace('_', "-"));
        for (sent, there) in steps {
            self.apply_all(&[person(&email, json!({ name: sent }))]).await;
            assert_eq!(&self.user(&email).await[name], there, "{name}: {sent}");
        }
        self.apply_all(&[person(&email, json!({}))]).await;
        let (_, last) = steps.last().unwrap();
        assert_eq!(&self.user(&email).await[name], last, "{name}: a key that is not there changes nothing");
    }
}

pub(crate) async fn token(tenant: &Tenant, name: &str, scopes: &[Scope]) -> String {
    match tokens::create(&tenant.store, tenant.id, name, scopes).await.unwrap() {
        NewToken::Created(_, token) => token.reveal().to_owned(),
        NewToken::NameTaken(_) => panic!("the name is taken"),
    }
}
