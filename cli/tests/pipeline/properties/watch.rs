//! Readers beside a running import: whatever is read adds up, and a failed record has an error, at every moment (P2).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use muster_domain::id::{ImportId, TenantId};
use muster_domain::outcome::Outcome;
use muster_store::Store;
use muster_store::records::{self, RecordFilter};
use muster_store::reports::{self, ImportReport};
use tokio::task::JoinHandle;

use crate::harness::{Pipeline, assert_failed_have_errors};

/// A reader that goes on until it is stopped.
pub(crate) struct Watch {
    stop: Arc<AtomicBool>,
    reader: JoinHandle<usize>,
}

impl Watch {
    /// Starts to read imports, of which each has this many records.
    pub(crate) fn start(pipeline: &Pipeline, imports: Vec<(ImportId, u64)>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (store, tenant, stopped) = (pipeline.store.clone(), pipeline.tenant, stop.clone());
        let reader = tokio::spawn(async move {
            let mut rounds = 0;
            while !stopped.load(Ordering::Relaxed) {
                round(&store, tenant, &imports).await;
                rounds += 1;
                // It looks on, and leaves the machine to the others.
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            rounds
        });
        Self { stop, reader }
    }

    /// Panics if something read was wrong. Returns how often everything was read.
    pub(crate) async fn stop(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        self.reader.await.expect("every read holds")
    }
}

async fn round(store: &Store, tenant: TenantId, imports: &[(ImportId, u64)]) {
    for report in reports::imports(store, tenant, None, None, 10).await.unwrap() {
        adds_up(&report, imports);
    }
    for (import, _) in imports {
        let report = reports::import(store, tenant, *import).await.unwrap().unwrap();
        adds_up(&report, imports);
        assert_failed_have_errors(store, *import).await;
        for outcome in [None, Some(Outcome::Failed), Some(Outcome::Pending)] {
            let filter = RecordFilter { outcome, sources: true, ..RecordFilter::default() };
            for record in records::page(store, tenant, *import, &report.options, filter, 50).await.unwrap() {
                assert_eq!(record.outcome == Outcome::Failed, !record.errors.is_empty(), "{record:?}");
                assert!(record.outcome != Outcome::Pending || record.warnings.is_empty(), "{record:?}");
            }
        }
        // What failed.csv and failed.ndjson are written from, and the logs of front doors.
        for record in records::failed(store, tenant, *import, 0, 50, 1 << 20).await.unwrap() {
            assert!(!record.errors.is_empty(), "{record:?}");
        }
        for issue in records::issues(store.pool(), tenant, &[*import], 0, 50).await.unwrap() {
            assert_eq!(issue.failed, !issue.errors.is_empty(), "{issue:?}");
        }
    }
}

fn adds_up(report: &ImportReport, imports: &[(ImportId, u64)]) {
    assert!(report.counts.add_up(), "{report:?}");
    if let Some((_, total)) = imports.iter().find(|(import, _)| *import == report.id) {
        assert_eq!(report.counts.total, *total, "{report:?}");
    }
    if report.state.is_final() {
        assert_eq!(report.counts.pending, 0, "{report:?}");
    }
}
