//! Stages the records of an undo: the before-images of the import, last first, cut into chunks.

use std::collections::HashSet;

use muster_domain::chunk::{ChunkCutter, ChunkLimits, LaneHash, PackedChunk, decode};
use muster_domain::fault::{Mutant, mutant};
use muster_domain::id::{ChunkId, ImportId, TenantId};
use muster_domain::outcome::Outcome;
use muster_domain::planned::APPLIED_ALTHOUGH;
use muster_domain::record::{FieldNames, RawRecord};
use muster_domain::undo::{Change, Kind, Undo, at, changes, membership_path, names, record_fields, texts};
use sqlx::postgres::PgConnection;
use uuid::Uuid;

use super::seen::SeenOnce;
use super::{NewUndo, Source};
use crate::{StoreError, Transaction, convert, receiving};

/// Rows of before-images that are read at a time.
const AT_A_TIME: i64 = 4;
/// Largest chunk that is not cut, encoded: it must fit a message.
const LARGEST: usize = 8 * 1024 * 1024;

/// What is known of one application of a chunk.
pub(super) struct Kept {
    pub(super) id: i64,
    chunk: i64,
    images: Option<Vec<u8>>,
    /// The chunk's first application of which something is known.
    first: bool,
    records: i32,
    outcomes: Option<Vec<u8>>,
    body: Option<Vec<u8>>,
}

/// Some applications before one, the last first.
pub(super) async fn page(
    connection: &mut PgConnection,
    import: ImportId,
    before: i64,
) -> Result<Vec<Kept>, StoreError> {
    Ok(sqlx::query_as!(
        Kept,
        r#"select b.id, b.chunk_id as chunk, b.images, c.records, c.outcomes, c.body as "body?",
                  not exists (select from before_images as e
                               where e.chunk_id = b.chunk_id and e.reopened < b.reopened) as "first!"
             from before_images as b
             join chunks as c on c.id = b.chunk_id
            where b.import_id = $1 and b.id < $2
            order by b.id desc
            limit $3"#,
        import.get(),
        before,
        AT_A_TIME,
    )
    .fetch_all(connection)
    .await?)
}

/// The records of an undo while they are staged.
pub(super) struct Staging {
    pub(super) undo: Undo,
    id: ImportId,
    tenant: TenantId,
    /// Where the import enrolled the users that it inserted.
    enrolled: Option<String>,
    cutter: ChunkCutter,
    /// Each application is one chunk: users of it may have exchanged unique values, and each can have its own back only if the other
    /// gives it up in the same moment.
    one_lane: bool,
    names: FieldNames,
    pub(super) records: u64,
    /// Changes that are there no more: erased, or damaged.
    pub(super) unknown: u64,
    /// The users that are changed.
    pub(super) seen: SeenOnce,
    /// Users that were inserted are among them.
    pub(super) inserts: bool,
}

impl Staging {
    pub(super) fn new(new: &NewUndo, source: &Source, undo: Undo) -> Self {
        let one_lane = source.goes_by_one_lane();
        let cutter = match one_lane {
            true => {
                ChunkCutter::new(ChunkLimits { records: u32::MAX, bytes: LARGEST, lanes: 1 }).in_one_lane()
            }
            false => ChunkCutter::new(new.chunk),
        };
        let enrolled = source.options.enrolment.filter(|_| source.options.undo.is_none());
        Self {
            undo,
            id: new.id,
            tenant: new.tenant,
            enrolled: enrolled.map(|place| membership_path(place.organization_id, place.group_id)),
            cutter,
            one_lane,
            names: names(),
            records: 0,
            unknown: 0,
            seen: SeenOnce::default(),
            inserts: false,
        }
    }

    /// The changes of one application, the last first.
    pub(super) async fn take(
        &mut self,
        transaction: &mut Transaction<'_>,
        kept: Kept,
    ) -> Result<(), StoreError> {
        let known = kept.images.as_deref().map(|images| read(kept.id, images)).transpose()?;
        let mut known = known.unwrap_or_default();
        known.reverse();
        let told = self.told(transaction, &kept).await?;
        let mut inserted: Vec<Uuid> = Vec::new();
        for change in known {
            match change {
                None => self.unknown += 1,
                Some(change) => {
                    inserted.extend((change.kind == Kind::Inserted).then_some(change.user));
                    self.push(transaction, change, told.as_ref()).await?;
                }
            }
        }
        if kept.first {
            self.take_inserted(transaction, kept, inserted, told.as_ref()).await?;
        }
        if self.one_lane {
            self.cutter.cut_all(&self.names);
            let packed = self.cutter.take().map_err(broken)?;
            self.stage(transaction, packed).await?;
        }
        Ok(())
    }

    /// The records of a chunk of which the code was told that the undo is limited to. None: it is not limited to one.
    async fn told(
        &self,
        transaction: &mut Transaction<'_>,
        kept: &Kept,
    ) -> Result<Option<HashSet<u64>>, StoreError> {
        let Some(code) = self.undo.code.filter(|_| !mutant(Mutant::UndoOfAllCodes)) else { return Ok(None) };
        let records = kept.body.as_deref().and_then(|body| decode(body).ok());
        let numbers = records.map(|records| convert::numbers(&records)).unwrap_or_default();
        let sheet = convert::read_sheet(ChunkId::new(kept.chunk), kept.records, kept.outcomes.as_deref())?;
        if let Some(reason) = code.reason() {
            let with_reason =
                sheet.iter().zip(&numbers).filter(|((verdict, _), _)| verdict.reason == Some(reason));
            return Ok(Some(with_reason.map(|(_, number)| number.unsigned_abs()).collect()));
        }
        let marked: Vec<i64> = sqlx::query_scalar(
            "select record
               from record_issues
              where import_id = $1 and record = any($2)
                and exists (select from json_array_elements_text(warnings) as warning where starts_with(warning, $3))",
        )
        .bind(self.undo.of.get())
        .bind(numbers)
        .bind(APPLIED_ALTHOUGH)
        .fetch_all(&mut **transaction)
        .await?;
        Ok(Some(marked.into_iter().map(i64::unsigned_abs).collect()))
    }

    /// Users that one record each inserted when the chunk was applied first: the outcomes tell.
    async fn take_inserted(
        &mut self,
        transaction: &mut Transaction<'_>,
        kept: Kept,
        mut known: Vec<Uuid>,
        told: Option<&HashSet<u64>>,
    ) -> Result<(), StoreError> {
        let chunk = ChunkId::new(kept.chunk);
        let sheet = convert::read_sheet(chunk, kept.records, kept.outcomes.as_deref())?;
        let others = sqlx::query!(
            r#"select id, images as "images!" from before_images where chunk_id = $1 and id > $2 and images is not null"#,
            kept.chunk,
            kept.id,
        )
        .fetch_all(&mut **transaction)
        .await?;
        for other in others {
            let changes = read(other.id, &other.images)?.into_iter().flatten();
            known.extend(changes.filter(|change| change.kind == Kind::Inserted).map(|change| change.user));
        }
        known.sort_unstable();
        let numbers = kept.body.as_deref().and_then(|body| decode(body).ok());
        let numbers = numbers.map(|records| convert::numbers(&records)).unwrap_or_default();
        for (place, (verdict, user)) in sheet.iter().enumerate() {
            let Some(user) = user.filter(|_| verdict.outcome == Outcome::Inserted) else { continue };
            if known.binary_search(&user).is_err() {
                let record = numbers.get(place).map_or(0, |number| number.unsigned_abs());
                self.push(transaction, Change { record, ..Change::inserted(user, 1) }, told).await?;
            }
        }
        Ok(())
    }

    async fn push(
        &mut self,
        transaction: &mut Transaction<'_>,
        mut change: Change,
        told: Option<&HashSet<u64>>,
    ) -> Result<(), StoreError> {
        if !self.undo.takes(&change) || told.is_some_and(|told| !told.contains(&change.record)) {
            return Ok(());
        }
        if change.kind == Kind::Inserted {
            self.inserts = true;
            change.after.extend(self.enrolled.clone().map(|path| (path, true.into())));
        }
        self.records += 1;
        self.seen.see(&change.user);
        let texts = texts(&change);
        let fields = record_fields(&texts);
        let record = RawRecord { position: at(self.records), fields: &fields, defect: None, raw: None };
        let user = texts.first().map(|user| LaneHash::of(user));
        self.cutter.push(&record, &self.names, user, true).map_err(broken)?;
        let packed = self.cutter.take().map_err(broken)?;
        self.stage(transaction, packed).await
    }

    /// Stages what is left. Returns the number of lanes.
    pub(super) async fn finish(&mut self, transaction: &mut Transaction<'_>) -> Result<u32, StoreError> {
        let lanes = self.cutter.finish(&self.names).map_err(broken)?;
        let packed = self.cutter.take().map_err(broken)?;
        self.stage(transaction, packed).await?;
        Ok(lanes)
    }

    async fn stage(
        &self,
        transaction: &mut Transaction<'_>,
        packed: Vec<PackedChunk>,
    ) -> Result<(), StoreError> {
        for chunk in packed {
            receiving::stage(transaction, self.id, self.tenant, &chunk).await?;
        }
        Ok(())
    }
}

fn read(id: i64, images: &[u8]) -> Result<Vec<Option<Change>>, StoreError> {
    let records = decode(images).map_err(|_| StoreError::corrupt("before_images", "images", id))?;
    Ok(changes(&records))
}

fn broken(error: std::io::Error) -> StoreError {
    StoreError::Program(format!("a change could not be encoded: {error}"))
}
