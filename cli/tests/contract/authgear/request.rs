//! A.1.4: the outer shape of a request, checked before anything is staged.

use serde_json::{Value, json};

use super::project::{Project, causes, error};

/// The causes of a request that is refused whole.
async fn refused(project: &Project, body: &Value) -> Value {
    let (status, error) = error(project.send(body.to_string()).await).await;
    assert_eq!(status, 400);
    assert_eq!((&error["name"], &error["reason"]), (&json!("Invalid"), &json!("ValidationFailed")));
    assert_eq!(error["message"], "invalid request body");
    error
}

fn one() -> Value {
    json!([{"email": "one@example.com"}])
}

#[tokio::test]
async fn upsert_is_false_by_default_and_not_null() {
    let project = Project::new().await;
    let id = project.start(&json!({"identifier": "email", "records": one()})).await;
    project.completed(&id).await;
    let id = project.start(&json!({"identifier": "email", "records": one()})).await;
    assert_eq!(project.completed(&id).await["summary"]["skipped"], 1);
    for upsert in [json!(null), json!("true"), json!(1)] {
        let error =
            refused(&project, &json!({"identifier": "email", "records": one(), "upsert": upsert})).await;
        assert_eq!(causes(&error), [("/upsert", "type")]);
    }
}

#[tokio::test]
async fn identifier_is_required_and_one_of_three() {
    let project = Project::new().await;
    let error = refused(&project, &json!({"records": one()})).await;
    assert_eq!(
        error["info"]["causes"],
        json!([{"location": "", "kind": "required",
                "details": {"actual": ["records"], "expected": ["identifier", "records"], "missing": ["identifier"]}}])
    );
    let error = refused(&project, &json!({"identifier": "foobar", "records": one()})).await;
    assert_eq!(
        error["info"]["causes"][0]["details"],
        json!({"actual": "foobar", "expected": ["preferred_username", "email", "phone_number"]})
    );
    assert_eq!(causes(&error), [("/identifier", "enum")]);
    let error = refused(&project, &json!({"identifier": null, "records": one()})).await;
    assert_eq!(causes(&error), [("/identifier", "enum"), ("/identifier", "type")]);
    let records = [
        ("email", json!({"email": "one@example.com"})),
        ("phone_number", json!({"phone_number": "+85298765432"})),
        ("preferred_username", json!({"preferred_username": "jdoe"})),
    ];
    for (identifier, record) in records {
        assert_eq!(project.import_by(identifier, false, &[record]).await[0]["outcome"], "inserted");
    }
}

#[tokio::test]
async fn records_are_required_a_list_and_at_least_one() {
    let project = Project::new().await;
    let error = refused(&project, &json!({"identifier": "email"})).await;
    assert_eq!(causes(&error), [("", "required")]);
    let error = refused(&project, &json!({"identifier": "email", "records": []})).await;
    assert_eq!(causes(&error), [("/records", "minItems")]);
    assert_eq!(error["info"]["causes"][0]["details"], json!({"actual": 0, "expected": 1}));
    let error =
        refused(&project, &json!({"identifier": "email", "records": {"email": "one@example.com"}})).await;
    assert_eq!(causes(&error), [("/records", "type")]);
}

#[tokio::test]
async fn an_element_that_is_no_object_refuses_the_whole_request() {
    let project = Project::new().await;
    let body = json!({"identifier": "email", "records": [{"email": "one@example.com"}, null, 7]});
    let error = refused(&project, &body).await;
    assert_eq!(causes(&error), [("/records/1", "type"), ("/records/2", "type")]);
    assert_eq!(
        error["info"]["causes"][1]["details"],
        json!({"actual": ["integer", "number"], "expected": ["object"]})
    );
    assert!(project.tenant.users().await.is_empty());
}

#[tokio::test]
async fn unknown_keys_are_rejected() {
    let project = Project::new().await;
    let error =
        refused(&project, &json!({"identifier": "email", "records": one(), "users": [], "a/b": 1})).await;
    assert_eq!(causes(&error), [("/a~1b", ""), ("/users", "")]);
    assert_eq!(error["info"]["causes"][1], json!({"location": "/users", "kind": ""}));
}

#[tokio::test]
async fn causes_are_told_all_at_once_sorted_by_location() {
    let project = Project::new().await;
    let error = refused(&project, &json!({"upsert": 1, "records": [], "identifier": "id", "x": 1})).await;
    let expected = [("/identifier", "enum"), ("/records", "minItems"), ("/upsert", "type"), ("/x", "")];
    assert_eq!(causes(&error), expected);
    let error = refused(&project, &json!({})).await;
    assert_eq!(error["info"]["causes"][0]["details"]["actual"], Value::Null);
    assert_eq!(causes(&refused(&project, &json!([])).await), [("", "type")]);
}
