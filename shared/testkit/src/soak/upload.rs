//! Uploading until it is known what came of it: accepted, or nothing. An upload that nobody answered is looked up.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::random::Random;
use serde_json::{Value, json};
use sqlx::Row as _;
use tokio::time::sleep;
use uuid::Uuid;

use super::api::{Answer, Upload, View, Way};
use super::generate::Draft;
use super::journal::{Wrong, held};
use super::world::{Accepted, World, pause};

/// Longest that a key may be refused because a request with it is being received.
const KEY_PATIENCE: Duration = Duration::from_secs(90);
/// How long an upload that nobody answered may take to show.
const LATE: Duration = Duration::from_secs(4);

fn way(random: &mut Random, draft: &Draft) -> Way {
    let size = draft.body.len();
    match random.below(100) {
        0..=5 => Way::Cut(random.below(size)),
        // Near the end most is staged already.
        6..=11 => Way::Cut(size - random.below(size / 10 + 1) - 1),
        12..=17 => Way::Leave(Duration::from_millis(random.between(1, 1500) as u64)),
        18..=22 => Way::Slow,
        _ => Way::Whole,
    }
}

impl World {
    /// Uploads a file, until it is accepted or surely came to nothing.
    pub(crate) async fn upload(
        &self,
        random: &mut Random,
        tenant: usize,
        draft: &Draft,
    ) -> anyhow::Result<Option<Accepted>> {
        let label = self.label(draft.space);
        let key = random.percent(50).then(|| format!("key-{label}-{:x}", random.bits()));
        let upload = Upload { tenant, draft, label, key };
        self.journal.count("attempted imports", 1);
        self.journal.count("attempted records", draft.total());
        let accepted = match &upload.key {
            Some(key) => self.keyed(random, &upload, key).await?,
            None => self.once(random, &upload).await?,
        };
        match &accepted {
            Some(import) => self.accept(import.clone()),
            None => held(&self.nothing).push((tenant, upload.label.clone())),
        }
        Ok(accepted)
    }

    fn note(&self, upload: &Upload<'_>, answer: &Answer, must_accept: bool) {
        match answer {
            Answer::Is(status, body) => {
                self.journal.count(&format!("answer {status}"), 1);
                if *status == 500 {
                    let fields = json!({"label": upload.label, "body": body});
                    self.journal.violation(Wrong::Differs, "an upload was answered with 500", 1, fields);
                }
            }
            Answer::NotSent => self.journal.count("answer not sent", 1),
            Answer::Nothing(why) => {
                self.journal.event("answer none", json!({"label": upload.label, "why": why}));
            }
        }
        let refused = !matches!(answer, Answer::Is(202 | 422, _));
        if refused && must_accept {
            let fields = json!({"label": upload.label, "answer": format!("{answer:?}")});
            self.journal.violation(
                Wrong::Differs,
                "an upload was not accepted while the broker was away",
                1,
                fields,
            );
        }
    }

    /// Sends one request. While every upload must be accepted, the client behaves.
    async fn send(&self, upload: &Upload<'_>, way: Way) -> Answer {
        let must_accept = self.must_accept.load(Ordering::SeqCst);
        let way = if must_accept { Way::Whole } else { way };
        let answer = self.api.upload(upload, way).await;
        self.note(upload, &answer, must_accept);
        answer
    }

    /// Without a key: sent once. What nobody answered is looked up by its label.
    async fn once(&self, random: &mut Random, upload: &Upload<'_>) -> anyhow::Result<Option<Accepted>> {
        loop {
            let way = way(random, upload.draft);
            match self.send(upload, way).await {
                Answer::Is(202, body) => return Ok(self.taken(upload, &body)),
                Answer::NotSent if !self.closing() => pause(random, 50, 400).await,
                Answer::Is(status, body) if (400..500).contains(&status) => {
                    let cut = matches!(way, Way::Cut(_) | Way::Leave(_));
                    self.refused(upload, status, &body, cut);
                    return Ok(None);
                }
                _ => return self.look_up(upload).await,
            }
        }
    }

    /// With a key: sent again until it is answered. One import must come of it, however often it was sent.
    async fn keyed(
        &self,
        random: &mut Random,
        upload: &Upload<'_>,
        key: &str,
    ) -> anyhow::Result<Option<Accepted>> {
        let mut way = way(random, upload.draft);
        let began = Instant::now();
        let mut busy: Option<Instant> = None;
        let accepted = loop {
            let answer = self.send(upload, way).await;
            let cut = matches!(way, Way::Cut(_) | Way::Leave(_));
            way = Way::Whole;
            match answer {
                Answer::Is(202, body) => break self.taken(upload, &body),
                Answer::Is(409, _) => {
                    let since = *busy.get_or_insert_with(Instant::now);
                    if since.elapsed() > KEY_PATIENCE {
                        let fields = json!({"label": upload.label});
                        self.journal.violation(Wrong::NotEnded, "a key was refused for too long", 1, fields);
                        break None;
                    }
                    self.journal.count("key in progress", 1);
                    pause(random, 50, 400).await;
                }
                Answer::Is(status, body) if (400..500).contains(&status) && !cut => {
                    self.refused(upload, status, &body, false);
                    break None;
                }
                // Cut off: the same key again at once, while the server still clears up.
                _ if cut => {}
                _ => pause(random, 50, 600).await,
            }
            if began.elapsed() > Duration::from_secs(300) || self.closing() {
                self.journal.event("gave_up", json!({"label": upload.label}));
                break None;
            }
        };
        if let Some(busy) = busy {
            self.recoveries.key_was_busy(busy.elapsed());
        }
        if let Some(import) = &accepted {
            self.key_stands_for_one(random, upload, key, import).await?;
        }
        Ok(accepted)
    }

    /// The key again: the same file gives the same import, another file is refused; and there is one import.
    async fn key_stands_for_one(
        &self,
        random: &mut Random,
        upload: &Upload<'_>,
        key: &str,
        import: &Accepted,
    ) -> anyhow::Result<()> {
        if random.percent(15)
            && let Answer::Is(202, body) = self.send(upload, Way::Whole).await
            && View::read(&body).map(|view| view.id) != Some(import.id)
        {
            let fields = json!({"label": upload.label, "import": import.id, "other": body["id"]});
            self.journal.violation(Wrong::Duplicated, "a key gave two imports", import.total, fields);
        }
        if random.percent(10) {
            let mut other = upload.draft.clone();
            // Without its last line it is another file.
            let lines = &other.body[..other.body.len() - 1];
            let last = lines.iter().rposition(|byte| *byte == b'\n').unwrap_or(0);
            other.body = other.body.slice(..=last);
            let other = Upload { draft: &other, ..upload.clone() };
            match self.api.upload(&other, Way::Whole).await {
                Answer::Is(202, body) => {
                    let fields = json!({"label": upload.label, "import": body["id"]});
                    let what = "a key was taken for another file, which is dropped";
                    self.journal.violation(Wrong::Lost, what, import.total, fields);
                }
                answer => self.journal.event("other_file", json!({"answer": format!("{answer:?}")})),
            }
        }
        let bound = key.to_owned();
        let rows = self
            .db
            .rows(
                "select id from imports where idempotency_key = $1 and state not in ('aborted', 'refused')",
                |query| query.bind(bound.clone()),
            )
            .await?;
        if rows.len() != 1 {
            let fields = json!({"label": upload.label, "imports": rows.len()});
            self.journal.violation(Wrong::Duplicated, "a key has not one import", import.total, fields);
        }
        Ok(())
    }

    /// What a 202 says.
    fn taken(&self, upload: &Upload<'_>, body: &Value) -> Option<Accepted> {
        let Some(view) = View::read(body) else {
            let fields = json!({"label": upload.label, "body": body});
            self.journal.violation(Wrong::Differs, "an answer of 202 is no import", 1, fields);
            return None;
        };
        let total = upload.draft.total();
        let fields = json!({"label": upload.label, "import": view.id, "state": view.state, "total": view.total,
                            "expected": total});
        if ["aborted", "refused", "receiving"].contains(&&*view.state) {
            let what = "an upload was answered with 202, and its import came to nothing";
            self.journal.violation(Wrong::Lost, what, total, fields);
            return None;
        }
        if view.total != total || !view.adds_up() {
            let missing = total.abs_diff(view.total);
            self.journal.violation(Wrong::Lost, "an import has not the records of its file", missing, fields);
        } else if upload.draft.is_refused() {
            self.journal.violation(Wrong::Differs, "invalid records did not refuse an import", 1, fields);
        }
        self.journal.count("acknowledged records", total);
        Some(Accepted { id: view.id, tenant: upload.tenant, total, acknowledged: true })
    }

    fn refused(&self, upload: &Upload<'_>, status: u16, body: &Value, cut: bool) {
        let code = body["error"]["code"].as_str().unwrap_or_default();
        let right = match code {
            "invalid_records" => upload.draft.is_refused(),
            "upload_incomplete" => cut,
            _ => false,
        };
        if !right {
            let fields = json!({"label": upload.label, "status": status, "body": body});
            self.journal.violation(Wrong::Differs, "a good upload was refused", 1, fields);
        }
    }

    /// Looks in the database for what became of an upload that nobody answered.
    async fn look_up(&self, upload: &Upload<'_>) -> anyhow::Result<Option<Accepted>> {
        let began = Instant::now();
        let tenant = self.tenants[upload.tenant].id;
        loop {
            let label = upload.label.clone();
            let rows = self
                .db
                .rows("select id, state from imports where tenant_id = $1 and filename = $2", |query| {
                    query.bind(tenant).bind(label.clone())
                })
                .await?;
            let found: Option<(Uuid, String)> = rows
                .first()
                .map(|row| Ok::<_, sqlx::Error>((row.try_get(0)?, row.try_get(1)?)))
                .transpose()?;
            match found {
                None if began.elapsed() > LATE => return Ok(None),
                Some((_, state)) if state == "aborted" || state == "refused" => return Ok(None),
                Some((id, state)) if state != "receiving" => {
                    self.journal.count("unanswered imports that are there", 1);
                    let total = upload.draft.total();
                    return Ok(Some(Accepted { id, tenant: upload.tenant, total, acknowledged: false }));
                }
                Some(_) if began.elapsed() > Duration::from_secs(240) => {
                    let fields = json!({"label": upload.label});
                    self.journal.violation(Wrong::NotEnded, "an import is received for ever", 1, fields);
                    return Ok(None);
                }
                _ => sleep(Duration::from_millis(200)).await,
            }
        }
    }
}
