//! What rows hold, as the program has it, and back.

use std::fmt::Display;

use muster_domain::chunk::ChunkRecords;
use muster_domain::fault::{self, Mutant};
use muster_domain::id::ChunkId;
use muster_domain::outcome::OutcomeSheet;

use super::StoreError;

/// Record numbers and sizes beyond 2^63 do not happen; should one, it is written as the largest number there is.
pub(super) fn wide(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A number of the row `key` as it can be: one that is below zero, or beyond what its type holds, is corruption.
pub(super) fn number<N, T: TryFrom<N> + Default>(
    number: N,
    (table, column): (&'static str, &'static str),
    key: impl Display,
) -> Result<T, StoreError> {
    match T::try_from(number) {
        Ok(number) => Ok(number),
        Err(_) if fault::mutant(Mutant::ImpossibleIsNothing) => Ok(T::default()),
        Err(_) => Err(StoreError::corrupt(table, column, key)),
    }
}

/// A count of one chunk.
pub(super) fn small<N: TryInto<i32>>(number: N) -> Result<i32, StoreError> {
    number.try_into().map_err(|_| StoreError::Program("a count of one chunk is out of range".into()))
}

/// The outcomes of a chunk's records: those that the row has, or all pending where it has none yet.
pub(super) fn read_sheet(
    chunk: ChunkId,
    records: i32,
    outcomes: Option<&[u8]>,
) -> Result<OutcomeSheet, StoreError> {
    let records = number(records, ("chunks", "records"), chunk)?;
    match outcomes {
        None => Ok(OutcomeSheet::pending(records)),
        Some(bytes) => {
            OutcomeSheet::decode(bytes, records).map_err(|_| StoreError::corrupt("chunks", "outcomes", chunk))
        }
    }
}

/// The numbers of a chunk's records, ascending.
pub(super) fn numbers(chunk: &ChunkRecords) -> Vec<i64> {
    let fields = chunk.fields();
    chunk.records(&fields).map(|record| wide(record.position.record.get())).collect()
}
