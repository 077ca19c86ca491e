//! A.1.2: who may ask.

use std::io::Write;
use std::process::Stdio;

use muster_domain::rsa_key::RsaPublicKey;
use muster_runtime::clock;
use muster_store::keys::{self, NewKey};
use reqwest::Response;
use serde_json::{Value, json};

use super::project::{KID, OTHER_PRIVATE, OTHER_PUBLIC, PATH, PUBLIC, Project, header, sign, sign_by};
use crate::harness::Tenant;

/// 403, a plain text, and nothing else.
async fn forbidden(response: Response) {
    assert_eq!(response.status(), 403);
    assert_eq!(response.headers()["content-type"], "text/plain; charset=utf-8");
    assert_eq!(response.text().await.unwrap(), "Forbidden\n");
}

async fn refused(project: &Project, header: &Value, claims: &Value) {
    let token = sign(header, claims);
    forbidden(project.post(&token).body("{}").send().await.unwrap()).await;
    forbidden(project.get(&token, "userimport_0").send().await.unwrap()).await;
}

/// Authorised: the body is what is refused.
async fn taken(project: &Project, header: &Value, claims: &Value) {
    let response = project.post(&sign(header, claims)).body("{}").send().await.unwrap();
    assert_eq!(response.status(), 400);
}

fn with(mut object: Value, name: &str, value: Value) -> Value {
    object[name] = value;
    object
}

#[tokio::test]
async fn missing_or_malformed_authorization() {
    let project = Project::new().await;
    let (url, token) = (format!("{}{PATH}", project.tenant.url), project.token());
    let post = || project.tenant.http.post(&url).header("content-type", "application/json").body("{}");
    forbidden(post().send().await.unwrap()).await;
    for value in [
        "".to_owned(),
        "Bearer ".to_owned(),
        "Bearer x".to_owned(),
        token.clone(),
        format!("bearer {token}"),
        format!("Basic {token}"),
    ] {
        forbidden(post().header("authorization", value).send().await.unwrap()).await;
    }
    let twice = post().header("authorization", format!("Bearer {token}")).header("authorization", "Bearer x");
    forbidden(twice.send().await.unwrap()).await;
    // A token of the native API is none here.
    let native = project.tenant.token("native", &["ops"]);
    forbidden(post().bearer_auth(native).send().await.unwrap()).await;
}

#[tokio::test]
async fn algorithm_is_rs256() {
    let project = Project::new().await;
    let claims = project.claims();
    for alg in ["none", "HS256", "RS512", "PS256"] {
        refused(&project, &with(header(), "alg", json!(alg)), &claims).await;
    }
    taken(&project, &header(), &claims).await;
}

#[tokio::test]
async fn kid_names_a_known_key() {
    let project = Project::new().await;
    refused(&project, &with(header(), "kid", json!("another")), &project.claims()).await;
    refused(&project, &json!({"alg": "RS256", "typ": "JWT"}), &project.claims()).await;
}

#[tokio::test]
async fn the_key_must_be_one_of_the_tenant_that_aud_names() {
    let ours = Project::new().await;
    for kid in ["key-2", KID] {
        // Under a kid that we do not have, and under one that we have as well.
        let theirs = Project::with_key(Tenant::new().await, kid, OTHER_PUBLIC).await;
        let header = with(header(), "kid", json!(kid));
        let foreign = sign_by(OTHER_PRIVATE, &header, &ours.claims());
        forbidden(ours.post(&foreign).body("{}").send().await.unwrap()).await;
        forbidden(ours.get(&foreign, "userimport_0").send().await.unwrap()).await;
        let own = sign_by(OTHER_PRIVATE, &header, &theirs.claims());
        assert_eq!(theirs.post(&own).body("{}").send().await.unwrap().status(), 400);
    }
}

#[tokio::test]
async fn typ_is_jwt() {
    let project = Project::new().await;
    refused(&project, &with(header(), "typ", json!("at+jwt")), &project.claims()).await;
    taken(&project, &json!({"alg": "RS256", "kid": KID}), &project.claims()).await;
    let mut claims = project.claims();
    claims.as_object_mut().unwrap().remove("iat");
    taken(&project, &header(), &claims).await;
}

#[tokio::test]
async fn signature_is_verified() {
    let project = Project::new().await;
    let token = project.token();
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let other = sign(&header(), &with(project.claims(), "exp", json!(9_999_999_999_u64)));
    let of_another = other.rsplit_once('.').unwrap().1;
    for forged in
        [format!("{signed}."), format!("{signed}.{of_another}"), format!("{signed}.{}", &signature[2..])]
    {
        forbidden(project.post(&forged).body("{}").send().await.unwrap()).await;
    }
}

#[tokio::test]
async fn aud_is_the_project_as_text_or_in_a_list() {
    let project = Project::new().await;
    let slug = project.tenant.slug.clone();
    taken(&project, &header(), &with(project.claims(), "aud", json!(slug))).await;
    taken(&project, &header(), &with(project.claims(), "aud", json!(["other", slug]))).await;
    for aud in [json!("other"), json!([]), json!(null), json!(7)] {
        refused(&project, &header(), &with(project.claims(), "aud", aud)).await;
    }
}

#[tokio::test]
async fn exp_and_iat_with_five_minutes_of_skew() {
    let project = Project::new().await;
    let now = clock::now().timestamp();
    let claims =
        |iat: i64, exp: i64| with(with(project.claims(), "iat", json!(now + iat)), "exp", json!(now + exp));
    taken(&project, &header(), &claims(-3600, -240)).await;
    taken(&project, &header(), &claims(240, 3600)).await;
    refused(&project, &header(), &claims(-3600, -360)).await;
    refused(&project, &header(), &claims(360, 3600)).await;
    let mut endless = project.claims();
    endless.as_object_mut().unwrap().remove("exp");
    refused(&project, &header(), &endless).await;
}

#[tokio::test]
async fn audit_context_is_taken() {
    let project = Project::new().await;
    taken(&project, &header(), &with(project.claims(), "audit_context", json!({"usage": "x"}))).await;
}

#[tokio::test]
async fn app_id_and_host_of_a_key() {
    let tenant = Tenant::new().await;
    let app = format!("app-{}", tenant.slug);
    let key = RsaPublicKey::from_pem(PUBLIC).unwrap();
    for (kid, host) in [("free", None), ("here", Some("127.0.0.1")), ("there", Some("auth.example.com"))] {
        let new = NewKey { kid, key: &key, app_id: Some(&app), host, scopes: NewKey::SCOPES };
        assert!(keys::add(tenant.store.pool(), tenant.id, &new).await.unwrap());
    }
    let project = Project { tenant };
    let by = |kid: &str| with(header(), "kid", json!(kid));
    let claims = with(project.claims(), "aud", json!(app));
    taken(&project, &by("free"), &claims).await;
    taken(&project, &by("here"), &claims).await;
    refused(&project, &by("there"), &claims).await;
    let token = sign(&by("there"), &claims);
    let there = project.post(&token).header("host", "AUTH.example.com:8443").body("{}");
    assert_eq!(there.send().await.unwrap().status(), 400);
}

#[tokio::test]
async fn a_key_speaks_for_its_tenant_alone() {
    let (ours, theirs) = (Project::new().await, Project::new().await);
    // Both have the same key under the same id; the audience tells them apart, and one token cannot be for both.
    let both = with(ours.claims(), "aud", json!([ours.tenant.slug, theirs.tenant.slug]));
    refused(&ours, &header(), &both).await;
    let id = ours.start(&json!({"identifier": "email", "records": [{"email": "one@example.com"}]})).await;
    ours.completed(&id).await;
    let (status, error) = super::project::error(theirs.get(&theirs.token(), &id).send().await.unwrap()).await;
    assert_eq!((status, &error["reason"]), (404, &json!("TaskNotFound")));
    assert!(theirs.tenant.users().await.is_empty());
}

#[tokio::test]
async fn keys_are_added_listed_and_removed_by_command() {
    let tenant = Tenant::new().await;
    let slug = tenant.slug.clone();
    let mut child = tenant.command(&["tenant", "key", "add", "--tenant", &slug, "--kid", KID, "-"]);
    let mut child = child.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(PUBLIC.as_bytes()).unwrap();
    assert!(child.wait_with_output().unwrap().status.success());
    let listed: Value =
        serde_json::from_str(&tenant.muster(&["tenant", "key", "list", "--tenant", &slug, "--json"]))
            .unwrap();
    assert_eq!(listed[0]["kid"], KID);
    let project = Project { tenant };
    taken(&project, &header(), &project.claims()).await;
    project.tenant.muster(&["tenant", "key", "remove", "--tenant", &slug, KID]);
    refused(&project, &header(), &project.claims()).await;
}
