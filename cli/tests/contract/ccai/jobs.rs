//! B.2.1 and B.2.2: the job object, the list, the states.

use chrono::{DateTime, Utc};
use muster_domain::token::Scope;
use reqwest::Response;
use serde_json::{Value, json};

use super::client::{Api, BASE, json_of, ok, person, refused, token};

const FIELDS: [&str; 14] = [
    "id",
    "created_at",
    "process_requested_at",
    "filename",
    "total_rows",
    "affected_rows",
    "failed_rows",
    "status",
    "uploaded_user_name",
    "proceed_user_name",
    "uploaded_api_user_name",
    "proceed_api_user_name",
    "scheme_errors",
    "update_errors",
];

fn assert_moment(value: &Value) {
    let text = value.as_str().unwrap();
    assert!(text.len() == 24 && text.ends_with('Z'), "{text}");
    assert!(text.parse::<DateTime<Utc>>().is_ok());
}

#[tokio::test]
async fn the_job_object_has_all_of_its_fields() {
    let mut api = Api::new().await;
    let id = api.upload(json!([person("a@example.com", json!({}))]).to_string()).await;
    let job = api.job(id).await;
    let mut keys: Vec<&str> = job.as_object().unwrap().keys().map(String::as_str).collect();
    let mut expected = FIELDS.to_vec();
    keys.sort_unstable();
    expected.sort_unstable();
    assert_eq!(keys, expected);
    assert_moment(&job["created_at"]);
    assert_eq!(job["filename"], "users.json");
    for null in ["process_requested_at", "uploaded_user_name", "proceed_user_name", "proceed_api_user_name"] {
        assert_eq!(job[null], Value::Null, "{null}");
    }
    api.token = token(&api.tenant, "api_user_name_2", &[Scope::ImportWrite, Scope::ImportRead]).await;
    ok(api.start(id)).await;
    let job = api.completed(id).await;
    assert_moment(&job["process_requested_at"]);
    assert_eq!(
        (&job["uploaded_api_user_name"], &job["proceed_api_user_name"]),
        (&json!("api_user_name_1"), &json!("api_user_name_2"))
    );
    assert_eq!(
        (&job["total_rows"], &job["affected_rows"], &job["failed_rows"]),
        (&json!(1), &json!(1), &json!(0))
    );
    assert_eq!((&job["scheme_errors"], &job["update_errors"]), (&json!([]), &json!([])));
    assert_eq!(job["uploaded_user_name"], Value::Null);
}

#[tokio::test]
async fn the_job_itself_has_its_errors() {
    let api = Api::new().await;
    let id = api.upload(json!([person("nobody", json!({}))]).to_string()).await;
    let job = api.job(id).await;
    let errors = json!([{"message": "Must be a valid email", "column": 1, "row": 1}]);
    assert_eq!((&job["status"], &job["scheme_errors"]), (&json!("invalid_scheme"), &errors));
    assert_eq!((&job["total_rows"], &job["affected_rows"]), (&json!(1), &json!(0)));
    assert_eq!(ok(api.get("bulk/users/jobs")).await[0], job);
}

async fn page(api: &Api, path: &str) -> (Vec<i64>, Response) {
    let response = api.get(path).send().await.unwrap();
    assert_eq!(response.status(), 200, "{path}");
    let copy = api.get(path).send().await.unwrap();
    let (_, body) = json_of(response).await;
    (body.as_array().unwrap().iter().map(|job| job["id"].as_i64().unwrap()).collect(), copy)
}

#[tokio::test]
async fn the_list_is_newest_first_with_link_total_and_per_page() {
    let api = Api::new().await;
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.insert(0, api.upload("[]").await);
    }
    let (all, response) = page(&api, "bulk/users/jobs").await;
    assert_eq!(all, ids);
    let header = |response: &Response, name: &str| {
        response.headers().get(name).map(|value| value.to_str().unwrap().to_owned())
    };
    assert_eq!(header(&response, "total").as_deref(), Some("5"));
    assert_eq!(header(&response, "per-page").as_deref(), Some("20"));
    assert_eq!(header(&response, "link"), None);
    let (second, response) = page(&api, "bulk/users/jobs?page=2&per_page=2").await;
    assert_eq!(second, ids[2..4]);
    let link = header(&response, "link").unwrap();
    let next = format!("{}{BASE}/bulk/users/jobs?page=3&per_page=2", api.tenant.url);
    assert!(link.contains(&format!("<{next}>; rel=\"next\"")), "{link}");
    let last = api.tenant.http.get(next).basic_auth(&api.tenant.slug, Some(&api.token));
    assert_eq!(ok(last).await[0]["id"], ids[4]);
    assert!(page(&api, "bulk/users/jobs?page=9").await.0.is_empty());
}

#[tokio::test]
async fn paging_may_stand_in_a_json_body_and_the_query_wins() {
    let api = Api::new().await;
    let first = api.upload("[]").await;
    let second = api.upload("[]").await;
    let with_body = |path: &str| api.get(path).json(&json!({"page": 2, "per_page": 1}));
    assert_eq!(ok(with_body("bulk/users/jobs")).await[0]["id"], first);
    assert_eq!(ok(with_body("bulk/users/jobs?page=1")).await[0]["id"], second);
    for wrong in ["page=0", "page=x", "per_page=0", "per_page=101", "per_page=ten"] {
        assert_eq!(refused(api.get(&format!("bulk/users/jobs?{wrong}"))).await, 400, "{wrong}");
    }
}

#[tokio::test]
async fn created_is_what_an_upload_answers() {
    let api = Api::new().await;
    // The client's helper asserts it.
    api.upload("[]").await;
}

#[tokio::test]
async fn valid_scheme_may_proceed() {
    let api = Api::new().await;
    let id = api.upload(json!([person("a@example.com", json!({}))]).to_string()).await;
    assert_eq!(api.status(id).await, "valid_scheme");
    ok(api.start(id)).await;
}

#[tokio::test]
async fn invalid_scheme_may_not_and_applies_nothing() {
    let api = Api::new().await;
    let users = json!([person("good@example.com", json!({})), person("bad", json!({}))]);
    let id = api.upload(users.to_string()).await;
    assert_eq!(api.status(id).await, "invalid_scheme");
    assert_eq!(refused(api.start(id)).await, 409);
    assert!(api.tenant.users().await.is_empty());
}

#[tokio::test]
async fn in_progress_shows_how_far_it_is() {
    let api = Api::new().await;
    let users: Vec<Value> = (0..6_000).map(|at| person(&format!("u{at}@example.com"), json!({}))).collect();
    let id = api.upload(json!(users).to_string()).await;
    ok(api.start(id)).await;
    let mut affected = 0;
    loop {
        let job = api.job(id).await;
        let now = job["affected_rows"].as_u64().unwrap();
        assert!(now >= affected && job["total_rows"] == 6_000 && job["failed_rows"] == 0, "{job}");
        affected = now;
        match job["status"].as_str().unwrap() {
            "in_progress" => {}
            "completed" => break,
            other => panic!("{other}"),
        }
    }
    assert_eq!(affected, 6_000);
}

#[tokio::test]
async fn completed_is_the_end_also_with_failed_rows() {
    let api = Api::new().await;
    api.apply_all(&[person("taken@example.com", json!({})), person("a@example.com", json!({}))]).await;
    let users = [
        person("a@example.com", json!({"new_email": "taken@example.com"})),
        person("b@example.com", json!({})),
    ];
    let job = api.apply(&users).await;
    assert_eq!((&job["affected_rows"], &job["failed_rows"]), (&json!(1), &json!(1)));
}

#[tokio::test]
async fn a_job_that_an_operator_cancels_is_completed_with_failed_rows() {
    let api = Api::new().await;
    let id = api.upload(json!([person("a@example.com", json!({}))]).to_string()).await;
    let imports = api.tenant.http.get(format!("{}/v1/imports", api.tenant.url)).bearer_auth(&api.token);
    let import = ok(imports).await["imports"][0]["id"].as_str().unwrap().to_owned();
    let cancel = format!("{}/v1/imports/{import}/cancel", api.tenant.url);
    ok(api.tenant.http.post(cancel).bearer_auth(&api.token)).await;
    let job = api.job(id).await;
    assert_eq!(
        (&job["status"], &job["affected_rows"], &job["failed_rows"]),
        (&json!("completed"), &json!(0), &json!(1))
    );
    assert_eq!(job["update_errors"][0]["error_type"], "error");
    assert_eq!(ok(api.get(&format!("bulk/users/errors/update/{id}"))).await, job["update_errors"]);
}
