//! Ids of imports as Authgear writes them: `userimport_` and 32 characters of Crockford's base32, 160 bits.
//!
//! 128 bits are the import's own id, 32 a checksum, so a mistyped id is unknown. The ids are not secret: an
//! import is found by its tenant's clients only.

use muster_domain::id::ImportId;
use sha2::{Digest, Sha256};
use uuid::Uuid;

const PREFIX: &str = "userimport_";
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// The id as clients see it.
pub(super) fn encode(import: ImportId) -> String {
    let bytes = with_checksum(import.get());
    let mut text = String::with_capacity(PREFIX.len() + 32);
    text.push_str(PREFIX);
    for five in bytes.chunks_exact(5) {
        let bits = five.iter().fold(0u64, |bits, byte| bits << 8 | u64::from(*byte));
        for place in (0..8).rev() {
            text.push(char::from(ALPHABET[(bits >> (5 * place) & 31) as usize]));
        }
    }
    text
}

/// The import that a client means. `None` if no import can have that id.
pub fn decode(text: &str) -> Option<ImportId> {
    let digits = text.strip_prefix(PREFIX)?.as_bytes();
    if digits.len() != 32 {
        return None;
    }
    let mut bytes = [0; 20];
    for (eight, five) in digits.chunks_exact(8).zip(bytes.chunks_exact_mut(5)) {
        let mut bits = 0u64;
        for digit in eight {
            let value = ALPHABET.iter().position(|known| known == digit)?;
            bits = bits << 5 | value as u64;
        }
        five.copy_from_slice(&bits.to_be_bytes()[3..]);
    }
    let id = Uuid::from_slice(&bytes[..16]).ok()?;
    (with_checksum(id) == bytes).then(|| ImportId::new(id))
}

fn with_checksum(id: Uuid) -> [u8; 20] {
    let mut bytes = [0; 20];
    bytes[..16].copy_from_slice(id.as_bytes());
    let digest = Sha256::digest(id.as_bytes());
    bytes[16..].copy_from_slice(&digest[..4]);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_read_as_they_are_written() {
        for number in [0, 1, u128::MAX, 0x0190_a5f0_7b7c_7000_8000_0123_4567_89ab] {
            let id = ImportId::new(Uuid::from_u128(number));
            let text = encode(id);
            assert_eq!(text.len(), 43);
            assert_eq!(decode(&text), Some(id));
            // Any other last character is another id, and no import's.
            for other in ALPHABET.iter().map(|c| char::from(*c)).filter(|c| !text.ends_with(*c)) {
                assert_eq!(decode(&format!("{}{other}", &text[..42])), None);
            }
        }
        for text in
            ["", "userimport_", "userimport_ü", &"0".repeat(43), &format!("userimport_{}", "U".repeat(32))]
        {
            assert_eq!(decode(text), None, "{text}");
        }
    }
}
