//! Clients of series: one import after the other over addresses of their own, read and changed until it ends, then compared.

mod undo;

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::random::Random;
use serde_json::json;
use tokio::time::sleep;

use undo::take_back;

use super::api::{Answer, View};
use super::generate::{self, Draft};
use super::journal::{Wrong, held};
use super::model::Users;
use super::oracle::Interventions;
use super::world::{Accepted, Kept, World, pause};

/// How long a read may show what a retry without an answer did.
const RETRY_ECHO: Duration = Duration::from_secs(60);

/// How often the state of an import is changed, in percent of the reads.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Habits {
    pub(crate) pause: usize,
    pub(crate) cancel: usize,
    pub(crate) retry: usize,
    /// Once it has completed.
    pub(crate) retry_after: usize,
}

impl Habits {
    pub(crate) const USUAL: Self = Self { pause: 4, cancel: 1, retry: 4, retry_after: 25 };
    pub(crate) const NONE: Self = Self { pause: 0, cancel: 0, retry: 0, retry_after: 0 };
}

/// Uploads one import after the other. The seed decides on all of them.
pub(crate) async fn series(
    world: Arc<World>,
    tenant: usize,
    mut space: u32,
    seed: u64,
) -> anyhow::Result<()> {
    let mut random = Random::new(seed);
    let mut next = 0;
    let mut users = Users::default();
    while world.uploading() {
        let draft = generate::private(&mut random, space, &users, &mut next, world.options.most);
        let mut exact = true;
        if let Some(import) = world.upload(&mut random, tenant, &draft).await? {
            let before = users.clone();
            exact = run(&world, &mut random, &draft, &import, &mut users, Habits::USUAL).await?;
            if exact && random.percent(20) && world.uploading() {
                exact = take_back(&world, &mut random, space, &import, &before, &mut users).await?;
            }
        }
        held(&world.kept).insert(space, Kept { tenant, users: users.clone(), retired: !exact });
        if !exact {
            // What was wrong was told; another series takes its place.
            world.journal.event("series_retired", json!({"space": space}));
            space = world.new_space();
            users = Users::default();
        }
        pause(&mut random, 0, 300).await;
    }
    Ok(())
}

/// Follows an accepted import to its end and compares it. False where the users are not known exactly any more.
pub(crate) async fn run(
    world: &World,
    random: &mut Random,
    draft: &Draft,
    import: &Accepted,
    users: &mut Users,
    habits: Habits,
) -> anyhow::Result<bool> {
    let mut follower = Follower::new(world, import, habits);
    let Some(view) = follower.follow(random).await? else { return Ok(false) };
    follower.check_plan(&view);
    let sheets = world.check_sums(import, &view).await?;
    let exact = world.check_outcomes(draft, import, &view, &sheets, users, follower.interventions);
    if import.total <= 2_000 && random.percent(30) {
        world.check_pages(import, &sheets).await;
    }
    Ok(exact)
}

/// Reads an import repeatedly, and changes its state.
#[derive(Debug)]
pub(crate) struct Follower<'w> {
    world: &'w World,
    import: &'w Accepted,
    habits: Habits,
    last: Option<View>,
    /// Until when reads may show what a retry did.
    retried: Option<Instant>,
    pub(crate) interventions: Interventions,
    /// It must go on after a pause.
    paused: bool,
    /// What its records were planned to come to: inserted, updated, skipped, failed.
    planned: Option<[u64; 4]>,
}

impl<'w> Follower<'w> {
    pub(crate) fn new(world: &'w World, import: &'w Accepted, habits: Habits) -> Self {
        Self {
            world,
            import,
            habits,
            last: None,
            retried: None,
            interventions: Interventions::default(),
            paused: false,
            planned: None,
        }
    }

    /// Until the import has ended. `None` when the run ends before.
    pub(crate) async fn follow(&mut self, random: &mut Random) -> anyhow::Result<Option<View>> {
        loop {
            if self.world.closing() {
                return Ok(None);
            }
            let Some(view) = self.read().await else { return Ok(None) };
            if view.ended() {
                let again = view.state == "completed" && view.failed > 0 && self.interventions.retries < 3;
                if !again || !self.world.uploading() || !random.percent(self.habits.retry_after) {
                    return Ok(Some(view));
                }
                self.retry().await;
                continue;
            }
            self.intervene(random, &view).await;
            let least = if self.last.as_ref().is_some_and(|view| view.pending < 500) { 5 } else { 60 };
            pause(random, least, 400).await;
        }
    }

    /// One read, checked by itself and against the one before.
    pub(crate) async fn read(&mut self) -> Option<View> {
        let path = format!("/v1/imports/{}", self.import.id);
        let answer = self.world.api.read(self.import.tenant, &path, Duration::from_secs(240)).await;
        let Some((status, body)) = answer else {
            let fields = json!({"import": self.import.id});
            self.world.journal.violation(Wrong::NotEnded, "an import cannot be read", 1, fields);
            return None;
        };
        let Some(view) = View::read(&body).filter(|_| status == 200) else {
            let fields = json!({"import": self.import.id, "status": status, "body": body});
            self.world.journal.violation(Wrong::Lost, "an accepted import cannot be read", 1, fields);
            return None;
        };
        self.world.check_view(&view, Some(self.import.total));
        self.check_forward(&view);
        self.world.journal.count("reads", 1);
        self.last = Some(view.clone());
        Some(view)
    }

    /// Counts go forward; only a retry makes failed records pending.
    fn check_forward(&self, view: &View) {
        let Some(last) = &self.last else { return };
        let mut back =
            view.inserted < last.inserted || view.updated < last.updated || view.skipped < last.skipped;
        if self.retried.is_none_or(|until| until < Instant::now()) {
            back |= view.pending > last.pending || view.failed < last.failed;
            back |= last.ended() && view.state != last.state;
        }
        if back {
            let fields = json!({"before": format!("{last:?}"), "after": format!("{view:?}")});
            self.world.journal.violation(Wrong::Differs, "counts went back", 1, fields);
        }
    }

    async fn intervene(&mut self, random: &mut Random, view: &View) {
        match &*view.state {
            "received" => drop(self.post("proceed").await),
            "planned" => {
                self.read_plan().await;
                self.post("proceed").await;
            }
            // At the end of the run nothing stays paused.
            "paused" if self.paused || !self.world.uploading() => {
                self.paused = self.post("resume").await.is_none();
            }
            "running" if self.world.uploading() => {
                let chance = random.below(100);
                let Habits { pause, cancel, retry, .. } = self.habits;
                if chance < pause {
                    self.paused = true;
                    self.post("pause").await;
                    sleep(Duration::from_millis(random.between(0, 800) as u64)).await;
                    if random.percent(40) && view.failed > 0 {
                        self.retry().await;
                    }
                } else if chance < pause + cancel {
                    self.interventions.cancelled = true;
                    self.post("cancel").await;
                } else if chance < pause + cancel + retry && view.failed > 0 {
                    self.retry().await;
                }
            }
            "paused" => self.paused = true,
            _ => {}
        }
    }

    async fn read_plan(&mut self) {
        let path = format!("/v1/imports/{}/plan", self.import.id);
        let Some((status, plan)) =
            self.world.api.read(self.import.tenant, &path, Duration::from_secs(240)).await
        else {
            return;
        };
        let counts = ["inserted", "updated", "skipped", "failed"].map(|name| plan["counts"][name].as_u64());
        let [Some(inserted), Some(updated), Some(skipped), Some(failed)] = counts else {
            let fields = json!({"import": self.import.id, "status": status, "plan": plan});
            self.world.journal.violation(Wrong::Lost, "a plan cannot be read", 1, fields);
            return;
        };
        self.world.journal.count("plans read", 1);
        self.planned = Some([inserted, updated, skipped, failed]);
    }

    /// An import whose users nobody else writes comes to what was planned, unless it was cancelled or retried (P11).
    pub(crate) fn check_plan(&self, view: &View) {
        let Some(planned) = self.planned else { return };
        let came = [view.inserted, view.updated, view.skipped, view.failed];
        if view.state == "completed" && self.interventions.retries == 0 && planned != came {
            let fields = json!({"import": self.import.id, "planned": planned, "came": came});
            self.world.journal.violation(
                Wrong::Differs,
                "an import came to something else than its plan",
                1,
                fields,
            );
        }
    }

    pub(crate) async fn retry(&mut self) {
        self.interventions.retries += 1;
        self.retried = Some(Instant::now() + RETRY_ECHO);
        let answered = self.post("retry").await;
        // What it did shows in the very next read.
        if answered.is_some() {
            self.last = None;
            self.retried = None;
        }
    }

    /// The status, if there was an answer.
    async fn post(&self, verb: &str) -> Option<u16> {
        let path = format!("/v1/imports/{}/{verb}", self.import.id);
        let answer = self.world.api.ask(self.import.tenant, true, &path).await;
        let status = match &answer {
            Answer::Is(status, _) => status.to_string(),
            Answer::NotSent | Answer::Nothing(_) => "none".to_owned(),
        };
        self.world.journal.count(&format!("steering {verb} {status}"), 1);
        match answer {
            Answer::Is(status @ (200 | 409), body) => {
                if let Some(view) = View::read(&body) {
                    self.world.check_view(&view, Some(self.import.total));
                }
                Some(status)
            }
            Answer::Is(500, body) => {
                let fields = json!({"import": self.import.id, "verb": verb, "body": body});
                self.world.journal.violation(Wrong::Differs, "steering was answered with 500", 1, fields);
                None
            }
            _ => None,
        }
    }
}

impl World {
    /// What holds for an import at every read.
    pub(crate) fn check_view(&self, view: &View, total: Option<u64>) {
        let fields = || json!({"view": format!("{view:?}"), "expected_total": total});
        if !view.adds_up() {
            self.journal.violation(Wrong::Differs, "counts do not add up", 1, fields());
        }
        if total.is_some_and(|total| total != view.total) {
            let missing = total.unwrap_or(0).abs_diff(view.total);
            self.journal.violation(Wrong::Lost, "an accepted import has lost records", missing, fields());
        }
        if ["completed", "cancelled"].contains(&&*view.state) && view.pending > 0 {
            self.journal.violation(
                Wrong::NotEnded,
                "an ended import has pending records",
                view.pending,
                fields(),
            );
        }
        if total.is_some() && ["aborted", "refused", "receiving"].contains(&&*view.state) {
            self.journal.violation(
                Wrong::Lost,
                "an accepted import came to nothing",
                total.unwrap_or(0),
                fields(),
            );
        }
    }
}
