//! Who may do what at which door: every route × verb × id (own, another tenant's, missing, malformed) × scope. The routes come from
//! the router's own documentation, without which none can be added there: one that has no row here fails.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use muster_domain::rsa_key::RsaPublicKey;
use muster_domain::tenant::Tenant;
use muster_domain::token::Scope;
use muster_producer::api::openapi;
use muster_runtime::clock;
use muster_store::keys::{self, NewKey};
use muster_store::{catalog, tenants, tokens};
use reqwest::{Method, RequestBuilder};
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use serde_json::{Value, json};

use crate::harness::{Server, accepted, token};

const PRIVATE: &str = include_str!("../../../cli/tests/contract/authgear/test_key.pem");
pub(crate) const PUBLIC: &str = include_str!("../../../shared/test_data/keys/public.pem");

/// Routes without a credential: they say nothing of any tenant, and have a listener of their own where `http.ops_listen` is set.
pub(crate) const OPEN: [&str; 3] = ["/healthz", "/readyz", "/metrics"];

/// At which door a route is, which decides what a credential and an error look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Door {
    Native,
    Authgear,
    Ccai,
    Bitcaster,
}

/// What is asked of one route.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) door: Door,
    pub(crate) method: Method,
    pub(crate) path: String,
    /// Any of them opens it; none at all: every credential does.
    pub(crate) scopes: &'static [Scope],
}

const READ: &[Scope] = &[Scope::ImportRead];
const WRITE: &[Scope] = &[Scope::ImportWrite];
const USERS: &[Scope] = &[Scope::UsersRead];

/// Verb, path and scopes of every route.
const ROWS: &[(Door, &str, &str, &[Scope])] = &[
    (Door::Native, "post", "/v1/imports", WRITE),
    (Door::Native, "get", "/v1/imports", READ),
    (Door::Native, "post", "/v1/inspect", WRITE),
    (Door::Native, "get", "/v1/imports/{id}", READ),
    (Door::Native, "get", "/v1/imports/{id}/chunks", READ),
    (Door::Native, "get", "/v1/events", READ),
    (Door::Native, "get", "/v1/imports/{id}/events", READ),
    (Door::Native, "get", "/v1/imports/{id}/records", READ),
    (Door::Native, "get", "/v1/imports/{id}/problems", READ),
    (Door::Native, "get", "/v1/imports/{id}/failed.csv", READ),
    (Door::Native, "get", "/v1/imports/{id}/failed.ndjson", READ),
    (Door::Native, "post", "/v1/imports/{id}/proceed", WRITE),
    (Door::Native, "post", "/v1/imports/{id}/pause", WRITE),
    (Door::Native, "post", "/v1/imports/{id}/resume", WRITE),
    (Door::Native, "post", "/v1/imports/{id}/cancel", WRITE),
    (Door::Native, "post", "/v1/imports/{id}/retry", WRITE),
    (Door::Native, "get", "/v1/imports/{id}/plan", READ),
    (Door::Native, "post", "/v1/imports/{id}/plan", WRITE),
    (Door::Native, "get", "/v1/imports/{id}/plan/changes", READ),
    (Door::Native, "get", "/v1/imports/{id}/plan.csv", READ),
    (Door::Native, "get", "/v1/imports/{id}/undo", READ),
    (Door::Native, "post", "/v1/imports/{id}/undo", WRITE),
    (Door::Native, "get", "/v1/imports/{id}/receipt", READ),
    (Door::Native, "get", "/v1/imports/{id}/report.html", READ),
    (Door::Native, "get", "/v1/receipts/key", READ),
    (Door::Native, "post", "/v1/bulk", WRITE),
    (Door::Native, "get", "/v1/bulk", READ),
    (Door::Native, "get", "/v1/bulk/{bulk}", READ),
    (Door::Native, "post", "/v1/bulk/{bulk}/start", WRITE),
    (Door::Native, "post", "/v1/bulk/{bulk}/abort", WRITE),
    (Door::Native, "get", "/v1/profiles", READ),
    (Door::Native, "get", "/v1/profiles/{name}", READ),
    (Door::Native, "put", "/v1/profiles/{name}", WRITE),
    (Door::Native, "delete", "/v1/profiles/{name}", WRITE),
    (Door::Native, "get", "/v1/users", USERS),
    (Door::Native, "get", "/v1/users/export", USERS),
    (Door::Native, "get", "/v1/users/{id}", USERS),
    (Door::Native, "delete", "/v1/users/{id}", &[Scope::UsersErase]),
    (Door::Native, "get", "/v1/users/{id}/history", USERS),
    (Door::Native, "get", "/v1/webhooks", HOOKS_READ),
    (Door::Native, "post", "/v1/webhooks", HOOKS_WRITE),
    (Door::Native, "get", "/v1/webhooks/{id}", HOOKS_READ),
    (Door::Native, "patch", "/v1/webhooks/{id}", HOOKS_WRITE),
    (Door::Native, "delete", "/v1/webhooks/{id}", HOOKS_WRITE),
    (Door::Native, "post", "/v1/webhooks/{id}/secret", HOOKS_WRITE),
    (Door::Native, "delete", "/v1/webhooks/{id}/secret", HOOKS_WRITE),
    (Door::Native, "post", "/v1/webhooks/{id}/ping", HOOKS_WRITE),
    (Door::Native, "get", "/v1/webhooks/{id}/deliveries", HOOKS_READ),
    (Door::Native, "post", "/v1/webhooks/{id}/deliveries/{delivery}/redeliver", HOOKS_WRITE),
    (Door::Native, "get", "/v1/audit", &[Scope::Ops]),
    (Door::Native, "get", "/v1/catalog", &[Scope::CatalogRead]),
    (Door::Native, "put", "/v1/catalog", &[Scope::CatalogWrite]),
    (Door::Authgear, "post", "/_api/admin/users/import", WRITE),
    (Door::Authgear, "get", "/_api/admin/users/import/{id}", READ),
    (Door::Ccai, "get", "/apps/api/v1/bulk/users/template", READ),
    (Door::Ccai, "post", "/apps/api/v1/bulk/users/upload", WRITE),
    (Door::Ccai, "put", "/apps/api/v1/bulk/users/upload", WRITE),
    (Door::Ccai, "post", "/apps/api/v1/bulk/users/proceed", WRITE),
    (Door::Ccai, "get", "/apps/api/v1/bulk/users/jobs", READ),
    (Door::Ccai, "get", "/apps/api/v1/bulk/users/jobs/{id}", READ),
    (Door::Ccai, "get", "/apps/api/v1/bulk/users_jobs/{id}", READ),
    (Door::Ccai, "get", "/apps/api/v1/bulk/users/errors/scheme/{id}", READ),
    (Door::Ccai, "get", "/apps/api/v1/bulk/users/errors/update/{id}", READ),
    (Door::Ccai, "get", "/apps/api/v1/users", USERS),
    (Door::Bitcaster, "get", "/api/o/{org}/u/", MEMBERS),
    (Door::Bitcaster, "post", "/api/o/{org}/u/", ENROL),
    (Door::Bitcaster, "get", "/api/v1/user/{org}/", MEMBERS),
    (Door::Bitcaster, "post", "/api/v1/user/{org}/", ENROL),
    (Door::Bitcaster, "get", "/api/o/{org}/u/{username}/", MEMBERS),
    (Door::Bitcaster, "put", "/api/o/{org}/u/{username}/", ENROL),
    (Door::Bitcaster, "patch", "/api/o/{org}/u/{username}/", ENROL),
    (Door::Bitcaster, "get", "/api/v1/user/{org}/{username}/", MEMBERS),
    (Door::Bitcaster, "put", "/api/v1/user/{org}/{username}/", ENROL),
    (Door::Bitcaster, "patch", "/api/v1/user/{org}/{username}/", ENROL),
    (Door::Bitcaster, "get", "/api/o/{org}/u/{username}/addresses/", MEMBERS),
    (Door::Bitcaster, "post", "/api/o/{org}/u/{username}/addresses/", ENROL),
    (Door::Bitcaster, "get", "/api/o/{org}/u/{username}/address/", MEMBERS),
    (Door::Bitcaster, "post", "/api/o/{org}/u/{username}/address/", ENROL),
    (Door::Bitcaster, "get", "/api/v1/user/{org}/{username}/address/", MEMBERS),
    (Door::Bitcaster, "post", "/api/v1/user/{org}/{username}/address/", ENROL),
    (Door::Bitcaster, "get", "/api/v1/user/{org}/{username}/addresses/", MEMBERS),
    (Door::Bitcaster, "post", "/api/v1/user/{org}/{username}/addresses/", ENROL),
    (Door::Bitcaster, "post", "/api/o/{org}/p/{project}/a/{application}/register/", ENROL),
    (Door::Bitcaster, "post", "/api/o/{org}/p/{project}/a/{application}/unregister/{username}/", ENROL),
    (Door::Bitcaster, "get", "/api/system/ping/", &[]),
    (Door::Bitcaster, "get", "/api/login/", &[]),
];
const HOOKS_READ: &[Scope] = &[Scope::WebhooksRead];
const HOOKS_WRITE: &[Scope] = &[Scope::WebhooksWrite];
const MEMBERS: &[Scope] = &[Scope::UsersRead, Scope::UsersWrite];
const ENROL: &[Scope] = &[Scope::UsersWrite];

/// Every route of the router with its row, at each address that it has.
pub(crate) fn rows() -> Vec<Row> {
    let documented = serde_json::to_value(openapi()).unwrap();
    let mut rows = Vec::new();
    for (path, item) in documented["paths"].as_object().unwrap() {
        if OPEN.contains(&path.as_str()) {
            continue;
        }
        for (verb, operation) in item.as_object().unwrap() {
            let known = ROWS.iter().find(|(_, known, row, _)| known == verb && row == path);
            let (door, _, _, scopes) = known.unwrap_or_else(|| panic!("{verb} {path} has no row"));
            let method: Method = verb.to_uppercase().parse().unwrap();
            // What is said to clients is what is asked of them.
            let said: Vec<&str> =
                operation["security"].as_array().unwrap().iter().flat_map(scopes_said).collect();
            let asked: Vec<&str> = scopes.iter().map(|scope| scope.as_str()).collect();
            assert_eq!(said, asked, "{verb} {path}");
            rows.push(Row { door: *door, method, path: path.clone(), scopes });
        }
    }
    assert_eq!(rows.len(), ROWS.len(), "a row is of no route");
    let mut again = Vec::new();
    for row in &rows {
        let other = match row.door {
            Door::Ccai if row.path.contains("/bulk/") => row.path.replacen("/apps/api/v1", "/v1", 1),
            Door::Bitcaster => row.path.trim_end_matches('/').to_owned(),
            _ => continue,
        };
        again.push(Row { path: other, ..row.clone() });
    }
    rows.extend(again);
    rows
}

/// The scopes of one requirement of the document.
fn scopes_said(requirement: &Value) -> Vec<&str> {
    let (_, scopes) = requirement.as_object().unwrap().iter().next().unwrap();
    scopes.as_array().unwrap().iter().map(|scope| scope.as_str().unwrap()).collect()
}

fn scope_name(scope: Option<Scope>) -> &'static str {
    scope.map_or("none", Scope::as_str)
}

/// A tenant with one of everything that has an id.
pub(crate) struct World {
    pub(crate) tenant: Tenant,
    pub(crate) org: String,
    pub(crate) email: String,
    pub(crate) user: String,
    pub(crate) import: String,
    pub(crate) job: String,
    pub(crate) profile: String,
    pub(crate) webhook: String,
    delivery: String,
    bulk: String,
    task: String,
}

/// What stands in an address instead of its places.
pub(crate) struct Ids {
    pub(crate) import: String,
    user: String,
    job: String,
    task: String,
    pub(crate) org: String,
    email: String,
    pub(crate) profile: String,
    webhook: String,
    delivery: String,
    bulk: String,
}

impl World {
    pub(crate) fn ids(&self) -> Ids {
        Ids {
            import: self.import.clone(),
            user: self.user.clone(),
            job: self.job.clone(),
            task: self.task.clone(),
            org: self.org.clone(),
            email: self.email.clone(),
            profile: self.profile.clone(),
            webhook: self.webhook.clone(),
            delivery: self.delivery.clone(),
            bulk: self.bulk.clone(),
        }
    }
}

impl Ids {
    pub(crate) fn all(text: &str) -> Self {
        let text = || text.to_owned();
        Self {
            import: text(),
            user: text(),
            job: text(),
            task: text(),
            org: text(),
            email: text(),
            profile: text(),
            webhook: text(),
            delivery: text(),
            bulk: text(),
        }
    }

    pub(crate) fn missing(world: &World) -> Self {
        let id = "0190a5f0-7b7c-7000-8000-000000000001".to_owned();
        Self {
            import: id.clone(),
            user: id.clone(),
            webhook: id.clone(),
            delivery: id.clone(),
            bulk: id,
            job: "999999999".into(),
            task: "userimport_00000000000000000000000000000000".into(),
            org: world.org.clone(),
            email: "missing@example.com".into(),
            profile: "missing-profile".into(),
        }
    }

    pub(crate) fn path(&self, row: &Row) -> String {
        let id = match row.door {
            Door::Native if row.path.starts_with("/v1/users") => &self.user,
            Door::Native if row.path.starts_with("/v1/webhooks") => &self.webhook,
            Door::Native => &self.import,
            Door::Authgear => &self.task,
            Door::Ccai | Door::Bitcaster => &self.job,
        };
        let path =
            row.path.replace("{id}", id).replace("{delivery}", &self.delivery).replace("{org}", &self.org);
        let path = path.replace("{username}", &self.email).replace("{name}", &self.profile);
        let path = path.replace("{bulk}", &self.bulk);
        // They need not be made first: whose they are, the organization says.
        path.replace("{project}", "project").replace("{application}", "application")
    }
}

/// A JWT that the tests' key signed for a tenant, under a key id.
pub(crate) fn signed(tenant: &Tenant, kid: &str) -> String {
    let digits: String = PRIVATE.lines().filter(|line| !line.starts_with("-----")).collect();
    let pair = RsaKeyPair::from_pkcs8(&STANDARD.decode(digits).unwrap()).unwrap();
    let now = clock::now().timestamp();
    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let header = part(json!({"alg": "RS256", "typ": "JWT", "kid": kid}));
    let claims = part(json!({"aud": tenant.slug, "iat": now, "exp": now + 300}));
    let text = format!("{header}.{claims}");
    let mut signature = vec![0; pair.public().modulus_len()];
    pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), text.as_bytes(), &mut signature).unwrap();
    format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// What a credential of a tenant is at each door.
pub(crate) struct Credentials {
    pub(crate) slug: String,
    pub(crate) token: String,
    pub(crate) jwt: String,
}

impl Credentials {
    /// New ones that may do this alone.
    pub(crate) async fn new(server: &Server, tenant: &Tenant, scope: Option<Scope>) -> Self {
        let name = format!("only {}", scope_name(scope));
        let scopes: Vec<Scope> = scope.into_iter().collect();
        let key = RsaPublicKey::from_pem(PUBLIC).unwrap();
        let new = NewKey { kid: &name, key: &key, app_id: None, host: None, scopes: &scopes };
        assert!(keys::add(server.store.pool(), tenant.id, &new).await.unwrap());
        Self {
            slug: tenant.slug.to_string(),
            token: token(&server.store, tenant, &name, &scopes).await,
            jwt: signed(tenant, &name),
        }
    }

    pub(crate) fn on(&self, door: Door, request: RequestBuilder) -> RequestBuilder {
        match door {
            Door::Native | Door::Bitcaster => request.bearer_auth(&self.token),
            Door::Authgear => request.bearer_auth(&self.jwt),
            Door::Ccai => request.basic_auth(&self.slug, Some(&self.token)),
        }
    }
}

pub(crate) async fn world(server: &Server, slug: &str) -> (World, Credentials) {
    let tenant = tenants::create(&server.store, &slug.parse().unwrap(), slug).await.unwrap().into_inner();
    let org = format!("{slug}-org");
    let wanted =
        serde_json::from_value(json!({"organizations": [{"slug": org, "name": "Organization"}]})).unwrap();
    catalog::apply(&server.store, tenant.id, &wanted).await.unwrap();
    let all = Credentials::new(server, &tenant, Some(Scope::Ops)).await;
    let world = World {
        org,
        email: format!("{slug}@example.com"),
        user: String::new(),
        import: String::new(),
        job: String::new(),
        profile: format!("{slug}-profile"),
        webhook: String::new(),
        delivery: String::new(),
        bulk: String::new(),
        task: String::new(),
        tenant,
    };
    let world = refill(server, world, &all).await;
    (world, all)
}

/// The same tenant with new things: what a row before did to the old ones is no matter.
async fn refill(server: &Server, mut world: World, all: &Credentials) -> World {
    let url = |path: &str| format!("{}{path}", server.url);
    let at = |door, method, path: &str| all.on(door, server.client.request(method, url(path)));
    let body = json!({"email": world.email});
    let made = at(Door::Bitcaster, Method::POST, &format!("/api/o/{}/u/", world.org)).json(&body);
    assert!(made.send().await.unwrap().status().is_success());
    let found = at(Door::Native, Method::GET, "/v1/users").query(&[("email", &world.email)]);
    let found: Value = found.send().await.unwrap().json().await.unwrap();
    world.user = found["users"][0]["id"].as_str().unwrap().to_owned();
    let upload = at(Door::Native, Method::POST, "/v1/imports?start=manual");
    let import = accepted(upload.header("content-type", "text/csv").body("email\na@example.com\n")).await;
    world.import = import["id"].as_str().unwrap().to_owned();
    let form = "--b\r\ncontent-disposition: form-data; name=\"file\"; filename=\"u.json\"\r\n\r\n[{\"email\": \
                \"a@example.com\"}]\r\n--b--\r\n";
    let job = at(Door::Ccai, Method::POST, "/apps/api/v1/bulk/users/upload");
    let job = job.header("content-type", "multipart/form-data; boundary=b").body(form).send().await.unwrap();
    let job: Value = job.json().await.unwrap();
    world.job = job["id"].to_string();
    let records = json!({"identifier": "email", "records": [{"email": "a@example.com"}]});
    let task = at(Door::Authgear, Method::POST, "/_api/admin/users/import").json(&records);
    let task: Value = task.send().await.unwrap().json().await.unwrap();
    world.task = task["id"].as_str().unwrap().to_owned();
    let bulk = at(Door::Native, Method::POST, "/v1/bulk?action=cancel&file=nothing-is-called-so");
    let bulk: Value = bulk.send().await.unwrap().json().await.unwrap();
    world.bulk = bulk["id"].as_str().unwrap().to_owned();
    let profile = at(Door::Native, Method::PUT, &format!("/v1/profiles/{}", world.profile)).json(&json!({}));
    assert!(profile.send().await.unwrap().status().is_success());
    // Nobody listens there.
    let webhook = json!({"url": "http://127.0.0.1:1/", "enabled": false});
    let webhook = at(Door::Native, Method::POST, "/v1/webhooks").json(&webhook).send().await.unwrap();
    let webhook: Value = webhook.json().await.unwrap();
    world.webhook = webhook["id"].as_str().unwrap().to_owned();
    let ping = at(Door::Native, Method::POST, &format!("/v1/webhooks/{}/ping", world.webhook));
    let ping: Value = ping.send().await.unwrap().json().await.unwrap();
    world.delivery = ping["id"].as_str().unwrap().to_owned();
    world
}

/// Status and body of an answer, what differs from request to request apart.
pub(crate) async fn answer(request: RequestBuilder) -> (u16, Value) {
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    let text = response.text().await.unwrap();
    let mut body = serde_json::from_str(&text).unwrap_or(Value::String(text));
    if let Some(error) = body.get_mut("error").and_then(Value::as_object_mut) {
        error.remove("request_id");
    }
    (status, body)
}

/// Whether an error has the shape of its door.
fn has_shape(door: Door, status: u16, body: &Value) -> bool {
    match door {
        Door::Native => body["error"]["code"].is_string(),
        Door::Ccai => body["message"].is_string(),
        Door::Bitcaster => body["detail"].is_string(),
        Door::Authgear if status == 403 => body == "Forbidden\n",
        Door::Authgear => body["error"]["reason"].is_string(),
    }
}

/// A body with which a request is not refused for its form. What it names may be missing all the same.
pub(crate) fn with_body(row: &Row, request: RequestBuilder) -> RequestBuilder {
    match (row.door, row.method.as_str()) {
        (_, "GET") => request,
        (Door::Bitcaster, "POST") if row.path.contains("address") => {
            request.json(&json!({"name": "work", "value": "a@example.com"}))
        }
        (Door::Bitcaster, "POST") if row.path.contains("register") => {
            request.json(&json!({"username": "new@example.com", "custom_fields": {"k": 1}}))
        }
        (Door::Bitcaster, "POST") => request.json(&json!({"email": "new@example.com"})),
        (Door::Bitcaster, _) => request.json(&json!({"first_name": "Ann"})),
        (Door::Native, "POST") if row.path == "/v1/webhooks" => {
            request.json(&json!({"url": "http://127.0.0.1:1/", "enabled": false}))
        }
        (Door::Native, "PATCH") => request.json(&json!({"description": "changed"})),
        (Door::Native, "PUT") if row.path.contains("profiles") => request.json(&json!({"dates": "dmy"})),
        _ => request,
    }
}

#[tokio::test]
async fn every_route_asks_for_its_scope_and_no_other_will_do() {
    let server = Server::start().await;
    let (mut world, all) = world(&server, "own").await;
    let mut only = Vec::new();
    for scope in Scope::ALL.iter().copied().filter(|scope| *scope != Scope::Ops).map(Some).chain([None]) {
        only.push((scope, Credentials::new(&server, &world.tenant, scope).await));
    }
    for row in rows() {
        let url = format!("{}{}", server.url, world.ids().path(&row));
        let ask = |credentials: &Credentials| {
            answer(with_body(&row, credentials.on(row.door, server.client.request(row.method.clone(), &url))))
        };
        let name = format!("{} {}", row.method, row.path);
        for (scope, credentials) in &only {
            let (status, body) = ask(credentials).await;
            let held = scope_name(*scope);
            if row.scopes.is_empty() || scope.is_some_and(|scope| row.scopes.contains(&scope)) {
                assert!(
                    !matches!(status, 401 | 403 | 404 | 405 | 500..),
                    "{name} with {held}: {status} {body}"
                );
            } else {
                assert_eq!(status, 403, "{name} with {held}: {body}");
                assert!(has_shape(row.door, status, &body), "{name} with {held}: {body}");
            }
        }
        // What is deleted is there again for the operator, and for the next row.
        if row.method == Method::DELETE {
            world = refill(&server, world, &all).await;
        }
        let url = format!("{}{}", server.url, world.ids().path(&row));
        let request = all.on(row.door, server.client.request(row.method.clone(), &url));
        let (status, body) = answer(with_body(&row, request)).await;
        assert!(!matches!(status, 401 | 403 | 404 | 405 | 500..), "{name} with ops: {status} {body}");
        if row.method == Method::DELETE {
            world = refill(&server, world, &all).await;
        }
    }
}

#[tokio::test]
async fn another_tenants_ids_are_as_missing_ones_on_every_route() {
    let server = Server::start().await;
    let (mut own, all) = world(&server, "own").await;
    let (other, _) = world(&server, "other").await;
    let before = snapshot(&server, &other).await;
    for row in rows().into_iter().filter(|row| row.path.contains('{') && !is_naming(row)) {
        let ask = async |ids: &Ids| {
            let url = format!("{}{}", server.url, ids.path(&row));
            answer(with_body(&row, all.on(row.door, server.client.request(row.method.clone(), url)))).await
        };
        let name = format!("{} {}", row.method, row.path);
        // A new user of an organization of one's own is not missing, but new.
        let mut nothing = Ids::missing(&own);
        if !row.path.contains("{username}") {
            nothing.org = "missing-org".into();
        }
        let missing = ask(&nothing).await;
        assert_eq!(missing.0, 404, "{name}: {}", missing.1);
        assert!(has_shape(row.door, 404, &missing.1), "{name}: {}", missing.1);
        assert_eq!(ask(&other.ids()).await, missing, "{name}");
        // Another's user in an organization of one's own, and one's own in another's.
        assert_eq!(
            ask(&Ids { org: own.org.clone(), ..other.ids() }).await.0 == 404,
            !is_enrolling(&row),
            "{name}"
        );
        assert_eq!(
            ask(&Ids { org: other.org.clone(), ..own.ids() }).await.0 == 404,
            is_in_org(&row),
            "{name}"
        );
        if row.method == Method::DELETE {
            own = refill(&server, own, &all).await;
        }
        for odd in [
            "-1",
            "99999999999999999999",
            "%00",
            "..%2F..",
            "';drop table imports",
            "%FF",
            "a".repeat(3000).as_str(),
        ] {
            let (status, body) = ask(&Ids::all(odd)).await;
            assert_eq!(status, 404, "{name} {odd}: {body}");
        }
    }
    // A profile of one's own may have the name of another's.
    let url = format!("{}/v1/profiles/{}", server.url, other.profile);
    let saved = all.on(Door::Native, server.client.put(&url)).json(&json!({"dates": "mdy"}));
    assert_eq!(answer(saved).await.0, 200);
    assert_eq!(answer(all.on(Door::Native, server.client.delete(&url))).await.0, 204);
    assert_eq!(snapshot(&server, &other).await, before, "nothing was done to the other tenant");
}

/// Whether a request to the route makes a user of whatever address.
fn is_enrolling(row: &Row) -> bool {
    row.door == Door::Bitcaster && !row.path.contains("{username}")
}

/// Whether a request to the route makes a profile of whatever name.
fn is_naming(row: &Row) -> bool {
    row.method == Method::PUT && row.path.contains("{name}")
}

fn is_in_org(row: &Row) -> bool {
    row.path.contains("{org}")
}

/// All that a tenant has, but for what the dispatcher does to chunks and the deliveries to webhooks meanwhile.
async fn snapshot(server: &Server, world: &World) -> Vec<String> {
    let mut all = Vec::new();
    for table in [
        "users",
        "imports",
        "chunks",
        "memberships",
        "application_members",
        "bulk_jobs",
        "organizations",
        "authgear_imports",
        "import_profiles",
        "webhooks",
        "webhook_secrets",
        "bulk_actions",
    ] {
        let columns = match table {
            "chunks" => "id, import_id, pending, body_hash",
            "webhooks" => "id, url, description, events, enabled, two_secrets",
            _ => "*",
        };
        let rows: Vec<String> = sqlx::query_scalar(sqlx::AssertSqlSafe(format!(
            "select row_to_json(t)::text from (select {columns} from {table} where tenant_id = $1) as t order by 1"
        )))
        .bind(world.tenant.id.get())
        .fetch_all(server.store.pool())
        .await
        .unwrap();
        all.extend(rows);
    }
    all
}

#[tokio::test]
async fn a_route_takes_its_own_verbs_and_no_others() {
    let server = Server::start().await;
    let (world, all) = world(&server, "own").await;
    let rows = rows();
    for row in &rows {
        for verb in ["GET", "POST", "PUT", "PATCH", "DELETE"] {
            if rows.iter().any(|other| other.path == row.path && other.method.as_str() == verb) {
                continue;
            }
            let url = format!("{}{}", server.url, world.ids().path(row));
            let (status, body) =
                answer(all.on(row.door, server.client.request(verb.parse().unwrap(), url))).await;
            assert_eq!(status, 405, "{verb} {}: {body}", row.path);
        }
    }
}

/// At each door an unknown credential, a revoked one and one that has expired are the same, and take the same time.
#[tokio::test]
async fn what_a_credential_was_is_not_told() {
    let server = Server::start().await;
    let (world, all) = world(&server, "own").await;
    let make = async |name: &str, expires| {
        let made =
            tokens::create_for(&server.store, world.tenant.id, None, name, &[Scope::Ops], expires).await;
        match made.unwrap() {
            tokens::NewToken::Created(_, token) => token.reveal().to_owned(),
            tokens::NewToken::NameTaken(_) => panic!("the name is taken"),
        }
    };
    let revoked = make("revoked", None).await;
    tokens::revoke(&server.store, world.tenant.id, "revoked").await.unwrap();
    let expired = make("expired", Some(clock::now() - std::time::Duration::from_secs(1))).await;
    let unknown = format!("mst_{}", "A".repeat(43));
    for row in rows().into_iter().filter(|row| row.door != Door::Authgear) {
        let url = format!("{}{}", server.url, world.ids().path(&row));
        let mut answers = Vec::new();
        for token in [&unknown, &revoked, &expired] {
            let credentials =
                Credentials { slug: all.slug.clone(), token: token.clone(), jwt: String::new() };
            let began = std::time::Instant::now();
            answers.push(
                answer(credentials.on(row.door, server.client.request(row.method.clone(), &url))).await,
            );
            assert!(began.elapsed().as_millis() >= 25, "{} {}", row.method, row.path);
        }
        assert_eq!(answers[0].0, 401, "{} {}", row.method, row.path);
        assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    }
}
