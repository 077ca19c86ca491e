//! Workers, producers and both are killed while an import is planned, while its plan is applied, while an undo of it is planned and while
//! that is done. Each is started again, and each of the four ends as if nothing had happened: a plan writes no user, what is applied is what
//! was planned, and the undo leaves every user as it was.

use std::os::unix::process::ExitStatusExt;

use muster_domain::fault::Point;
use serde_json::json;

use crate::desk::until;
use crate::rig::{Carrier, Rig, Role, USERS};

/// Who is killed, and where.
type Kills = &'static [(Role, Point)];

const WORKER: &[Kills] = &[
    &[(Role::Worker, Point::Planned)],
    &[(Role::Worker, Point::BeforeCommit)],
    &[(Role::Worker, Point::AfterCommit)],
    &[(Role::Worker, Point::BeforeCommit)],
];
const PRODUCER: &[Kills] = &[
    &[(Role::Producer, Point::AfterPublish)],
    &[(Role::Producer, Point::Claimed)],
    &[(Role::Producer, Point::Complete)],
    &[(Role::Producer, Point::BeforePublish)],
];
const BOTH: &[Kills] = &[
    &[(Role::Producer, Point::Complete), (Role::Worker, Point::BeforeCommit)],
    &[(Role::Producer, Point::AfterPublish), (Role::Worker, Point::Planned)],
    &[(Role::Producer, Point::Claimed), (Role::Worker, Point::AfterCommit)],
    &[(Role::Producer, Point::Complete), (Role::Worker, Point::BeforeCommit)],
];

macro_rules! tests {
    ($module:ident $carrier:ident) => {
        mod $module {
            use super::*;

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn workers_killed_while_planning_and_undoing_change_nothing() {
                survive(Carrier::$carrier, WORKER).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn producers_killed_while_planning_and_undoing_change_nothing() {
                survive(Carrier::$carrier, PRODUCER).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn both_killed_while_planning_and_undoing_change_nothing() {
                survive(Carrier::$carrier, BOTH).await;
            }
        }
    };
}

tests!(rabbit Rabbit);
tests!(rows Rows);

/// The four stages, each with its kills.
async fn survive(carrier: Carrier, stages: &[Kills]) {
    let [planning, applying, planning_undo, undoing] = stages else { panic!("there are four stages") };
    let mut rig = Rig::new(carrier).await;
    begin(&mut rig, &[]);
    let first = rig.upload("Before", "first", "").await;
    rig.ended(&first).await;
    let before = rig.names().await;
    end(&mut rig, &[]);
    assert_eq!(rig.witness().await, (USERS, USERS));

    begin(&mut rig, planning);
    let import = rig.upload("After", "second", "&start=plan").await;
    let planned = rig.until_state(&import, "planned").await;
    assert_eq!(planned["counts"]["pending"], json!(USERS), "{planned}");
    let plan = rig.plan(&import).await;
    assert_eq!((&plan["counts"]["updated"], &plan["counts"]["failed"]), (&json!(USERS), &json!(1)), "{plan}");
    end(&mut rig, planning);
    assert_eq!(rig.witness().await, (USERS, USERS), "a plan writes nothing");

    begin(&mut rig, applying);
    rig.steer(&import, "proceed").await;
    let ended = rig.ended(&import).await;
    assert_eq!(
        (&ended["state"], &ended["counts"]["updated"]),
        (&json!("completed"), &json!(USERS)),
        "{ended}"
    );
    end(&mut rig, applying);
    assert_eq!(rig.witness().await, (USERS, 2 * USERS), "each record is applied exactly once");

    begin(&mut rig, planning_undo);
    let undo = rig.undo(&import).await;
    rig.until_state(&undo, "planned").await;
    let plan = rig.plan(&undo).await;
    assert_eq!(
        (&plan["counts"]["updated"], &plan["counts"]["pending"]),
        (&json!(USERS), &json!(0)),
        "{plan}"
    );
    end(&mut rig, planning_undo);
    assert_eq!(rig.witness().await, (USERS, 2 * USERS), "the plan of an undo writes nothing");

    begin(&mut rig, undoing);
    rig.steer(&undo, "proceed").await;
    let ended = rig.ended(&undo).await;
    assert_eq!(
        (&ended["state"], &ended["counts"]["updated"]),
        (&json!("completed"), &json!(USERS)),
        "{ended}"
    );
    end(&mut rig, undoing);
    assert_eq!(rig.witness().await, (USERS, 3 * USERS), "each change is taken back exactly once");
    assert_eq!(rig.names().await, before, "the users are as they were");
    assert_eq!(rig.ledger().await, (3, 0), "each record has one outcome");

    begin(&mut rig, &[]);
    rig.finish().await;
}

/// Starts both, with what is to kill them.
fn begin(rig: &mut Rig, kills: &[(Role, Point)]) {
    for role in [Role::Producer, Role::Worker] {
        let point = kills.iter().find(|(of, _)| *of == role).map(|(_, point)| point.name());
        rig.start(role, &point.map_or(String::new(), |point| format!("{point}=1*return(kill)")));
    }
}

/// Who was to die did, of signal 9; then both are stopped.
fn end(rig: &mut Rig, kills: &[(Role, Point)]) {
    for (role, point) in kills {
        until(point.name(), || (!rig.deaths(*role).is_empty()).then_some(()));
    }
    for role in [Role::Producer, Role::Worker] {
        let wanted = kills.iter().filter(|(of, _)| *of == role).count();
        let signals: Vec<Option<i32>> = rig.take_deaths(role).iter().map(ExitStatusExt::signal).collect();
        assert_eq!(signals, vec![Some(9); wanted], "only what was to die died");
    }
}
