//! What a file is refused for, and the keys and quotas of uploads.

use std::fs;

use muster_domain::parse::ParseLimits;
use muster_producer::api::HttpOptions;
use muster_producer::receive::ReceiveLimits;
use muster_producer::workbook::BookLimits;
use muster_store::quota::TenantLimits;

use super::{Asked, options};
use crate::bounds::receiving;
use crate::case_table::folder;
use crate::harness::{Server, accepted};

const CREATE: &str = "POST /v1/imports";
const CSV: &str = "email\na@example.com\n";
/// Bounds that a test comes to without much ado.
const BOOK: u64 = 20_000;
const DECOMPRESSED: u64 = 2_000_000;
const RECORDS: u64 = 1_000;

/// A frame of zstd with a window of 128 MiB, and one block.
const WIDE: &[u8] = b"\x28\xb5\x2f\xfd\x00\x88\x31\x00\x00email\n";

fn rows(count: u64) -> String {
    let rows: String = (0..count).map(|at| format!("a{at}@example.com\n")).collect();
    format!("email\n{rows}")
}

/// Files that are refused: the query and the media type of each, what it is, and status and code.
fn refused() -> Vec<(&'static str, &'static str, Vec<u8>, &'static str)> {
    let csv = |text: &str, told| ("", "text/csv", text.as_bytes().to_vec(), told);
    let json = |text: &str, told| ("", "application/json", text.as_bytes().to_vec(), told);
    let book = |query, name: &str, told| (query, "", fs::read(folder().join(name)).unwrap(), told);
    let records = |count: usize| {
        let names = |record: usize| (0..250).map(move |at| format!("\"n{record}x{at}\":1"));
        let record = |record| format!("{{{}}}", names(record).collect::<Vec<_>>().join(","));
        format!("[{}]", (0..count).map(record).collect::<Vec<_>>().join(","))
    };
    let days = "email,birthdate\na@example.com,01.02.1990\nb@example.com,03.04.1990\n";
    vec![
        csv("", "400 file_empty"),
        csv("[{\"email\":\"a@example.com\"}]\n", "400 format_mismatch"),
        csv("e\0m\0a\0", "400 encoding_unsupported"),
        ("", "text/csv", b"email,b\xfcro\na@example.com,x\n".to_vec(), "400 invalid_utf8"),
        csv("email\n\"a@example.com\n", "400 csv_unclosed_quote"),
        csv("email,given\"name,note\na@example.com,Ann,x\n", "400 csv_bad_quote"),
        csv("first_name\nAda\n", "400 csv_header_missing"),
        csv("email,rank\na@example.com,b\n", "400 csv_header_unknown"),
        csv("email,EMAIL\na@example.com,b\n", "400 csv_header_duplicate"),
        csv(&format!("email,{}\n", "x".repeat(70_000)), "400 csv_header_too_large"),
        csv(&format!("email\n{}\n", "x".repeat(1_100_000)), "400 record_too_large"),
        csv(&rows(RECORDS + 1), "413 too_many_records"),
        csv(&format!("email\n{}", "\n".repeat(2_000_000)), "413 decompressed_too_large"),
        csv(&format!("email\n{}", "bad\n".repeat(120)), "422 mostly_invalid"),
        ("on_invalid=refuse", "text/csv", b"email\nnobody\n".to_vec(), "422 invalid_records"),
        ("dates=auto", "text/csv", days.into(), "400 days_unproved"),
        json(&records(6), "400 too_many_fields"),
        json("[,{}]", "400 json_invalid"),
        json("[{\"email\":\"a@example.com\"},{\"em", "400 json_truncated"),
        json("[] []", "400 json_trailing"),
        ("at=users", "application/json", b"{\"users\":[],\"users\":[]}".to_vec(), "400 json_duplicate_key"),
        json(&format!("[{{\"metadata\":{}", "[".repeat(1_100_000)), "400 json_too_deep"),
        json("[{\"email\":\"a\u{1}b@example.com\"}]", "400 json_invalid_string"),
        book("filename=a.xlsx", "25d.xlsx", "400 workbook_unreadable"),
        book("filename=a.xlsx", "25l.xlsx", "400 workbook_encrypted"),
        book("filename=a.xlsx&sheet=Staff", "25j.xlsx", "400 sheet_unknown"),
        ("format=xlsx", "", vec![b'P'; 20_001], "413 workbook_too_large"),
        ("", "multipart/form-data", CSV.into(), "400 multipart_invalid"),
        ("", "image/png", CSV.into(), "415 unsupported_media_type"),
    ]
}

/// Everything about files.
pub(super) async fn all(asked: &mut Asked) {
    let receive = ReceiveLimits {
        parse: ParseLimits::default(),
        book: BookLimits { bytes: BOOK, ..BookLimits::default() },
        decompressed_bytes: Some(DECOMPRESSED),
        records: Some(RECORDS),
        brake: Some(50),
        ..ReceiveLimits::default()
    };
    let server = Server::start_with(options(HttpOptions::default(), receive)).await;
    for (query, media_type, body, told) in refused() {
        let mut request = server.post(&format!("/v1/imports?{query}"));
        if !media_type.is_empty() {
            request = request.header("content-type", media_type);
        }
        asked.told(CREATE, told, request.body(body)).await;
    }
    for (encoding, body, told) in [
        ("gzip", &[0x1f, 0x8b, 0, 0][..], "400 compression_corrupt"),
        ("zstd", WIDE, "400 compression_window_too_large"),
    ] {
        let request = server.upload("", body.to_vec()).header("content-encoding", encoding);
        asked.told(CREATE, told, request).await;
    }
    Box::pin(keys(asked, &server)).await;
    Box::pin(aborted(asked, &server)).await;
    Box::pin(quotas(asked)).await;
}

/// Keys that stand for another request, or for one that is still coming in.
async fn keys(asked: &mut Asked, server: &Server) {
    let keyed =
        |key: &str, body: &'static str| server.upload("start=manual", body).header("idempotency-key", key);
    accepted(keyed("k", CSV)).await;
    asked.told(CREATE, "422 idempotency_mismatch", keyed("k", "email\nb@example.com\n")).await;
    let orphan = "insert into imports (id, tenant_id, options, idempotency_key, request_hash, alive_until)
                  select gen_random_uuid(), $1, '{}', 'fresh', sha256('x'), now() + interval '59 s'";
    sqlx::query(orphan).bind(server.tenant.id.get()).execute(server.store.pool()).await.unwrap();
    asked.told(CREATE, "409 idempotency_in_progress", keyed("fresh", CSV)).await;
}

/// An upload whose import is aborted while it is received.
async fn aborted(asked: &mut Asked, server: &Server) {
    let (pieces, body) = tokio::sync::mpsc::channel::<Result<&'static str, std::io::Error>>(1);
    let body =
        futures_util::stream::unfold(body, |mut body| async { body.recv().await.map(|piece| (piece, body)) });
    let request = server.upload("", reqwest::Body::wrap_stream(body));
    let meanwhile = async {
        pieces.send(Ok(CSV)).await.unwrap();
        // Beside the one that is never taken.
        receiving(server, 2).await;
        sqlx::query("update imports set state = 'aborted', completed_at = now() where state = 'receiving'")
            .execute(server.store.pool())
            .await
            .unwrap();
        drop(pieces);
    };
    tokio::join!(asked.told(CREATE, "400 upload_incomplete", request), meanwhile);
}

/// What a tenant may have.
async fn quotas(asked: &mut Asked) {
    let tenant = TenantLimits { imports: Some(1), records_per_day: Some(5), ..TenantLimits::default() };
    let receive = ReceiveLimits { tenant, ..ReceiveLimits::default() };
    let server = Server::start_with(options(HttpOptions::default(), receive)).await;
    asked.told(CREATE, "429 quota_exceeded", server.upload("", rows(6))).await;
    accepted(server.upload("", CSV)).await;
    asked.told(CREATE, "429 too_many_imports", server.upload("", CSV)).await;
}
