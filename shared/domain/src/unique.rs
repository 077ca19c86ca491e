//! Values that must be unique in a file (`duplicates = refuse`). Each is represented by a fingerprint, so
//! finding the duplicates of a file of any size needs neither the values nor much memory.

use xxhash_rust::xxh3::xxh3_128;

/// The lists in which a value may stand once, each by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyList {
    /// The values that identify users.
    Identifier,
    /// The e-mail addresses that users are to have from now on.
    NewEmail,
}

impl KeyList {
    /// The number in the store.
    pub fn number(self) -> i16 {
        match self {
            Self::Identifier => 0,
            Self::NewEmail => 1,
        }
    }
}

/// One value of one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UniqueKey {
    /// In which list it stands.
    pub list: KeyList,
    /// Fingerprint of the normalised value. Among a billion values two different ones meet once in 10^20 files.
    pub fingerprint: u128,
    /// Number of the record.
    pub record: u64,
}

impl UniqueKey {
    /// The key of a normalised value.
    pub fn of(list: KeyList, value: &str, record: u64) -> Self {
        Self { list, fingerprint: xxh3_128(value.as_bytes()), record }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_have_equal_fingerprints() {
        let key = |value, record| UniqueKey::of(KeyList::Identifier, value, record);
        assert_eq!(key("a@example.com", 1).fingerprint, key("a@example.com", 2).fingerprint);
        assert_ne!(key("a@example.com", 1).fingerprint, key("b@example.com", 1).fingerprint);
    }
}
