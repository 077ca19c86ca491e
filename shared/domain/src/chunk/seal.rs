//! Secrets in chunks are encrypted with the key of their import.
//!
//! The chunk stays as it was staged, in the store, in messages and in copies of both. When the import ends, its key is deleted
//! (docs/decisions/0025-secrets-in-chunks.md). The cipher is AES-256-GCM. A nonce consists of the record's number and the
//! field's index, so it is never used twice with one key.

use std::fmt;

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

/// The key of one import's secrets.
#[derive(Clone)]
pub struct SecretKey(LessSafeKey);

impl SecretKey {
    /// A key of 32 bytes.
    pub fn new(bytes: &[u8]) -> Option<Self> {
        UnboundKey::new(&AES_256_GCM, bytes).ok().map(|key| Self(LessSafeKey::new(key)))
    }

    pub(super) fn seal(&self, record: u64, field: u32, text: &str) -> std::io::Result<Vec<u8>> {
        let mut sealed = text.as_bytes().to_vec();
        self.0
            .seal_in_place_append_tag(nonce(record, field), Aad::empty(), &mut sealed)
            .map_err(|_| std::io::Error::other("a secret could not be sealed"))?;
        Ok(sealed)
    }

    /// `None` if it was sealed with another key, or for another place.
    pub(super) fn open(&self, record: u64, field: u32, sealed: &[u8]) -> Option<String> {
        let mut bytes = sealed.to_vec();
        let text = self.0.open_in_place(nonce(record, field), Aad::empty(), &mut bytes).ok()?;
        String::from_utf8(text.to_vec()).ok()
    }
}

fn nonce(record: u64, field: u32) -> Nonce {
    let mut nonce = [0; 12];
    let (number, place) = nonce.split_at_mut(8);
    number.copy_from_slice(&record.to_le_bytes());
    place.copy_from_slice(&field.to_le_bytes());
    Nonce::assume_unique_for_key(nonce)
}

/// Prints nothing of the key.
impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(…)")
    }
}
