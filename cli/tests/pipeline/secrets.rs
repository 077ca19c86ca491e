//! Secrets on their way: sealed in chunks and messages, applied, and gone with the import.

use muster_domain::chunk::{decode, is_sealed};
use muster_domain::import::ImportState;
use muster_domain::options::{ImportOptions, Start};
use muster_domain::outcome::Counts;
use muster_domain::record::RawValue;
use muster_store::{lifecycle, reports, retention};

use crate::harness::{Backend, Pipeline};
use crate::on_both_queues;

on_both_queues!(secrets_are_sealed_until_they_are_applied_and_then_their_key_is_gone);

const HASH: &str = "$2b$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy";
const TOTP: &str = "JBSWY3DPEHPK3PXP";

async fn bodies(pipeline: &Pipeline) -> Vec<Vec<u8>> {
    sqlx::query_scalar("select body from chunks order by id").fetch_all(pipeline.store.pool()).await.unwrap()
}

async fn keys(pipeline: &Pipeline) -> i64 {
    sqlx::query_scalar("select count(*) from imports where secret_key is not null")
        .fetch_one(pipeline.store.pool())
        .await
        .unwrap()
}

async fn credentials(pipeline: &Pipeline) -> Vec<(String, String)> {
    sqlx::query_as("select password_hash, totp_secret from user_credentials order by user_id")
        .fetch_all(pipeline.store.pool())
        .await
        .unwrap()
}

/// Nothing that is unpacked from a chunk without the key may be a secret.
fn assert_hidden(body: &[u8]) {
    assert!(is_sealed(body));
    let chunk = decode(body).unwrap();
    let texts: Vec<&str> =
        chunk
            .fields()
            .iter()
            .filter_map(|field| match field.value {
                RawValue::Text(text) | RawValue::Json(text) => Some(text),
                RawValue::Null => None,
            })
            .map(|text| {
                if text.contains(HASH) || text.contains(TOTP) {
                    panic!("a secret is not sealed")
                } else {
                    text
                }
            })
            .collect();
    assert!(texts.contains(&"REDACTED"));
}

async fn secrets_are_sealed_until_they_are_applied_and_then_their_key_is_gone(backend: Backend) {
    let mut pipeline = Pipeline::new(backend).await;
    let first = pipeline
        .import("email,phone_number\nholder@example.com,+41791234567\n", &ImportOptions::default())
        .await;
    // Its sums are with it: a list does not go through the chunks of what has ended.
    sqlx::raw_sql(
        "alter table chunks rename to chunks_of_before;
         create function looked_at(bigint) returns boolean language plpgsql as
             $$ begin raise exception 'chunks are read'; end $$;
         create view chunks as select * from chunks_of_before where looked_at(id)",
    )
    .execute(pipeline.store.pool())
    .await
    .unwrap();
    let listed = reports::imports(&pipeline.store, pipeline.tenant, None, None, 10).await.unwrap();
    sqlx::raw_sql("drop view chunks; alter table chunks_of_before rename to chunks")
        .execute(pipeline.store.pool())
        .await
        .unwrap();
    assert_eq!(
        (listed[0].id, listed[0].counts),
        (first.id, Counts { total: 1, inserted: 1, ..Counts::default() })
    );
    assert_eq!(listed[0].chunks.applied, 1);
    assert_eq!(keys(&pipeline).await, 0, "what has no failed record needs no key any more");

    let csv = format!(
        "email,phone_number,password_hash,mfa_totp_secret\ngood@example.com,,{HASH},{TOTP}\n\
         late@example.com,+41791234567,{HASH},{TOTP}\n"
    );
    let options = ImportOptions { start: Start::Manual, ..ImportOptions::default() };
    let import = pipeline.accepted(&csv, &options).await;
    let staged = bodies(&pipeline).await.pop().unwrap();
    assert_hidden(&staged);
    lifecycle::proceed(&pipeline.store, pipeline.tenant, import).await.unwrap();
    let (dispatcher, worker) = (pipeline.dispatcher(), pipeline.worker(2));
    let report = pipeline.ended(import).await;
    assert_eq!(report.counts, Counts { total: 2, inserted: 1, failed: 1, ..Counts::default() });
    assert_eq!(credentials(&pipeline).await, [(HASH.to_owned(), TOTP.to_owned())]);

    // What failed can be applied later, with its secrets.
    assert_eq!(keys(&pipeline).await, 1);
    sqlx::query("update users set phone_number = null").execute(pipeline.store.pool()).await.unwrap();
    lifecycle::retry(&pipeline.store, pipeline.tenant, import).await.unwrap();
    let report = pipeline.ended(import).await;
    assert_eq!(
        (report.state, report.counts),
        (ImportState::Completed, Counts { total: 2, inserted: 2, ..Counts::default() })
    );
    assert_eq!(credentials(&pipeline).await.len(), 2);
    assert_eq!(keys(&pipeline).await, 0);
    assert_eq!(bodies(&pipeline).await.pop().unwrap(), staged, "a chunk stays as it was staged");

    // Beyond their retention nobody can open the secrets of failed records.
    let again = csv.replace("good", "other").replace("late@", "later@");
    let import = pipeline.accepted(&again, &ImportOptions::default()).await;
    assert_eq!(
        pipeline.ended(import).await.counts,
        Counts { total: 2, inserted: 1, failed: 1, ..Counts::default() }
    );
    assert_eq!(retention::forget_secrets(&pipeline.store, 3600.0).await.unwrap(), 0);
    assert_eq!(retention::forget_secrets(&pipeline.store, 0.0).await.unwrap(), 1);
    sqlx::query("update users set phone_number = null").execute(pipeline.store.pool()).await.unwrap();
    lifecycle::retry(&pipeline.store, pipeline.tenant, import).await.unwrap();
    assert_eq!(
        pipeline.ended(import).await.counts,
        Counts { total: 2, inserted: 1, failed: 1, ..Counts::default() }
    );
    let failed = muster_store::records::failed(&pipeline.store, pipeline.tenant, import, 0, 10, 1 << 20)
        .await
        .unwrap();
    assert!(failed[0].errors[0].message.contains("put it in again"), "{failed:?}");
    worker.stop().await;
    dispatcher.stop().await;
    pipeline.finish().await;
}
