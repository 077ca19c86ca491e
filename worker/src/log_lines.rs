//! The one line in the log that a chunk gets, and its figures.

use std::time::Instant;

use muster_domain::outcome::Counts;
use muster_runtime::telemetry::traces;

use crate::apply::AppliedSummary;
use crate::shared::Label;

/// One line in the log. Nothing was written to users, so no outcome is counted.
pub(crate) fn log_planned(label: &Label, counts: &Counts, started: Instant, attempt: u32) {
    metrics::histogram!("muster_chunk_seconds").record(started.elapsed().as_secs_f64());
    tracing::info!(
        import = %label.import,
        tenant = label.tenant,
        chunk = label.chunk.get(),
        attempt,
        records = counts.total,
        inserted = counts.inserted,
        updated = counts.updated,
        skipped = counts.skipped,
        failed = counts.failed,
        milliseconds = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
        trace = traces::trace_id(),
        "chunk planned"
    );
}

/// One line in the log, and each outcome once in the metrics.
pub(crate) fn log_applied(label: &Label, told: &AppliedSummary, started: Instant, attempt: u32) {
    let elapsed = started.elapsed();
    let fresh = &told.fresh;
    let outcomes = [
        ("inserted", fresh.inserted),
        ("updated", fresh.updated),
        ("skipped", fresh.skipped),
        ("failed", fresh.failed),
    ];
    for (outcome, count) in outcomes {
        metrics::counter!("muster_records_total", "outcome" => outcome).increment(count);
    }
    for (code, count) in &told.codes {
        metrics::counter!("muster_failures_total", "code" => code.as_str()).increment(*count);
    }
    metrics::histogram!("muster_chunk_seconds").record(elapsed.as_secs_f64());
    metrics::histogram!("muster_apply_seconds").record(told.took.as_secs_f64());
    tracing::info!(
        import = %label.import,
        tenant = label.tenant,
        chunk = label.chunk.get(),
        attempt,
        records = told.counts.total,
        inserted = told.counts.inserted,
        updated = told.counts.updated,
        skipped = told.counts.skipped,
        failed = told.counts.failed,
        milliseconds = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX),
        trace = traces::trace_id(),
        "chunk applied"
    );
}
