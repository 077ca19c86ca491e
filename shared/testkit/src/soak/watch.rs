//! Who looks on: reads of any import at any time, whether work goes on at all, and the processes' memory.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use muster_runtime::clock;
use serde_json::json;
use sqlx::Row as _;
use tokio::time::sleep;

use crate::random::Random;

use super::api::{Answer, View};
use super::journal::Wrong;
use super::world::{World, pause};

/// Reads lists and failed records of any import, until the run closes.
pub(crate) async fn readers(world: Arc<World>, seed: u64) -> anyhow::Result<()> {
    let mut random = Random::new(seed);
    while !world.closing() {
        let tenant = random.below(world.tenants.len());
        if let Answer::Is(200, list) = world.api.ask(tenant, false, "/v1/imports?limit=20").await {
            let views: Vec<View> =
                list["imports"].as_array().into_iter().flatten().filter_map(View::read).collect();
            for view in &views {
                world.check_view(view, None);
            }
            world.journal.count("reads", views.len() as u64);
            if let Some(view) = views.get(random.below(views.len())).filter(|view| view.failed > 0) {
                failed_have_errors(&world, tenant, view).await;
            }
        }
        pause(&mut random, 50, 600).await;
    }
    Ok(())
}

/// A failed record has an error, at every read.
async fn failed_have_errors(world: &World, tenant: usize, view: &View) {
    let path = format!("/v1/imports/{}/records?outcome=failed&limit=200", view.id);
    let Answer::Is(200, page) = world.api.ask(tenant, false, &path).await else { return };
    let records = page["records"].as_array().map(Vec::as_slice).unwrap_or_default();
    let without = |record: &&serde_json::Value| record["errors"].as_array().is_none_or(Vec::is_empty);
    let bare: Vec<_> = records.iter().filter(without).collect();
    if !bare.is_empty() {
        let fields = json!({"import": view.id, "state": view.state, "records": bare.len(), "first": bare[0]});
        let what = "a failed record is read without an error";
        world.journal.violation(Wrong::WithoutReason, what, bare.len() as u64, fields);
    }
    world.journal.count("failed records read", records.len() as u64);
}

/// In one moment, so that a difference is one: imports whose failed records are more than the errors, or fewer.
const FAILED: &str = "select i.id, i.state, s.failed, e.errors
   from (select id, state from imports where state in ('running', 'paused', 'completed') order by id desc limit 15) i
  cross join lateral (select coalesce(sum(failed), 0)::bigint as failed from chunks where import_id = i.id) s
  cross join lateral (select count(*) as errors from record_issues where import_id = i.id and failed) e
  where s.failed <> e.errors";

/// The last chunk that was applied, and whether a chunk of a running import is open.
const PROGRESS: &str =
    "select (select at from witness.chunks where became in ('applied', 'planned') order by seq desc limit 1) as last,
        exists (select from chunks c join imports i on i.id = c.import_id
                 where c.state in ('staged', 'dispatched', 'retryable') and i.state = 'running') as work";

/// Looks whether work goes on while there is work, until the run closes.
pub(crate) async fn progress(world: Arc<World>) -> anyhow::Result<()> {
    let mut since: Option<DateTime<Utc>> = None;
    let mut told = false;
    let mut turn = 0_u32;
    while !world.closing() {
        sleep(Duration::from_millis(500)).await;
        turn = turn.wrapping_add(1);
        world.processes().for_each(|process| process.look());
        if turn.is_multiple_of(6) {
            for row in world.db.glance(FAILED, |query| query).await.unwrap_or_default() {
                let (id, state): (uuid::Uuid, String) = (row.try_get(0)?, row.try_get(1)?);
                let (failed, errors): (i64, i64) = (row.try_get(2)?, row.try_get(3)?);
                let fields = json!({"import": id, "state": state, "failed": failed, "errors": errors});
                let what = "an import has not an error for each failed record";
                world.journal.violation(Wrong::WithoutReason, what, failed.abs_diff(errors), fields);
            }
        }
        let Some(rows) = world.db.glance(PROGRESS, |query| query).await else { continue };
        let Some(row) = rows.first() else { continue };
        let (last, work): (Option<DateTime<Utc>>, bool) = (row.try_get(0)?, row.try_get(1)?);
        let now = clock::now();
        let began = *since.get_or_insert(now);
        if !work {
            since = None;
            told = false;
            continue;
        }
        let idle_from = last.map_or(began, |last| last.max(began));
        let idle = now - idle_from;
        if idle < TimeDelta::seconds(2) {
            told = false;
        }
        if idle.as_seconds_f64() > world.options.recovery && !told && !world.was_away(idle_from, now) {
            told = true;
            let fields = json!({"seconds": idle.num_seconds(), "since": idle_from});
            world.journal.violation(Wrong::NotEnded, "there is work and nothing is applied", 1, fields);
        }
    }
    Ok(())
}
