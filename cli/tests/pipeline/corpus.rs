//! The small files of `shared/test_data/records` through the whole pipeline: each comes to what stands beside it, as it does
//! through the pure half alone.

use muster_domain::chunk::ChunkLimits;
use muster_domain::options::ImportOptions;
use muster_domain::parse::{Format, ParseLimits};
use muster_producer::receive::ReceiveError;
use muster_store::{catalog, tenants};
use muster_testkit::corpus::{Oddity, came, oddities, refused};
use muster_testkit::hostile;
use serde_json::Value;

use crate::harness::{Backend, Pipeline};
use crate::properties::world::{Places, observed, users};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_come_to_what_stands_beside_them() {
    let mut pipeline = Pipeline::new(Backend::Postgres).await;
    let (dispatcher, worker) = (pipeline.dispatcher(), pipeline.worker(2));
    let mut wrong = Vec::new();
    for oddity in oddities() {
        let got = play(&mut pipeline, &oddity).await;
        if got != oddity.wanted() {
            wrong.push(format!("{}: {got:#}", oddity.name));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    dispatcher.stop().await;
    pipeline.settle(worker).await;
    pipeline.finish().await;
}

async fn play(pipeline: &mut Pipeline, oddity: &Oddity) -> Value {
    let slug = format!("t{}", muster_runtime::clock::new_id().simple()).parse().unwrap();
    pipeline.tenant = tenants::create(&pipeline.store, &slug, "Oddity").await.unwrap().into_inner().id;
    catalog::apply(&pipeline.store, pipeline.tenant, &hostile::catalog()).await.unwrap();
    // One lane: the files speak of their own order.
    pipeline.limits.chunk = ChunkLimits { records: 3, bytes: 64 * 1024, lanes: 1 };
    if let Some(before) = &oddity.before {
        pipeline.limits.parse = ParseLimits::default();
        let options = ImportOptions { format: Format::Json, ..ImportOptions::default() };
        let import = pipeline.upload(before, &options).await.unwrap().import;
        pipeline.ended(import).await;
    }
    pipeline.limits.parse = oddity.limits;
    let import = match pipeline.upload(&oddity.bytes, &oddity.options).await {
        Ok(receipt) => receipt.import,
        Err(ReceiveError::Refused(_, error)) => return refused(&error),
        Err(error) => return Value::from(format!("not received: {error}")),
    };
    pipeline.ended(import).await;
    let places = Places::read(pipeline).await;
    let users = users(pipeline, &places).await.into_iter().map(|user| user.fields).collect();
    came(&observed(pipeline, import).await, users)
}
