//! Undoing what an import changed, while everything dies (P12): users that were there are as they were before it.
//!
//! Users that the import inserted stay, so that each user's version goes on being the number of its outcomes.

use std::time::Duration;

use serde_json::{Value, json};
use sqlx::Row as _;
use tokio::time::sleep;

use crate::random::Random;

use super::super::api::{Answer, View};
use super::super::journal::{Wrong, held};
use super::super::model::{User, Users, text};
use super::super::world::{Accepted, World};
use super::{Follower, Habits};

/// Users of a space.
const USERS: &str = "select email, version, given_name, family_name, phone_number, metadata ->> 'n'
   from users
  where tenant_id = $1 and email like '%.s' || $2 || '@%'";

/// Takes back what an import changed of users that were there before. False where the users are not known exactly any more.
pub(crate) async fn take_back(
    world: &World,
    random: &mut Random,
    space: u32,
    import: &Accepted,
    before: &Users,
    users: &mut Users,
) -> anyhow::Result<bool> {
    let start = if random.percent(60) { "plan" } else { "auto" };
    let Some(undo) = open(world, import, start).await else { return Ok(true) };
    world.accept(undo.clone());
    let mut follower = Follower::new(world, &undo, Habits::NONE);
    let Some(view) = follower.follow(random).await? else { return Ok(false) };
    world.check_sums(&undo, &view).await?;
    if view.state != "completed" || view.failed > 0 {
        let fields = json!({"undo": undo.id, "of": import.id, "view": format!("{view:?}")});
        world.journal.violation(Wrong::Differs, "an undo has not taken everything back", 1, fields);
        return Ok(false);
    }
    follower.check_plan(&view);
    world.journal.count("imports undone", 1);
    compare(world, space, &undo, before, users).await
}

/// Opens the undo, however often it takes. `None` where there is nothing to undo, or the run ends.
async fn open(world: &World, import: &Accepted, start: &str) -> Option<Accepted> {
    let path = format!("/v1/imports/{}/undo", import.id);
    let accepted = |body: &Value, acknowledged: bool| {
        let view = View::read(body)?;
        Some(Accepted { id: view.id, tenant: import.tenant, total: view.total, acknowledged })
    };
    while !world.closing() {
        match world.api.ask(import.tenant, true, &format!("{path}?outcome=updated&start={start}")).await {
            Answer::Is(202, body) => return accepted(&body, true),
            Answer::Is(409, body) if body["error"]["code"] == "already_undone" => {
                // Nobody else undoes it: an earlier request of this loop did.
                let undo = body["error"]["import_id"].as_str()?.to_owned();
                let path = format!("/v1/imports/{undo}");
                let (_, body) = world.api.read(import.tenant, &path, Duration::from_secs(240)).await?;
                return accepted(&body, false);
            }
            Answer::Is(409, _) => return None,
            Answer::Is(500, body) => {
                let fields = json!({"import": import.id, "body": body});
                world.journal.violation(Wrong::Differs, "an undo was answered with 500", 1, fields);
                return None;
            }
            _ => sleep(Duration::from_millis(200)).await,
        }
    }
    None
}

/// Compares the users that were there before with what they were; the model is then as the users are.
async fn compare(
    world: &World,
    space: u32,
    undo: &Accepted,
    before: &Users,
    users: &mut Users,
) -> anyhow::Result<bool> {
    let tenant = world.tenants[undo.tenant].id;
    let named = space.to_string();
    let rows = world.db.rows(USERS, |query| query.bind(tenant).bind(named.clone())).await?;
    let (mut wrong, mut first) = (0, Value::Null);
    for row in &rows {
        let email: String = row.try_get(0)?;
        let Some((_, address)) = text::parse_email(&email).filter(|(of, _)| *of == space) else { continue };
        let value = |at: usize| -> anyhow::Result<Option<u32>> {
            let stored: Option<String> = row.try_get(at)?;
            Ok(stored.as_deref().and_then(text::number))
        };
        let is = User {
            version: row.try_get(1)?,
            given: value(2)?,
            family: value(3)?,
            phone: value(4)?,
            n: value(5)?,
        };
        if let Some(was) = before.by_address.get(&address)
            && (User { version: is.version, ..*was }) != is
        {
            wrong += 1;
            first = json!({"address": address, "is": format!("{is:?}"), "was": format!("{was:?}")});
        }
        users.put(address, is);
    }
    if wrong > 0 && came_late(world, space, undo).await? {
        // What was taken for nothing changed them after all, as the end of the run tells.
        return Ok(false);
    }
    if wrong > 0 {
        let fields = json!({"undo": undo.id, "space": space, "users": wrong, "one": first});
        world.journal.violation(Wrong::Differs, "an undo has not left users as they were", wrong, fields);
    }
    world.journal.count("users compared after an undo", before.by_address.len() as u64);
    Ok(wrong == 0)
}

/// Whether an upload of the series that was taken for nothing is there after all.
async fn came_late(world: &World, space: u32, undo: &Accepted) -> anyhow::Result<bool> {
    let tenant = world.tenants[undo.tenant].id;
    let series = format!("s{space}-");
    let nothing = held(&world.nothing).clone();
    let labels: Vec<String> = nothing
        .into_iter()
        .filter(|(of, label)| *of == undo.tenant && label.starts_with(&series))
        .map(|(_, label)| label)
        .collect();
    let sql = "select id from imports
                where tenant_id = $1 and filename = any($2) and state not in ('aborted', 'refused')";
    Ok(!world.db.rows(sql, |query| query.bind(tenant).bind(labels.clone())).await?.is_empty())
}
