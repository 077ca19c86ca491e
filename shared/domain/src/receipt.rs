//! Receipts: what was done with a file, signed. Pure.
//!
//! A receipt is a JSON document with the members `receipt` and `signature`. What is signed are exactly the
//! bytes of the member `receipt` as it is written: from its `{` to its `}`, blanks and line ends included. If
//! the document is written again in any other form, even with other blanks, its signature is no longer valid.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use ring::rand::SystemRandom;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::fault::{Mutant, mutant};
use crate::import::ImportState;
use crate::options::ImportOptions;
use crate::outcome::Counts;
use crate::parse::ReadAs;

/// The version of what a receipt says.
pub const VERSION: u32 = 1;
/// How receipts are signed.
pub const ALGORITHM: &str = "Ed25519";
/// Bytes of a public key.
const KEY_BYTES: usize = 32;

/// What a receipt says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Receipt {
    /// [`VERSION`].
    pub version: u32,
    /// When it was made: what comes later (a retry, an undo) is not in it.
    pub issued_at: DateTime<Utc>,
    /// The program that made it, and its version.
    pub program: String,
    /// Whose import it is: the tenant's short name.
    pub tenant: String,
    /// The import.
    pub import: ImportLine,
    /// The file; none for an undo, which has none.
    pub file: Option<FileLine>,
    /// What it was asked to do.
    pub options: ImportOptions,
    /// The outcomes of the records.
    pub counts: Counts,
    /// Failures by cause, the most frequent first.
    pub problems: Vec<ProblemLine>,
    /// Digests of the outcomes.
    pub outcomes: OutcomeDigests,
    /// When what happened.
    pub times: Times,
    /// What it has to do with other imports.
    pub lineage: Lineage,
}

/// The import of a receipt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "they are the import's")]
pub struct ImportLine {
    pub id: Uuid,
    pub state: ImportState,
}

/// The file of a receipt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileLine {
    /// Its label.
    pub name: Option<String>,
    /// SHA-256 of its bytes, in hex. Of a file that was sent compressed: of what it is decompressed.
    pub sha256: String,
    /// How many bytes that are.
    pub bytes: u64,
    /// How many records it has.
    pub records: u64,
    /// How its text was read; with the options, this gives the same records again.
    pub read_as: Option<ReadAs>,
}

/// Failures with one cause.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProblemLine {
    /// The error's code.
    pub code: String,
    /// The column or key, if it concerns one.
    pub field: Option<String>,
    /// How many errors.
    pub count: u64,
}

/// When what happened to an import.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "they are the import's")]
pub struct Times {
    pub created_at: DateTime<Utc>,
    pub received_at: Option<DateTime<Utc>>,
    pub started_at: Option<DateTime<Utc>>,
    pub completed_at: Option<DateTime<Utc>>,
}

/// What an import has to do with others.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lineage {
    /// The import whose failed records it brought again.
    pub mends: Option<Uuid>,
    /// Imports that brought its failed records again, oldest first.
    pub mended_by: Vec<Uuid>,
    /// The import that it undoes.
    pub undoes: Option<Uuid>,
    /// Undos of it, oldest first.
    pub undone_by: Vec<Uuid>,
}

/// Digests of the outcomes, one for each chunk, and one of all of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutcomeDigests {
    /// How many chunks there are.
    pub chunks: u64,
    /// The last link of the chain, in hex: link n is SHA-256 over link n-1 (32 zero bytes before the first) and the digest of chunk n.
    pub root: String,
    /// SHA-256 of each chunk's number (8 bytes, the greatest first) and its sheet of outcomes, in hex, in the order of the numbers from 1.
    pub digests: Vec<String>,
}

impl OutcomeDigests {
    /// Of these digests.
    pub fn of(digests: &[[u8; 32]]) -> Self {
        let root = digests.iter().fold([0; 32], |link: [u8; 32], digest| {
            let mut hash = Sha256::new();
            hash.update(link);
            hash.update(digest);
            hash.finalize().into()
        });
        Self {
            chunks: digests.len() as u64,
            root: hex::encode(root),
            digests: digests.iter().map(hex::encode).collect(),
        }
    }

    /// Whether the digests make the root.
    pub fn is_whole(&self) -> bool {
        let digest = |text: &String| <[u8; 32]>::try_from(hex::decode(text).ok()?).ok();
        let digests: Option<Vec<[u8; 32]>> = self.digests.iter().map(digest).collect();
        digests.is_some_and(|digests| Self::of(&digests) == *self)
    }
}

/// The public half of an installation's key. As text: base64.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublicKey([u8; KEY_BYTES]);

impl PublicKey {
    /// Its bytes.
    pub fn bytes(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }
}

/// The text is no public key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be a public key of an installation: 32 bytes in base64, as `muster receipts key` prints it")]
pub struct NoKey;

impl std::fmt::Display for PublicKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&STANDARD.encode(self.0))
    }
}

impl std::str::FromStr for PublicKey {
    type Err = NoKey;

    fn from_str(text: &str) -> Result<Self, NoKey> {
        let bytes = STANDARD.decode(text.trim()).map_err(|_| NoKey)?;
        bytes.try_into().map(Self).map_err(|_| NoKey)
    }
}

/// The key of an installation.
pub struct SigningKey(Ed25519KeyPair);

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SigningKey({})", self.public())
    }
}

impl SigningKey {
    /// A new key as it is kept (PKCS #8). `None` where the system gives no random bytes.
    pub fn generate() -> Option<Vec<u8>> {
        Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).ok().map(|kept| kept.as_ref().to_vec())
    }

    /// The key that was kept. `None` for anything else.
    pub fn from_kept(pkcs8: &[u8]) -> Option<Self> {
        Ed25519KeyPair::from_pkcs8(pkcs8).ok().map(Self)
    }

    /// Its public half.
    pub fn public(&self) -> PublicKey {
        let mut bytes = [0; KEY_BYTES];
        // Both have 32 bytes.
        bytes.iter_mut().zip(self.0.public_key().as_ref()).for_each(|(to, from)| *to = *from);
        PublicKey(bytes)
    }

    /// The document of a receipt.
    pub fn sign(&self, receipt: &Receipt) -> serde_json::Result<String> {
        let signed = serde_json::to_string_pretty(receipt)?;
        let signature = Signature {
            algorithm: ALGORITHM.to_owned(),
            key: self.public().to_string(),
            value: STANDARD.encode(self.0.sign(signed.as_bytes())),
        };
        Ok(format!(
            "{{\"receipt\": {signed},\n\"signature\": {}}}\n",
            serde_json::to_string_pretty(&signature)?
        ))
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Signature {
    algorithm: String,
    key: String,
    value: String,
}

#[derive(Deserialize)]
struct Document<'d> {
    #[serde(borrow)]
    receipt: &'d RawValue,
    signature: Signature,
}

/// What is wrong with a receipt.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It is no receipt at all.
    #[error("this is no receipt: {0}")]
    NoReceipt(String),
    /// It is signed in another way, or says things that this program does not know.
    #[error("the receipt is of another version of Muster: {0}")]
    Newer(String),
    /// It is not what was signed.
    #[error("the receipt was changed after it was signed: its signature does not fit")]
    Changed,
    /// It is signed by another installation.
    #[error("the receipt is of another installation: it is signed with the key {0}")]
    Stranger(String),
    /// Its parts contradict each other, though it is signed.
    #[error("the receipt contradicts itself: {0}")]
    Contradiction(&'static str),
}

/// Reads a receipt and checks its signature: with this key if one is given, otherwise with its own, which
/// shows that nothing was changed but not who signed it.
pub fn check(document: &str, key: Option<PublicKey>) -> Result<(Receipt, PublicKey), Fault> {
    let Document { receipt, signature } = serde_json::from_str(document.trim_start_matches('\u{feff}'))
        .map_err(|_| {
            Fault::NoReceipt("it is not a JSON object with the members `receipt` and `signature`".into())
        })?;
    if signature.algorithm != ALGORITHM {
        let named: String = signature.algorithm.chars().take(40).collect();
        return Err(Fault::Newer(format!("it is signed by {}", named.escape_debug())));
    }
    let own: PublicKey = signature.key.parse().map_err(|_| Fault::Changed)?;
    let value = STANDARD.decode(signature.value.trim()).map_err(|_| Fault::Changed)?;
    let good = UnparsedPublicKey::new(&ED25519, own.0).verify(receipt.get().as_bytes(), &value).is_ok();
    if !good && !mutant(Mutant::SignatureUnchecked) {
        return Err(Fault::Changed);
    }
    if key.is_some_and(|key| key != own) {
        return Err(Fault::Stranger(own.to_string()));
    }
    let receipt: Receipt =
        serde_json::from_str(receipt.get()).map_err(|error| Fault::Newer(error.to_string()))?;
    if receipt.version != VERSION {
        return Err(Fault::Newer(format!("version {}", receipt.version)));
    }
    if !receipt.outcomes.is_whole() {
        return Err(Fault::Contradiction("the digests of its chunks do not make its root"));
    }
    if !receipt.counts.add_up() {
        return Err(Fault::Contradiction("its counts do not add up"));
    }
    Ok((receipt, own))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receipt() -> Receipt {
        let at = DateTime::from_timestamp(1_750_000_000, 0).unwrap();
        Receipt {
            version: VERSION,
            issued_at: at,
            program: "muster 1.0.0".into(),
            tenant: "acme".into(),
            import: ImportLine { id: Uuid::from_u128(1), state: ImportState::Completed },
            file: None,
            options: ImportOptions::default(),
            counts: Counts { total: 2, inserted: 1, failed: 1, ..Counts::default() },
            problems: vec![ProblemLine {
                code: "email_invalid".into(),
                field: Some("email".into()),
                count: 1,
            }],
            outcomes: OutcomeDigests::of(&[[1; 32], [2; 32]]),
            times: Times { created_at: at, received_at: None, started_at: None, completed_at: None },
            lineage: Lineage::default(),
        }
    }

    fn key() -> SigningKey {
        SigningKey::from_kept(&SigningKey::generate().unwrap()).unwrap()
    }

    #[test]
    fn a_signed_receipt_is_good_and_each_changed_byte_of_it_is_found() {
        let (key, other) = (key(), key());
        let document = key.sign(&receipt()).unwrap();
        assert_eq!(check(&document, None), Ok((receipt(), key.public())));
        assert_eq!(check(&document, Some(key.public())), Ok((receipt(), key.public())));
        assert_eq!(check(&document, Some(other.public())), Err(Fault::Stranger(key.public().to_string())));
        let good = document.trim_end().as_bytes();
        for at in 0..good.len() {
            let mut changed = good.to_vec();
            changed[at] ^= 1;
            let Ok(text) = String::from_utf8(changed) else { continue };
            assert!(check(&text, None).is_err(), "byte {at}: {text}");
        }
    }

    #[test]
    fn what_was_written_anew_is_told_from_what_was_signed() {
        let key = key();
        let document = key.sign(&receipt()).unwrap();
        let value: serde_json::Value = serde_json::from_str(&document).unwrap();
        assert_eq!(check(&value.to_string(), None), Err(Fault::Changed));
        assert_eq!(check(&document.replace('\n', "\r\n"), None), Err(Fault::Changed));
        assert!(matches!(check("{}", None), Err(Fault::NoReceipt(_))));
        assert!(matches!(check("[1", None), Err(Fault::NoReceipt(_))));
        assert!(matches!(check(&document.replace(ALGORITHM, "RSA"), None), Err(Fault::Newer(_))));
    }

    #[test]
    fn digests_make_one_root_and_their_order_counts() {
        let whole = OutcomeDigests::of(&[[1; 32], [2; 32]]);
        assert!(whole.is_whole());
        assert_ne!(whole.root, OutcomeDigests::of(&[[2; 32], [1; 32]]).root);
        assert!(!OutcomeDigests { chunks: 1, ..whole.clone() }.is_whole());
        assert!(!OutcomeDigests { digests: vec!["x".into(), "y".into()], ..whole }.is_whole());
        assert_eq!(OutcomeDigests::of(&[]).root, "0".repeat(64));
    }

    #[test]
    fn a_key_comes_back_from_its_text() {
        let public = key().public();
        assert_eq!(public.to_string().parse(), Ok(public));
        assert_eq!("AAAA".parse::<PublicKey>(), Err(NoKey));
        assert_eq!("?".parse::<PublicKey>(), Err(NoKey));
        assert!(SigningKey::from_kept(b"x").is_none());
    }
}
