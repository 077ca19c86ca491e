//! The queries of `muster top`: imports, the failures of one import, the queue and the processes.

use muster_domain::id::ImportId;
use muster_domain::import::ImportState;
use muster_runtime::clock;
use muster_store::{figures, status};
use reqwest::StatusCode;

use super::state::{Machines, Seen};
use crate::client::answers::Readiness;
use crate::client::{Call, Remote, operations};
use crate::imports::{Backend, Local};

/// Imports of each state that are shown, and of those that came last.
const OF_A_STATE: u32 = 50;
const NEWEST: u32 = 20;
/// Causes of failures that are shown.
const CAUSES: u8 = 5;

/// Looks at everything, with the problems of one import.
pub(super) async fn look(backend: &Backend<'_>, chosen: Option<ImportId>) -> anyhow::Result<Seen> {
    let problems = async {
        match chosen {
            Some(import) => Ok(Some((import, backend.problems(import, CAUSES).await?))),
            None => Ok::<_, anyhow::Error>(None),
        }
    };
    let of = |state| backend.list(Some(state), OF_A_STATE);
    let (running, planning, planned, paused, received, receiving, newest, machines) = tokio::try_join!(
        of(ImportState::Running),
        of(ImportState::Planning),
        of(ImportState::Planned),
        of(ImportState::Paused),
        of(ImportState::Received),
        of(ImportState::Receiving),
        backend.list(None, NEWEST),
        machines(backend),
    )?;
    // An import that is gone since it was chosen has none.
    let problems = problems.await.ok().flatten();
    let imports = [running, planning, planned, paused, received, receiving, newest].concat();
    Ok(Seen { at: clock::now(), imports, machines, problems })
}

async fn machines(backend: &Backend<'_>) -> anyhow::Result<Machines> {
    match backend {
        Backend::Local(local) => of_store(local).await,
        Backend::Remote(remote) => Ok(of_server(remote).await),
    }
}

/// What the store has of it: the messages themselves are the queue's.
async fn of_store(local: &Local<'_>) -> anyhow::Result<Machines> {
    let store = &local.session.store;
    let figures = figures::read(store, &local.bounds).await?;
    let stalled = status::stalled(store, &local.bounds).await?;
    let reasons = stalled.first.first().map(|first| first.progress.reason());
    Ok(Machines {
        unacked: Some(figures.published),
        workers: Some(figures.around.workers),
        dispatchers: Some(figures.around.dispatchers),
        readiness: reasons.is_some().then(|| "degraded".to_owned()),
        reasons: reasons
            .into_iter()
            .map(|why| format!("a running import makes no progress: {why}"))
            .collect(),
        ..Machines::default()
    })
}

/// What the server shows to everybody, where that is not on another listener.
async fn of_server(remote: &Remote) -> Machines {
    let (metrics, ready) = tokio::join!(
        told(remote, operations::OPERATIONS_METRICS.call()),
        told(remote, operations::OPERATIONS_READYZ.call())
    );
    let mut machines = metrics.as_deref().map(of_metrics).unwrap_or_default();
    if let Some(ready) = ready.and_then(|ready| serde_json::from_str::<Readiness>(&ready).ok()) {
        machines.readiness = Some(ready.status);
        machines.reasons = ready.reasons;
    }
    machines
}

/// The text of an answer. A server that is not ready gives the reason in an unsuccessful response.
async fn told<T: 'static>(remote: &Remote, call: Call<T>) -> Option<String> {
    let answer = remote.request(&call).send().await.ok()?;
    let told = answer.status().is_success() || answer.status() == StatusCode::SERVICE_UNAVAILABLE;
    if told { answer.text().await.ok() } else { None }
}

/// The figures of `/metrics` that are shown.
fn of_metrics(text: &str) -> Machines {
    let value = |series: &str| {
        let value = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))?;
        // Counts are written as floats.
        value.split('.').next()?.parse::<u64>().ok()
    };
    Machines {
        ready: value("muster_queue_messages{state=\"ready\"}"),
        unacked: value("muster_queue_messages{state=\"unacked\"}"),
        dead: value("muster_queue_messages{state=\"dead\"}"),
        workers: value("muster_processes{kind=\"worker\"}"),
        dispatchers: value("muster_processes{kind=\"dispatcher\"}"),
        ..Machines::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read_from_the_text_of_metrics() {
        let text = "# HELP muster_queue_messages Messages\nmuster_queue_messages{state=\"ready\"} 5\n\
                    muster_queue_messages{state=\"dead\"} 0\nmuster_processes{kind=\"worker\"} 2.0\n";
        let machines = of_metrics(text);
        assert_eq!(
            (machines.ready, machines.unacked, machines.dead, machines.workers),
            (Some(5), None, Some(0), Some(2))
        );
        assert_eq!(of_metrics(""), Machines::default());
    }
}
