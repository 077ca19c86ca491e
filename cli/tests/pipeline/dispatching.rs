//! Dispatching when something is wrong: no workers, locked rows, lost messages, dead letters, a dispatcher that panics. What is asked
//! each time: do others go on, does the chunk come again soon, and never too often.

use muster_domain::outcome::Counts;
use std::num::NonZeroU16;
use std::time::{Duration, Instant};

use muster_domain::chunk::ChunkLimits;
use muster_domain::id::{ChunkId, ImportId, TenantId};
use muster_domain::import::ImportState;
use muster_domain::options::{ImportOptions, Start};
use muster_producer::{DispatchOptions, Dispatcher};
use muster_queue::{Headers, Message, Queue, QueueOptions, Topology};
use muster_runtime::clock;
use muster_store::Store;
use muster_store::dispatch::{self, ClaimedChunk, DeadLetterOf};
use muster_store::{StoreOptions, holders, retention, status, tenants};
use muster_testkit::proxy::{Proxy, Then};

use crate::harness::{Backend, Pipeline, people};
use crate::on_both_queues;
use crate::refusals::{execute, holder};

on_both_queues!(
    without_workers_no_more_messages_wait_than_the_window_has_places,
    more_workers_get_more_places,
    a_locked_chunk_stops_nobody_else,
    a_purged_queue_delays_another_tenant_by_seconds,
    a_deleted_queue_delays_another_tenant_by_seconds,
    dead_letters_do_not_stop_each_other_and_kill_no_innocent_chunk,
);

/// Wide enough for a window of 16 in one import.
const WIDE: ChunkLimits = ChunkLimits { records: 10, bytes: 64 * 1024, lanes: 40 };
/// More than a lost message may delay others by, also on a busy machine: five seconds are promised, of which the program's own timers may
/// take four. A program that waits for the lease takes 30.
const SOON: Duration = Duration::from_secs(10);
/// Longer than anything here takes, also on a busy machine.
const DEADLINE: Duration = Duration::from_secs(60);

fn options() -> DispatchOptions {
    DispatchOptions { poll: Duration::from_millis(50), ..DispatchOptions::default() }
}

fn start(pipeline: &Pipeline, options: DispatchOptions) -> Dispatcher {
    Dispatcher::start(pipeline.store.clone(), pipeline.queue.clone(), options)
}

/// Asks until it is so.
async fn wait_until<Answer: Future<Output = bool>>(what: &str, ask: impl Fn() -> Answer) {
    let deadline = Instant::now() + DEADLINE;
    while !ask().await {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn waiting(pipeline: &Pipeline, messages: u64) {
    wait_until("messages in the queue", async || pipeline.queue.depth().await.unwrap().ready == messages)
        .await;
}

/// The same where a chunk may have been published twice: its confirmation was cut off, so its claim ran out.
async fn at_least(pipeline: &Pipeline, messages: u64) {
    wait_until("messages in the queue", async || pipeline.queue.depth().await.unwrap().ready >= messages)
        .await;
}

async fn completed(pipeline: &Pipeline, import: ImportId) {
    wait_until("the import completes", async || {
        pipeline.report(import).await.state == ImportState::Completed
    })
    .await;
}

/// Another tenant of the same installation.
async fn neighbour(pipeline: &Pipeline) -> TenantId {
    let slug = "neighbour".parse().unwrap();
    tenants::create(&pipeline.store, &slug, "Neighbour").await.unwrap().into_inner().id
}

async fn number(store: &Store, question: &str) -> i64 {
    sqlx::query_scalar(sqlx::AssertSqlSafe(question.to_owned())).fetch_one(store.pool()).await.unwrap()
}

async fn without_workers_no_more_messages_wait_than_the_window_has_places(backend: Backend) {
    let mut pipeline = Pipeline::new(backend).await;
    pipeline.limits.chunk = WIDE;
    let import = pipeline.accepted(&people(800), &ImportOptions::default()).await;
    // The shortest that the settings allow.
    let lease = Duration::from_secs(5);
    let dispatcher = start(&pipeline, DispatchOptions { window: Some(16), lease, ..options() });
    waiting(&pipeline, 16).await;
    // Longer than a claim lives that is not renewed.
    let until = Instant::now() + lease * 3 / 2;
    while Instant::now() < until {
        let ready = pipeline.queue.depth().await.unwrap().ready;
        assert!(ready <= 16, "{ready} messages for 16 places");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let worker = pipeline.worker(2);
    assert_eq!(
        pipeline.ended(import).await.counts,
        Counts { total: 800, inserted: 800, ..Counts::default() }
    );
    pipeline.settle(worker).await;
    dispatcher.stop().await;
    pipeline.finish().await;
}

/// The window is not set here: what the workers say that they can do is what they get, twice.
async fn more_workers_get_more_places(backend: Backend) {
    let mut pipeline = Pipeline::new(backend).await;
    pipeline.limits.chunk = WIDE;
    let (one, other) = (clock::new_id(), clock::new_id());
    let alive = async || {
        for (worker, slots) in [(one, 5), (other, 7)] {
            holders::say(&pipeline.store, worker, "worker of a test", NonZeroU16::new(slots), &[], None)
                .await
                .unwrap();
        }
    };
    alive().await;
    let import = pipeline.accepted(&people(2_000), &ImportOptions::default()).await;
    let dispatcher = start(&pipeline, options());
    wait_until("two places for each slot", async || {
        alive().await;
        pipeline.queue.depth().await.unwrap().ready == 24
    })
    .await;
    let settled = Instant::now() + Duration::from_millis(500);
    wait_until("nothing more is sent", async || {
        alive().await;
        let sent = number(&pipeline.store, "select count(*) from chunks where state = 'dispatched'").await;
        assert_eq!(sent, 24);
        Instant::now() > settled
    })
    .await;
    let bounds = options().bounds();
    let progress = status::of(&pipeline.store, pipeline.tenant, &[import], &bounds).await.unwrap();
    assert_eq!(progress[&import].window.size, 24);
    dispatcher.stop().await;
    pipeline.queue.purge().await.unwrap();
    pipeline.finish().await;
}

async fn a_locked_chunk_stops_nobody_else(backend: Backend) {
    let mut pipeline = Pipeline::new(backend).await;
    let lease = Duration::from_secs(1);
    // One place, which the locked chunk has.
    let dispatcher = start(&pipeline, DispatchOptions { window: Some(1), lease, ..options() });
    let sick = pipeline.accepted(&people(20), &ImportOptions::default()).await;
    waiting(&pipeline, 1).await;
    let mut operator = holder(&pipeline, "select from chunks for update").await;
    let worker = pipeline.worker(2);
    let neighbour = neighbour(&pipeline).await;
    let began = Instant::now();
    for tenant in [pipeline.tenant, neighbour] {
        let home = std::mem::replace(&mut pipeline.tenant, tenant);
        let other = pipeline.accepted(&people(60), &ImportOptions::default()).await;
        completed(&pipeline, other).await;
        pipeline.tenant = home;
    }
    // The server ends a wait for a lock after 20 s; nobody may have waited for that.
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    assert_eq!(pipeline.report(sick).await.counts.pending, 20);
    sqlx::raw_sql("rollback").execute(&mut operator).await.unwrap();
    assert_eq!(pipeline.ended(sick).await.counts.pending, 0);
    pipeline.settle(worker).await;
    dispatcher.stop().await;
    pipeline.finish().await;
}

/// Sixteen chunks of one tenant have all places when `fault` takes their messages away; then 50 records of another tenant come.
async fn another_tenant_is_through_soon(mut pipeline: Pipeline, fault: impl AsyncFnOnce(&Pipeline)) {
    pipeline.limits.chunk = WIDE;
    let large = pipeline.accepted(&people(400), &ImportOptions::default()).await;
    let dispatcher = start(&pipeline, options());
    waiting(&pipeline, 16).await;
    fault(&pipeline).await;
    let lost = Instant::now();
    let worker = pipeline.worker(2);
    let home = pipeline.tenant;
    pipeline.tenant = neighbour(&pipeline).await;
    let small = pipeline.accepted(&people(50), &ImportOptions::default()).await;
    completed(&pipeline, small).await;
    assert!(lost.elapsed() < SOON, "{:?}", lost.elapsed());
    pipeline.tenant = home;
    let report = pipeline.ended(large).await;
    assert_eq!(
        (report.counts, report.chunks.dead),
        (Counts { total: 400, inserted: 400, ..Counts::default() }, 0)
    );
    let attempts = number(&pipeline.store, "select coalesce(max(attempts), 0)::bigint from chunks").await;
    assert_eq!(attempts, 0, "losing a message spends no attempt");
    pipeline.settle(worker).await;
    dispatcher.stop().await;
    pipeline.finish().await;
}

async fn a_purged_queue_delays_another_tenant_by_seconds(backend: Backend) {
    let fault = async |pipeline: &Pipeline| pipeline.queue.purge().await.unwrap();
    another_tenant_is_through_soon(Pipeline::new(backend).await, fault).await;
}

async fn a_deleted_queue_delays_another_tenant_by_seconds(backend: Backend) {
    let fault = async |pipeline: &Pipeline| pipeline.queue.delete().await.unwrap();
    another_tenant_is_through_soon(Pipeline::new(backend).await, fault).await;
}

/// The places are claimed, and the producer dies before it publishes.
#[cfg(feature = "faults")]
mod faults {
    use super::*;

    on_both_queues!(
        a_producer_that_dies_before_it_publishes_delays_another_tenant_by_seconds,
        a_dispatcher_that_panics_is_started_again,
        a_queue_that_takes_nothing_is_tried_with_one_chunk_however_often_the_dispatcher_is_woken,
    );

    /// Each try claims chunks and gives them back, so it costs the database and not the broker.
    async fn a_queue_that_takes_nothing_is_tried_with_one_chunk_however_often_the_dispatcher_is_woken(
        backend: Backend,
    ) {
        let mut pipeline = Pipeline::new(backend).await;
        pipeline.limits.chunk = WIDE;
        let import = pipeline.accepted(&people(400), &ImportOptions::default()).await;
        execute(
            &pipeline,
            "create table given_back (chunk bigint);
             create function note() returns trigger language plpgsql as $$
             begin insert into given_back values (new.id); return null; end $$;
             create trigger note after update on chunks for each row
                when (old.state = 'dispatched' and new.state = 'staged') execute function note()",
        )
        .await;
        fail::cfg("before_publish", "return(error)").unwrap();
        let began = Instant::now();
        let dispatcher = start(&pipeline, options());
        let given_back = "select count(*) from given_back";
        // The first try is with a whole window, since nothing is known then.
        wait_until("seven tries", async || {
            dispatcher.wake();
            number(&pipeline.store, given_back).await >= 16 + 6
        })
        .await;
        // 0.1, 0.2, 0.4, 0.8, 1.2 and 1.2 s lie between them, or a little less by chance.
        assert!(began.elapsed() > Duration::from_secs(2), "{:?}", began.elapsed());
        fail::remove("before_publish");
        let taken = Instant::now();
        waiting(&pipeline, 16).await;
        assert!(taken.elapsed() < Duration::from_secs(6), "{:?}", taken.elapsed());
        let worker = pipeline.worker(2);
        assert_eq!(
            pipeline.ended(import).await.counts,
            Counts { total: 400, inserted: 400, ..Counts::default() }
        );
        pipeline.settle(worker).await;
        dispatcher.stop().await;
        pipeline.finish().await;
    }

    async fn a_producer_that_dies_before_it_publishes_delays_another_tenant_by_seconds(backend: Backend) {
        let mut pipeline = Pipeline::new(backend).await;
        pipeline.limits.chunk = WIDE;
        let large = pipeline.accepted(&people(400), &ImportOptions::default()).await;
        fail::cfg("before_publish", "panic").unwrap();
        let dying = start(&pipeline, options());
        let claimed = "select count(*) from chunks where state = 'dispatched'";
        wait_until("all places are claimed", async || number(&pipeline.store, claimed).await == 16).await;
        drop(dying);
        let died = Instant::now();
        fail::remove("before_publish");
        let (dispatcher, worker) = (start(&pipeline, options()), pipeline.worker(2));
        let home = pipeline.tenant;
        pipeline.tenant = neighbour(&pipeline).await;
        let small = pipeline.accepted(&people(50), &ImportOptions::default()).await;
        completed(&pipeline, small).await;
        assert!(died.elapsed() < SOON, "{:?}", died.elapsed());
        pipeline.tenant = home;
        assert_eq!(
            pipeline.ended(large).await.counts,
            Counts { total: 400, inserted: 400, ..Counts::default() }
        );
        pipeline.settle(worker).await;
        dispatcher.stop().await;
        pipeline.finish().await;
    }

    async fn a_dispatcher_that_panics_is_started_again(backend: Backend) {
        let mut pipeline = Pipeline::new(backend).await;
        let import = pipeline.accepted(&people(200), &ImportOptions::default()).await;
        // Once with chunks claimed, so that what a dead round held is not held any more.
        fail::cfg("before_publish", "1*panic->off").unwrap();
        let (dispatcher, worker) = (start(&pipeline, options()), pipeline.worker(2));
        assert_eq!(
            pipeline.ended(import).await.counts,
            Counts { total: 200, inserted: 200, ..Counts::default() }
        );
        assert!(dispatcher.progress().restarts() >= 1);
        pipeline.settle(worker).await;
        dispatcher.stop().await;
        pipeline.finish().await;
    }

    /// Readiness says that nothing is dispatched, and that it is again.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn readiness_tells_of_a_dispatcher_that_makes_no_rounds() {
        let pipeline = Pipeline::new(Backend::Postgres).await;
        // One that is there already is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        fail::cfg("look", "panic").unwrap();
        let options = muster_producer::ProducerOptions { dispatch: options(), ..Default::default() };
        let producer =
            muster_producer::Producer::start(pipeline.store.clone(), pipeline.queue.clone(), options);
        let producer = producer.await.unwrap();
        let url = format!("http://{}/readyz", producer.local_addr());
        let status = async || -> (String, String) {
            let answer: serde_json::Value = reqwest::get(&url).await.unwrap().json().await.unwrap();
            let text = |key: &str| answer[key].as_str().unwrap().to_owned();
            (text("status"), text("dispatcher"))
        };
        wait_until("stalled", async || status().await == ("degraded".into(), "stalled".into())).await;
        fail::remove("look");
        wait_until("ready again", async || status().await == ("ready".into(), "ok".into())).await;
        producer.stop().await.unwrap();
        pipeline.finish().await;
    }
}

/// One whose message is the dead letter, one whose attempts are spent, one that the store cannot read, and one that is not there.
async fn dead_letters_do_not_stop_each_other_and_kill_no_innocent_chunk(backend: Backend) {
    let mut pipeline = Pipeline::new(backend).await;
    pipeline.limits.chunk = ChunkLimits { records: 10, ..WIDE };
    let import = pipeline.accepted(&people(30), &ImportOptions::default()).await;
    let heads: Vec<ChunkId> =
        dispatch::lane_heads(&pipeline.store).await.unwrap().iter().map(|head| head.chunk).collect();
    let claimed = dispatch::claim(&pipeline.store, &heads, 60.0).await.unwrap();
    assert!(claimed.len() >= 3, "{} lanes", claimed.len());
    let (unreadable, spent, innocent) = (claimed[0].id, claimed[1].id, claimed[2].id);
    let set = "update chunks set attempts = 5, outcomes = case when id = $1 then '\\x00'::bytea end where id in ($1, $2)";
    let set = sqlx::query(set).bind(unreadable.get()).bind(spent.get());
    set.execute(pipeline.store.pool()).await.unwrap();
    // The unreadable first, so that it is in the way of the others.
    let mut letters: Vec<ClaimedChunk> = claimed.iter().take(3).cloned().collect();
    letters.push(ClaimedChunk { id: ChunkId::new(i64::MAX), ..claimed[0].clone() });
    for letter in &letters {
        pipeline.queue.publish(message(letter)).await.unwrap();
    }
    let mut consumer = pipeline.queue.consumer(1).await.unwrap();
    for _ in &letters {
        consumer.next().await.unwrap().dead_letter("for a test").await.unwrap();
    }
    consumer.close().await;

    let (dispatcher, worker) = (start(&pipeline, options()), pipeline.worker(2));
    let queue = pipeline.queue.clone();
    let left = async || queue.depth().await.unwrap().dead;
    let state = async |chunk: ChunkId, state: &str| {
        let asked =
            sqlx::query_scalar("select state = $2 from chunks where id = $1").bind(chunk.get()).bind(state);
        asked.fetch_one(pipeline.store.pool()).await.unwrap()
    };
    wait_until("the innocent is applied", async || state(innocent, "applied").await).await;
    wait_until("the spent is dead", async || state(spent, "dead").await).await;
    // The one that cannot be dealt with is taken up again and again, and lies in the queue in between.
    wait_until("one is left", async || left().await == 1).await;
    let mend = sqlx::query("update chunks set outcomes = null where id = $1").bind(unreadable.get());
    mend.execute(pipeline.store.pool()).await.unwrap();
    let report = pipeline.ended(import).await;
    assert_eq!(report.counts.pending, 0);
    wait_until("none is left", async || left().await == 0).await;
    pipeline.settle(worker).await;
    dispatcher.stop().await;
    pipeline.finish().await;
}

fn message(chunk: &ClaimedChunk) -> Message {
    let headers = Headers {
        version: 1,
        tenant: Some(chunk.tenant.get()),
        import_id: chunk.import.get(),
        chunk_id: chunk.id.get(),
        attempt: chunk.attempt,
        traceparent: None,
    };
    Message { headers, body: chunk.body.clone().into() }
}

/// A retry may open a chunk before the one that is with the workers.
#[tokio::test(flavor = "multi_thread")]
async fn a_lane_has_one_chunk_with_the_workers_whatever_is_opened_before_it() {
    let mut pipeline = Pipeline::new(Backend::Postgres).await;
    pipeline.limits.chunk = ChunkLimits { records: 10, bytes: 64 * 1024, lanes: 1 };
    pipeline.accepted(&people(30), &ImportOptions::default()).await;
    let store = &pipeline.store;
    let run = async |statement: &str| {
        sqlx::query(sqlx::AssertSqlSafe(statement.to_owned())).execute(store.pool()).await
    };
    let ready = async || -> Vec<ChunkId> {
        let heads = dispatch::lane_heads(store).await.unwrap();
        heads.iter().filter(|head| head.ready).map(|head| head.chunk).collect()
    };
    let first = ready().await;
    assert_eq!(first.len(), 1);
    run("update chunks set state = 'retryable', due_at = now() + interval '1 hour' where seq = 0")
        .await
        .unwrap();
    assert!(ready().await.is_empty(), "the first of the lane is not due");
    let second = ChunkId::new(number(store, "select id from chunks where seq = 1").await);
    assert!(dispatch::claim(store, &[second], 60.0).await.unwrap().is_empty(), "an earlier one is open");
    run("update chunks set state = 'dispatched', leased_until = now() + interval '1 minute' where seq = 1")
        .await
        .unwrap();
    run("update chunks set state = 'staged', due_at = null where seq = 0").await.unwrap();
    assert!(ready().await.is_empty(), "another of the lane is with the workers");
    assert!(dispatch::claim(store, &first, 60.0).await.unwrap().is_empty());
    assert!(
        run("update chunks set state = 'dispatched' where seq = 0").await.is_err(),
        "the schema refuses it too"
    );
    run("update chunks set state = 'staged' where seq = 1").await.unwrap();
    assert_eq!(ready().await, first);
    assert_eq!(dispatch::claim(store, &first, 60.0).await.unwrap().len(), 1);
    pipeline.finish().await;
}

/// The server looks at no time-out while it waits for the data of a copy, so its own limits would never end such a session.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_froze_in_the_middle_of_a_copy_is_ended() {
    let pipeline = Pipeline::new(Backend::Postgres).await;
    let import = pipeline.accepted(&people(20), &ImportOptions::default()).await;
    let mut frozen = pipeline.store.connection().await.unwrap();
    sqlx::raw_sql("set statement_timeout = '1s'; begin; select from chunks for no key update")
        .execute(&mut frozen)
        .await
        .unwrap();
    let copy = frozen.copy_in_raw("copy users (id, tenant_id) from stdin (format binary)").await.unwrap();
    let mut other = pipeline.store.connection().await.unwrap();
    let stays = other.copy_in_raw("copy tenants (slug) from stdin (format binary)").await.unwrap();
    let limit = Duration::from_secs(3);
    let dispatcher = start(&pipeline, DispatchOptions { deadline: limit, ..options() });
    let began = Instant::now();
    wait_until("the chunks are free", async || {
        let free = "select count(*) from (select from chunks for no key update skip locked) as free";
        number(&pipeline.store, free).await > 0
    })
    .await;
    assert!(began.elapsed() >= limit - Duration::from_secs(1), "it may take as long as a statement may");
    drop(copy.finish().await.unwrap_err());
    stays.abort("a stranger's copy goes on").await.unwrap();
    let worker = pipeline.worker(1);
    completed(&pipeline, import).await;
    dispatcher.stop().await;
    pipeline.settle(worker).await;
    pipeline.finish().await;
}

/// While the database refuses an import, one chunk at a time tries it, each in its turn.
#[tokio::test(flavor = "multi_thread")]
async fn an_import_that_the_database_refuses_is_tried_with_one_chunk_at_a_time() {
    let mut pipeline = Pipeline::new(Backend::Postgres).await;
    pipeline.limits.chunk = ChunkLimits { records: 10, bytes: 64 * 1024, lanes: 4 };
    pipeline.accepted(&people(200), &ImportOptions::default()).await;
    let store = &pipeline.store;
    let ready = async || -> Vec<ChunkId> {
        let heads = dispatch::lane_heads(store).await.unwrap();
        heads.iter().filter(|head| head.ready).map(|head| head.chunk).collect()
    };
    let defer = async |chunk: ChunkId, due: &str| {
        let deferral = "update chunks set state = 'retryable', deferrals = deferrals + 1, leased_until = null, claim_until = null,
                               problem = 'refused', problem_at = clock_timestamp(), due_at = now() + $2::text::interval
                         where id = $1";
        sqlx::query(deferral).bind(chunk.get()).bind(due).execute(store.pool()).await.unwrap();
    };
    let mut all = ready().await;
    all.sort_unstable();
    assert_eq!(all.len(), 4, "all lanes go");
    let sent_before = all.pop().unwrap();
    assert_eq!(dispatch::claim(store, &[sent_before], 60.0).await.unwrap().len(), 1);
    defer(all[0], "1 hour").await;
    assert!(ready().await.is_empty(), "what was deferred last is not due");
    defer(all[0], "-1 second").await;
    for _ in 0..2 {
        let next = ready().await;
        assert!(next.len() == 1 && next[0] != all[0], "one that was not tried yet: {next:?}");
        assert_eq!(dispatch::claim(store, &next, 60.0).await.unwrap().len(), 1);
        assert!(ready().await.is_empty(), "one at a time");
        defer(next[0], "-1 second").await;
    }
    assert_eq!(ready().await, [all[0]], "of those that were tried the one that waits longest");
    // An applied chunk of the import proves that the database takes it again.
    sqlx::query("update chunks set applied_at = clock_timestamp() where id = $1")
        .bind(all[0].get())
        .execute(store.pool())
        .await
        .unwrap();
    let mut again = ready().await;
    again.sort_unstable();
    assert_eq!(again, all, "all lanes go again");
    pipeline.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chunk_is_silent_only_while_no_process_that_lives_holds_it() {
    let mut pipeline = Pipeline::new(Backend::Postgres).await;
    pipeline.limits.chunk = ChunkLimits { records: 10, bytes: 64 * 1024, lanes: 1 };
    pipeline.accepted(&people(10), &ImportOptions::default()).await;
    let store = &pipeline.store;
    let chunk = dispatch::lane_heads(store).await.unwrap()[0].chunk;
    dispatch::claim_to_publish(store, &[chunk], &[], 60.0).await.unwrap();
    assert!(dispatch::silent(store, 60.0).await.unwrap().is_empty(), "a claim is not a message yet");
    dispatch::confirm(store, &[chunk], 60.0).await.unwrap();
    assert_eq!(dispatch::silent(store, 60.0).await.unwrap(), [chunk]);
    let process = clock::new_id();
    holders::say(store, process, "test", None, &[chunk], None).await.unwrap();
    assert!(dispatch::silent(store, 60.0).await.unwrap().is_empty());
    holders::say(store, process, "test", None, &[], None).await.unwrap();
    assert_eq!(dispatch::silent(store, 60.0).await.unwrap(), [chunk]);
    holders::say(store, process, "test", None, &[chunk], None).await.unwrap();
    let old = "update chunk_holders set seen_at = now() - interval '10 seconds'";
    sqlx::query(old).execute(store.pool()).await.unwrap();
    assert_eq!(dispatch::silent(store, 60.0).await.unwrap(), [chunk]);
    // The server's clock was set back since: one that lives would have spoken again.
    let ahead = "update chunk_holders set seen_at = now() + interval '1 hour'";
    sqlx::query(ahead).execute(store.pool()).await.unwrap();
    assert_eq!(dispatch::silent(store, 60.0).await.unwrap(), [chunk]);
    assert!(holders::of(store, &[chunk]).await.unwrap().is_empty());
    assert!(holders::list(store).await.unwrap().is_empty());
    assert_eq!(holders::delete_gone(store).await.unwrap(), 1);
    assert_eq!(dispatch::stage_again(store, &[chunk]).await.unwrap(), 1);
    assert_eq!(dispatch::stage_again(store, &[chunk]).await.unwrap(), 0, "it is staged already");
    // A claim that nobody published, of a process that is gone.
    dispatch::claim_to_publish(store, &[chunk], &[], 60.0).await.unwrap();
    assert_eq!(dispatch::stage_claims_again(store).await.unwrap(), 0, "it has just been claimed");
    sqlx::query("update chunks set claim_until = now()").execute(store.pool()).await.unwrap();
    assert_eq!(dispatch::stage_claims_again(store).await.unwrap(), 1);
    pipeline.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_that_cannot_be_completed_stops_no_other() {
    let pipeline = Pipeline::new(Backend::Postgres).await;
    let empty = async || pipeline.accepted("email\n", &ImportOptions::default()).await;
    let (before, stuck, after) = (empty().await, empty().await, empty().await);
    let refuse = format!(
        "create function refuse() returns trigger language plpgsql as $$ begin raise 'no'; end $$;
         create trigger refuse before update on imports for each row when (old.id = '{stuck}') execute function refuse()"
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(refuse)).execute(pipeline.store.pool()).await.unwrap();
    let mut done = dispatch::complete_ended(&pipeline.store).await.unwrap();
    done.imports.sort_unstable();
    let mut others = [before, after];
    others.sort_unstable();
    assert_eq!(done.imports, others);
    assert!(done.problem.is_some());
    sqlx::raw_sql("drop trigger refuse on imports").execute(pipeline.store.pool()).await.unwrap();
    let done = dispatch::complete_ended(&pipeline.store).await.unwrap();
    assert_eq!((done.imports, done.problem.is_none()), (vec![stuck], true));
    pipeline.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_that_cannot_be_deleted_stops_no_other() {
    let mut pipeline = Pipeline::new(Backend::Postgres).await;
    let stuck = pipeline.import(&people(30), &ImportOptions::default()).await.id;
    let other = pipeline.import(&people(30), &ImportOptions::default()).await.id;
    let refuse = format!(
        "create function refuse() returns trigger language plpgsql as $$ begin raise 'no'; end $$;
         create trigger refuse before delete on imports for each row when (old.id = '{stuck}') execute function refuse()"
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(refuse)).execute(pipeline.store.pool()).await.unwrap();
    let deleted = retention::delete_ended(&pipeline.store, 0.0).await.unwrap();
    assert_eq!((deleted.imports, deleted.refused), (1, 1));
    assert!(deleted.problem.is_some());
    let left: Vec<uuid::Uuid> =
        sqlx::query_scalar("select id from imports").fetch_all(pipeline.store.pool()).await.unwrap();
    assert_eq!(left, [stuck.get()], "{other} is gone");
    pipeline.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_that_cannot_be_cancelled_stops_no_other() {
    let pipeline = Pipeline::new(Backend::Postgres).await;
    let manual = ImportOptions { start: Start::Manual, ..ImportOptions::default() };
    let stuck = pipeline.accepted(&people(2), &manual).await;
    let other = pipeline.accepted(&people(2), &manual).await;
    let refuse = format!(
        "create function refuse() returns trigger language plpgsql as $$ begin raise 'no'; end $$;
         create trigger refuse before update on imports for each row when (old.id = '{stuck}') execute function refuse()"
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(refuse)).execute(pipeline.store.pool()).await.unwrap();
    let unstarted = retention::cancel_unstarted(&pipeline.store, 0.0).await.unwrap();
    assert_eq!((unstarted.cancelled, unstarted.problem.is_some()), (1, true));
    assert_eq!(pipeline.report(stuck).await.state, ImportState::Received);
    assert_eq!(pipeline.report(other).await.state, ImportState::Cancelled);
    pipeline.finish().await;
}

/// Its connections are open and carry nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dispatcher_stops_within_its_grace_while_the_database_hangs() {
    let pipeline = Pipeline::new(Backend::Rabbit).await;
    pipeline.accepted(&people(100), &ImportOptions::default()).await;
    let (proxy, target) = Proxy::before_database(&pipeline.database().target()).await;
    let store = Store::connect(target, &StoreOptions { max_connections: 4, ..StoreOptions::default() })
        .await
        .unwrap();
    let grace = Duration::from_secs(1);
    let dispatcher = Dispatcher::start(store, pipeline.queue.clone(), DispatchOptions { grace, ..options() });
    wait_until("a message", async || pipeline.queue.depth().await.unwrap().ready > 0).await;
    proxy.freeze_for_good();
    // As long as a round takes to run into it.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let asked = Instant::now();
    tokio::time::timeout(Duration::from_secs(20), dispatcher.stop()).await.expect("it stops");
    assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
    pipeline.queue.delete().await.unwrap();
}

/// How long a dispatcher may stand still when its connections lead nowhere.
const HALF_OPEN: Duration = Duration::from_secs(20);

/// A dispatcher that reaches the database by a way that can be broken.
async fn start_away(pipeline: &Pipeline) -> (Proxy, Dispatcher) {
    let (proxy, target) = Proxy::before_database(&pipeline.database().target()).await;
    let options = StoreOptions { max_connections: 4, ..StoreOptions::default() };
    let store = Store::connect(target, &options).await.unwrap();
    let options = DispatchOptions { deadline: Duration::from_secs(3), ..self::options() };
    (proxy, Dispatcher::start(store, pipeline.queue.clone(), options))
}

/// All of its connections are open and carry nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_lead_nowhere_hold_no_dispatcher() {
    let mut pipeline = Pipeline::new(Backend::Rabbit).await;
    pipeline.limits.chunk = WIDE;
    pipeline.accepted(&people(40), &ImportOptions::default()).await;
    let (proxy, dispatcher) = start_away(&pipeline).await;
    waiting(&pipeline, 4).await;
    proxy.freeze();
    let frozen = Instant::now();
    pipeline.accepted(&people(40), &ImportOptions::default()).await;
    at_least(&pipeline, 8).await;
    assert!(frozen.elapsed() < HALF_OPEN, "it went on after {:?}", frozen.elapsed());
    dispatcher.stop().await;
    pipeline.queue.delete().await.unwrap();
}

/// A claim is made, and its answer never comes: the dispatcher gives it up, and what was claimed is claimed again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_that_is_not_answered_holds_no_dispatcher() {
    let mut pipeline = Pipeline::new(Backend::Rabbit).await;
    pipeline.limits.chunk = WIDE;
    let (proxy, dispatcher) = start_away(&pipeline).await;
    let unanswered = proxy.when(b"claim_until = now()", 1, Then::FreezeAfter);
    pipeline.accepted(&people(40), &ImportOptions::default()).await;
    unanswered.applied(1).await;
    let frozen = Instant::now();
    at_least(&pipeline, 4).await;
    assert!(frozen.elapsed() < HALF_OPEN, "it went on after {:?}", frozen.elapsed());
    dispatcher.stop().await;
    pipeline.queue.delete().await.unwrap();
}

/// While the broker takes nothing, one chunk after the other is tried, and not a whole window each time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_is_away_is_tried_with_one_chunk() {
    let mut pipeline = Pipeline::new(Backend::Rabbit).await;
    pipeline.limits.chunk = WIDE;
    let url = std::env::var("TEST_AMQP_URL").expect("TEST_AMQP_URL is missing: run `make test`");
    let (broker, through) = Proxy::before(&url).await;
    let topology = Topology::new(format!("test-{}", clock::new_id().simple())).unwrap();
    let queue = Queue::rabbit(&through, topology, QueueOptions::default()).unwrap();
    broker.refuse();
    sqlx::raw_sql(
        "create table claims (xid xid8 default pg_current_xact_id(), chunk bigint);
         create function note_claim() returns trigger language plpgsql as $$
         begin insert into claims (chunk) values (new.id); return null; end $$;
         create trigger claims after update on chunks for each row
         when (old.state = 'staged' and new.state = 'dispatched') execute function note_claim();",
    )
    .execute(pipeline.store.pool())
    .await
    .unwrap();
    pipeline.accepted(&people(200), &ImportOptions::default()).await;
    let options = DispatchOptions { window: Some(16), ..options() };
    let dispatcher = Dispatcher::start(pipeline.store.clone(), queue.clone(), options);
    let rounds = "select count(distinct xid) from claims";
    wait_until("four rounds", async || number(&pipeline.store, rounds).await >= 4).await;
    let most = "select max(chunks) from (select count(*) as chunks from claims group by xid order by xid offset 1) later";
    assert_eq!(number(&pipeline.store, most).await, 1);
    broker.pass();
    wait_until("a full window", async || queue.depth().await.is_ok_and(|depth| depth.ready == 16)).await;
    dispatcher.stop().await;
    queue.delete().await.unwrap();
    pipeline.finish().await;
}

/// A message that names another import than its chunk has is forged, or older than a restored database that gives numbers away again.
/// As a dead letter it does nothing to the chunk.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_letter_of_another_import_does_nothing_to_a_chunk() {
    let pipeline = Pipeline::new(Backend::Postgres).await;
    pipeline.accepted(&people(20), &ImportOptions::default()).await;
    let other = ImportId::new(clock::new_id());
    let chunk = ChunkId::new(number(&pipeline.store, "select id from chunks").await);
    dispatch::claim(&pipeline.store, &[chunk], 60.0).await.unwrap();
    for attempts in [0, 5] {
        let of = dispatch::dead_letter(&pipeline.store, chunk, other, attempts).await.unwrap();
        assert_eq!(of, DeadLetterOf::Nothing);
    }
    assert_eq!(number(&pipeline.store, "select count(*) from chunks where state = 'dispatched'").await, 1);
    pipeline.finish().await;
}

/// A chunk may kill each worker that as much as tries to end it, so that nobody counts its attempts. When its message becomes a dead
/// letter, the workers that died over it are its attempts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_letter_over_which_workers_died_is_no_innocent() {
    let pipeline = Pipeline::new(Backend::Postgres).await;
    let import = pipeline.accepted(&people(20), &ImportOptions::default()).await;
    let chunk = ChunkId::new(number(&pipeline.store, "select id from chunks").await);
    dispatch::claim(&pipeline.store, &[chunk], 60.0).await.unwrap();
    sqlx::query("update chunks set begun = array[gen_random_uuid(), gen_random_uuid()], attempts = 1")
        .execute(pipeline.store.pool())
        .await
        .unwrap();
    let of = async |attempts| dispatch::dead_letter(&pipeline.store, chunk, import, attempts).await.unwrap();
    assert_eq!(of(3).await, DeadLetterOf::Spent);
    assert_eq!(of(4).await, DeadLetterOf::Innocent);
    pipeline.finish().await;
}
