//! The table of metrics and docs/metrics.md.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::{env, fs};

use muster_runtime::telemetry::series::page;
use muster_testkit::sources;

/// `MUSTER_UPDATE_DOCS=1` writes the page anew. That every metric of the code is in the table is deploy/local/names.sh's to say.
#[test]
fn the_page_of_metrics_is_the_table() {
    let page = format!(
        "# Metrics\n\n<!-- Made of shared/runtime/src/telemetry/series.rs: MUSTER_UPDATE_DOCS=1 cargo nextest run --workspace --all-features the_page_of_metrics -->\n\n\
         In the format of Prometheus at `/metrics`: of `muster serve` and `muster producer` beside the API, or where `http.ops_listen` says;\n\
         of `muster worker` where `worker.ops_listen` says (127.0.0.1:8081). Every series is there from the start, at 0; a label has these values\n\
         and no others, and none comes from a user. Counters start at 0 with their process.\n\n\
         Gauges of what is in the store or the queue (imports, chunks, window, messages, processes) are the same whichever producer is asked,\n\
         and are read every few seconds at the most: take `max`, not `sum`, over producers. Everything else is of one process: take `sum`.\n\n\
         [deploy/README.md](../deploy/README.md) has the alerts and what to do.\n\n{}",
        page()
    );
    let path = sources::root().join("docs/metrics.md");
    if env::var_os("MUSTER_UPDATE_DOCS").is_some() {
        fs::write(&path, &page).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(written == page, "docs/metrics.md is out of date: run this test with MUSTER_UPDATE_DOCS=1");
}
