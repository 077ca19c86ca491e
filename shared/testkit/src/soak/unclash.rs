//! A record that failed is driven again after a later record of its file was applied (P4): it may not undo what the later one
//! wrote. The first of two records of a user asks for another user's phone number and fails; the second is applied;
//! the number is let go of; the import is driven again.

use std::sync::Arc;

use muster_domain::outcome::Outcome;
use serde_json::json;
use sqlx::Row as _;

use crate::random::Random;

use super::clients::{Follower, Habits, run};
use super::generate::{Draft, Format};
use super::journal::{Wrong, held};
use super::model::{OnExisting, Record, Said, User, Users, text};
use super::world::{Kept, World, pause};

/// Users with two records each.
const PAIRS: u32 = 150;

fn record(address: u32, given: Said, phone: Said, n: u32) -> Record {
    Record { address, given, family: Said::Absent, phone, n: Said::Is(n), bad: None }
}

/// One round after the other, each over new addresses.
pub(crate) async fn unclash(world: Arc<World>, tenant: usize, space: u32, seed: u64) -> anyhow::Result<()> {
    let mut random = Random::new(seed);
    let mut users = Users::default();
    let mut first = 0;
    while world.uploading() {
        let exact = round(&world, &mut random, tenant, space, first, &mut users).await?;
        held(&world.kept).insert(space, Kept { tenant, users: users.clone(), retired: !exact });
        if !exact {
            return Ok(());
        }
        first += 2 * PAIRS;
        pause(&mut random, 500, 3000).await;
    }
    Ok(())
}

/// False where the users are not known exactly any more.
async fn round(
    world: &World,
    random: &mut Random,
    tenant: usize,
    space: u32,
    first: u32,
    users: &mut Users,
) -> anyhow::Result<bool> {
    let update = OnExisting::Update;
    let holders = (0..PAIRS).map(|at| (first + at, first + PAIRS + at));
    // The holders first, then each user's two records: the one that clashes, and the one that does not.
    let hold = holders.clone().map(|(holder, _)| record(holder, Said::Is(1), Said::Is(holder), holder));
    let clash = holders.clone().map(|(holder, user)| record(user, Said::Is(2), Said::Is(holder), user));
    let plain = holders.clone().map(|(_, user)| record(user, Said::Is(3), Said::Absent, user + 500_000));
    let let_go =
        holders.clone().map(|(holder, _)| record(holder, Said::Absent, Said::Is(holder + 500_000), holder));
    let file = |random: &mut Random, records| Draft::of(random, space, Format::Ndjson, update, records);
    let before = file(random, hold.collect());
    let pairs = file(random, clash.chain(plain).collect());
    let after = file(random, let_go.collect());
    let Some(import) = world.upload(random, tenant, &before).await? else { return Ok(true) };
    if !run(world, random, &before, &import, users, Habits::NONE).await? {
        return Ok(false);
    }
    let Some(import) = world.upload(random, tenant, &pairs).await? else { return Ok(true) };
    if !run(world, random, &pairs, &import, users, Habits::NONE).await? {
        return Ok(false);
    }
    let Some(freeing) = world.upload(random, tenant, &after).await? else { return Ok(true) };
    if !run(world, random, &after, &freeing, users, Habits::NONE).await? {
        return Ok(false);
    }
    let mut follower = Follower::new(world, &import, Habits::NONE);
    follower.retry().await;
    let Some(view) = follower.follow(random).await? else { return Ok(false) };
    let sheets = world.check_sums(&import, &view).await?;
    // The first PAIRS records are those that clashed.
    for (number, (holder, user)) in (1_u64..).zip(holders) {
        let came = sheets.records.get(&number).and_then(|came| came.first());
        let Some(now) = stored(world, tenant, space, user).await? else {
            let fields = json!({"import": import.id, "record": number});
            world.journal.violation(Wrong::Lost, "a user is gone", 1, fields);
            return Ok(false);
        };
        let was = users.by_address.get(&user).copied().unwrap_or_default();
        let raised = came.is_some_and(|came| came.outcome == Outcome::Updated);
        let phone = if raised { Some(holder) } else { was.phone };
        let right = User { version: was.version + i32::from(raised), phone, ..was };
        if now != right {
            let fields = json!({"import": import.id, "record": number, "outcome": format!("{came:?}"),
                                "is": format!("{now:?}"), "must_be": format!("{right:?}")});
            let what = "an older record that was driven again undid a newer one";
            world.journal.violation(Wrong::Differs, what, 1, fields);
        }
        users.put(user, now);
    }
    world.journal.count("records driven again after a later one", u64::from(PAIRS));
    Ok(true)
}

const STORED: &str = "select version, given_name, family_name, phone_number, metadata ->> 'n' as n
   from users where tenant_id = $1 and email = $2";

/// A user as the database has it, in the model's numbers.
async fn stored(world: &World, tenant: usize, space: u32, address: u32) -> anyhow::Result<Option<User>> {
    let id = world.tenants[tenant].id;
    let rows = world.db.rows(STORED, |query| query.bind(id).bind(text::email(space, address))).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    let number = |text: Option<String>, end: &str| {
        text.and_then(|text| text.rsplit_once(end).and_then(|(_, number)| number.parse::<u32>().ok()))
    };
    let phone: Option<String> = row.try_get("phone_number")?;
    let beginning = format!("{}{space:04}", text::PHONE);
    Ok(Some(User {
        version: row.try_get("version")?,
        given: number(row.try_get("given_name")?, text::MARKER),
        family: number(row.try_get("family_name")?, text::MARKER),
        phone: phone.and_then(|phone| phone.strip_prefix(&*beginning)?.parse().ok()),
        n: number(row.try_get("n")?, "-"),
    }))
}
