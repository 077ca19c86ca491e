//! Clients that write the same users at the same time. What must come of it depends on the order, so what is checked is what
//! holds in any order: every record has an outcome, counts are sums, and at the end each user's version is the number
//! of outcomes that name it.

use std::sync::Arc;

use crate::random::Random;

use super::clients::{Follower, Habits};
use super::generate;
use super::world::{World, pause};

/// Addresses and phone numbers that are shared.
const POOL: u32 = 1_500;

/// Uploads one import after the other over the addresses of a space that other clients use too.
pub(crate) async fn contended(world: Arc<World>, tenant: usize, space: u32, seed: u64) -> anyhow::Result<()> {
    let mut random = Random::new(seed);
    // No two clients write the same value, so that a value tells who wrote it.
    let mut next = u32::try_from(seed % 1000).unwrap_or(0) * 1_000_000;
    while world.uploading() {
        let draft = generate::shared(&mut random, space, POOL, next, world.options.most.min(6_000));
        next += u32::try_from(draft.total()).unwrap_or(0);
        if let Some(import) = world.upload(&mut random, tenant, &draft).await? {
            let mut follower = Follower::new(&world, &import, Habits::USUAL);
            if let Some(view) = follower.follow(&mut random).await? {
                world.check_sums(&import, &view).await?;
            }
        }
        pause(&mut random, 0, 800).await;
    }
    Ok(())
}
