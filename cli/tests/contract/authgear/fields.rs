//! A.1.5: what each field of a record may be.

use serde_json::{Value, json};

use super::project::{HASH, Project, causes};

/// One request: a record with each value in the field. The good ones are inserted; each bad one fails alone, with one
/// cause at this place below the field and of this kind.
async fn judge(project: &Project, field: &str, good: &[Value], bad: &[(Value, &str, &str)]) {
    let values = good.iter().chain(bad.iter().map(|(value, _, _)| value));
    let records: Vec<Value> = values
        .enumerate()
        .map(|(at, value)| json!({"email": format!("user{at}@example.com"), field: value}))
        .collect();
    let details = project.import(false, &records).await;
    let (inserted, failed) = details.split_at(good.len());
    for detail in inserted {
        assert_eq!(detail["outcome"], "inserted", "{detail}");
    }
    for (detail, (_, below, kind)) in failed.iter().zip(bad) {
        assert_eq!(detail["outcome"], "failed", "{detail}");
        let error = &detail["errors"][0];
        assert_eq!((&error["name"], &error["code"]), (&json!("Invalid"), &json!(400)));
        assert_eq!(
            (&error["reason"], &error["message"]),
            (&json!("ValidationFailed"), &json!("invalid value"))
        );
        assert_eq!(causes(error), [(format!("/{field}{below}").as_str(), *kind)], "{detail}");
    }
}

fn here<const N: usize>(kind: &'static str, values: [Value; N]) -> Vec<(Value, &'static str, &'static str)> {
    values.into_iter().map(|value| (value, "", kind)).collect()
}

fn texts<const N: usize>(texts: [&str; N]) -> Vec<Value> {
    texts.iter().map(|text| json!(text)).collect()
}

/// Bad values of a field and the format that they are not of, beside the types that it does not take.
fn not_of<const N: usize>(values: [&str; N]) -> Vec<(Value, &'static str, &'static str)> {
    let mut bad = here("format", values.map(|text| json!(text)));
    bad.extend(here("type", [json!(1), json!(["x"])]));
    bad
}

/// The format that an error names, and the parser's words.
async fn format_of(project: &Project, field: &str, value: &str) -> String {
    let record = json!({"email": "format@example.com", field: value});
    let detail = project.import(false, &[record]).await.remove(0);
    let details = &detail["errors"][0]["info"]["causes"][0]["details"];
    assert!(!details["error"].as_str().unwrap().is_empty());
    details["format"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn the_identifier_is_required_and_not_null() {
    let project = Project::new().await;
    let detail = project.import(false, &[json!({"name": "A"}), json!({"email": null}), json!({})]).await;
    assert_eq!(
        detail[0]["errors"][0]["info"]["causes"],
        json!([{"location": "", "kind": "required",
                "details": {"actual": ["name"], "expected": ["email"], "missing": ["email"]}}])
    );
    assert_eq!(
        detail[1]["errors"][0]["info"]["causes"],
        json!([{"location": "/email", "kind": "type", "details": {"actual": ["null"], "expected": ["string"]}}])
    );
    assert_eq!(detail[2]["errors"][0]["info"]["causes"][0]["details"]["actual"], Value::Null);
}

#[tokio::test]
async fn the_other_identities_are_optional_and_nullable() {
    let project = Project::new().await;
    let record = json!({"preferred_username": "jdoe", "email": null, "phone_number": null});
    assert_eq!(project.import_by("preferred_username", false, &[record]).await[0]["outcome"], "inserted");
}

#[tokio::test]
async fn unknown_keys_fail_the_record_alone() {
    let project = Project::new().await;
    let records = [json!({"email": "a@example.com", "is_admin": true}), json!({"email": "b@example.com"})];
    let details = project.import(false, &records).await;
    assert_eq!(details[0]["errors"][0]["info"]["causes"], json!([{"location": "/is_admin", "kind": ""}]));
    assert_eq!(details[1]["outcome"], "inserted");
}

#[tokio::test]
async fn email() {
    let project = Project::new().await;
    let long = format!("{}@example.com", "a".repeat(65));
    // The last three are addresses to Authgear.
    let bad = [
        "",
        "bad",
        "@example.com",
        "a@",
        "Foo <a@example.com>",
        "a b@example.com",
        "a@localhost",
        r#""a"@example.com"#,
        long.as_str(),
    ];
    let records: Vec<Value> = bad.iter().map(|text| json!({"email": text})).collect();
    for detail in project.import(false, &records).await {
        let error = &detail["errors"][0];
        assert_eq!(causes(error), [("/email", "format")], "{detail}");
        assert_eq!(error["info"]["causes"][0]["details"]["format"], "email");
    }
    assert_eq!(
        project.import(false, &[json!({"email": "o'neil+x@例子.com"})]).await[0]["outcome"],
        "inserted"
    );
}

#[tokio::test]
async fn phone_number_is_valid_not_only_possible() {
    let project = Project::new().await;
    // The third has the right length, and no operator in Hong Kong has such numbers.
    let bad = not_of(["98765432", "+852 9876 5432", "+85200000000", ""]);
    judge(&project, "phone_number", &[json!("+85298765432"), json!("+442071838750"), json!(null)], &bad)
        .await;
    assert_eq!(format_of(&project, "phone_number", "12").await, "phone");
}

#[tokio::test]
async fn preferred_username() {
    let project = Project::new().await;
    judge(
        &project,
        "preferred_username",
        &[json!("J.Doe_9-x"), json!("y".repeat(40)), json!(null)],
        &[(json!(""), "", "minLength"), (json!(1), "", "type")],
    )
    .await;
}

#[tokio::test]
async fn verified_flags_are_booleans_and_not_null() {
    let project = Project::new().await;
    for field in ["email_verified", "phone_number_verified"] {
        let bad = here("type", [json!(null), json!("true"), json!(1)]);
        judge(&project, field, &[], &bad).await;
    }
    judge(&project, "email_verified", &[json!(true), json!(false)], &[]).await;
}

#[tokio::test]
async fn names_are_texts_of_one_character_or_more() {
    let project = Project::new().await;
    for field in ["name", "given_name", "family_name", "middle_name", "nickname", "gender"] {
        let mut bad = here("type", [json!(1), json!(true), json!({})]);
        bad.extend(here("minLength", [json!("")]));
        judge(&project, field, &[], &bad).await;
    }
    judge(&project, "name", &[json!("J"), json!(null), json!("名前")], &[]).await;
    let detail =
        project.import(false, &[json!({"email": "x@example.com", "middle_name": ""})]).await.remove(0);
    assert_eq!(
        detail["errors"][0]["info"]["causes"],
        json!([{"location": "/middle_name", "kind": "minLength", "details": {"actual": 0, "expected": 1}}])
    );
}

#[tokio::test]
async fn profile_and_website_are_absolute_uris_with_a_clean_path() {
    let project = Project::new().await;
    let bad =
        not_of(["", "example.com", "/p", "https://", "https://example.com/a/../b", "https://example.com//a"]);
    // Signed links are longer than names may be.
    let long = format!("https://example.com/p?signature={}", "a".repeat(300));
    let longest = format!("https://example.com/{}", "a".repeat(5_000));
    let odd = "https://example.com/a b<c>\"d\"\\e";
    let good = texts([
        "https://example.com",
        "https://example.com/p?a=b#c",
        "ftp://example.com/p/",
        &long,
        &longest,
        odd,
    ]);
    judge(&project, "profile", &good, &bad).await;
    let hosts = not_of(["https://example.com:8a/", "https://[::1/p", "https://ex%41mple.com/"]);
    judge(&project, "website", &[], &hosts).await;
    assert_eq!(
        project.import(true, &[json!({"email": "w@example.com", "website": long})]).await[0]["outcome"],
        "inserted"
    );
    judge(&project, "website", &[], &bad).await;
    assert_eq!(format_of(&project, "website", "x").await, "uri");
}

#[tokio::test]
async fn picture_is_on_the_web_or_of_the_private_scheme() {
    let project = Project::new().await;
    let long = format!("https://example.com/i.png?signature={}", "a".repeat(300));
    let good =
        texts(["https://example.com/i.png", "http://example.com/i", "authgearimages:///app/i.png", &long]);
    let bad =
        not_of(["", "ftp://example.com/i.png", "authgearimages://host/i.png", "data:image/png;base64,AA"]);
    judge(&project, "picture", &good, &bad).await;
    assert_eq!(format_of(&project, "picture", "x").await, "x_picture");
}

#[tokio::test]
async fn birthdate_forms() {
    let project = Project::new().await;
    let good = texts(["1990-01-31", "0000-02-29", "--12-31", "1990"]);
    judge(&project, "birthdate", &good, &not_of(["", "1990-02-30", "31.01.1990", "90-01-01", "now"])).await;
    assert_eq!(format_of(&project, "birthdate", "x").await, "birthdate");
}

#[tokio::test]
async fn zoneinfo_has_a_slash() {
    let project = Project::new().await;
    judge(&project, "zoneinfo", &texts(["Asia/Hong_Kong"]), &not_of(["", "UTC", "Mars/Base"])).await;
    assert_eq!(format_of(&project, "zoneinfo", "x").await, "timezone");
}

#[tokio::test]
async fn locale_is_canonical() {
    let project = Project::new().await;
    judge(
        &project,
        "locale",
        &texts(["en", "zh-Hant-HK", "en-GB", "he"]),
        &not_of(["", "zh-hant-hk", "en_GB", "english", "en-UK", "iw"]),
    )
    .await;
    assert_eq!(format_of(&project, "locale", "x y").await, "bcp47");
}

#[tokio::test]
async fn address_parts_are_texts_and_others_are_kept() {
    let project = Project::new().await;
    let whole = json!({"formatted": "1 Road, HK", "street_address": "1 Road", "locality": "Central", "region": "HK",
                       "postal_code": "N/A", "country": "HK", "planet": 3});
    let mut bad = here("type", [json!("1 Road"), json!([])]);
    bad.extend([
        (json!({"country": null}), "/country", "type"),
        (json!({"locality": ""}), "/locality", "minLength"),
    ]);
    judge(&project, "address", &[whole, json!({}), json!(null)], &bad).await;
}

#[tokio::test]
async fn custom_attributes_object_is_not_null_and_undefined_names_are_ignored() {
    let project = Project::with_catalog().await;
    let good = [json!({}), json!({"nickname": [1], "member_id": "7"})];
    judge(&project, "custom_attributes", &good, &here("type", [json!(null), json!("x"), json!([])])).await;
    let users = project.tenant.users().await;
    assert_eq!(users[1]["metadata"], json!({"member_id": "7"}));
}

#[tokio::test]
async fn custom_attributes_of_every_type() {
    let project = Project::with_catalog().await;
    let good = [
        json!({"member_id": "1", "score": 1.5, "level": 9, "plan": "paid", "work_phone": "+85298765432",
               "work_email": "w@example.com", "homepage": "https://example.com", "country": "HK"}),
        json!({"member_id": null, "score": null}),
        json!({"level": 3.0, "homepage": "ftp://example.com/a b"}),
    ];
    let bad = [
        (json!({"member_id": ""}), "/member_id", "minLength"),
        (json!({"member_id": 1}), "/member_id", "type"),
        (json!({"score": "1"}), "/score", "type"),
        (json!({"level": 1.5}), "/level", "type"),
        (json!({"level": 0}), "/level", "minimum"),
        (json!({"level": 10}), "/level", "maximum"),
        (json!({"plan": "gold"}), "/plan", "enum"),
        (json!({"work_phone": "1"}), "/work_phone", "format"),
        (json!({"work_email": "x"}), "/work_email", "format"),
        (json!({"homepage": "x"}), "/homepage", "format"),
        (json!({"country": "XX"}), "/country", "format"),
        (json!({"country": ""}), "/country", "format"),
        (json!({"homepage": ""}), "/homepage", "format"),
    ];
    judge(&project, "custom_attributes", &good, &bad).await;
}

#[tokio::test]
async fn a_whole_number_is_an_integer_however_it_is_written() {
    let project = Project::with_catalog().await;
    let levels = ["3", "3.0", "9e0", "0.5e1", "3.5", "1e2"];
    let records: Vec<String> = levels
        .iter()
        .enumerate()
        .map(|(at, level)| {
            format!(r#"{{"email": "user{at}@example.com", "custom_attributes": {{"level": {level}}}}}"#)
        })
        .collect();
    let body = format!(r#"{{"identifier": "email", "records": [{}]}}"#, records.join(", "));
    let answer = project.completed(&project.start_text(&body).await).await;
    let details = answer["details"].as_array().unwrap();
    for detail in &details[..4] {
        assert_eq!(detail["outcome"], "inserted", "{detail}");
    }
    assert_eq!(
        details[4]["errors"][0]["info"]["causes"],
        json!([{"location": "/custom_attributes/level", "kind": "type",
                "details": {"actual": ["number"], "expected": ["integer"]}}])
    );
    // A hundred is whole, and more than the definition takes.
    assert_eq!(causes(&details[5]["errors"][0]), [("/custom_attributes/level", "maximum")]);
}

#[tokio::test]
async fn number_attributes_have_a_minimum_and_a_maximum() {
    let project = Project::with_catalog().await;
    let good = [json!({"score": 0.5}), json!({"score": 99.5}), json!({"score": 50})];
    let bad = [(json!({"score": 0.25}), "/score", "minimum"), (json!({"score": 100}), "/score", "maximum")];
    judge(&project, "custom_attributes", &good, &bad).await;
    let record = json!({"email": "low@example.com", "custom_attributes": {"score": 0.25}});
    let detail = project.import(false, &[record]).await.remove(0);
    assert_eq!(detail["errors"][0]["info"]["causes"][0]["details"], json!({"actual": 0.25, "minimum": 0.5}));
}

#[tokio::test]
async fn causes_of_a_custom_attribute_say_what_was_found_and_what_was_expected() {
    let project = Project::with_catalog().await;
    let values = [json!({"plan": 7}), json!({"homepage": ""}), json!({"country": ""})];
    let records: Vec<Value> = values
        .iter()
        .enumerate()
        .map(|(at, value)| json!({"email": format!("user{at}@example.com"), "custom_attributes": value}))
        .collect();
    let details = project.import(false, &records).await;
    // What is no text is none of the texts either.
    assert_eq!(
        details[0]["errors"][0]["info"]["causes"],
        json!([{"location": "/custom_attributes/plan", "kind": "enum", "details": {"actual": 7, "expected": ["free", "paid"]}},
               {"location": "/custom_attributes/plan", "kind": "type",
                "details": {"actual": ["integer", "number"], "expected": ["string"]}}])
    );
    for (detail, format) in details[1..].iter().zip(["uri", "iso3166-1-alpha-2"]) {
        let cause = &detail["errors"][0]["info"]["causes"][0];
        assert_eq!((&cause["kind"], &cause["details"]["format"]), (&json!("format"), &json!(format)));
    }
}

#[tokio::test]
async fn roles_and_groups_are_lists_of_texts() {
    let project = Project::with_catalog().await;
    for (field, known) in [("roles", "admin"), ("groups", "staff")] {
        let mut bad = here("type", [json!(null), json!(known), json!({})]);
        bad.extend([(json!([known, 1]), "/1", "type"), (json!([""]), "/0", "minLength")]);
        judge(&project, field, &[], &bad).await;
    }
    judge(&project, "roles", &[json!(["admin", "editor"]), json!([])], &[]).await;
}

#[tokio::test]
async fn disabled_is_a_boolean_and_not_null() {
    let project = Project::new().await;
    judge(&project, "disabled", &[json!(true), json!(false)], &here("type", [json!(null), json!("true")]))
        .await;
}

#[tokio::test]
async fn account_validity_is_rfc_3339_and_not_null() {
    let project = Project::new().await;
    for field in ["account_valid_from", "account_valid_until"] {
        let mut bad = here("type", [json!(null), json!(1)]);
        bad.extend(here("format", [json!(""), json!("2026-01-01"), json!("tomorrow")]));
        judge(&project, field, &[], &bad).await;
    }
    let record = json!({"email": "x@example.com", "account_valid_from": "2026-01-01T01:00:00+01:00"});
    project.import(false, &[record]).await;
    assert_eq!(project.user().await["profile"]["valid_from"], "2026-01-01T00:00:00Z");
}

#[tokio::test]
async fn password_object() {
    let project = Project::new().await;
    let good = json!({"type": "bcrypt", "password_hash": HASH, "expire_after": "2027-01-01T00:00:00Z"});
    let bad = [
        (json!(null), "", "type"),
        (json!("hunter2"), "", "type"),
        (json!({}), "", "required"),
        (json!({"type": "bcrypt"}), "", "required"),
        (json!({"type": "md5", "password_hash": HASH}), "/type", "enum"),
        (json!({"type": "bcrypt", "password_hash": ""}), "/password_hash", "minLength"),
        (json!({"type": "bcrypt", "password_hash": 7}), "/password_hash", "type"),
        (json!({"type": "bcrypt", "password_hash": null}), "/password_hash", "type"),
        (json!({"type": "bcrypt", "password_hash": HASH, "salt": "x"}), "/salt", ""),
        (json!({"type": "bcrypt", "password_hash": HASH, "expire_after": null}), "/expire_after", "type"),
        (json!({"type": "bcrypt", "password_hash": HASH, "expire_after": "2027"}), "/expire_after", "format"),
    ];
    judge(&project, "password", &[good], &bad).await;
    let secrets = project.secrets().await.unwrap();
    assert_eq!(secrets[0].as_deref(), Some(HASH));
    assert!(secrets[1].as_deref().unwrap().starts_with("2027-01-01"));
}

#[tokio::test]
async fn bcrypt_hashes_by_every_prefix() {
    let project = Project::new().await;
    let good: Vec<Value> = ["2a", "2b", "2y"]
        .iter()
        .map(|kind| json!({"type": "bcrypt", "password_hash": HASH.replacen("2a", kind, 1)}))
        .collect();
    judge(&project, "password", &good, &[]).await;
}

#[tokio::test]
async fn mfa_object() {
    let project = Project::new().await;
    let password = json!({"type": "bcrypt", "password_hash": HASH});
    let good = [
        json!({}),
        json!({"email": null, "phone_number": null}),
        json!({"email": "m@example.com", "phone_number": "+85298765432", "password": password,
               "totp": {"secret": "JBSWY3DPEHPK3PXP"}}),
    ];
    let bad = [
        (json!(null), "", "type"),
        (json!({"unknown": 1}), "/unknown", ""),
        (json!({"email": "x"}), "/email", "format"),
        (json!({"phone_number": "x"}), "/phone_number", "format"),
        (json!({"password": null}), "/password", "type"),
        (json!({"password": {}}), "/password", "required"),
        (json!({"totp": null}), "/totp", "type"),
        (json!({"totp": {}}), "/totp", "required"),
        (json!({"totp": {"secret": ""}}), "/totp/secret", "minLength"),
        (json!({"totp": {"secret": 7}}), "/totp/secret", "type"),
        (json!({"password": "hunter2"}), "/password", "type"),
        (json!({"totp": {"secret": "JBSWY3DPEHPK3PXP", "digits": 8}}), "/totp/digits", ""),
    ];
    judge(&project, "mfa", &good, &bad).await;
    let secrets = project.secrets().await.unwrap();
    assert_eq!((secrets[2].as_deref(), secrets[3].as_deref()), (Some(HASH), Some("JBSWY3DPEHPK3PXP")));
}

#[tokio::test]
async fn the_sample_with_every_field_is_inserted() {
    let project = Project::with_catalog().await;
    let record = json!({
        "preferred_username": "jdoe", "email": "jdoe@example.com", "phone_number": "+85298765432",
        "email_verified": true, "phone_number_verified": true,
        "name": "John Doe", "given_name": "John", "family_name": "Doe", "middle_name": "Q", "nickname": "JD",
        "profile": "https://example.com/p", "picture": "https://example.com/i.png",
        "website": "https://example.com", "gender": "male", "birthdate": "1990-01-01",
        "zoneinfo": "Asia/Hong_Kong", "locale": "zh-Hant-HK",
        "address": {"formatted": "1 Road, HK", "country": "HK"},
        "custom_attributes": {"member_id": "123456789"},
        "roles": ["admin", "editor"], "groups": ["staff"], "disabled": false,
        "account_valid_from": "2026-01-01T00:00:00Z", "account_valid_until": "2027-01-01T00:00:00Z",
        "password": {"type": "bcrypt", "password_hash": HASH, "expire_after": "2026-06-01T00:00:00Z"},
        "mfa": {"email": "jdoe@example.com", "phone_number": "+85298765432",
                "password": {"type": "bcrypt", "password_hash": HASH}, "totp": {"secret": "JBSWY3DPEHPK3PXP"}},
    });
    let detail = project.import(true, std::slice::from_ref(&record)).await.remove(0);
    assert_eq!(detail["outcome"], "inserted", "{detail}");
    let user = project.user().await;
    assert_eq!((&user["preferred_username"], &user["email"]), (&json!("jdoe"), &json!("jdoe@example.com")));
    for field in [
        "name",
        "middle_name",
        "nickname",
        "profile",
        "picture",
        "website",
        "gender",
        "birthdate",
        "zoneinfo",
        "locale",
        "address",
    ] {
        assert_eq!(user["attributes"][field], record[field], "{field}");
    }
    assert_eq!((&user["given_name"], &user["family_name"]), (&record["given_name"], &record["family_name"]));
    assert_eq!(user["metadata"], record["custom_attributes"]);
    assert_eq!(project.names("roles").await, ["admin", "editor"]);
    assert_eq!(project.names("groups").await, ["staff"]);
    let profile = &user["profile"];
    assert_eq!((&profile["email_verified"], &profile["phone_number_verified"]), (&json!(true), &json!(true)));
    assert_eq!(
        (&profile["mfa_email"], &profile["mfa_phone_number"]),
        (&record["mfa"]["email"], &record["mfa"]["phone_number"])
    );
}
