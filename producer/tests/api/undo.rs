//! Undoing over HTTP: what is asked for, what is refused, and with which code.

use muster_domain::outcome::{OutcomeSheet, Verdict};
use muster_domain::token::Scope;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::harness::{Server, accepted, assert_refused, token};

/// An import that has ended, as if its one record had inserted a user. With before-images or without.
pub(crate) async fn applied(server: &Server, images: bool) -> String {
    let upload = server.upload("start=manual", "email\na@example.com\n");
    let import = accepted(upload).await["id"].as_str().unwrap().to_owned();
    let mut sheet = OutcomeSheet::pending(1);
    sheet.set(0, Verdict::INSERTED, Some(Uuid::from_u128(7)));
    sqlx::query("update chunks set state = 'applied', pending = 0, inserted = 1, outcomes = $2 where import_id = $1::uuid")
        .bind(&import)
        .bind(sheet.encode())
        .execute(server.store.pool())
        .await
        .unwrap();
    sqlx::query("update imports set state = 'completed', completed_at = now() where id = $1::uuid")
        .bind(&import)
        .execute(server.store.pool())
        .await
        .unwrap();
    if images {
        sqlx::query(
            "insert into before_images (chunk_id, import_id, tenant_id, reopened, gives_up, takes)
             select id, import_id, tenant_id, 0, false, false from chunks where import_id = $1::uuid",
        )
        .bind(&import)
        .execute(server.store.pool())
        .await
        .unwrap();
    }
    import
}

#[tokio::test]
async fn an_undo_is_an_import_and_there_is_one() {
    let server = Server::start().await;
    let import = applied(&server, true).await;
    let address = format!("/v1/imports/{import}/undo");
    let preview = server.json(&address).await;
    assert_eq!(
        (&preview["refused"], &preview["inserted"], &preview["gone"]),
        (&Value::Null, &json!(1), &json!(0))
    );
    let undo = accepted(server.post(&format!("{address}?start=manual"))).await;
    assert_eq!(
        (&undo["state"], &undo["counts"]["total"], &undo["gone"]),
        (&json!("received"), &json!(1), &json!(0))
    );
    assert_eq!(undo["options"]["undo"]["of"], json!(import));
    let again = assert_refused(server.post(&address), 409, "already_undone").await;
    assert_eq!(again["import_id"], undo["id"]);
    let preview = server.json(&address).await;
    assert_eq!((&preview["refused"], &preview["undone_by"]), (&json!("already_undone"), &undo["id"]));
    // It is shown, listed and steered as any other.
    let id = undo["id"].as_str().unwrap();
    assert_eq!(server.json(&format!("/v1/imports/{id}/records")).await["records"][0]["outcome"], "pending");
    let proceeded = server.post(&format!("/v1/imports/{id}/proceed")).send().await.unwrap();
    assert_eq!(proceeded.status(), 200);
    let state = assert_refused(server.post(&format!("/v1/imports/{id}/undo")), 409, "state_conflict").await;
    assert_eq!(state["state"], "running");
}

#[tokio::test]
async fn an_undo_is_planned_first_and_says_what_it_will_do() {
    let server = Server::start().await;
    let import = applied(&server, true).await;
    let undo = accepted(server.post(&format!("/v1/imports/{import}/undo"))).await;
    assert_eq!((&undo["state"], &undo["options"]["start"]), (&json!("planning"), &json!("plan")));
    let id = undo["id"].as_str().unwrap();
    let plan = server.json(&format!("/v1/imports/{id}/plan")).await;
    assert_eq!((&plan["state"], &plan["counts"]["pending"]), (&json!("planning"), &json!(1)));
    assert!(undo["links"]["plan"].as_str().unwrap().ends_with(&format!("/v1/imports/{id}/plan")));
    // While it is open there is no other; dropped before it changed anything, there may be.
    let again = server.post(&format!("/v1/imports/{import}/undo?start=auto"));
    assert_refused(again, 409, "already_undone").await;
    assert_eq!(server.post(&format!("/v1/imports/{id}/cancel")).send().await.unwrap().status(), 200);
    let at_once = accepted(server.post(&format!("/v1/imports/{import}/undo?start=auto"))).await;
    assert_eq!(at_once["state"], "running");
}

#[tokio::test]
async fn the_failed_records_of_an_undo_tell_what_users_had_only_to_those_who_see_users() {
    let server = Server::start().await;
    let import = applied(&server, true).await;
    let undo = accepted(server.post(&format!("/v1/imports/{import}/undo?start=manual"))).await;
    let id = undo["id"].as_str().unwrap();
    let source = json!([["user", Uuid::from_u128(7)], ["kind", "updated"], ["before", {"given_name": "Marker-Zoe"}], ["after", {}]]);
    let errors = json!([{"code": "changed_since_plan", "message": "it is something else now"}]);
    sqlx::query("insert into record_issues (import_id, record, failed, errors, source) values ($1::uuid, 1, true, $2, $3)")
        .bind(id)
        .bind(errors)
        .bind(source)
        .execute(server.store.pool())
        .await
        .unwrap();
    let reader = token(&server.store, &server.tenant, "reader", &[Scope::ImportRead]).await;
    let seer = token(&server.store, &server.tenant, "seer", &[Scope::ImportRead, Scope::UsersRead]).await;
    for ending in ["csv", "ndjson"] {
        let ask = async |token: &str| {
            let url = format!("{}/v1/imports/{id}/failed.{ending}", server.url);
            server.client.get(url).bearer_auth(token).send().await.unwrap().text().await.unwrap()
        };
        let told = ask(&reader).await;
        assert!(told.contains("changed_since_plan") && told.contains("updated"), "{told}");
        assert!(!told.contains("Marker-Zoe") && !told.contains("before"), "{told}");
        assert!(ask(&seer).await.contains("Marker-Zoe"));
    }
}

#[tokio::test]
async fn what_cannot_be_undone_has_its_code() {
    let server = Server::start().await;
    let waiting = accepted(server.upload("start=manual", "email\na@example.com\n")).await;
    let waiting = format!("/v1/imports/{}/undo", waiting["id"].as_str().unwrap());
    assert_eq!(assert_refused(server.post(&waiting), 409, "state_conflict").await["state"], "received");
    let gone = format!("/v1/imports/{}/undo", applied(&server, false).await);
    assert_refused(server.post(&gone), 410, "before_images_gone").await;
    assert_eq!(server.json(&gone).await["gone"], 1);
    let import = format!("/v1/imports/{}/undo", applied(&server, true).await);
    // Only users that were changed have fields to take back; nothing is left of what these name.
    for query in ["field=email", "outcome=updated", "records=2-9", "code=enrolled", "code=changed_since_plan"]
    {
        assert_refused(server.post(&format!("{import}?{query}")), 409, "not_applied").await;
    }
    for (query, field) in [
        ("field=nothing", "field"),
        ("field=password_hash", "field"),
        ("field=", "field"),
        ("records=0", "records"),
        ("records=9-2", "records"),
        ("outcome=failed", "outcome"),
        ("code=email_invalid", "code"),
        ("start=never", "start"),
        ("force=true", "force"),
        ("records=1&records=2", "records"),
    ] {
        let error = assert_refused(server.post(&format!("{import}?{query}")), 400, "invalid_request").await;
        assert_eq!(error["field"], field, "{query}");
    }
    let missing = "/v1/imports/0190a5f0-7b7c-7000-8000-000000000001/undo";
    assert_refused(server.post(missing), 404, "not_found").await;
    assert_refused(server.get(missing), 404, "not_found").await;
}
