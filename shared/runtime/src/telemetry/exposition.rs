//! `/metrics`: the process's recorder, and its text.

use std::sync::OnceLock;
use std::time::Duration;

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tokio::time::interval;

use super::series::{self, Part};

/// The content type of the text.
pub const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// How often histograms are drained: between two drains every value that was recorded is kept.
const DRAINED_EVERY: Duration = Duration::from_secs(5);

/// Records from now on, and makes the series of this part of the program there. Where another recorder was installed before, it
/// gets them.
pub fn start(part: Part) {
    recorder();
    series::expose(part);
}

/// The process's recorder, installed by the first who asks. None if another one was installed before.
fn recorder() -> Option<&'static PrometheusHandle> {
    static RECORDER: OnceLock<Option<PrometheusHandle>> = OnceLock::new();
    RECORDER
        .get_or_init(|| {
            let handle =
                PrometheusBuilder::new().set_buckets(&series::SECONDS).ok()?.install_recorder().ok()?;
            series::describe();
            Some(handle)
        })
        .as_ref()
}

/// All series as text; `None` where another recorder has them.
pub fn render() -> Option<String> {
    let handle = recorder()?;
    handle.run_upkeep();
    Some(handle.render())
}

/// Drains the histograms for as long as it is polled, whether or not anybody asks for the metrics.
pub async fn keep_up() {
    every(DRAINED_EVERY, || {
        if let Some(handle) = recorder() {
            handle.run_upkeep();
        }
    })
    .await;
}

async fn every(period: Duration, mut act: impl FnMut()) {
    let mut times = interval(period);
    loop {
        times.tick().await;
        act();
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn histograms_are_drained_though_nobody_looks() {
        let mut drained = 0;
        let _ = timeout(Duration::from_secs(61), every(DRAINED_EVERY, || drained += 1)).await;
        assert_eq!(drained, 13);
    }
}
