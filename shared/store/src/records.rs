//! The outcome of each record, in file order.
//!
//! The records of a file are distributed over its lanes, in order within each, so file order is a merge of
//! the lanes. At most one decoded chunk of each lane is in memory. A page is a consistent snapshot, so each
//! failed record in it has its error (P2).

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use muster_domain::chunk::{ChunkRecords, decode};
use muster_domain::error::RecordError;
use muster_domain::fault::{self, Mutant, mutant};
use muster_domain::id::{ChunkId, ImportId, TenantId};
use muster_domain::import::ChunkState;
use muster_domain::options::{IdentifierField, ImportOptions};
use muster_domain::outcome::{Outcome, OutcomeSheet, Reason, Verdict};
use muster_domain::record::{FieldNames, NameId, REDACTED, RawRecord, RawValue, Secrets, source_json};
use muster_domain::rules::Rules;
use muster_domain::validate::Binding;
use serde_json::value::RawValue as Json;
use sqlx::PgExecutor;
use sqlx::postgres::PgConnection;
use uuid::Uuid;

use super::convert::{number, wide};
use super::problems::{self, Cause};
use super::{Store, StoreError};

/// The outcome of one record.
#[derive(Debug, Clone, PartialEq)]
pub struct RecordReport {
    /// Number of the record.
    pub record: u64,
    /// The line of the file that it begins on; of a workbook its row. Not known of one that cannot be read; an undo has no lines.
    pub line: Option<u64>,
    /// Its outcome.
    pub outcome: Outcome,
    /// Why, where there is more than one way to the outcome.
    pub reason: Option<Reason>,
    /// The user concerned.
    pub user_id: Option<Uuid>,
    /// The identifier as it stood in the upload.
    pub identifier: Option<String>,
    /// What its owner should know although it was applied.
    pub warnings: Vec<String>,
    /// What is wrong with it.
    pub errors: Vec<RecordError>,
    /// The record as uploaded, secrets redacted, where it was asked for: JSON text `[[name, value], …]`.
    pub source: Option<String>,
}

/// Which records to report.
#[derive(Debug, Clone, Copy, Default)]
pub struct RecordFilter<'c> {
    /// Those with this outcome only.
    pub outcome: Option<Outcome>,
    /// Those that failed with such an error only.
    pub cause: Cause<'c>,
    /// Those after this record only.
    pub after: u64,
    /// With what was uploaded.
    pub sources: bool,
}

/// Up to `limit` records of a tenant's import, in file order. Of an import of another there are none.
pub async fn page(
    store: &Store,
    tenant: TenantId,
    import: ImportId,
    options: &ImportOptions,
    filter: RecordFilter<'_>,
    limit: usize,
) -> Result<Vec<RecordReport>, StoreError> {
    // One moment for outcomes and errors: between two statements a retry may take a failed record's error away.
    let mut snapshot = if fault::mutant(Mutant::PageOfSeveralMoments) {
        store.reading(tenant).await?
    } else {
        store.reading_one_moment(tenant).await?
    };
    let reports = page_in(&mut snapshot, tenant, import, options, filter, limit).await?;
    snapshot.commit().await?;
    Ok(reports)
}

/// The same in a transaction of the caller's, which is to see [one moment](super::snapshot).
pub async fn page_in(
    connection: &mut PgConnection,
    tenant: TenantId,
    import: ImportId,
    options: &ImportOptions,
    mut filter: RecordFilter<'_>,
    limit: usize,
) -> Result<Vec<RecordReport>, StoreError> {
    let mut only = None;
    if !filter.cause.is_any() {
        // What has an error has failed.
        if filter.outcome.is_some_and(|outcome| outcome != Outcome::Failed) {
            return Ok(Vec::new());
        }
        filter.outcome = Some(Outcome::Failed);
        let most = i64::try_from(limit).unwrap_or(i64::MAX);
        let records = problems::with_cause(connection, import, filter.cause, filter.after, most).await?;
        if records.is_empty() {
            return Ok(Vec::new());
        }
        only = Some(records);
    }
    let mut merge = Merge {
        only,
        connection,
        tenant,
        import,
        identifier: options.identifier,
        rules: Rules::new(options.clone()),
        filter,
        limit,
        lanes: Vec::new(),
        heap: BinaryHeap::new(),
    };
    let lanes = sqlx::query_scalar!(
        "select lanes from imports where id = $1 and (tenant_id = $2 or $3)",
        import.get(),
        tenant.get(),
        mutant(Mutant::RecordsOfAnyTenant),
    )
    .fetch_optional(&mut *merge.connection)
    .await?
    .unwrap_or(0);
    for lane in 0..lanes {
        merge.lanes.push(VecDeque::new());
        merge.load(lane, filter.after).await?;
    }
    let mut reports = Vec::new();
    while reports.len() < limit {
        let Some(report) = merge.next().await? else { break };
        reports.push(report);
    }
    add_issues(merge.connection, import, &mut reports).await?;
    Ok(reports)
}

struct Merge<'s> {
    /// Only these records, in order.
    only: Option<Vec<i64>>,
    connection: &'s mut PgConnection,
    tenant: TenantId,
    import: ImportId,
    identifier: IdentifierField,
    rules: Rules,
    filter: RecordFilter<'s>,
    /// No chunk needs to give more records than the page has.
    limit: usize,
    lanes: Vec<VecDeque<RecordReport>>,
    /// The next record of each lane that has one.
    heap: BinaryHeap<Reverse<(u64, i32)>>,
}

impl Merge<'_> {
    async fn next(&mut self) -> Result<Option<RecordReport>, StoreError> {
        let Some(Reverse((record, lane))) = self.heap.pop() else { return Ok(None) };
        let Some(queue) = usize::try_from(lane).ok().and_then(|at| self.lanes.get_mut(at)) else {
            return Ok(None);
        };
        let report = queue.pop_front();
        match queue.front() {
            Some(following) => self.heap.push(Reverse((following.record, lane))),
            None => self.load(lane, record).await?,
        }
        Ok(report)
    }

    /// Loads the lane's next chunk that has a wanted record after `after`.
    async fn load(&mut self, lane: i32, mut after: u64) -> Result<(), StoreError> {
        loop {
            let Some((last, reports)) = self.chunk(lane, after).await? else { return Ok(()) };
            if let Some(first) = reports.front() {
                self.heap.push(Reverse((first.record, lane)));
                if let Some(queue) = usize::try_from(lane).ok().and_then(|at| self.lanes.get_mut(at)) {
                    *queue = reports;
                }
                return Ok(());
            }
            after = last;
        }
    }

    async fn chunk(
        &mut self,
        lane: i32,
        after: u64,
    ) -> Result<Option<(u64, VecDeque<RecordReport>)>, StoreError> {
        let Some(row) = sqlx::query!(
            "select id, state, records, last_record, body, outcomes
               from chunks
              where import_id = $1 and lane = $2 and last_record > $3 and (tenant_id = $5 or $6)
                and case $4::text
                      when 'pending'  then pending > 0
                      when 'inserted' then inserted > 0
                      when 'updated'  then updated > 0
                      when 'skipped'  then skipped > 0
                      when 'failed'   then failed > 0
                      else true
                    end
              order by last_record
              limit 1",
            self.import.get(),
            lane,
            wide(after),
            self.filter.outcome.map(outcome_name),
            self.tenant.get(),
            mutant(Mutant::RecordsOfAnyTenant),
        )
        .fetch_optional(&mut *self.connection)
        .await?
        else {
            return Ok(None);
        };
        let mut sheet =
            super::convert::read_sheet(ChunkId::new(row.id), row.records, row.outcomes.as_deref())?;
        match row.state.parse().map_err(|_| StoreError::corrupt("chunks", "state", row.id))? {
            ChunkState::Cancelled => sheet.turn(Outcome::Pending, Verdict::CANCELLED),
            _ => 0,
        };
        let reports = match decode(&row.body) {
            Ok(records) => self.reports(&records, &sheet, after),
            Err(_) => {
                let numbers = super::unreadable::numbers(self.connection, self.import, row.id).await?;
                self.unreadable_reports(&numbers, &sheet, after)
            }
        };
        Ok(Some((number(row.last_record, ("chunks", "last_record"), row.id)?, reports)))
    }

    /// What is known of records that cannot be read.
    fn unreadable_reports(
        &self,
        numbers: &[i64],
        sheet: &OutcomeSheet,
        after: u64,
    ) -> VecDeque<RecordReport> {
        let numbers = numbers.iter().map(|number| number.unsigned_abs());
        let wanted = |(number, (verdict, _)): &(u64, (Verdict, Option<Uuid>))| {
            *number > after
                && self.filter.outcome.is_none_or(|wanted| wanted == verdict.outcome)
                && self.is_meant(*number)
        };
        let reports =
            numbers.zip(sheet.iter()).filter(wanted).map(|(record, (verdict, user_id))| RecordReport {
                record,
                line: None,
                outcome: verdict.outcome,
                reason: verdict.reason,
                user_id,
                identifier: None,
                warnings: Vec::new(),
                errors: Vec::new(),
                source: self.filter.sources.then(|| "[]".to_owned()),
            });
        let mut reports: Vec<RecordReport> = reports.collect();
        reports.sort_unstable_by_key(|report| report.record);
        reports.into()
    }

    /// Whether a record is one of those with the wanted cause.
    fn is_meant(&self, record: u64) -> bool {
        self.only.as_ref().is_none_or(|only| only.binary_search(&wide(record)).is_ok())
    }

    fn reports(&self, chunk: &ChunkRecords, sheet: &OutcomeSheet, after: u64) -> VecDeque<RecordReport> {
        let mut binding = Binding::new(&self.rules);
        binding.extend(chunk.names());
        let fields = chunk.fields();
        let mut reports = VecDeque::new();
        for (record, (verdict, user_id)) in chunk.records(&fields).zip(sheet.iter()) {
            if reports.len() >= self.limit {
                // What else the chunk has is loaded once these are taken.
                break;
            }
            let number = record.position.record.get();
            if number <= after || self.filter.outcome.is_some_and(|wanted| wanted != verdict.outcome) {
                continue;
            }
            if !self.is_meant(number) {
                continue;
            }
            reports.push_back(RecordReport {
                record: number,
                line: Some(record.position.line).filter(|line| *line > 0),
                outcome: verdict.outcome,
                reason: verdict.reason,
                user_id,
                identifier: binding
                    .identifier(&record, &self.rules, self.identifier)
                    .and_then(|name| shown(&record, name, chunk.names(), binding.secrets())),
                warnings: Vec::new(),
                errors: Vec::new(),
                source: self.filter.sources.then(|| source_json(&record, chunk.names(), binding.secrets())),
            });
        }
        reports
    }
}

/// The value under a name, as far as it may be shown: values of a record that was not read completely may be secrets.
fn shown(record: &RawRecord<'_>, name: NameId, names: &FieldNames, secrets: &Secrets) -> Option<String> {
    let record = if secrets.hide_whole(record) { Secrets::hidden(record) } else { *record };
    let field = record.fields.iter().find(|field| field.name == name)?;
    match field.value {
        RawValue::Null => None,
        _ if secrets.shown(field, names).is_some() => Some(REDACTED.to_owned()),
        RawValue::Text(text) | RawValue::Json(text) => Some(text.to_owned()),
    }
}

fn outcome_name(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Pending => "pending",
        Outcome::Inserted => "inserted",
        Outcome::Updated => "updated",
        Outcome::Skipped => "skipped",
        Outcome::Failed => "failed",
    }
}

async fn add_issues(
    connection: &mut PgConnection,
    import: ImportId,
    reports: &mut [RecordReport],
) -> Result<(), StoreError> {
    if reports.is_empty() {
        return Ok(());
    }
    // Of a filtered page's records there may be few among many that have issues of their own.
    let mut shown: Vec<i64> = reports.iter().map(|report| wide(report.record)).collect();
    if mutant(Mutant::IssuesBetween)
        && let (Some(first), Some(last)) = (shown.first().copied(), shown.last().copied())
    {
        shown = (first..=last).collect();
    }
    let rows = sqlx::query!(
        r#"select record, errors as "errors: sqlx::types::Json<Vec<RecordError>>",
                  warnings as "warnings: sqlx::types::Json<Vec<String>>"
             from record_issues
            where import_id = $1 and record = any($2)
            order by record"#,
        import.get(),
        &shown,
    )
    .fetch_all(connection)
    .await?;
    for row in rows {
        let record: u64 = number(row.record, ("record_issues", "record"), import)?;
        if let Ok(at) = reports.binary_search_by_key(&record, |report| report.record) {
            if let Some(errors) = row.errors {
                reports[at].errors = errors.0;
            }
            if let Some(warnings) = row.warnings {
                reports[at].warnings = warnings.0;
            }
        }
    }
    Ok(())
}

/// A failed record with its source, for the file of failed records.
#[derive(Debug)]
pub struct FailedRecord {
    /// Number of the record.
    pub record: u64,
    /// What is wrong with it.
    pub errors: Vec<RecordError>,
    /// The record as uploaded: JSON text `[[name, value], …]`.
    pub source: Box<Json>,
}

/// Up to `limit` failed records of a tenant's import after one, in file order: as many as have `bytes` together, and at least one.
pub async fn failed(
    store: &Store,
    tenant: TenantId,
    import: ImportId,
    after: u64,
    limit: i64,
    bytes: i64,
) -> Result<Vec<FailedRecord>, StoreError> {
    failed_of_cause(store, tenant, import, Cause::default(), after, limit, bytes).await
}

/// The same for those that failed with such an error.
pub async fn failed_of_cause(
    store: &Store,
    tenant: TenantId,
    import: ImportId,
    cause: Cause<'_>,
    after: u64,
    limit: i64,
    bytes: i64,
) -> Result<Vec<FailedRecord>, StoreError> {
    let bytes = if mutant(Mutant::PagesByNumber) { i64::MAX } else { bytes };
    let rows = sqlx::query!(
        r#"select issue.record, issue.errors as "errors: sqlx::types::Json<Vec<RecordError>>",
                  issue.source as "source: sqlx::types::Json<Box<Json>>"
             from (select record, sum(size) over (order by record) - size as before
                     from (select record, octet_length(source::text) + coalesce(octet_length(errors::text), 0) as size
                             from record_issues
                            where import_id = $1 and record > $2 and failed
                              and exists (select from imports where id = $1 and (tenant_id = $5 or $6))
                              and ($7::text is null and $8::text is null
                                   or exists (select from json_array_elements(errors) as error
                                               where ($7::text is null or error->>'code' = $7)
                                                 and ($8::text is null or error->>'field' = $8)))
                            order by record
                            limit $3) as sized) as page
             join record_issues as issue on issue.import_id = $1 and issue.record = page.record
            where page.before < $4
            order by issue.record"#,
        import.get(),
        wide(after),
        limit,
        bytes,
        tenant.get(),
        mutant(Mutant::RecordsOfAnyTenant),
        cause.code,
        cause.field,
    )
    .fetch_all(&mut *store.reading(tenant).await?)
    .await?;
    rows.into_iter()
        .map(|row| {
            let wrong = |column| StoreError::corrupt("record_issues", column, row.record);
            Ok(FailedRecord {
                record: u64::try_from(row.record).map_err(|_| wrong("record"))?,
                errors: row.errors.map(|errors| errors.0).unwrap_or_default(),
                source: row.source.ok_or_else(|| wrong("source"))?.0,
            })
        })
        .collect()
}

/// What is reported of one record beside its outcome.
#[derive(Debug, Clone, PartialEq)]
pub struct IssueReport {
    /// The import.
    pub import: ImportId,
    /// Number of the record.
    pub record: u64,
    /// Whether the record failed.
    pub failed: bool,
    /// What is wrong with it.
    pub errors: Vec<RecordError>,
    /// What its owner should know although it was applied.
    pub warnings: Vec<String>,
}

/// Reports of the records after one, in file order: up to `limit` records of each of these imports, if they belong to the tenant.
pub async fn issues(
    executor: impl PgExecutor<'_>,
    tenant: TenantId,
    imports: &[ImportId],
    after: u64,
    limit: i64,
) -> Result<Vec<IssueReport>, StoreError> {
    let imports: Vec<Uuid> = imports.iter().map(|import| import.get()).collect();
    let rows = sqlx::query!(
        r#"select issue.import_id, issue.record, issue.failed,
                  issue.errors as "errors: sqlx::types::Json<Vec<RecordError>>",
                  issue.warnings as "warnings: sqlx::types::Json<Vec<String>>"
             from imports as wanted
            cross join lateral (select *
                                  from record_issues
                                 where import_id = wanted.id and record > $2
                                 order by record
                                 limit $3) as issue
            where wanted.id = any($1) and (wanted.tenant_id = $4 or $5)
            order by issue.import_id, issue.record"#,
        &imports,
        wide(after),
        limit,
        tenant.get(),
        mutant(Mutant::RecordsOfAnyTenant),
    )
    .fetch_all(executor)
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(IssueReport {
                import: ImportId::new(row.import_id),
                record: number(row.record, ("record_issues", "record"), row.import_id)?,
                failed: row.failed,
                errors: row.errors.map(|list| list.0).unwrap_or_default(),
                warnings: row.warnings.map(|list| list.0).unwrap_or_default(),
            })
        })
        .collect()
}
