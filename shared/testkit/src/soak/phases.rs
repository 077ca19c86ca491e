//! What comes before the random faults, where it is asked for: a flood of duplicate messages, and a broker that is away.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use muster_runtime::clock;
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::random::Random;

use super::clients::{Habits, run};
use super::generate;
use super::journal::held;
use super::model::Users;
use super::nemesis::{Fault, Until, mended, nemesis, start_broker};
use super::world::{Kept, World, pause};

/// Spaces of addresses: series count from 1.
pub(crate) const SHARED: u32 = 200;
pub(crate) const UNCLASH: u32 = 300;
const FLOOD: u32 = 400;
const AWAY: u32 = 1000;

/// Imports while the message of each chunk is published five times: nothing may be different for it (F32).
pub(crate) async fn flood(world: &Arc<World>, seed: u64) -> anyhow::Result<()> {
    world.copying.store(true, Ordering::SeqCst);
    let each = world.options.flood.div_ceil(world.tenants.len() as u64);
    let mut clients = JoinSet::new();
    for (tenant, space) in (0..world.tenants.len()).zip(FLOOD..) {
        let world = world.clone();
        clients.spawn(async move {
            let mut random = Random::new(seed.wrapping_add(u64::from(space)));
            let (mut users, mut next, mut done, mut exact) = (Users::default(), 0, 0, true);
            while done < each && exact {
                let draft = generate::private(&mut random, space, &users, &mut next, 6_000);
                if let Some(import) = world.upload(&mut random, tenant, &draft).await? {
                    done += draft.total();
                    exact = run(&world, &mut random, &draft, &import, &mut users, Habits::NONE).await?;
                }
            }
            held(&world.kept).insert(space, Kept { tenant, users, retired: !exact });
            anyhow::Ok(())
        });
    }
    while let Some(ended) = clients.join_next().await {
        ended??;
    }
    world.copying.store(false, Ordering::SeqCst);
    let copied = world.journal.counted("messages copied");
    world.journal.event("flood_ended", json!({"messages_copied": copied}));
    anyhow::ensure!(copied > 0, "no message was copied: the flood proves nothing");
    Ok(())
}

/// The broker is killed with all its data, and every upload is accepted all the same; afterwards all of them end (F22, F24).
pub(crate) async fn broker_away(world: &Arc<World>, seed: u64) -> anyhow::Result<()> {
    let length = Duration::from_secs(world.options.broker_away);
    let _turn = world.rabbit.turn.lock().await;
    let outage = world.away();
    world.rabbit.kill().await?;
    world.rabbit.wipe()?;
    world.kills.fetch_add(1, Ordering::SeqCst);
    world.journal.count("fault wipe", 1);
    world.must_accept.store(true, Ordering::SeqCst);
    let until = Instant::now() + length;
    let mut clients = JoinSet::new();
    for tenant in 0..world.tenants.len() {
        let world = world.clone();
        let mut space = AWAY + 1000 * u32::try_from(tenant)?;
        clients.spawn(async move {
            let mut random = Random::new(seed.wrapping_add(u64::from(space)));
            let mut staged = Vec::new();
            while Instant::now() < until {
                space += 1;
                let draft = generate::private(&mut random, space, &Users::default(), &mut 0, 800);
                if let Some(import) = world.upload(&mut random, tenant, &draft).await? {
                    staged.push((draft, import));
                }
                world.journal.count("uploads while the broker was away", 1);
                pause(&mut random, 200, 600).await;
            }
            while world.must_accept.load(Ordering::SeqCst) {
                sleep(Duration::from_millis(50)).await;
            }
            for (draft, import) in staged {
                let mut users = Users::default();
                let exact = run(&world, &mut random, &draft, &import, &mut users, Habits::NONE).await?;
                held(&world.kept).insert(draft.space, Kept { tenant, users, retired: !exact });
            }
            anyhow::Ok(())
        });
    }
    // Workers have nothing to do meanwhile; a few are killed all the same.
    let kills = Some(world.kills.load(Ordering::SeqCst) + 3);
    let workers = Until { time: until, kills, imports: None, records: None };
    let mut mending = JoinSet::new();
    nemesis(world, seed, &[(Fault::WorkerKill, 1)], workers, &mut mending).await?;
    mended(mending).await?;
    sleep(until.saturating_duration_since(Instant::now())).await;
    // Uploads that are under way are still to be accepted.
    sleep(Duration::from_millis(500)).await;
    world.must_accept.store(false, Ordering::SeqCst);
    let at = start_broker(world, outage).await?;
    world.recoveries.can_publish("broker back without its data: the next chunk is published", at);
    while let Some(ended) = clients.join_next().await {
        ended??;
    }
    let seconds = (clock::now() - at).as_seconds_f64();
    world.journal.event("broker_was_away", json!({"seconds_until_all_had_ended": seconds}));
    Ok(())
}
