//! The file of failed records: safe to open, and read back as it was.

use crate::harness::{Server, accepted};

const UPLOAD: &str = "email,first_name,custom__note\n\
    =cmd,Ada,+1\n\
    'x,'quoted,\"a,\"\"b\"\"\"\n\
    @y,\u{ff1d}full,\"\ttab\"\n\
    good@example.com,Bob,fine\n\
    no,\u{f6},\n";

async fn failed(server: &Server, upload: &str, extension: &str) -> String {
    let import = accepted(server.upload("start=manual", upload.to_owned())).await;
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
            muster_shared::parse::FAILED_MARK
        ]
    );
    let rows: Vec<Vec<String>> =
        reader.records().map(|row| row.unwrap().iter().map(str::to_owned).collect()).collect();
    assert_eq!(rows.len(), 4);
    assert_eq!(&rows[0][..3], ["'=cmd", "Ada", "'+1"]);
    assert_eq!(&rows[1][..3], ["''x", "''quoted", "a,\"b\""]);
    assert_eq!(&rows[2][..3], ["'@y", "'\u{ff1d}full", "'\ttab"]);
    assert_eq!(&rows[3][3..5], ["email_invalid", "email"]);
}

#[tokio::test]
async fn a_file_of_failed_records_is_accepted_as_it_is_and_reads_back_exactly() {
    let server = Server::start().await;
    let first = failed(&server, UPLOAD, "csv").await;
    // Uploaded again as it is, the same records fail, and their file is the same: no apostrophe is gained or lost.
    let second = failed(&server, &first, "csv").await;
    assert_eq!(first, second);
    let lines = failed(&server, &first, "ndjson").await;
    let line: serde_json::Value = serde_json::from_str(lines.lines().nth(1).unwrap()).unwrap();
    assert_eq!(line["email"], "'x");
    assert_eq!(line["custom__note"], "a,\"b\"");
    // A spreadsheet's mark of a text, not our own apostrophe: it is told, and kept.
    assert_eq!(line["_error_code"], "spreadsheet_damage");
    assert_eq!(lines, failed(&server, UPLOAD, "ndjson").await);
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
    assert!(table.contains("\nx,1.0,\"{\"\"a\"\":[1]}\",,email_invalid,email,"), "{table}");
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
    assert!(file.contains("\nno,REDACTED,,email_invalid"), "{file}");
    assert!(file.contains("\nnone,,,email_invalid"), "{file}");
    let mended = file.replace("\nno,", "\na@example.com,").replace("\nnone,", "\nb@example.com,");
    let again = failed(&server, &mended, "csv").await;
    assert!(again.contains("\na@example.com,REDACTED,,totp_invalid,mfa_totp_secret,"), "{again}");
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
    assert!(emails.iter().enumerate().all(|(at, email)| *email == format!("bad{}", at + 1)));
}
