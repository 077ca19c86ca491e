//! Chunks whose body cannot be read: damaged, or written by a newer program. Their records need outcomes like
//! all others, and therefore numbers.
//!
//! The numbers of an import's records are 1, 2, 3 and so on, and each record lies in one chunk. So the
//! numbers missing from the readable chunks belong to the unreadable ones. If several unreadable chunks are
//! adjacent, the owner of a number is unknown. Then numbers are assigned so that each chunk gets as many as
//! it has records, between its first and its last, and each failed record gets a number with an error. This
//! is rare, so it may be slow.

use std::collections::{BTreeMap, BTreeSet};

use muster_domain::chunk::decode;
use muster_domain::id::{ChunkId, ImportId};
use muster_domain::outcome::Outcome;
use sqlx::postgres::PgConnection;

use super::StoreError;
use super::convert::{self, read_sheet};

/// Chunks that are read at a time: memory must not grow with the import.
const AT_A_TIME: i64 = 16;

/// A chunk that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Unreadable {
    first: i64,
    last: i64,
    /// Of each record, in the order of the chunk, whether it has failed.
    failed: Vec<bool>,
}

/// What is known between two numbers.
#[derive(Debug, Default)]
struct Known {
    /// Numbers that readable chunks have.
    taken: BTreeSet<i64>,
    /// Numbers with an error.
    failed: BTreeSet<i64>,
    /// The unreadable chunks that reach in between, by id.
    chunks: BTreeMap<i64, Unreadable>,
}

/// The numbers of the records of a chunk that cannot be read, in the order of its outcomes; each is 1 or more.
pub(super) async fn numbers(
    connection: &mut PgConnection,
    import: ImportId,
    chunk: i64,
) -> Result<Vec<i64>, StoreError> {
    let range = sqlx::query!("select first_record, last_record from chunks where id = $1", chunk)
        .fetch_optional(&mut *connection)
        .await?;
    let Some(range) = range else { return Ok(Vec::new()) };
    let (mut first, mut last) = (range.first_record, range.last_record);
    // Until no unreadable chunk reaches out of what was looked at.
    loop {
        if first < 1 {
            return Err(StoreError::corrupt("chunks", "first_record", ChunkId::new(chunk)));
        }
        let known = look(connection, import, first, last).await?;
        let reach = known
            .chunks
            .values()
            .fold((first, last), |(first, last), chunk| (first.min(chunk.first), last.max(chunk.last)));
        if reach == (first, last) {
            return Ok(deal(&known, first, last).remove(&chunk).unwrap_or_default());
        }
        (first, last) = reach;
    }
}

async fn look(
    connection: &mut PgConnection,
    import: ImportId,
    first: i64,
    last: i64,
) -> Result<Known, StoreError> {
    let mut known = Known::default();
    let failed = sqlx::query_scalar!(
        "select record from record_issues where import_id = $1 and record between $2 and $3 and failed",
        import.get(),
        first,
        last,
    )
    .fetch_all(&mut *connection)
    .await?;
    known.failed.extend(failed);
    let mut after = 0;
    loop {
        let rows = sqlx::query!(
            "select id, first_record, last_record, records, body, outcomes
               from chunks
              where import_id = $1 and id > $2 and first_record <= $4 and last_record >= $3
              order by id
              limit $5",
            import.get(),
            after,
            first,
            last,
            AT_A_TIME,
        )
        .fetch_all(&mut *connection)
        .await?;
        let Some(end) = rows.last() else { return Ok(known) };
        after = end.id;
        for row in rows {
            if let Ok(records) = decode(&row.body) {
                known.taken.extend(convert::numbers(&records));
                continue;
            }
            let sheet = read_sheet(ChunkId::new(row.id), row.records, row.outcomes.as_deref())?;
            let failed = sheet.iter().map(|(verdict, _)| verdict.outcome == Outcome::Failed).collect();
            let chunk = Unreadable { first: row.first_record, last: row.last_record, failed };
            known.chunks.insert(row.id, chunk);
        }
    }
}

/// Deals the numbers out: those with an error to the records that failed, all others to all others.
fn deal(known: &Known, first: i64, last: i64) -> BTreeMap<i64, Vec<i64>> {
    let free: Vec<i64> = (first..=last).filter(|number| !known.taken.contains(number)).collect();
    let of = |failed: bool| {
        let numbers = free.iter().copied().filter(|number| known.failed.contains(number) == failed);
        deal_some(numbers, &known.chunks, failed)
    };
    let (with_error, without) = (of(true), of(false));
    let mut dealt = BTreeMap::new();
    for (id, chunk) in &known.chunks {
        let own = |dealt: &BTreeMap<i64, Vec<i64>>| dealt.get(id).cloned().unwrap_or_default().into_iter();
        let (mut with_error, mut without) = (own(&with_error), own(&without));
        let next = |failed: &bool| if *failed { with_error.next() } else { without.next() };
        let numbers = chunk.failed.iter().filter_map(next);
        dealt.insert(*id, numbers.collect());
    }
    dealt
}

/// Each number goes to the chunk that ends first of those that reach over it and have not got all of theirs: so every chunk gets
/// its share if there is any way to deal them.
fn deal_some(
    numbers: impl Iterator<Item = i64>,
    chunks: &BTreeMap<i64, Unreadable>,
    failed: bool,
) -> BTreeMap<i64, Vec<i64>> {
    let mut dealt: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
    let share = |chunk: &Unreadable| chunk.failed.iter().filter(|record| **record == failed).count();
    for number in numbers {
        let wants = |(id, chunk): &(&i64, &Unreadable)| {
            let has = dealt.get(*id).map_or(0, Vec::len);
            chunk.first <= number && number <= chunk.last && has < share(chunk)
        };
        if let Some((id, _)) = chunks.iter().filter(wants).min_by_key(|(id, chunk)| (chunk.last, **id)) {
            dealt.entry(*id).or_default().push(number);
        }
    }
    dealt
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(taken: &[i64], failed: &[i64], chunks: &[(i64, i64, &[bool])]) -> Known {
        let chunk = |(first, last, failed): &(i64, i64, &[bool])| Unreadable {
            first: *first,
            last: *last,
            failed: failed.to_vec(),
        };
        Known {
            taken: taken.iter().copied().collect(),
            failed: failed.iter().copied().collect(),
            chunks: (1..).zip(chunks.iter().map(chunk)).collect(),
        }
    }

    #[test]
    fn what_readable_chunks_do_not_have_is_what_an_unreadable_one_has() {
        let one = known(&[2, 3, 5], &[4], &[(1, 6, &[false, true, false])]);
        assert_eq!(deal(&one, 1, 6), BTreeMap::from([(1, vec![1, 4, 6])]));
    }

    #[test]
    fn several_unreadable_chunks_share_no_number_and_failed_records_have_those_with_errors() {
        let two = known(
            &[5],
            &[3, 8],
            &[(1, 9, &[false, true, false, false, false]), (2, 7, &[true, false, false])],
        );
        let dealt = deal(&two, 1, 9);
        assert_eq!(dealt[&1], [1, 8, 6, 7, 9]);
        assert_eq!(dealt[&2], [3, 2, 4]);
    }
}
