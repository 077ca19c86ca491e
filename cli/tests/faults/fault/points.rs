//! Each named point three times: the process dies there, the step fails there, the step stalls there for longer than it should.
//! The fault comes once; what died is started again. In the end each record has one outcome and each user was written as often
//! as its records say, and the test has seen that the point acted.

use std::os::unix::process::ExitStatusExt;

use bytes::Bytes;
use muster_domain::fault::Point;
use muster_queue::{Headers, Message};
use muster_runtime::clock;
use reqwest::Method;
use serde_json::json;

use crate::desk::until;
use crate::rig::{Carrier, Rig, Role, Sent, USERS};

/// What is done while the fault comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Work {
    /// A file is imported; chunks that die are retried.
    Import,
    /// The same, and one of its messages lies with the dead letters before a worker starts.
    DeadLetter,
    /// The same, and a message of nobody lies in the queue.
    Stranger,
    /// An import is cancelled.
    Cancel,
    /// A single user is written.
    Single,
}

/// A point, the process it is in, and what makes the program come there.
struct Case {
    point: Point,
    role: Role,
    work: Work,
    /// Other failpoints of the same process that lead there, each with a semicolon behind it.
    before: &'static str,
    /// Failpoints of the other process.
    other: &'static str,
}

const KILL: &str = "kill";
const NOTHING: &str = "nothing";
const ALL: &[&str] = &[KILL, "error", "delay"];
/// Every chunk dies.
const ALL_DIE: &str = "rules=return(refused);";
/// One chunk is put off.
const ONE_FAILS: &str = "rules=1*return(refused);";

/// One test a point. `PRODUCER` or `WORKER` is whose it is; what follows is the work and what leads there.
macro_rules! points {
    ($carrier:ident: $($name:ident: $point:ident, $role:ident, $work:ident, $actions:expr, $before:expr, $other:expr;)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            let (point, role, work) = (Point::$point, Role::$role, Work::$work);
            let case = Case { point, role, work, before: $before, other: $other };
            survive(Carrier::$carrier, &case, $actions).await;
        }
    )*};
}

mod rabbit {
    use super::*;

    points! { Rabbit:
        open_import: OpenImport, Producer, Import, ALL, "", "";
        stage: Stage, Producer, Import, ALL, "", "";
        stage_issues: StageIssues, Producer, Import, ALL, "", "";
        before_receipt: BeforeReceipt, Producer, Import, ALL, "", "";
        store_commit: StoreCommit, Producer, Import, ALL, "", "";
        after_receipt: AfterReceipt, Producer, Import, ALL, "", "";
        sweep: Sweep, Producer, Import, ALL, "", "";
        look: Look, Producer, Import, ALL, "", "";
        claim: Claim, Producer, Import, ALL, "", "";
        claimed: Claimed, Producer, Import, ALL, "", "";
        before_publish: BeforePublish, Producer, Import, ALL, "", "";
        publish: Publish, Producer, Import, ALL, "", "";
        published: Published, Producer, Import, ALL, "", "";
        after_publish: AfterPublish, Producer, Import, ALL, "", "";
        unclaim: Unclaim, Producer, Import, ALL, "publish=1*return(error);", "";
        complete: Complete, Producer, Import, ALL, "", "";
        take_dead_letter: TakeDeadLetter, Producer, DeadLetter, ALL, "", "";
        open_session: OpenSession, Worker, Import, ALL, "", "";
        consume: Consume, Worker, Import, ALL, "", "";
        rules: Rules, Worker, Import, ALL, "", "";
        apply_locked: ApplyLocked, Worker, Import, ALL, "", "";
        planned: Planned, Worker, Import, ALL, "", "";
        copied: Copied, Worker, Import, &[KILL], "", "";
        updated: Updated, Worker, Import, ALL, "", "";
        apply_written: ApplyWritten, Worker, Import, ALL, "", "";
        finished: Finished, Worker, Import, ALL, "", "";
        before_commit: BeforeCommit, Worker, Import, ALL, "", "";
        after_commit: AfterCommit, Worker, Import, ALL, "", "";
        before_ack: BeforeAck, Worker, Import, ALL, "", "";
        after_ack: AfterAck, Worker, Import, ALL, "", "";
        wake: Wake, Worker, Import, ALL, "", "";
        count_attempt: CountAttempt, Worker, Import, ALL, ONE_FAILS, "";
        defer: Defer, Worker, Import, ALL, ONE_FAILS, "";
        dead: Dead, Worker, Import, ALL, ALL_DIE, "";
        dead_lettered: DeadLettered, Worker, Stranger, ALL, "", "";
        retry: Retry, Producer, Import, ALL, "", ALL_DIE;
        cancel: Cancel, Producer, Cancel, ALL, "", "";
        single_write: SingleWrite, Producer, Single, ALL, "", "";
        single_written: SingleWritten, Producer, Single, ALL, "", "";
    }
}

mod rows {
    use super::*;

    points! { Rows:
        before_publish: BeforePublish, Producer, Import, &[KILL], "", "";
        after_publish: AfterPublish, Producer, Import, &[KILL], "", "";
        take_dead_letter: TakeDeadLetter, Producer, DeadLetter, &[KILL], "", "";
        row_claim: RowClaim, Worker, Import, ALL, "", "";
        apply_locked: ApplyLocked, Worker, Import, &[KILL], "", "";
        after_commit: AfterCommit, Worker, Import, &[KILL], "", "";
        row_ack: RowAck, Worker, Import, ALL, "", "";
    }
}

async fn survive(carrier: Carrier, case: &Case, actions: &[&str]) {
    let mut rig = Rig::new(carrier).await;
    // Users exist before, so that there is something to update as well as to insert.
    let (mut users, mut versions) = (0, 0);
    let mut imports = 0;
    let actions: Vec<&str> = match case.point {
        // Nothing is updated while there is no user: the fault is to come in an import that updates.
        Point::Updated => std::iter::once(NOTHING).chain(actions.iter().copied()).collect(),
        _ => actions.to_vec(),
    };
    for action in actions {
        let failpoints = match action {
            NOTHING => String::new(),
            action => format!("{}{}=1*return({action})", case.before, case.point.name()),
        };
        let other = if case.role == Role::Producer { Role::Worker } else { Role::Producer };
        // A worker must not be faster than the hand that takes one of its messages.
        if !case.other.is_empty() || case.work == Work::DeadLetter && other == Role::Worker {
            rig.stop(other);
        }
        if !rig.runs(other) && (case.work != Work::DeadLetter || other == Role::Producer) {
            rig.start(other, case.other);
        }
        rig.start(case.role, &failpoints);
        match case.work {
            Work::Import | Work::DeadLetter | Work::Stranger => {
                import(&mut rig, case, action, imports == 0).await;
                users = USERS;
                versions += USERS;
                imports += 1;
            }
            Work::Cancel => {
                let import = rig.upload(action, action, "&start=manual").await;
                assert_eq!(rig.steer(&import, "cancel").await["state"], "cancelled");
                let counts = rig.import(&import).await["counts"].clone();
                assert_eq!((&counts["skipped"], &counts["failed"]), (&json!(USERS), &json!(1)), "{counts}");
                imports += 1;
            }
            Work::Single => {
                single(&rig, action).await;
                users += 1;
                versions += 1;
            }
        }
        if action != NOTHING {
            proven(&mut rig, case, action);
        }
        rig.stop(case.role);
        assert_eq!(rig.witness().await, (users, versions), "each record is applied exactly once");
        assert_eq!(rig.ledger().await, (imports, 0), "each file is one import, each record has one outcome");
    }
    for role in [Role::Producer, Role::Worker] {
        if !rig.runs(role) {
            rig.start(role, "");
        }
    }
    rig.finish().await;
}

/// Imports a file until every good record of it went in.
async fn import(rig: &mut Rig, case: &Case, action: &str, first: bool) {
    let name = format!("Name{action}");
    if case.work == Work::Stranger {
        stranger(rig).await;
    }
    let import = rig.upload(&name, action, "").await;
    if case.work == Work::DeadLetter {
        dead_letter(rig).await;
        if !rig.runs(Role::Worker) {
            rig.start(Role::Worker, case.other);
        }
    }
    let mut ended = rig.ended(&import).await;
    while ended["counts"]["failed"] != 1 {
        assert_eq!(rig.errors(&import).await, ended["counts"]["failed"].as_i64().unwrap(), "{ended}");
        rig.restart_clean(Role::Worker);
        rig.steer(&import, "retry").await;
        ended = rig.ended(&import).await;
    }
    let counts = &ended["counts"];
    let (inserted, updated) = if first { (USERS, 0) } else { (0, USERS) };
    assert_eq!(ended["state"], "completed");
    assert_eq!((&counts["inserted"], &counts["updated"]), (&json!(inserted), &json!(updated)), "{ended}");
    assert_eq!((&counts["total"], &counts["pending"]), (&json!(USERS + 1), &json!(0)), "{ended}");
    assert_eq!(rig.errors(&import).await, 1, "a failed record has its error");
}

/// The point acted once, and a process that was to die there died of signal 9.
fn proven(rig: &mut Rig, case: &Case, action: &str) {
    let name = case.point.name();
    let deaths = usize::from(action == KILL);
    until("the point acted, and the process died of it", || {
        (rig.notes().contains(&name.to_owned()) && rig.deaths(case.role).len() >= deaths).then_some(())
    });
    assert_eq!(rig.acted().iter().filter(|acted| *acted == name).count(), 1, "{name} acts once");
    let signals: Vec<Option<i32>> = rig.take_deaths(case.role).iter().map(ExitStatusExt::signal).collect();
    assert_eq!(signals, vec![Some(9); deaths], "only what was to die died");
}

async fn single(rig: &Rig, action: &str) {
    let email = format!("{action}@example.com");
    let body = json!({"email": email, "first_name": "Zoë"}).to_string();
    let sent = Sent { media_type: "application/json", key: None, text: body };
    rig.send(Method::POST, "/api/v1/user/org/", Some(&sent)).await;
}

/// A message that names no chunk.
async fn stranger(rig: &Rig) {
    let headers = Headers {
        version: 1,
        tenant: Some(rig.tenant.get()),
        import_id: clock::new_id(),
        chunk_id: i64::MAX,
        attempt: 1,
        traceparent: None,
    };
    rig.queue.publish(Message { headers, body: Bytes::from_static(b"nobody's") }).await.unwrap();
}

/// Takes a message out of the queue and lays it with the dead letters.
async fn dead_letter(rig: &Rig) {
    let mut consumer = rig.queue.consumer(1).await.unwrap();
    let (_, settler) = consumer.next().await.unwrap().into_parts();
    settler.dead_letter("by hand").await.unwrap();
    consumer.close().await;
}
