//! The family of an import: the first one, those that brought its failed records again, and those that brought theirs.
//!
//! A failed record of the first import is corrected when a descendant applied the record that names it as its
//! origin, directly or through further failed files, and left out nothing of it that the first import read. What an import applied itself counts only if it has
//! ended and was not undone. What others corrected of its failed records always counts. Reading decodes the
//! chunks of the descendants, whose number follows that of the corrected records. Memory: one bit for each
//! record of each import.

mod count;

use chrono::{DateTime, Utc};
use muster_domain::chunk::decode;
use muster_domain::fault::{Mutant, mutant};
use muster_domain::id::{ChunkId, ImportId, TenantId};
use muster_domain::import::ImportState;
use muster_domain::options::ImportOptions;
use muster_domain::outcome::{Outcome, Reason, Verdict, thousands};
use muster_domain::record::{FieldNames, NameId, RawRecord, RawValue};
use muster_domain::rules::Rules;
use muster_domain::validate::Binding;
use serde::{Deserialize, Serialize};
use sqlx::postgres::PgConnection;
use uuid::Uuid;

use super::convert::read_sheet;
use super::convert::wide;
use super::{Store, StoreError, reports};

pub use count::count as count_mended;

/// Most generations that are followed, and most imports of a family that are looked at.
const MOST: i32 = 200;
/// Chunks that are read at a time.
const CHUNKS: i64 = 10;
/// Numbers of records that are asked for at a time.
const NUMBERS: usize = 10_000;

/// A family, shown as one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Family {
    /// The first import.
    pub root: ImportId,
    /// Records of the first import.
    pub records: u64,
    /// Those of them that were applied, by whichever import of the family.
    pub applied: u64,
    /// The others.
    pub open: u64,
    /// The same in a sentence.
    pub summary: String,
    /// The imports in order, each before those that correct it.
    pub members: Vec<Member>,
}

/// An import of a family.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Id.
    pub id: ImportId,
    /// The import whose failed records it brought again; none for the first one.
    pub mends: Option<ImportId>,
    /// State.
    pub state: ImportState,
    /// Name of the file.
    pub filename: Option<String>,
    /// Its records.
    pub records: u64,
    /// Those of them that failed, where it has ended.
    #[serde(default)]
    pub failed: u64,
    /// Those of its failed records that others of the family corrected, as last counted.
    #[serde(default)]
    pub mended: u64,
    /// Whether it was undone as a whole: then nothing of it counts.
    pub undone: bool,
}

impl Family {
    fn new(root: ImportId, records: u64, applied: u64, members: Vec<Member>) -> Self {
        let applied = applied.min(records);
        let open = records - applied;
        let summary = format!(
            "{} records: {} applied over {} imports, {} open",
            thousands(records),
            thousands(applied),
            members.len(),
            thousands(open)
        );
        Self { root, records, applied, open, summary, members }
    }
}

/// Whether the tenant has an import of this id whose failed records can be brought again. Those of an undo cannot.
pub async fn can_be_mended(store: &Store, tenant: TenantId, import: ImportId) -> Result<bool, StoreError> {
    let found = sqlx::query_scalar!(
        r#"select exists (select from imports where id = $1 and tenant_id = $2 and undoes is null) as "there!""#,
        import.get(),
        tenant.get(),
    );
    Ok(found.fetch_one(&mut *store.reading(tenant).await?).await?)
}

/// The family of a tenant's import. `None` for an import without relatives, and for one that the tenant does not have.
pub async fn of(store: &Store, tenant: TenantId, import: ImportId) -> Result<Option<Family>, StoreError> {
    let mut reading = store.reading_one_moment(tenant).await?;
    let Some(kin) = kin(&mut reading, tenant, import).await? else { return Ok(None) };
    let Some(first) = kin.first() else { return Ok(None) };
    let Some(root) = reports::import_in(&mut *reading, tenant, first.member.id).await? else {
        return Ok(None);
    };
    let mended = mended(&mut reading, tenant, &kin).await?.into_iter().next().unwrap_or_default();
    let mended = still_failed(&mut reading, tenant, root.id, mended).await?;
    let mut own = 0;
    if !first.member.undone {
        let counts = root.counts;
        own = counts.inserted + counts.updated + counts.skipped;
        // What was cancelled counts as skipped, and was not applied.
        if root.chunks.cancelled > 0 {
            let reasons = reports::skipped_by_reason(&mut reading, tenant, root.id).await?;
            let cancelled = reasons.iter().filter(|(reason, _)| *reason == Reason::Cancelled);
            own -= cancelled.map(|(_, count)| count).sum::<u64>().min(own);
        }
    }
    reading.commit().await?;
    let members = kin.into_iter().map(|one| one.member).collect();
    Ok(Some(Family::new(root.id, root.counts.total, own + mended, members)))
}

/// An import of a family, and what is needed to read its records.
struct Kin {
    member: Member,
    options: ImportOptions,
    state_since: Option<DateTime<Utc>>,
}

/// The imports of a family, parents before their children. `None` where there is only one.
async fn kin(
    connection: &mut PgConnection,
    tenant: TenantId,
    import: ImportId,
) -> Result<Option<Vec<Kin>>, StoreError> {
    let rows = sqlx::query!(
        r#"with recursive up as (
               select id, mends, 0 as depth from imports where id = $1 and tenant_id = $2
               union all
               select parent.id, parent.mends, up.depth + 1
                 from imports as parent
                 join up on parent.id = up.mends
                where parent.tenant_id = $2 and up.depth < $3
           ), root as (
               select id from up order by depth desc limit 1
           ), down as (
               select root.id, null::uuid as mends, 0 as depth from root
               union all
               select child.id, child.mends, down.depth + 1
                 from imports as child
                 join down on child.mends = down.id
                where child.tenant_id = $2 and down.depth < $3
           )
           select i.id, down.mends, i.state, i.state_since, i.filename, i.total, i.options, i.mended,
                  coalesce((i.final_counts ->> 'failed')::bigint, 0) as "failed!"
             from down
             join imports as i on i.id = down.id
            where i.tenant_id = $2
            order by down.depth, i.id
            limit $3"#,
        import.get(),
        tenant.get(),
        MOST,
    )
    .fetch_all(&mut *connection)
    .await?;
    if rows.len() < 2 {
        return Ok(None);
    }
    let ids: Vec<Uuid> = rows.iter().map(|row| row.id).collect();
    let undone = undone(connection, tenant, &ids).await?;
    let mut kin = Vec::with_capacity(rows.len());
    for row in rows {
        let (options, _) = ImportOptions::known_of_stored(row.options);
        let member = Member {
            id: ImportId::new(row.id),
            mends: row.mends.map(ImportId::new),
            state: row.state.parse().map_err(|_| StoreError::corrupt("imports", "state", row.id))?,
            filename: row.filename,
            records: row.total.unsigned_abs(),
            failed: row.failed.unsigned_abs(),
            mended: row.mended.unsigned_abs(),
            undone: undone.contains(&row.id),
        };
        kin.push(Kin { member, options, state_since: row.state_since });
    }
    Ok(Some(kin))
}

/// Those of some imports that were undone as a whole, by an undo that was not undone itself, and not driven again since.
async fn undone(
    connection: &mut PgConnection,
    tenant: TenantId,
    imports: &[Uuid],
) -> Result<Vec<Uuid>, StoreError> {
    let undos = sqlx::query!(
        r#"with recursive back as (
               select id, undoes, state, options, created_at, 0 as depth from imports where undoes = any($1) and tenant_id = $2
               union all
               select later.id, later.undoes, later.state, later.options, later.created_at, back.depth + 1
                 from imports as later
                 join back on later.undoes = back.id
                where later.tenant_id = $2 and back.depth < $3
           )
           select back.id as "id!", back.undoes as "undoes!"
             from back
             join imports as undone on undone.id = back.undoes
            where back.state = 'completed' and not (back.options -> 'undo' ?| array['fields', 'records', 'outcome', 'code'])
              and back.created_at >= undone.completed_at
            order by back.id desc
            limit $3"#,
        imports,
        tenant.get(),
        MOST,
    )
    .fetch_all(connection)
    .await?;
    // The last undo first: whether it was undone itself is known when it is looked at.
    let mut gone: Vec<Uuid> = Vec::new();
    for undo in undos {
        if !gone.contains(&undo.id) {
            gone.push(undo.undoes);
        }
    }
    Ok(gone.into_iter().filter(|id| imports.contains(id)).collect())
}

/// A bit for each record of an import.
#[derive(Default)]
struct Bits(Vec<u64>);

impl Bits {
    fn set(&mut self, number: u64, most: u64) {
        if !(1..=most).contains(&number) {
            return;
        }
        let Ok(word) = usize::try_from(number / 64) else { return };
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        if let Some(bits) = self.0.get_mut(word) {
            *bits |= 1 << (number % 64);
        }
    }

    fn is_empty(&self) -> bool {
        self.0.iter().all(|bits| *bits == 0)
    }

    fn has(&self, number: u64) -> bool {
        let word = usize::try_from(number / 64).ok().and_then(|word| self.0.get(word));
        word.is_some_and(|bits| bits & (1_u64 << (number % 64)) != 0)
    }

    fn iter(&self) -> impl Iterator<Item = u64> {
        (0..).zip(&self.0).flat_map(|(word, bits): (u64, &u64)| {
            (0..64_u64).filter(move |bit| bits & (1_u64 << bit) != 0).map(move |bit| word * 64 + bit)
        })
    }
}

/// The records of each import that its descendants applied.
async fn mended(
    connection: &mut PgConnection,
    tenant: TenantId,
    kin: &[Kin],
) -> Result<Vec<Bits>, StoreError> {
    let mut mended: Vec<Bits> = kin.iter().map(|_| Bits::default()).collect();
    // The youngest first, so that its corrections are known when its parent is processed.
    for at in (1..kin.len()).rev() {
        let Some(one) = kin.get(at) else { continue };
        let ended = matches!(one.member.state, ImportState::Completed | ImportState::Cancelled);
        let counts = ended && !one.member.undone;
        // Corrections of its failed records belong to other imports, and stay when it is undone.
        let of_others = mended.get(at).is_some_and(|bits| !bits.is_empty());
        if counts || of_others && !mutant(Mutant::UndoneTakesMendedAlong) {
            applied(connection, tenant, kin, at, counts, &mut mended).await?;
        }
    }
    Ok(mended)
}

/// Marks the records of earlier imports that this import applied, if that counts, and those that others applied through it.
async fn applied(
    connection: &mut PgConnection,
    tenant: TenantId,
    kin: &[Kin],
    at: usize,
    counts: bool,
    mended: &mut [Bits],
) -> Result<(), StoreError> {
    let Some((before, own)) = mended.split_at_mut_checked(at) else { return Ok(()) };
    let Some((one, mended_here)) = kin.get(at).zip(own.first()) else { return Ok(()) };
    let rules = Rules::new(one.options.clone());
    let mut after = 0;
    loop {
        let rows = sqlx::query!(
            "select id, records, body, outcomes
               from chunks
              where import_id = $1 and tenant_id = $2 and id > $3
              order by id
              limit $4",
            one.member.id.get(),
            tenant.get(),
            after,
            CHUNKS,
        )
        .fetch_all(&mut *connection)
        .await?;
        let Some(last) = rows.last() else { return Ok(()) };
        after = last.id;
        for row in rows {
            let sheet = read_sheet(ChunkId::new(row.id), row.records, row.outcomes.as_deref())?;
            // What cannot be read was not applied.
            let Ok(records) = decode(&row.body) else { continue };
            let mut binding = Binding::new(&rules);
            binding.extend(records.names());
            let fields = records.fields();
            let mut left_out = LeftOut::default();
            for (record, (verdict, _)) in records.records(&fields).zip(sheet.iter()) {
                let Some(origin) = binding.origin(&record) else { continue };
                let own = counts && is_applied(verdict);
                if !own && !mended_here.has(record.position.record.get()) {
                    continue;
                }
                // Of an import that comes before this one, so that there is no circle.
                let parent = kin.iter().take(at).position(|earlier| earlier.member.id == origin.import);
                if let Some((earlier, bits)) =
                    parent.and_then(|parent| kin.get(parent).zip(before.get_mut(parent)))
                    && !left_out.has_value(&record, &binding, &rules, earlier)
                {
                    bits.set(origin.record, earlier.member.records);
                }
            }
        }
    }
}

/// The names of a chunk that an earlier import reads and this one leaves out, for each earlier import that was asked for.
#[derive(Default)]
struct LeftOut(Vec<(ImportId, Vec<NameId>)>);

impl LeftOut {
    /// Whether a record has something under such a name: the mistake may be just there, and nothing of it was corrected.
    fn has_value(&mut self, record: &RawRecord<'_>, now: &Binding, rules: &Rules, earlier: &Kin) -> bool {
        if mutant(Mutant::MendedWithoutColumns) {
            return false;
        }
        let id = earlier.member.id;
        if !self.0.iter().any(|(of, _)| *of == id) {
            // The names are those of this file, whatever the earlier one was.
            let options = ImportOptions { format: rules.options.format, ..earlier.options.clone() };
            let mut before = Binding::new(&Rules::new(options));
            before.extend(&FieldNames::from_header(now.names()));
            let all = (0..now.names().len()).filter_map(|at| NameId::try_from(at).ok());
            self.0.push((id, all.filter(|name| before.is_read(*name) && !now.is_read(*name)).collect()));
        }
        let names = self.0.iter().find(|(of, _)| *of == id).map_or(&[][..], |(_, names)| names);
        names.iter().any(|name| {
            record.value(*name).is_some_and(|value| !matches!(value, RawValue::Null | RawValue::Text("")))
        })
    }
}

fn is_applied(verdict: Verdict) -> bool {
    match verdict.outcome {
        Outcome::Inserted | Outcome::Updated => true,
        Outcome::Skipped => verdict.reason != Some(Reason::Cancelled),
        Outcome::Failed | Outcome::Pending => mutant(Mutant::MendedAtItsWord),
    }
}

/// How many of these records failed in their own import and fail there still: the others are counted by their own outcome.
async fn still_failed(
    connection: &mut PgConnection,
    tenant: TenantId,
    import: ImportId,
    records: Bits,
) -> Result<u64, StoreError> {
    let numbers: Vec<i64> = records.iter().map(wide).collect();
    let mut count = 0;
    for some in numbers.chunks(NUMBERS) {
        count += sqlx::query_scalar!(
            r#"select count(*) as "count!"
                 from record_issues
                where import_id = $1 and failed and record = any($2)
                  and exists (select from imports where id = $1 and tenant_id = $3)"#,
            import.get(),
            some,
            tenant.get(),
        )
        .fetch_one(&mut *connection)
        .await?
        .unsigned_abs();
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_those_that_were_set() {
        let mut bits = Bits::default();
        for number in [0, 1, 63, 64, 65, 1_000, 1_001] {
            bits.set(number, 1_000);
        }
        assert_eq!(
            bits.iter().collect::<Vec<_>>(),
            [1, 63, 64, 65, 1_000],
            "no record has the number 0 or 1,001"
        );
        assert!(bits.has(64) && !bits.has(66) && !bits.has(100_000));
        assert!(!bits.is_empty() && Bits::default().is_empty());
    }

    #[test]
    fn a_family_is_told_in_a_sentence() {
        let id = ImportId::new(Uuid::from_u128(1));
        let member = |undone| Member {
            id,
            mends: None,
            state: ImportState::Completed,
            filename: None,
            records: 3,
            failed: 0,
            mended: 0,
            undone,
        };
        let family = Family::new(id, 40_305, 40_296, vec![member(false), member(true), member(false)]);
        assert_eq!(family.summary, "40,305 records: 40,296 applied over 3 imports, 9 open");
        assert_eq!((family.applied, family.open), (40_296, 9));
    }
}
