//! An Authgear project: a tenant with a key, and a client that signs its requests with it.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use muster_domain::rsa_key::RsaPublicKey;
use muster_runtime::clock;
use muster_store::keys::{self, NewKey};
use reqwest::{RequestBuilder, Response};
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use serde_json::{Value, json};

use crate::harness::{Tenant, until};

/// The pair of keys of all projects; nothing else is signed with it.
const PRIVATE: &str = include_str!("test_key.pem");
pub(super) const PUBLIC: &str = include_str!("../../../../shared/test_data/keys/public.pem");
/// A pair that is another's.
pub(super) const OTHER_PRIVATE: &str = include_str!("other_key.pem");
pub(super) const OTHER_PUBLIC: &str = include_str!("other_key_public.pem");
pub(super) const KID: &str = "key-1";
pub(super) const PATH: &str = "/_api/admin/users/import";

/// A bcrypt hash, of cost 10.
pub(super) const HASH: &str = "$2a$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy";

pub(super) struct Project {
    pub(super) tenant: Tenant,
}

impl Project {
    pub(super) async fn new() -> Self {
        Self::of(Tenant::new().await).await
    }

    /// With roles `admin` and `editor`, groups `staff` and `guests`, and one custom attribute of each type.
    pub(super) async fn with_catalog() -> Self {
        let catalog = json!({
            "roles": ["admin", "editor"], "groups": ["staff", "guests"],
            "custom_attributes": {
                "member_id": {"type": "string"}, "score": {"type": "number", "minimum": 0.5, "maximum": 99.5},
                "level": {"type": "integer", "minimum": 1, "maximum": 9},
                "plan": {"type": "enum", "values": ["free", "paid"]}, "work_phone": {"type": "phone_number"},
                "work_email": {"type": "email"}, "homepage": {"type": "url"}, "country": {"type": "country_code"},
            },
        });
        Self::of(Tenant::with_catalog(catalog).await).await
    }

    pub(super) async fn of(tenant: Tenant) -> Self {
        Self::with_key(tenant, KID, PUBLIC).await
    }

    pub(super) async fn with_key(tenant: Tenant, kid: &str, public: &str) -> Self {
        let key = RsaPublicKey::from_pem(public).unwrap();
        let new = NewKey { kid, key: &key, app_id: None, host: None, scopes: NewKey::SCOPES };
        assert!(keys::add(tenant.store.pool(), tenant.id, &new).await.unwrap());
        Self { tenant }
    }

    /// A token as Authgear's documentation makes it.
    pub(super) fn token(&self) -> String {
        sign(&header(), &self.claims())
    }

    pub(super) fn claims(&self) -> Value {
        let now = clock::now().timestamp();
        json!({"aud": [self.tenant.slug], "iat": now - 30, "exp": now + 300})
    }

    pub(super) fn post(&self, token: &str) -> RequestBuilder {
        let request = self.tenant.http.post(format!("{}{PATH}", self.tenant.url));
        request.header("authorization", format!("Bearer {token}")).header("content-type", "application/json")
    }

    pub(super) fn get(&self, token: &str, id: &str) -> RequestBuilder {
        let request = self.tenant.http.get(format!("{}{PATH}/{id}", self.tenant.url));
        request.header("authorization", format!("Bearer {token}"))
    }

    pub(super) async fn send(&self, body: impl Into<reqwest::Body>) -> Response {
        self.post(&self.token()).body(body).send().await.unwrap()
    }

    /// A request that is taken; the id of its import.
    pub(super) async fn start(&self, body: &Value) -> String {
        self.start_text(&body.to_string()).await
    }

    /// The same of a body as it is written.
    pub(super) async fn start_text(&self, body: &str) -> String {
        let response = self.send(body.to_owned()).await;
        let (status, text) = (response.status(), response.text().await.unwrap());
        assert_eq!(status, 200, "{text}");
        let answer: Value = serde_json::from_str(&text).unwrap();
        answer["id"].as_str().unwrap().to_owned()
    }

    /// The whole answer for an import that is completed.
    pub(super) async fn completed(&self, id: &str) -> Value {
        until("an import is completed", async || {
            let response = self.get(&self.token(), id).send().await.unwrap();
            assert_eq!(response.status(), 200);
            let answer: Value = response.json().await.unwrap();
            (answer["status"] == "completed").then_some(answer)
        })
        .await
    }

    /// Imports records by e-mail address; what came of each.
    pub(super) async fn import(&self, upsert: bool, records: &[Value]) -> Vec<Value> {
        self.import_by("email", upsert, records).await
    }

    pub(super) async fn import_by(&self, identifier: &str, upsert: bool, records: &[Value]) -> Vec<Value> {
        let id = self.start(&json!({"upsert": upsert, "identifier": identifier, "records": records})).await;
        let answer = self.completed(&id).await;
        let details = answer["details"].as_array().unwrap().clone();
        assert_eq!(details.len(), records.len());
        for (at, detail) in details.iter().enumerate() {
            assert_eq!(detail["index"], at);
            let failed = detail["outcome"] == "failed";
            assert_eq!(detail.get("user_id").is_some(), !failed, "{detail}");
            assert_eq!(detail["errors"].as_array().map(Vec::len), failed.then_some(1), "{detail}");
        }
        details
    }

    /// Inserts one user, then updates it with another record of the same address; the row afterwards, and the outcome.
    pub(super) async fn update(&self, first: Value, second: Value) -> (Value, Value) {
        let inserted = self.import(true, &[first]).await.remove(0);
        assert_eq!(inserted["outcome"], "inserted", "{inserted}");
        let updated = self.import(true, &[second]).await.remove(0);
        (self.user().await, updated)
    }

    /// The only user there is.
    pub(super) async fn user(&self) -> Value {
        let mut users = self.tenant.users().await;
        assert_eq!(users.len(), 1);
        users.remove(0)
    }

    /// Names of the roles or groups that the only user has.
    pub(super) async fn names(&self, field: &str) -> Vec<String> {
        let user = self.user().await;
        let ids: Vec<i32> = user["profile"][field]
            .as_array()
            .map(|ids| ids.iter().map(|id| i32::try_from(id.as_i64().unwrap()).unwrap()).collect())
            .unwrap_or_default();
        let mut connection = self.tenant.store.connection().await.unwrap();
        sqlx::query_scalar(
            "select name from catalog_names where tenant_id = $1 and id = any ($2) order by name",
        )
        .bind(self.tenant.id.get())
        .bind(ids)
        .fetch_all(&mut connection)
        .await
        .unwrap()
    }

    /// The secrets of the only user that has some: password, when it expires, second password, TOTP secret.
    pub(super) async fn secrets(&self) -> Option<[Option<String>; 4]> {
        let mut connection = self.tenant.store.connection().await.unwrap();
        let row: Option<Vec<Option<String>>> = sqlx::query_scalar(
            "select array[password_hash, password_expires_at::text, mfa_password_hash, totp_secret]
               from user_credentials where tenant_id = $1",
        )
        .bind(self.tenant.id.get())
        .fetch_optional(&mut connection)
        .await
        .unwrap();
        row.map(|secrets| secrets.try_into().unwrap())
    }
}

pub(super) fn header() -> Value {
    json!({"alg": "RS256", "typ": "JWT", "kid": KID})
}

/// A token with this header and these claims, signed by the projects' key.
pub(super) fn sign(header: &Value, claims: &Value) -> String {
    sign_by(PRIVATE, header, claims)
}

pub(super) fn sign_by(private: &str, header: &Value, claims: &Value) -> String {
    let digits: String = private.lines().filter(|line| !line.starts_with("-----")).collect();
    let pair = RsaKeyPair::from_pkcs8(&STANDARD.decode(digits).unwrap()).unwrap();
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", part(header), part(claims));
    let mut signature = vec![0; pair.public().modulus_len()];
    pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature).unwrap();
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// An error answer: its status and the error.
pub(super) async fn error(response: Response) -> (u16, Value) {
    let status = response.status().as_u16();
    assert_eq!(response.headers()["content-type"], "application/json");
    let mut body: Value = response.json().await.unwrap();
    let error = body["error"].take();
    assert_eq!(error["code"], status, "{error}");
    (status, error)
}

/// Places and kinds of the causes of an error, in their order.
pub(super) fn causes(error: &Value) -> Vec<(&str, &str)> {
    error["info"]["causes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|cause| (cause["location"].as_str().unwrap(), cause["kind"].as_str().unwrap()))
        .collect()
}

/// Texts of the warnings of one outcome.
pub(super) fn warnings(detail: &Value) -> Vec<&str> {
    let list = detail.get("warnings").and_then(Value::as_array);
    list.map(|list| list.iter().map(|warning| warning["message"].as_str().unwrap()).collect())
        .unwrap_or_default()
}
