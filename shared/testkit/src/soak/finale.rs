//! The comparison at the end: everything has ended, nothing is left over, users are as the outcomes say.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use muster_domain::outcome::{Outcome, OutcomeSheet};
use muster_queue::{Queue, QueueOptions};
use serde_json::json;
use sqlx::Row as _;
use tokio::time::sleep;
use uuid::Uuid;

use super::journal::{Wrong, held};
use super::model::{User, text};
use super::world::World;

/// Rows read at a time.
const PAGE: i64 = 20_000;

impl World {
    /// Everything that is looked at when all is quiet.
    pub(crate) async fn final_checks(&self) -> anyhow::Result<()> {
        self.wait_for_the_end().await?;
        self.check_imports().await?;
        self.check_errors().await?;
        self.check_labels().await?;
        let outcomes = self.outcomes_by_user().await?;
        self.check_users(&outcomes).await?;
        self.check_queue().await?;
        self.check_logs().await?;
        self.ask_the_witness().await
    }

    /// Until no import is under way.
    async fn wait_for_the_end(&self) -> anyhow::Result<()> {
        let sql = "select id, state from imports
                    where state not in ('completed', 'cancelled', 'aborted', 'refused')";
        let began = Instant::now();
        loop {
            let open = self.db.rows(sql, |query| query).await?;
            if open.is_empty() {
                return Ok(());
            }
            if began.elapsed() > Duration::from_secs(self.options.settle) {
                for row in open {
                    let fields =
                        json!({"import": row.try_get::<Uuid, _>(0)?, "state": row.try_get::<String, _>(1)?});
                    self.journal.violation(Wrong::NotEnded, "an import does not end", 1, fields);
                }
                return Ok(());
            }
            sleep(Duration::from_millis(250)).await;
        }
    }

    /// Each accepted import is there, with all its records, and has come to its end.
    async fn check_imports(&self) -> anyhow::Result<()> {
        let sql = "select i.id, i.state, i.total, coalesce(sum(c.records), 0)::bigint,
                          coalesce(sum(c.pending), 0)::bigint, coalesce((i.final_counts ->> 'total')::bigint, -1),
                          coalesce(i.final_counts = jsonb_build_object(
                              'total', coalesce(sum(c.records), 0),
                              'pending', coalesce(sum(c.pending), 0),
                              'inserted', coalesce(sum(c.inserted), 0),
                              'updated', coalesce(sum(c.updated), 0),
                              'skipped', coalesce(sum(c.skipped), 0),
                              'failed', coalesce(sum(c.failed), 0)), true)
                     from imports i left join chunks c on c.import_id = i.id group by i.id";
        let accepted = held(&self.accepted).clone();
        let mut found = HashSet::new();
        for row in self.db.rows(sql, |query| query).await? {
            let id: Uuid = row.try_get(0)?;
            let state: String = row.try_get(1)?;
            let (total, staged, pending): (i64, i64, i64) =
                (row.try_get(2)?, row.try_get(3)?, row.try_get(4)?);
            let fields =
                json!({"import": id, "state": state, "total": total, "staged": staged, "pending": pending});
            let Some(import) = accepted.get(&id) else {
                if !["aborted", "refused"].contains(&&*state) {
                    self.journal.event("import_of_nobody", fields);
                } else if state == "aborted" && staged > 0 {
                    let what = "an aborted import has left chunks";
                    self.journal.violation(Wrong::Differs, what, staged.unsigned_abs(), fields);
                }
                continue;
            };
            found.insert(id);
            let total = i64::try_from(import.total)?;
            let final_total: i64 = row.try_get(5)?;
            let exact: bool = row.try_get(6)?;
            if !exact {
                let what = "the final counts of an import are not the sums of its chunks";
                self.journal.violation(Wrong::Differs, what, 1, fields.clone());
            }
            let ended = ["completed", "cancelled"].contains(&&*state);
            if staged != total || ended && final_total != total {
                let missing = total.abs_diff(staged);
                self.journal.violation(Wrong::Lost, "an accepted import lacks records", missing, fields);
            } else if pending > 0 {
                let what = "an import ended with pending records";
                self.journal.violation(Wrong::NotEnded, what, pending.unsigned_abs(), fields);
            } else {
                self.journal.count("records ok", import.total);
                let how = if import.acknowledged { "ok of acknowledged" } else { "recovered records" };
                self.journal.count(how, import.total);
            }
        }
        for import in accepted.values().filter(|import| !found.contains(&import.id)) {
            let fields = json!({"import": import.id, "acknowledged": import.acknowledged});
            self.journal.violation(Wrong::Lost, "an accepted import is not there", import.total, fields);
        }
        Ok(())
    }

    /// Each failed record has its error, and no other record has one.
    async fn check_errors(&self) -> anyhow::Result<()> {
        let sql = "select i.id, coalesce(s.failed, 0)::bigint, coalesce(e.errors, 0)
                     from imports i
                     left join (select import_id, sum(failed) as failed from chunks group by import_id) s
                       on s.import_id = i.id
                     left join (select import_id, count(*) as errors from record_issues where failed
                                 group by import_id) e on e.import_id = i.id
                    where i.state in ('completed', 'cancelled') and coalesce(s.failed, 0) <> coalesce(e.errors, 0)";
        for row in self.db.rows(sql, |query| query).await? {
            let (failed, errors): (i64, i64) = (row.try_get(1)?, row.try_get(2)?);
            let fields = json!({"import": row.try_get::<Uuid, _>(0)?, "failed": failed, "errors": errors});
            let what = "an ended import has not an error for each failed record";
            self.journal.violation(Wrong::WithoutReason, what, failed.abs_diff(errors), fields);
        }
        Ok(())
    }

    /// What came to nothing has left nothing. An upload without a key that nobody answered may show later; then the users of
    /// its series are not known exactly.
    async fn check_labels(&self) -> anyhow::Result<()> {
        let nothing: HashSet<(i32, String)> = held(&self.nothing)
            .iter()
            .map(|(tenant, label)| (self.tenants[*tenant].id, label.clone()))
            .collect();
        let sql = "select tenant_id, coalesce(filename, ''), state, id, idempotency_key is not null
                     from imports where state not in ('aborted', 'refused')";
        for row in self.db.rows(sql, |query| query).await? {
            let label: (i32, String) = (row.try_get(0)?, row.try_get(1)?);
            if !nothing.contains(&label) {
                continue;
            }
            let (id, keyed): (Uuid, bool) = (row.try_get(3)?, row.try_get(4)?);
            self.journal.event("applied_late", json!({"import": id, "label": label.1, "keyed": keyed}));
            let space =
                label.1.strip_prefix('s').and_then(|rest| rest.split_once('-')?.0.parse::<u32>().ok());
            let mut kept = held(&self.kept);
            if let Some(kept) = space.and_then(|space| kept.get_mut(&space)) {
                kept.retired = true;
            }
        }
        Ok(())
    }

    /// How many outcomes say that they changed each user, and of which tenant they were.
    async fn outcomes_by_user(&self) -> anyhow::Result<HashMap<Uuid, (i32, i32)>> {
        let sql = "select id, tenant_id, records, outcomes from chunks
                    where id > $1 and outcomes is not null order by id limit 500";
        let mut by_user: HashMap<Uuid, (i32, i32)> = HashMap::new();
        let mut after = 0_i64;
        loop {
            let rows = self.db.rows(sql, |query| query.bind(after)).await?;
            let Some(last) = rows.last() else { return Ok(by_user) };
            after = last.try_get(0)?;
            for row in &rows {
                let tenant: i32 = row.try_get(1)?;
                let records = usize::try_from(row.try_get::<i32, _>(2)?)?;
                let sheet = OutcomeSheet::decode(&row.try_get::<Vec<u8>, _>(3)?, records)?;
                for (verdict, user) in sheet.iter() {
                    let Some(user) = user else { continue };
                    let entry = by_user.entry(user).or_insert((tenant, 0));
                    if entry.0 != tenant {
                        let fields = json!({"user": user, "tenants": [entry.0, tenant]});
                        let what = "outcomes of two tenants name one user";
                        self.journal.violation(Wrong::Differs, what, 1, fields);
                    }
                    entry.1 += i32::from(matches!(verdict.outcome, Outcome::Inserted | Outcome::Updated));
                }
            }
        }
    }

    /// Each user's version is the number of outcomes that changed it; users of series are as the model has them.
    async fn check_users(&self, outcomes: &HashMap<Uuid, (i32, i32)>) -> anyhow::Result<()> {
        let sql = "select id, tenant_id, version, email, given_name, family_name, phone_number,
                          metadata ->> 'n' as n
                     from users where id > $1 order by id limit $2";
        let mut after = Uuid::nil();
        let mut seen: HashSet<(i32, u32, u32)> = HashSet::new();
        let mut versions = 0_usize;
        loop {
            let rows = self.db.rows(sql, |query| query.bind(after).bind(PAGE)).await?;
            let Some(last) = rows.last() else { break };
            after = last.try_get(0)?;
            for row in &rows {
                let (id, tenant, version): (Uuid, i32, i32) =
                    (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
                versions += 1;
                match outcomes.get(&id) {
                    Some((of, times)) if *of == tenant && *times == version => {}
                    known => {
                        let fields =
                            json!({"user": id, "tenant": tenant, "version": version, "outcomes": known});
                        let what = "a user's version is not the number of its outcomes";
                        self.journal.violation(Wrong::Duplicated, what, 1, fields);
                    }
                }
                self.check_user(row, tenant, version, &mut seen)?;
            }
        }
        self.journal.count("users whose version was compared", versions as u64);
        for (space, kept) in held(&self.kept).iter().filter(|(_, kept)| !kept.retired) {
            let tenant = self.tenants[kept.tenant].id;
            for address in kept.users.by_address.keys() {
                if !seen.contains(&(tenant, *space, *address)) {
                    let fields = json!({"tenant": tenant, "space": space, "address": address});
                    self.journal.violation(Wrong::Lost, "a user is not there", 1, fields);
                }
            }
        }
        Ok(())
    }

    fn check_user(
        &self,
        row: &sqlx::postgres::PgRow,
        tenant: i32,
        version: i32,
        seen: &mut HashSet<(i32, u32, u32)>,
    ) -> anyhow::Result<()> {
        let email: Option<String> = row.try_get(3)?;
        let Some((space, address)) = email.as_deref().and_then(text::parse_email) else {
            let fields = json!({"tenant": tenant, "user": row.try_get::<Uuid, _>(0)?});
            self.journal.violation(Wrong::Differs, "a user has an address that is in no file", 1, fields);
            return Ok(());
        };
        let kept = held(&self.kept);
        let Some(kept) = kept.get(&space).filter(|kept| self.tenants[kept.tenant].id == tenant) else {
            return Ok(());
        };
        if kept.retired {
            return Ok(());
        }
        seen.insert((tenant, space, address));
        let is: [Option<String>; 4] = [row.try_get(4)?, row.try_get(5)?, row.try_get(6)?, row.try_get(7)?];
        let right = kept.users.by_address.get(&address);
        let texts = |user: &User| {
            [
                user.given.map(text::name),
                user.family.map(text::name),
                user.phone.map(|phone| text::phone(space, phone)),
                user.n.map(text::n),
            ]
        };
        if !right.is_some_and(|user| user.version == version && texts(user) == is) {
            let fields = json!({"tenant": tenant, "space": space, "address": address, "version": version,
                                "is": is, "must_be": format!("{right:?}")});
            self.journal.violation(Wrong::Differs, "a user is not as it must be", 1, fields);
        }
        self.journal.count("users compared", 1);
        Ok(())
    }

    /// Nothing waits in the queue, and nothing lies in the dead-letter queue.
    async fn check_queue(&self) -> anyhow::Result<()> {
        let queue = Queue::rabbit(self.rabbit.url(), self.topology.clone(), QueueOptions::default())?;
        let began = Instant::now();
        loop {
            let depth = queue.depth().await?;
            if depth.ready == 0 && depth.dead == 0 {
                return Ok(());
            }
            if began.elapsed() > Duration::from_secs(30) {
                let fields = json!({"ready": depth.ready, "dead": depth.dead});
                self.journal.violation(Wrong::NotEnded, "messages are left in the queue", 1, fields);
                return Ok(());
            }
            sleep(Duration::from_millis(300)).await;
        }
    }

    /// No value of a user stands in a log or a metric, and nothing panicked.
    async fn check_logs(&self) -> anyhow::Result<()> {
        let mut texts = Vec::new();
        for process in self.processes() {
            let path = self.options.dir.join(format!("{}.log", process.name));
            let log = std::fs::read(&path).unwrap_or_default();
            texts.push((process.name.clone(), String::from_utf8_lossy(&log).into_owned()));
        }
        for base in self.api.bases() {
            texts.push((
                format!("{base}/metrics"),
                self.api.plain(base, "/metrics").await.unwrap_or_default(),
            ));
        }
        for (name, text) in texts {
            for line in text.lines() {
                let lower = line.to_lowercase();
                if lower.contains(text::MARKER) || line.contains(text::PHONE) {
                    let fields = json!({"where": name, "line": line});
                    self.journal.violation(Wrong::Leaked, "a user's value stands in a log", 1, fields);
                }
                // What a metric is about is no event.
                if lower.contains("panicked") && !line.starts_with('#') {
                    let fields = json!({"where": name, "line": line});
                    self.journal.violation(Wrong::Differs, "a process panicked", 1, fields);
                }
            }
            self.journal.count("lines looked through", text.lines().count() as u64);
        }
        Ok(())
    }
}
