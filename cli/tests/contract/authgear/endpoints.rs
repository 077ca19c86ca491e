//! docs/contracts/authgear.md A.1.1, A.1.3, A.2.1: the two addresses, the media type, the size of a body, and
//! the import object.

use chrono::DateTime;
use serde_json::{Value, json};

use super::project::{PATH, Project, error};

const ONE: &str = r#"{"identifier":"email","records":[{"email":"one@example.com"}]}"#;

#[tokio::test]
async fn post_answers_200_with_a_pending_import() {
    let project = Project::new().await;
    let response = project.send(ONE).await;
    assert_eq!(
        (response.status().as_u16(), response.headers()["content-type"].to_str().unwrap()),
        (200, "application/json")
    );
    let answer: Value = response.json().await.unwrap();
    let import = answer["result"].as_object().unwrap();
    let mut keys: Vec<&str> = import.keys().map(String::as_str).collect();
    keys.sort_unstable();
    assert_eq!(keys, ["created_at", "id", "status"]);
    assert_eq!(import["status"], "pending");
    assert!(DateTime::parse_from_rfc3339(import["created_at"].as_str().unwrap()).is_ok());
    assert!(import["created_at"].as_str().unwrap().ends_with('Z'));
}

#[tokio::test]
async fn id_is_userimport_and_32_characters_of_crockford_base32() {
    let project = Project::new().await;
    let id = project.start(&serde_json::from_str(ONE).unwrap()).await;
    let digits = id.strip_prefix("userimport_").unwrap();
    assert_eq!(digits.len(), 32);
    assert!(
        digits.chars().all(|c| c.is_ascii_digit() || (c.is_ascii_uppercase() && !"ILOU".contains(c))),
        "{id}"
    );
}

#[tokio::test]
async fn get_answers_the_completed_import_under_result_and_at_the_top() {
    let project = Project::new().await;
    let id = project.start(&serde_json::from_str(ONE).unwrap()).await;
    let mut answer = project.completed(&id).await;
    let result = answer.as_object_mut().unwrap().remove("result").unwrap();
    assert_eq!(result, answer);
    assert_eq!(answer["id"], id.as_str());
    let [created, completed] = ["created_at", "completed_at"]
        .map(|name| DateTime::parse_from_rfc3339(answer[name].as_str().unwrap()).unwrap());
    assert!(created <= completed);
    assert_eq!(
        answer["summary"],
        json!({"total": 1, "inserted": 1, "updated": 0, "skipped": 0, "failed": 0})
    );
    assert!(answer.get("error").is_none());
    let detail = &answer["details"][0];
    let user = project.user().await;
    assert_eq!(
        *detail,
        json!({"index": 0, "record": {"email": "one@example.com"}, "outcome": "inserted", "user_id": user["id"]})
    );
}

#[tokio::test]
async fn content_type_of_a_get_is_ignored() {
    let project = Project::new().await;
    let id = project.start(&serde_json::from_str(ONE).unwrap()).await;
    let request = project.get(&project.token(), &id).header("content-type", "application/json");
    assert_eq!(request.send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn content_type_of_a_post_is_json_with_no_charset_but_utf_8() {
    let project = Project::new().await;
    let url = format!("{}{PATH}", project.tenant.url);
    let post = |content_type: Option<&str>| {
        let request = project.tenant.http.post(&url).bearer_auth(project.token()).body(ONE);
        content_type.into_iter().fold(request, |request, value| request.header("content-type", value))
    };
    for good in ["application/json", "application/json; charset=UTF-8"] {
        assert_eq!(post(Some(good)).send().await.unwrap().status(), 200, "{good}");
    }
    for bad in
        [None, Some("text/plain"), Some("application/json; charset=latin1"), Some("application/json; v=1")]
    {
        let (status, error) = error(post(bad).send().await.unwrap()).await;
        assert_eq!(status, 400);
        assert_eq!((&error["name"], &error["reason"]), (&json!("BadRequest"), &json!("BadRequest")));
        assert_eq!(error["message"], "request content type is invalid");
    }
}

#[tokio::test]
async fn exactly_500000_bytes_pass_and_one_more_does_not() {
    let project = Project::new().await;
    let body = format!("{ONE}{}", " ".repeat(500_000 - ONE.len()));
    let response = project.send(body.clone()).await;
    assert_eq!(response.status(), 200);
    let (status, found) = error(project.send(format!("{body} ")).await).await;
    assert_eq!(status, 413);
    assert_eq!(
        found,
        json!({"name": "RequestEntityTooLarge", "reason": "JSONTooLarge", "message": "request body too large",
               "code": 413, "info": {"limit": 500_000}})
    );
}

#[tokio::test]
async fn a_body_of_many_records_is_answered_in_their_order() {
    let project = Project::new().await;
    // Many times the records of one chunk of Authgear's, nearly the whole size.
    let records: Vec<Value> =
        (0..8_000).map(|at| json!({"email": format!("user{at}@example.com"), "name": "A Name"})).collect();
    let details = project.import(false, &records).await;
    for (at, detail) in details.iter().enumerate() {
        assert_eq!(detail["record"], records[at]);
        assert_eq!(detail["outcome"], "inserted");
    }
    assert_eq!(project.tenant.users().await.len(), 8_000);
}

#[tokio::test]
async fn imports_of_other_front_doors_are_unknown_here() {
    let project = Project::new().await;
    let token = project.tenant.token("native", &["import:write"]);
    let url = format!("{}/v1/imports?format=csv", project.tenant.url);
    let request = project.tenant.http.post(url).bearer_auth(token).body("email\none@example.com\n");
    let import: Value = request.send().await.unwrap().json().await.unwrap();
    let plain = import["id"].as_str().unwrap().to_owned();
    // Its id in the form of this front door, worked out here as the documentation of the form has it.
    let id = uuid::Uuid::parse_str(&plain).unwrap();
    let digest = <sha2::Sha256 as sha2::Digest>::digest(id.as_bytes());
    let bytes: Vec<u8> = id.as_bytes().iter().chain(&digest[..4]).copied().collect();
    let bits: String = bytes.iter().map(|byte| format!("{byte:08b}")).collect();
    let digits: String = (0..32)
        .map(|at| usize::from_str_radix(&bits[5 * at..5 * at + 5], 2).unwrap())
        .map(|value| char::from(b"0123456789ABCDEFGHJKMNPQRSTVWXYZ"[value]))
        .collect();
    let ours = project.start(&serde_json::from_str(ONE).unwrap()).await;
    assert_eq!(ours.len(), "userimport_".len() + digits.len());
    for id in [plain, format!("userimport_{digits}")] {
        let (status, error) = error(project.get(&project.token(), &id).send().await.unwrap()).await;
        assert_eq!((status, &error["reason"]), (404, &json!("TaskNotFound")));
    }
}
