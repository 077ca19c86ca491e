//! docs/contracts/ccai.md B.2.3 and B.2.4: the error logs, and errors of requests.

use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};

use super::client::{Api, form, id_of, json_of, ok, person, refused};

/// The one scheme error of a file that cannot be read as users.
async fn file_error(api: &Api, text: impl Into<String>) -> String {
    let mut errors = api.scheme_errors(text).await;
    assert_eq!(errors.len(), 1, "{errors:?}");
    let (message, column, row) = errors.remove(0);
    assert_eq!((column, row), (1, None), "{message}");
    message
}

#[tokio::test]
async fn scheme_errors_are_message_column_row() {
    let api = Api::new().await;
    let users = json!([
        person("a@example.com", json!({})),
        person("b", json!({"direct_inbound_number1": "x"})),
        person("c@example.com", json!({"first_name": ""})),
    ]);
    let id = api.upload(users.to_string()).await;
    let log = api.get(&format!("bulk/users/errors/scheme/{id}")).send().await.unwrap();
    assert_eq!(log.headers()["content-type"], "application/json");
    let expected = json!([
        {"message": "Must be a valid email", "column": 1, "row": 2},
        {"message": "Must be a phone number in E.164", "column": 17, "row": 2},
        {"message": "Non-empty string", "column": 4, "row": 3},
    ]);
    assert_eq!(json_of(log).await, (200, expected));
    assert_eq!(ok(api.get(&format!("bulk/users/errors/update/{id}"))).await, json!([]));
}

#[tokio::test]
async fn a_file_that_is_not_json_has_one_error_without_a_row() {
    let api = Api::new().await;
    for text in ["[{\"email\": ", "[{]", "[{\"email\" \"a\"}]", "[] x"] {
        let message = file_error(&api, text).await;
        assert!(message.starts_with("Must be valid JSON"), "{text}: {message}");
    }
}

#[tokio::test]
async fn a_file_that_is_no_array_has_one_error_without_a_row() {
    let api = Api::new().await;
    let csv = "email,first_name\na@example.com,A\n";
    for text in [r#"{"users": []}"#, csv, "null", "1"] {
        assert_eq!(file_error(&api, text).await, "Must be a JSON array of users", "{text}");
    }
}

#[tokio::test]
async fn an_empty_file_or_array_has_one_error_without_a_row() {
    let api = Api::new().await;
    for text in ["[]", " [ ] ", "", "\n"] {
        assert_eq!(file_error(&api, text).await, "Must have at least one user", "{text:?}");
    }
}

#[tokio::test]
async fn an_element_that_is_no_object_is_an_error_of_its_row() {
    let api = Api::new().await;
    let users = json!([person("a@example.com", json!({})), "b@example.com"]);
    let errors = api.scheme_errors(users.to_string()).await;
    assert_eq!(errors, [("Must be an object".to_owned(), 1, Some(2))]);
}

#[tokio::test]
async fn bytes_that_are_no_text_are_told_as_such_in_their_column() {
    let api = Api::new().await;
    let mut file = br#"[{"email": "a@example.com", "first_name": "J"#.to_vec();
    file.extend_from_slice(b"\xff");
    file.extend_from_slice(br#"o", "last_name": "Doe"}]"#);
    let form = Form::new().part("file", Part::bytes(file).file_name("users.json"));
    let id = id_of(&ok(api.post("bulk/users/upload").multipart(form)).await);
    let job = api.job(id).await;
    assert_eq!(job["status"], "invalid_scheme");
    let errors = job["scheme_errors"].as_array().unwrap();
    assert_eq!((errors.len(), &errors[0]["column"], &errors[0]["row"]), (1, &json!(4), &json!(1)), "{job}");
    assert!(errors[0]["message"].as_str().unwrap().contains("UTF-8"), "{job}");
}

#[tokio::test]
async fn a_long_log_is_whole_and_the_job_shows_its_beginning() {
    let api = Api::new().await;
    let users: Vec<Value> = (0..2_500).map(|_| person("nobody", json!({}))).collect();
    let id = api.upload(json!(users).to_string()).await;
    let log = ok(api.get(&format!("bulk/users/errors/scheme/{id}"))).await;
    let rows: Vec<u64> = log.as_array().unwrap().iter().map(|error| error["row"].as_u64().unwrap()).collect();
    assert_eq!(rows, (1..=2_500).collect::<Vec<u64>>());
    let job = api.job(id).await;
    assert_eq!(job["scheme_errors"].as_array().unwrap()[..], log.as_array().unwrap()[..100]);
    assert_eq!(job["failed_rows"], 2_500);
}

#[tokio::test]
async fn update_errors_tell_their_type() {
    let api = Api::new().await;
    api.apply_all(&[person("taken@example.com", json!({})), person("b@example.com", json!({}))]).await;
    let users = [
        person("a@example.com", json!({})),
        person("b@example.com", json!({"new_email": "taken@example.com"})),
    ];
    let id = api.upload(json!(users).to_string()).await;
    ok(api.start(id)).await;
    let job = api.completed(id).await;
    let expected =
        json!([{"message": "Email is already taken", "column": 2, "row": 2, "error_type": "error"}]);
    assert_eq!(ok(api.get(&format!("bulk/users/errors/update/{id}"))).await, expected);
    assert_eq!(job["update_errors"], expected);
    assert_eq!(ok(api.get(&format!("bulk/users/errors/scheme/{id}"))).await, json!([]));
}

#[tokio::test]
async fn a_warning_is_of_a_row_that_was_applied() {
    let api = Api::new().await;
    let id = api.upload(json!([person("a@example.com", json!({}))]).to_string()).await;
    ok(api.start(id)).await;
    api.completed(id).await;
    // No field of this contract is applied in part today; the log shows what the engine notes all the same.
    let mut connection = api.tenant.store.connection().await.unwrap();
    sqlx::query(
        "insert into record_issues (import_id, record, failed, warnings)
         select import_id, 1, false, '[\"location holds names that the catalog does not know; they were left out.\"]'
           from bulk_jobs where id = $1",
    )
    .bind(id)
    .execute(&mut connection)
    .await
    .unwrap();
    let log = ok(api.get(&format!("bulk/users/errors/update/{id}"))).await;
    assert_eq!(
        (&log[0]["column"], &log[0]["row"], &log[0]["error_type"]),
        (&json!(8), &json!(1), &json!("warning"))
    );
}

#[tokio::test]
async fn an_unknown_job_is_404() {
    let api = Api::new().await;
    for path in ["bulk/users/jobs", "bulk/users_jobs", "bulk/users/errors/scheme", "bulk/users/errors/update"]
    {
        for id in ["9999999999", "0", "-1", "x", "99999999999999999999", "%FF", "..%2F.."] {
            assert_eq!(refused(api.get(&format!("{path}/{id}"))).await, 404, "{path}/{id}");
        }
    }
    assert_eq!(refused(api.start(9_999_999_999)).await, 404);
    let put = api.put("bulk/users/upload").multipart(form("[]").text("id", "9999999999"));
    assert_eq!(refused(put).await, 404);
}

#[tokio::test]
async fn a_missing_file_or_id_is_400() {
    let api = Api::new().await;
    let forms = [
        api.post("bulk/users/upload").multipart(Form::new().text("other", "x")),
        api.post("bulk/users/upload")
            .header("content-type", "multipart/form-data; boundary=b")
            .body("--b--\r\n"),
        api.post("bulk/users/upload").json(&json!([])),
        api.post("bulk/users/upload"),
        api.put("bulk/users/upload").multipart(form("[]")),
        api.put("bulk/users/upload").multipart(form("[]").text("id", "")),
        api.put("bulk/users/upload").multipart(form("[]").text("id", "x")),
        api.post("bulk/users/upload").multipart(form("[]").part("file", Part::text("[]"))),
    ];
    for (at, request) in forms.into_iter().enumerate() {
        assert_eq!(refused(request).await, 400, "form {at}");
    }
    assert_eq!(ok(api.get("bulk/users/jobs")).await, json!([]), "no such upload leaves a job");
}

#[tokio::test]
async fn a_form_that_is_cut_short_is_400_and_leaves_no_job() {
    let api = Api::new().await;
    let body =
        "--b\r\ncontent-disposition: form-data; name=\"file\"; filename=\"a.json\"\r\n\r\n[{\"email\":";
    let cut =
        api.post("bulk/users/upload").header("content-type", "multipart/form-data; boundary=b").body(body);
    assert_eq!(refused(cut).await, 400);
    assert_eq!(ok(api.get("bulk/users/jobs")).await, json!([]));
}
