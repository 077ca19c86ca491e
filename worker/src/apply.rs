//! Applying one chunk: decode, validate, plan, write, all in one transaction.
//!
//! The tenant, the options and the state come from the chunk's locked row. The message only carries the
//! records, and is checked against the row.

mod foresee;
mod foresee_undo;
mod report;
mod supersede;
mod take_back;

use std::collections::HashMap;

use std::time::Instant;

use muster_domain::apply::Applying;
use muster_domain::chunk::{self, BrokenChunk, ChunkRecords, body_hash, decode_with, is_sealed};
use muster_domain::error::{ErrorCode, RecordError};
use muster_domain::fault::{self, Mutant, Point};
use muster_domain::id::{ChunkId, GroupId, ImportId};
use muster_domain::import::ChunkState;
use muster_domain::outcome::{Outcome, Verdict};
use muster_domain::planned::{PlanUse, PlannedRecord};
use muster_domain::record::{FieldNames, RawRecord, Record};
use muster_domain::rules::Rules;
use muster_domain::undo::{Change, Images};
use muster_domain::validate::Binding;
use muster_queue::Message;
use muster_runtime::clock;
use muster_runtime::telemetry::traces;
use muster_store::apply::{self as store, Beginning, LockedChunk};
use muster_store::upsert::upsert;
use muster_store::{Connection, StoreError, Transaction, catalog};
use uuid::Uuid;

use report::summary;
pub(crate) use report::{AppliedSummary, ApplyMode, Report};

use crate::deadline_pool::DeadlinePool;
use crate::rules::{Known, RulesCache};
use crate::settlement::Standing;

/// One delivery to apply, and what is needed for it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Job<'a> {
    pub(crate) message: &'a Message,
    pub(crate) worker: Uuid,
    /// Attempts that the chunk has.
    pub(crate) attempts: u32,
    pub(crate) pool: &'a DeadlinePool,
    pub(crate) rules: &'a RulesCache,
}

impl Job<'_> {
    pub(crate) fn chunk(&self) -> ChunkId {
        ChunkId::new(self.message.headers.chunk_id)
    }

    /// Applies the chunk. On an error nothing is written, and the connection must be closed. `standing` is
    /// set from the chunk's row as soon as that is known.
    pub(crate) async fn apply(
        &self,
        connection: &mut Connection,
        mode: ApplyMode,
        standing: &mut Standing,
    ) -> Result<Report, StoreError> {
        let (pool, chunk, began) = (self.pool, self.chunk(), Instant::now());
        let beginning = Beginning {
            chunk,
            import: ImportId::new(self.message.headers.import_id),
            worker: self.worker,
            isolated: mode.isolated,
        };
        let locking = traces::span("lock");
        let mut transaction = pool.within(store::begin(connection, &beginning)).await?;
        let locked = pool.within(store::lock(&mut transaction, chunk, self.worker, mode.exclusive)).await?;
        let locked = match self.check(locked, mode, standing) {
            Ok(locked) => locked,
            Err(Report::NothingToDo) => return self.take_note_away(transaction).await,
            Err(report) => return self.leave(transaction, report).await,
        };
        fault::point_of(Point::ApplyLocked, chunk.get())?;
        let import = if fault::mutant(Mutant::ImportFromMessage) { beginning.import } else { locked.import };
        let rules = match pool.within(self.rules.of(&mut transaction, import)).await? {
            Known::Rules(rules) => rules,
            Known::Newer(newer) => return self.leave(transaction, Report::Newer(newer.to_string())).await,
            Known::Missing => return self.leave(transaction, Report::Unknown).await,
        };
        locking.end();
        // An older producer starts an import without making the group that its plan lacked.
        let lacks_group =
            rules.options.enrolment.is_some_and(|place| place.group_id == GroupId::PLANNED.get());
        if lacks_group && locked.plan != Some(PlanUse::Make) {
            return self.leave(transaction, Report::Newer("its group is not made yet".to_owned())).await;
        }
        let staged;
        let body: &[u8] = if body_hash(&self.message.body) == locked.body_hash {
            &self.message.body
        } else {
            let tenant = self.rules.tenant_name(locked.tenant);
            tracing::warn!(
                %import, tenant = tenant.as_deref(), %chunk,
                "the message does not carry what was staged; the staged records are applied"
            );
            staged = pool.within(store::body(&mut transaction, chunk)).await?.unwrap_or_default();
            &staged
        };
        self.write(transaction, &locked, body, &rules, mode, began).await
    }

    /// What the chunk's row says, before any work.
    fn check(
        &self,
        locked: Option<LockedChunk>,
        mode: ApplyMode,
        standing: &mut Standing,
    ) -> Result<LockedChunk, Report> {
        let headers = &self.message.headers;
        let locked = locked.ok_or(Report::Unknown)?;
        let foreign = locked.import.get() != headers.import_id
            || headers.tenant.is_some_and(|tenant| tenant != locked.tenant.get());
        if foreign && !fault::mutant(Mutant::ImportFromMessage) {
            return Err(Report::Foreign);
        }
        // A chunk that is staged again was given back or retried: its own message will come, in its lane's order.
        if locked.state != ChunkState::Dispatched && !fault::mutant(Mutant::NoLedger) {
            return Err(Report::NothingToDo);
        }
        let spent = locked.attempts.saturating_add(locked.begun_elsewhere);
        *standing = Standing { attempt: spent.saturating_add(1), deferrals: locked.deferrals };
        if headers.version > u16::from(chunk::VERSION) {
            return Err(Report::Newer(format!("the message has version {}", headers.version)));
        }
        if locked.begun_elsewhere > 0 && !mode.isolated {
            return Err(Report::NeedsIsolation);
        }
        if spent >= self.attempts { Err(Report::Spent) } else { Ok(locked) }
    }

    /// There is nothing to do: the chunk went on while this worker could not reach the store, say. What the worker noted before that must
    /// not stay, since notes that are left behind count as deaths.
    async fn take_note_away(&self, mut transaction: Transaction<'_>) -> Result<Report, StoreError> {
        let (pool, chunk) = (self.pool, self.chunk());
        if !fault::mutant(Mutant::NoteOfNothing) {
            pool.within(store::release(&mut transaction, chunk, self.worker)).await?;
        }
        pool.within(async { Ok(transaction.commit().await?) }).await?;
        Ok(Report::NothingToDo)
    }

    async fn leave(&self, transaction: Transaction<'_>, report: Report) -> Result<Report, StoreError> {
        self.pool.within(async { Ok(transaction.rollback().await?) }).await?;
        Ok(report)
    }

    /// Reads the records; else says what to report.
    async fn read(
        &self,
        transaction: &mut Transaction<'_>,
        locked: &LockedChunk,
        body: &[u8],
    ) -> Result<Result<ChunkRecords, Report>, StoreError> {
        let key = if is_sealed(body) {
            self.pool.within(store::secret_key(transaction, locked.import)).await?
        } else {
            None
        };
        Ok(decode_with(body, key.as_ref()).map_err(|error| match error {
            BrokenChunk::Version(version)
                if version > chunk::VERSION && !fault::mutant(Mutant::NewerSpendsAttempts) =>
            {
                Report::Newer(error.to_string())
            }
            error => Report::Broken(error.to_string()),
        }))
    }

    /// Writes what the records make of the users, finishes the chunk and commits.
    async fn write(
        &self,
        mut transaction: Transaction<'_>,
        locked: &LockedChunk,
        body: &[u8],
        rules: &Rules,
        mode: ApplyMode,
        began: Instant,
    ) -> Result<Report, StoreError> {
        let (pool, chunk) = (self.pool, self.chunk());
        let reading = traces::span("read");
        let records = match self.read(&mut transaction, locked, body).await? {
            Ok(records) => records,
            Err(report) => return self.leave(transaction, report).await,
        };
        let fields = records.fields();
        let raw: Vec<RawRecord<'_>> = records.records(&fields).collect();
        let mut binding = Binding::new(rules);
        binding.extend(records.names());
        let with_catalog;
        let rules = if binding.needs_catalog(rules) {
            let index = pool.within(catalog::index(&mut transaction, locked.tenant)).await?;
            with_catalog = rules.clone().with_catalog(index);
            &with_catalog
        } else {
            rules
        };
        let mut work = Work::new(locked, records.names(), &raw, &binding, rules);
        work.read_changes(&records);
        reading.end();
        if locked.plan == Some(PlanUse::Make) {
            return self.foresee(transaction, &work).await;
        }
        if pool.within(work.read_plan(&mut transaction, chunk)).await? {
            return self.leave(transaction, Report::Waits).await;
        }
        pool.within_longer(work.mark_superseded(&mut transaction, chunk)).await?;
        if mode.bisect {
            if let Err(sick) = work.bisect(&mut transaction, pool).await? {
                return self.leave(transaction, Report::StoreRefuses(sick)).await;
            }
        } else {
            let all: Vec<usize> = (0..work.len()).collect();
            let written = pool.within(work.write(&mut transaction, &all)).await?;
            work.note(written);
        }
        if let (refused @ 1.., Some(error)) = &work.refused {
            self.warn_of_refused(locked, *refused, error);
        }
        self.finish(transaction, work, began).await
    }

    /// Writes down what became of the records, and commits everything.
    async fn finish(
        &self,
        mut transaction: Transaction<'_>,
        work: Work<'_>,
        began: Instant,
    ) -> Result<Report, StoreError> {
        let (pool, chunk) = (self.pool, self.chunk());
        let images = work.images()?;
        let Work { locked, records: Applying { sheet, mut issues, .. }, .. } = work;
        fault::point_of(Point::ApplyWritten, chunk.get())?;
        issues.sort_unstable_by_key(|issue| issue.record);
        let finishing = traces::span("finish");
        pool.within(store::finish(&mut transaction, chunk, locked.import, &sheet, &issues, &images)).await?;
        finishing.end();
        fault::point_of(Point::BeforeCommit, chunk.get())?;
        let committing = traces::span("commit");
        pool.within(async { Ok(transaction.commit().await?) }).await?;
        committing.end();
        fault::point_of(Point::AfterCommit, chunk.get())?;
        Ok(Report::Done(Box::new(summary(locked, &sheet, &issues, began.elapsed()))))
    }
}

impl Job<'_> {
    fn warn_of_refused(&self, locked: &LockedChunk, refused: usize, error: &str) {
        let (import, tenant, chunk) = (locked.import, self.rules.tenant_name(locked.tenant), self.chunk());
        tracing::warn!(
            %import, tenant = tenant.as_deref(), %chunk, refused, error,
            "the database refused records of a chunk"
        );
    }

    /// Writes down what the records would come to, and commits that.
    async fn foresee(&self, mut transaction: Transaction<'_>, work: &Work<'_>) -> Result<Report, StoreError> {
        let (pool, chunk) = (self.pool, self.chunk());
        let planning = traces::span("plan");
        let counts = match &work.rules.options.undo {
            Some(undo) => work.foresee_undo(&mut transaction, pool, chunk, undo).await?,
            None => work.foresee(&mut transaction, pool, chunk).await?,
        };
        planning.end();
        fault::point_of(Point::BeforeCommit, chunk.get())?;
        let committing = traces::span("commit");
        pool.within(async { Ok(transaction.commit().await?) }).await?;
        committing.end();
        fault::point_of(Point::AfterCommit, chunk.get())?;
        Ok(Report::Planned(counts))
    }
}

/// The pending records of a chunk while they are applied.
pub(crate) struct Work<'a> {
    pub(crate) locked: &'a LockedChunk,
    names: &'a FieldNames,
    raw: &'a [RawRecord<'a>],
    rules: &'a Rules,
    /// What becomes of each.
    records: Applying<'a>,
    /// For an undo: the pending changes to take back, with their index in the chunk.
    to_take_back: Vec<(usize, Change)>,
    /// How many records the database refused, and its words about the first.
    refused: (usize, Option<String>),
    /// What users had before, for an undo.
    changes: Vec<Change>,
    /// What was planned for the records, by index in the chunk. `None` for a chunk that is applied as it is.
    planned: Option<HashMap<usize, PlannedRecord>>,
    /// By index in the chunk, for those whose user a record of another chunk was to make: the user that it made, if it did.
    made_elsewhere: HashMap<usize, Option<Uuid>>,
}

/// What writing some of the records gave: verdicts by index in the chunk.
pub(crate) struct Written {
    verdicts: Vec<(usize, Verdict, Option<Uuid>)>,
    errors: Vec<(usize, RecordError)>,
    warnings: Vec<(usize, String)>,
    changes: Vec<Change>,
}

impl Written {
    /// Whether a user was written at all, and the database thus took it.
    pub(crate) fn wrote(&self) -> bool {
        let wrote = |verdict: &Verdict| matches!(verdict.outcome, Outcome::Inserted | Outcome::Updated);
        self.verdicts.iter().any(|(_, verdict, _)| wrote(verdict))
    }
}

impl<'a> Work<'a> {
    fn new(
        locked: &'a LockedChunk,
        names: &'a FieldNames,
        raw: &'a [RawRecord<'a>],
        binding: &'a Binding,
        rules: &'a Rules,
    ) -> Self {
        Self {
            locked,
            names,
            raw,
            rules,
            records: Applying::new(locked.outcomes.clone(), names, raw, binding, rules),
            to_take_back: Vec::new(),
            refused: (0, None),
            changes: Vec::new(),
            planned: None,
            made_elsewhere: HashMap::new(),
        }
    }

    /// How many records or changes there are to write.
    pub(crate) fn len(&self) -> usize {
        self.records.valid.len() + self.to_take_back.len()
    }

    fn is_pending(&self, index: usize) -> bool {
        self.records.is_pending(index)
    }

    fn fail(&mut self, index: usize, errors: Vec<RecordError>) {
        self.records.fail(index, errors);
    }

    /// Plans and writes the records at `which` of the valid ones, in their order.
    pub(crate) async fn write(
        &self,
        transaction: &mut Transaction<'_>,
        which: &[usize],
    ) -> Result<Written, StoreError> {
        if let Some(undo) = &self.rules.options.undo {
            let _writing = traces::span("write");
            return self.take_back(transaction, which, undo).await;
        }
        let chosen: Vec<&(usize, Record<'a>)> =
            which.iter().filter_map(|at| self.records.valid.get(*at)).collect();
        let records: Vec<&Record<'a>> = chosen.iter().map(|(_, record)| record).collect();
        let (tenant, exclusive) = (self.locked.tenant, self.locked.exclusive);
        let index = |at: usize| chosen.get(at).map(|(index, _)| *index);
        let mut ids = clock::id_source();
        let mut new_id = || ids.next_id();
        let (done, drifts) = if self.planned.is_none() {
            let now = clock::now();
            (
                upsert(transaction, tenant, exclusive, &records, self.rules, now, &mut new_id).await?,
                Vec::new(),
            )
        } else {
            let places: Vec<usize> = chosen.iter().map(|(index, _)| *index).collect();
            self.write_planned(transaction, &records, &places, &mut new_id).await?
        };
        let verdicts =
            chosen.iter().zip(&done.verdicts).map(|((index, _), (verdict, user))| (*index, *verdict, *user));
        let mut written = Written {
            verdicts: verdicts.collect(),
            errors: done.errors.into_iter().filter_map(|(at, error)| Some((index(at)?, error))).collect(),
            warnings: done
                .warnings
                .into_iter()
                .filter_map(|(at, warning)| Some((index(at)?, warning.to_string())))
                .collect(),
            changes: done.changes,
        };
        for (at, drift) in drifts {
            let Some(index) = index(at) else { continue };
            match self.locked.plan {
                Some(PlanUse::Apply) => written.warnings.push((index, drift.warning())),
                _ => written.errors.push((index, drift.error())),
            }
        }
        Ok(written)
    }

    pub(crate) fn note(&mut self, written: Written) {
        self.note_changes(written.changes, &written.verdicts);
        self.records.note(written.verdicts, written.errors, written.warnings);
    }

    /// Notes what users had before, each with the last of these records that had a part in it.
    fn note_changes(&mut self, mut changes: Vec<Change>, verdicts: &[(usize, Verdict, Option<Uuid>)]) {
        // The outcomes of a chunk that was opened again do not tell which application inserted whom.
        if self.locked.reopened {
            let inserted = verdicts.iter().filter(|(_, verdict, _)| verdict.outcome == Outcome::Inserted);
            for user in inserted.filter_map(|(_, _, user)| *user) {
                if !changes.iter().any(|change| change.user == user) {
                    changes.push(Change::inserted(user, 1));
                }
            }
        }
        if changes.is_empty() {
            return;
        }
        let wrote = |verdict: &Verdict| matches!(verdict.outcome, Outcome::Inserted | Outcome::Updated);
        let last: HashMap<Uuid, usize> = verdicts
            .iter()
            .filter(|(_, verdict, _)| wrote(verdict))
            .filter_map(|(index, _, user)| Some(((*user)?, *index)))
            .collect();
        for change in &mut changes {
            let record = last.get(&change.user).and_then(|index| self.raw.get(*index));
            change.record = record.map_or(0, |record| record.position.record.get());
        }
        self.changes.append(&mut changes);
    }

    /// The before-images of what was written.
    fn images(&self) -> Result<Images, StoreError> {
        let error = |error: std::io::Error| StoreError::Program(format!("before-images: {error}"));
        Images::of(&self.changes, &self.records.sheet).map_err(error)
    }

    /// Lets the valid record at `at` fail for what the database said of it.
    pub(crate) fn refuse(&mut self, at: usize, error: &StoreError) {
        let index = self.records.valid.get(at).map(|(index, _)| *index);
        let Some(index) = index.or(self.to_take_back.get(at).map(|(index, _)| *index)) else { return };
        let words = error.answer().unwrap_or_else(|| "SQLSTATE unknown".into());
        let message = format!("the database refused the record: {words}");
        self.refused.0 += 1;
        self.refused.1.get_or_insert(words);
        self.fail(index, vec![RecordError::new(ErrorCode::DatabaseRefused, message)]);
    }
}
