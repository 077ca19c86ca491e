//! Applying one chunk: decode, validate, plan, write, all in one transaction.

mod supersede;

use muster_shared::chunk::{body_hash, decode_with, is_sealed};
use muster_shared::clock::{self, IdSource};
use muster_shared::error::{ErrorCode, RecordError};
use muster_shared::fault::{self, Point};
use muster_shared::id::ChunkId;
use muster_shared::import::ChunkState;
use muster_shared::outcome::{Counts, Outcome, OutcomeSheet, Verdict};
use muster_shared::record::{Names, RawRecord, Record, Secrets, source_json};
use muster_shared::rules::Rules;
use muster_shared::store::apply::{self as store, LockedChunk};
use muster_shared::store::intake::Issue;
use muster_shared::store::upsert::upsert;
use muster_shared::store::{Connection, ErrorKind, StoreError, Transaction, catalog};
use muster_shared::validate::{Binding, validate};
use muster_shared::warning::Warning;

/// How carefully to apply: as fast as can be first, then the way that the failure before calls for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Care {
    /// Nobody else writes users of the tenant meanwhile: for chunks that kept colliding.
    pub(crate) alone: bool,
    /// Split around records that the database refuses, until each stands alone (P5).
    pub(crate) split: bool,
}

/// What applying gave.
#[derive(Debug)]
pub(crate) enum Report {
    /// Applied; the chunk's counts.
    Done(Counts),
    /// The chunk is not (or no longer) to be applied.
    NothingToDo,
    /// No such chunk.
    Unknown,
    /// The staged records cannot be read.
    Broken(String),
}

/// Applies a chunk. On an error nothing is written, and the connection is to be thrown away.
pub(crate) async fn apply(
    connection: &mut Connection,
    chunk: ChunkId,
    body: &[u8],
    rules: &Rules,
    ids: &mut IdSource,
    care: Care,
) -> Result<Report, StoreError> {
    let mut transaction = muster_shared::store::begin(connection).await?;
    let Some(locked) = store::lock(&mut transaction, chunk, care.alone).await? else {
        transaction.rollback().await?;
        return Ok(Report::Unknown);
    };
    // A chunk that is staged again was given back or retried: its own message will come, in its lane's order.
    if locked.state != ChunkState::Dispatched {
        transaction.rollback().await?;
        return Ok(Report::NothingToDo);
    }
    fault::point_of(Point::ApplyLocked, chunk.get())?;
    let staged;
    let body = if body_hash(body) == locked.body_hash {
        body
    } else {
        tracing::warn!(%chunk, "the message does not carry what was staged; the staged records are applied");
        staged = store::body(&mut transaction, chunk).await?.unwrap_or_default();
        &staged
    };
    let key = if is_sealed(body) { store::secret_key(&mut transaction, locked.import).await? } else { None };
    let records = match decode_with(body, key.as_ref()) {
        Ok(records) => records,
        Err(error) => {
            transaction.rollback().await?;
            return Ok(Report::Broken(error.to_string()));
        }
    };
    let fields = records.fields();
    let raw: Vec<RawRecord<'_>> = records.records(&fields).collect();
    let mut binding = Binding::new(rules);
    binding.extend(records.names());
    let with_catalog;
    let rules = if binding.needs_catalog(rules) {
        with_catalog = rules.clone().with_catalog(catalog::index(&mut transaction, locked.tenant).await?);
        &with_catalog
    } else {
        rules
    };
    let mut work = Work::new(&locked, records.names(), &raw, &binding, rules);
    work.leave_superseded(&mut transaction, chunk).await?;
    if care.split {
        work.split(&mut transaction, ids).await?;
    } else {
        let all: Vec<usize> = (0..work.valid.len()).collect();
        let written = work.write(&mut transaction, &all, ids).await?;
        work.note(written);
    }
    let Work { sheet, mut issues, .. } = work;
    fault::point_of(Point::ApplyWritten, chunk.get())?;
    issues.sort_unstable_by_key(|issue| issue.record);
    store::finish(&mut transaction, chunk, locked.import, &sheet, &issues).await?;
    fault::point_of(Point::BeforeCommit, chunk.get())?;
    transaction.commit().await?;
    fault::point_of(Point::AfterCommit, chunk.get())?;
    Ok(Report::Done(sheet.counts()))
}

/// The pending records of a chunk while they are applied.
struct Work<'a> {
    locked: &'a LockedChunk,
    names: &'a Names,
    secrets: &'a Secrets,
    raw: &'a [RawRecord<'a>],
    rules: &'a Rules,
    /// Valid pending records with their index in the chunk.
    valid: Vec<(usize, Record<'a>)>,
    sheet: OutcomeSheet,
    issues: Vec<Issue>,
}

/// What writing some of the records gave: verdicts by index in the chunk.
struct Written {
    verdicts: Vec<(usize, Verdict, Option<uuid::Uuid>)>,
    errors: Vec<(usize, RecordError)>,
    warnings: Vec<(usize, Warning)>,
}

impl<'a> Work<'a> {
    /// Validates the pending records; those that are invalid (their catalog may have changed since) fail at once.
    fn new(
        locked: &'a LockedChunk,
        names: &'a Names,
        raw: &'a [RawRecord<'a>],
        binding: &'a Binding,
        rules: &'a Rules,
    ) -> Self {
        let mut work = Self {
            locked,
            names,
            secrets: binding.secrets(),
            raw,
            rules,
            valid: Vec::with_capacity(raw.len()),
            sheet: locked.outcomes.clone(),
            issues: Vec::new(),
        };
        for (index, record) in raw.iter().enumerate() {
            let pending =
                work.sheet.get(index).is_some_and(|(verdict, _)| verdict.outcome == Outcome::Pending);
            if !pending {
                continue;
            }
            match validate(record, binding, rules).result {
                Ok(record) => work.valid.push((index, record)),
                Err(errors) => work.fail(index, errors),
            }
        }
        work
    }

    fn fail(&mut self, index: usize, errors: Vec<RecordError>) {
        self.sheet.set(index, Verdict::FAILED, None);
        if let Some(record) = self.raw.get(index) {
            self.issues.push(Issue {
                record: record.position.record.get(),
                failed: true,
                errors,
                warnings: Vec::new(),
                source: source_json(record, self.names, self.secrets),
            });
        }
    }

    /// Plans and writes the records at `which` of the valid ones, in their order.
    async fn write(
        &self,
        transaction: &mut Transaction<'_>,
        which: &[usize],
        ids: &mut IdSource,
    ) -> Result<Written, StoreError> {
        let chosen: Vec<&(usize, Record<'a>)> = which.iter().filter_map(|at| self.valid.get(*at)).collect();
        let records: Vec<&Record<'a>> = chosen.iter().map(|(_, record)| record).collect();
        let (tenant, alone) = (self.locked.tenant, self.locked.alone);
        let mut new_id = || ids.next_id();
        let done =
            upsert(transaction, tenant, alone, &records, self.rules, clock::now(), &mut new_id).await?;
        let index = |at: usize| chosen.get(at).map(|(index, _)| *index);
        let verdicts =
            chosen.iter().zip(&done.verdicts).map(|((index, _), (verdict, user))| (*index, *verdict, *user));
        Ok(Written {
            verdicts: verdicts.collect(),
            errors: done.errors.into_iter().filter_map(|(at, error)| Some((index(at)?, error))).collect(),
            warnings: done.warnings.into_iter().filter_map(|(at, text)| Some((index(at)?, text))).collect(),
        })
    }

    fn note(&mut self, written: Written) {
        for (index, verdict, user) in written.verdicts {
            self.sheet.set(index, verdict, user);
        }
        for (index, error) in written.errors {
            self.fail(index, vec![error]);
        }
        for (index, warning) in written.warnings {
            self.warn(index, warning);
        }
    }

    /// Adds a warning to what is told of a record, beside its error if it has one.
    fn warn(&mut self, index: usize, warning: Warning) {
        let Some(record) = self.raw.get(index) else { return };
        let number = record.position.record.get();
        let text = warning.to_string();
        match self.issues.iter_mut().rev().find(|issue| issue.record == number) {
            Some(issue) => issue.warnings.push(text),
            None => self.issues.push(Issue {
                record: number,
                failed: false,
                errors: Vec::new(),
                warnings: vec![text],
                source: source_json(record, self.names, self.secrets),
            }),
        }
    }

    /// Writes halves of what the database refuses until the record at fault stands alone and fails alone. Left halves
    /// come first, so that later records see what earlier ones did.
    async fn split(
        &mut self,
        transaction: &mut Transaction<'_>,
        ids: &mut IdSource,
    ) -> Result<(), StoreError> {
        let mut stack: Vec<(usize, usize)> = vec![(0, self.valid.len())];
        while let Some((start, end)) = stack.pop() {
            if start >= end {
                continue;
            }
            let which: Vec<usize> = (start..end).collect();
            let mut savepoint = muster_shared::store::savepoint(transaction).await?;
            match self.write(&mut savepoint, &which, ids).await {
                Ok(written) => {
                    savepoint.commit().await?;
                    self.note(written);
                }
                Err(error) if error.kind() == ErrorKind::Data => {
                    savepoint.rollback().await?;
                    if end - start == 1 {
                        self.refuse(start, &error);
                    } else {
                        let middle = start + (end - start) / 2;
                        stack.push((middle, end));
                        stack.push((start, middle));
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn refuse(&mut self, at: usize, error: &StoreError) {
        let Some((index, _)) = self.valid.get(at) else { return };
        let code = error.sqlstate().unwrap_or("unknown").to_owned();
        let message = format!("the database refused the record (SQLSTATE {code})");
        self.fail(*index, vec![RecordError::new(ErrorCode::DatabaseRefused, message)]);
    }
}
