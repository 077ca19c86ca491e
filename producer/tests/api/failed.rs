//! The file of failed records: safe to open, and read back as it was.

use muster_domain::id::ImportId;
use muster_store::records;
use serde_json::Value;

use crate::harness::{Server, accepted};

const UPLOAD: &str = "email,first_name,custom__note\n\
    =cmd,Ada,+1\n\
    'x,'quoted,\"a,\"\"b\"\"\"\n\
    @y,\u{ff1d}full,\"\ttab\"\n\
    good@example.com,Bob,fine\n\
    no,\u{f6},\n";

async fn failed(server: &Server, upload: &str, extension: &str) -> String {
    let import = accepted(server.upload("start=manual&brake=0", upload.to_owned())).await;
    let link = format!("/v1/imports/{}/failed.{extension}", import["id"].as_str().unwrap());
    let response = server.get(&link).send().await.unwrap();
    assert!(
        response.headers()["content-disposition"]
            .to_str()
            .unwrap()
            .starts_with("attachment; filename=\"failed-")
    );
    assert_eq!(response.headers()["x-content-type-options"], "nosniff");
    response.text().await.unwrap()
}

#[tokio::test]
async fn failed_records_cannot_run_in_a_spreadsheet() {
    let server = Server::start().await;
    let file = failed(&server, UPLOAD, "csv").await;
    let mut reader = csv::Reader::from_reader(file.as_bytes());
    let header: Vec<_> = reader.headers().unwrap().iter().map(str::to_owned).collect();
    assert_eq!(
        header,
        [
            "email",
            "first_name",
            "custom__note",
            "_error_code",
            "_error_field",
            "_error_message",
            muster_domain::parse::FAILED_MARK
        ]
    );
    let rows: Vec<Vec<String>> =
        reader.records().map(|row| row.unwrap().iter().map(str::to_owned).collect()).collect();
    assert_eq!(rows.len(), 4);
    assert_eq!(&rows[0][..3], ["'=cmd", "Ada", "'+1"]);
    assert_eq!(&rows[1][..3], ["'x", "'quoted", "a,\"b\""]);
    assert_eq!(&rows[2][..3], ["'@y", "'\u{ff1d}full", "'\ttab"]);
    assert_eq!(&rows[3][3..5], ["email_invalid", "email"]);
}

#[tokio::test]
async fn a_file_of_failed_records_is_accepted_as_it_is_and_reads_back_exactly() {
    let server = Server::start().await;
    let first = failed(&server, UPLOAD, "csv").await;
    // Uploaded again as it is, the same records fail, and their file is the same: no apostrophe is gained or lost.
    let second = failed(&server, &first, "csv").await;
    assert_ne!(first, second, "each says of which import its records are");
    assert_eq!(without_origins(&first), without_origins(&second));
    let lines = failed(&server, &first, "ndjson").await;
    let line: serde_json::Value = serde_json::from_str(lines.lines().nth(1).unwrap()).unwrap();
    assert_eq!(line["email"], "'x");
    assert_eq!(line["custom__note"], "a,\"b\"");
    // A spreadsheet's mark of a text, not our own apostrophe: it is told, and kept.
    assert_eq!(line["_error_code"], "spreadsheet_damage");
    assert_eq!(without_origins(&lines), without_origins(&failed(&server, UPLOAD, "ndjson").await));
}

/// The file without what its records say of their import.
fn without_origins(text: &str) -> String {
    let parts: Vec<&str> = text.split('"').collect();
    parts
        .into_iter()
        .map(|part| if part.parse::<muster_domain::record::Origin>().is_ok() { "" } else { part })
        .collect::<Vec<_>>()
        .join("\"")
}

#[tokio::test]
async fn failed_objects_come_back_as_they_were() {
    let server = Server::start().await;
    let body = "{\"email\":\"x\",\"custom__n\":1.0,\"custom__o\":{\"a\":[1]},\"given_name\":null}\n";
    let request =
        server.post("/v1/imports?start=manual").header("content-type", "application/x-ndjson").body(body);
    let import = accepted(request).await;
    let link = format!("/v1/imports/{}/failed", import["id"].as_str().unwrap());
    let lines = server.get(&format!("{link}.ndjson")).send().await.unwrap().text().await.unwrap();
    assert!(lines.starts_with(body.trim_end().trim_end_matches('}')), "{lines}");
    let table = server.get(&format!("{link}.csv")).send().await.unwrap().text().await.unwrap();
    assert!(
        table.contains("\n\"x\",\"1.0\",\"{\"\"a\"\":[1]}\",\"\",\"email_invalid\",\"email\","),
        "{table}"
    );
    let again = server.post("/v1/imports").header("content-type", "application/x-ndjson").body(lines);
    assert_eq!(accepted(again).await["counts"]["failed"], 1);
}

/// What was lost when a record was read is not in its file: taken as it is, it would be lost without a word.
#[tokio::test]
async fn a_record_that_was_not_read_whole_fails_till_somebody_has_looked() {
    let server = Server::start().await;
    // A file of which nothing beyond ASCII is UTF-8 is in another encoding; this one is damaged in one place.
    let upload = b"email,first_name,custom__city\n\
        d@example.com,J\xc3\xb6rg,Bonn\n\
        a@example.com,Ann,Washington, D.C.\n\
        b@example.com,J\xfcrgen,Rome\n\
        c@example.com,\"C\"c,Oslo\n";
    let import = accepted(server.upload("start=manual", upload.to_vec())).await;
    assert_eq!(import["counts"]["failed"], 3);
    for (extension, media_type) in [("csv", "text/csv"), ("ndjson", "application/x-ndjson")] {
        let link = format!("/v1/imports/{}/failed.{extension}", import["id"].as_str().unwrap());
        let file = server.get(&link).send().await.unwrap().text().await.unwrap();
        let again = |file: String| {
            server.post("/v1/imports?start=manual").header("content-type", media_type).body(file)
        };
        assert_eq!(accepted(again(file.clone())).await["counts"]["failed"], 3, "{file}");
        let mut looked_at = file;
        for code in ["csv_column_count", "invalid_utf8", "csv_bad_quote"] {
            assert!(looked_at.contains(code), "{looked_at}");
            looked_at = looked_at.replace(code, "");
        }
        assert_eq!(accepted(again(looked_at)).await["counts"]["failed"], 0);
    }
}

#[tokio::test]
async fn secrets_that_were_given_back_are_no_secrets_and_empty_cells_stay_empty() {
    let server = Server::start().await;
    let upload = "email,mfa_totp_secret,password_hash\nno,JBSWY3DPEHPK3PXP,\nnone,,\n";
    let file = failed(&server, upload, "csv").await;
    assert!(file.contains("\n\"no\",\"REDACTED\",\"\",\"email_invalid\""), "{file}");
    assert!(file.contains("\n\"none\",\"\",\"\",\"email_invalid\""), "{file}");
    let mended = file.replace("\"no\"", "\"a@example.com\"").replace("\"none\"", "\"b@example.com\"");
    let again = failed(&server, &mended, "csv").await;
    assert!(
        again.contains("\n\"a@example.com\",\"REDACTED\",\"\",\"totp_invalid\",\"mfa_totp_secret\","),
        "{again}"
    );
    assert!(!again.contains("b@example.com"), "{again}");
}

/// Suffixes of a table's columns mean the same as keys of an object.
#[tokio::test]
async fn cells_with_lists_and_objects_read_back_from_lines() {
    let server = Server::start().await;
    let upload = "email,custom__tags[],custom__f{}\nno,\"a, b\",k=1\n";
    let lines = failed(&server, upload, "ndjson").await;
    assert!(lines.contains(r#""custom__tags[]":"a, b","custom__f{}":"k=1""#), "{lines}");
    let mended = lines.replace("\"no\"", "\"a@example.com\"");
    let request =
        server.post("/v1/imports?start=manual").header("content-type", "application/x-ndjson").body(mended);
    assert_eq!(accepted(request).await["counts"]["failed"], 0);
}

#[tokio::test]
async fn many_failed_records_come_page_by_page_and_all() {
    let server = Server::start().await;
    let rows: String = (1..=5_000).map(|n| format!("bad{n}\n")).collect();
    let file = failed(&server, &format!("email\n{rows}"), "csv").await;
    let emails: Vec<&str> = file.lines().skip(1).map(|line| line.split(',').next().unwrap()).collect();
    assert_eq!(emails.len(), 5_000);
    assert!(emails.iter().enumerate().all(|(at, email)| *email == format!("\"bad{}\"", at + 1)));
}

/// A bcrypt hash that was never anybody's.
const HASH: &str = "$2b$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy";

/// Everything that can be read of an import: its failed records in both formats, and all its records.
async fn read_back(server: &Server, import: &Value) -> String {
    let link = format!("/v1/imports/{}", import["id"].as_str().unwrap());
    let mut all = String::new();
    for path in ["failed.csv", "failed.ndjson", "records?limit=100"] {
        let answer = server.get(&format!("{link}/{path}")).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{path}");
        all.push_str(&answer.text().await.unwrap());
    }
    all
}

/// A short or long row has its values under the wrong names, so each may be the hash.
#[tokio::test]
async fn a_record_that_was_not_read_whole_is_hidden_whole_where_the_file_has_secrets() {
    let server = Server::start().await;
    for (query, column) in [("", "password_hash"), ("columns=Kennwort=password_hash&", "Kennwort")] {
        let upload = format!(
            "email,first_name,{column}\nhidden1@example.com,{HASH}\nhidden2@example.com,Hidden,3,{HASH}\n\
             hidden3@example.com,\"x\"{HASH},y\n{HASH},Shown,{HASH}\n"
        );
        let import = accepted(server.upload(&format!("{query}start=manual"), upload)).await;
        assert_eq!(import["counts"]["failed"], 4);
        let told = read_back(&server, &import).await;
        assert!(!told.contains("$2b$") && !told.to_lowercase().contains("hidden"), "{told}");
        assert!(told.contains("\n\"REDACTED\",\"\",\"\",\"csv_column_count\","), "{told}");
        assert!(told.contains("\"Shown\",\"REDACTED\""), "{told}");
    }
    let lines = format!(
        "{{\"email\":\"a@example.com\",\"note\":\"{HASH}\"\n{{\"email\":\"hidden@x\",\"passwd\":\"hunter2\"\n"
    );
    let request =
        server.post("/v1/imports?start=manual").header("content-type", "application/x-ndjson").body(lines);
    let told = read_back(&server, &accepted(request).await).await;
    assert!(!told.contains("$2b$") && !told.contains("hunter2") && !told.contains("hidden@"), "{told}");
}

#[tokio::test]
async fn names_that_look_like_secrets_and_unknown_parts_of_secrets_are_not_given_back() {
    let server = Server::start().await;
    let upload =
        "email,passwd,PWD,Api Key,custom__pass,custom__o{}\nno,hunter2,hunter2,hunter2,hunter2,otp=hunter2\n";
    let import = accepted(server.upload("start=manual&unknown_columns=ignore", upload)).await;
    assert_eq!(import["counts"]["failed"], 1);
    let told = read_back(&server, &import).await;
    assert!(!told.contains("hunter2") && told.contains("REDACTED"), "{told}");
    let record = serde_json::json!({
        "email": "no", "token": "hunter2", "metadata": {"a": [{"client_secret": "hunter2"}]},
        "password": {"type": "bcrypt", "password_hash": "hunter2", "plain": "hunter2"},
        "mfa": {"email": "m@example.com", "backup": "hunter2", "totp": {"secret": "hunter2", "seed": "hunter2"}},
    });
    let request = server
        .post("/v1/imports?start=manual&unknown_columns=ignore")
        .header("content-type", "application/x-ndjson");
    let import = accepted(request.body(record.to_string())).await;
    assert_eq!(import["counts"]["failed"], 1);
    let told = read_back(&server, &import).await;
    assert!(!told.contains("hunter2") && told.contains("m@example.com"), "{told}");
}

#[tokio::test]
async fn a_page_of_failed_records_is_bounded_by_bytes_and_none_is_lost() {
    let server = Server::start().await;
    let mut upload = String::from("email,first_name\n");
    for number in 0..30 {
        let long = if number < 20 { 10 } else { 200_000 };
        upload.push_str(&format!("no{number},{}\n", "x".repeat(long)));
    }
    let import = accepted(server.upload("start=manual", upload)).await;
    assert_eq!(import["counts"]["failed"], 30);
    let id = ImportId::new(import["id"].as_str().unwrap().parse().unwrap());
    let page = records::failed(&server.store, server.tenant.id, id, 0, 1_000, 1 << 20).await.unwrap();
    assert_eq!(page.last().unwrap().record, 26, "what does not fit any more comes with the next page");
    let one = records::failed(&server.store, server.tenant.id, id, 20, 1_000, 1).await.unwrap();
    assert_eq!(one.len(), 1, "a larger record is a page of its own");
    let link = format!("/v1/imports/{}/failed.csv", import["id"].as_str().unwrap());
    let file = server.get(&link).send().await.unwrap().text().await.unwrap();
    assert_eq!(file.lines().count(), 31);
}

/// The issue of a record that is not shown cannot even be read here.
#[tokio::test]
async fn a_page_of_records_reads_the_issues_of_the_records_that_it_shows() {
    let server = Server::start().await;
    let import = accepted(server.upload("start=manual", "email\na@example.com\nno\nb@example.com\n")).await;
    sqlx::query("update record_issues set errors = '[5]'").execute(server.store.pool()).await.unwrap();
    let link = format!("/v1/imports/{}/records?outcome=pending", import["id"].as_str().unwrap());
    assert_eq!(server.json(&link).await["records"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_record_tells_twenty_errors_and_how_many_more_there_are() {
    let server = Server::start().await;
    for (wrong, told) in [(19, 19), (20, 20), (21, 21), (200, 21)] {
        let keys: Vec<String> = (0..wrong).map(|at| format!("\"{}{at}\":1", "k".repeat(900))).collect();
        let line = format!("{{\"email\":\"a@example.com\",{}}}\n", keys.join(","));
        let request = server.post("/v1/imports?start=manual").header("content-type", "application/x-ndjson");
        let import = accepted(request.body(line)).await;
        let records = server.json(&format!("/v1/imports/{}/records", import["id"].as_str().unwrap())).await;
        let errors = records["records"][0]["errors"].as_array().unwrap();
        assert_eq!(errors.len(), told, "{wrong}");
        assert!(errors.iter().take(20).all(|error| error["field"].as_str().unwrap().chars().count() == 201));
        if wrong > 20 {
            assert_eq!(errors[20]["message"], format!("and {} more", wrong - 20));
        }
    }
}

/// What a spreadsheet makes of a cell when it saves the file: digits stay digits, and a name typed in keeps its apostrophe.
#[tokio::test]
async fn digits_and_names_that_were_typed_in_come_back_as_they_are() {
    let server = Server::start().await;
    let upload = "email,family_name,custom__number,custom__card\nbad,Hart,00007,4111111111111111\n";
    let file = failed(&server, upload, "csv").await;
    assert!(file.contains("\n\"bad\",\"Hart\",\"'00007\",\"'4111111111111111\","), "{file}");
    let typed = file.replace("\"Hart\"", "\"'t Hart\"");
    let lines = failed(&server, &typed, "ndjson").await;
    let line: serde_json::Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
    assert_eq!(
        (&line["family_name"], &line["custom__number"]),
        (&"'t Hart".into(), &"00007".into()),
        "{lines}"
    );
    assert_eq!(line["custom__card"], "4111111111111111");
}

/// A file of failed records of which only the address is corrected (P13).
#[tokio::test]
async fn what_was_hidden_in_a_failed_record_must_be_entered_again() {
    let server = Server::start().await;
    let file = failed(&server, "email,custom__pin\nbad,4711\n", "csv").await;
    assert!(file.contains("\n\"bad\",\"REDACTED\",\"email_invalid\""), "{file}");
    let again = failed(&server, &file.replace("\"bad\"", "\"a@example.com\""), "csv").await;
    assert!(
        again.contains("\n\"a@example.com\",\"REDACTED\",\"value_redacted\",\"custom__pin\","),
        "{again}"
    );

    let lines = |body: String| {
        let server = &server;
        async move {
            let request = server
                .post("/v1/imports?start=manual")
                .header("content-type", "application/x-ndjson")
                .body(body);
            let import = accepted(request).await;
            let link = format!("/v1/imports/{}/failed.ndjson", import["id"].as_str().unwrap());
            server.get(&link).send().await.unwrap().text().await.unwrap()
        }
    };
    let sent = r#"{"email":"bad","metadata":{"token_count":42,"has_token":true,"hashtags":["x"]}}"#;
    let file = lines(format!("{sent}\n")).await;
    let record: serde_json::Value = serde_json::from_str(file.lines().next().unwrap()).unwrap();
    let hidden =
        serde_json::json!({"token_count": "REDACTED", "has_token": "REDACTED", "hashtags": "REDACTED"});
    assert_eq!(record["metadata"], hidden, "{file}");
    let again = lines(file.replace("\"bad\"", "\"a@example.com\"")).await;
    let record: serde_json::Value = serde_json::from_str(again.lines().next().unwrap()).unwrap();
    assert_eq!(record["_error_code"], "value_redacted", "{again}");
}
