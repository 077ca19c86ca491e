//! The fields of the current record, in storage that is reused for each record.

use std::mem;
use std::ops::Range;

use crate::record::{RawField, RawValue};

/// Storage for one record's fields. Nothing is allocated for a record once a wide enough one has been seen.
#[derive(Debug, Default)]
pub(super) struct FieldStore {
    spare: Vec<RawField<'static>>,
}

/// Values that differ from the source: with doubled quotes or escapes decoded, one after the other.
///
/// They cannot be lent out while more of them are written, so each is noted with the field that it belongs to and
/// set once the record is read.
#[derive(Debug, Default)]
pub(super) struct Unescaped {
    text: String,
    values: Vec<(usize, Range<usize>)>,
}

impl FieldStore {
    /// An empty vector with the capacity of earlier records.
    pub(super) fn take<'t>(&mut self) -> Vec<RawField<'t>> {
        mem::take(&mut self.spare)
    }

    /// Keeps the vector's capacity for the next record.
    pub(super) fn give_back(&mut self, mut fields: Vec<RawField<'_>>) {
        fields.clear();
        // Collecting a vector's own items in place keeps its allocation: a way to end the borrow without unsafe code.
        // If it had to allocate again, it would be slower but still correct.
        self.spare =
            fields.into_iter().map(|field| RawField { name: field.name, value: RawValue::Null }).collect();
    }
}

impl Unescaped {
    /// Forgets the values of the record before.
    pub(super) fn clear(&mut self) {
        self.text.clear();
        self.values.clear();
    }

    /// Writes one value for the field with this index, by a function that appends it, and may fail.
    pub(super) fn write<E>(
        &mut self,
        field: usize,
        append: impl FnOnce(&mut String) -> Result<(), E>,
    ) -> Result<(), E> {
        let start = self.text.len();
        append(&mut self.text)?;
        self.values.push((field, start..self.text.len()));
        Ok(())
    }

    /// Sets the values in the fields that they belong to.
    pub(super) fn settle<'t>(&'t self, fields: &mut [RawField<'t>]) {
        for (index, range) in &self.values {
            if let (Some(field), Some(text)) = (fields.get_mut(*index), self.text.get(range.clone())) {
                field.value = RawValue::Text(text);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn storage_is_used_again() {
        let mut store = FieldStore::default();
        let mut fields = store.take();
        fields.resize(100, RawField { name: 0, value: RawValue::Text("a") });
        let before = (fields.as_ptr().addr(), fields.capacity());
        store.give_back(fields);
        let after = store.take();
        assert_eq!((after.as_ptr().addr(), after.capacity(), after.len()), (before.0, before.1, 0));
    }
}
