//! Secrets of webhooks and the signatures made with them, as Standard Webhooks 1.0 says: `whsec_` and 24 to 64 bytes in base64;
//! HMAC-SHA256 over `id.timestamp.body`, in base64, after `v1,`.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rand::CryptoRng;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hmac;
use secrecy::{ExposeSecret, SecretString};

/// How every secret begins.
const PREFIX: &str = "whsec_";
/// Bytes of a new secret.
const NEW_BYTES: usize = 32;
/// Fewest and most bytes of a secret.
const BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// The secret of a webhook. Nothing prints it but [`WebhookSecret::reveal`].
#[derive(Clone)]
pub struct WebhookSecret {
    text: SecretString,
    bytes: Vec<u8>,
}

/// The text does not have the form of a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not the secret of a webhook: it must be {PREFIX} and 24 to 64 bytes in base64")]
pub struct InvalidSecret;

impl WebhookSecret {
    /// A new one.
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        let mut bytes = [0; NEW_BYTES];
        rng.fill_bytes(&mut bytes);
        Self::of(format!("{PREFIX}{}", STANDARD.encode(bytes)), &bytes)
    }

    fn of(text: String, bytes: &[u8]) -> Self {
        Self { text: SecretString::from(text), bytes: bytes.to_vec() }
    }

    /// The text, to be shown once.
    pub fn reveal(&self) -> &str {
        self.text.expose_secret()
    }

    /// The signature of what is sent, as it stands in the header.
    pub fn sign(&self, id: &str, timestamp: i64, body: &str) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &self.bytes);
        let mut context = hmac::Context::with_key(&key);
        for part in [id, ".", &timestamp.to_string(), ".", body] {
            context.update(part.as_bytes());
        }
        format!("v1,{}", STANDARD.encode(context.sign()))
    }

    /// Seals it with the key of its webhook, for the store.
    pub fn seal(&self, key: &[u8], rng: &mut impl CryptoRng) -> Option<SealedSecret> {
        let mut nonce = [0; NONCE_LEN];
        rng.fill_bytes(&mut nonce);
        let mut sealed = self.reveal().as_bytes().to_vec();
        let nonce_of = Nonce::assume_unique_for_key(nonce);
        sealing_key(key)?.seal_in_place_append_tag(nonce_of, Aad::empty(), &mut sealed).ok()?;
        Some(SealedSecret([&nonce[..], &sealed].concat()))
    }
}

fn sealing_key(key: &[u8]) -> Option<LessSafeKey> {
    UnboundKey::new(&AES_256_GCM, key).ok().map(LessSafeKey::new)
}

impl FromStr for WebhookSecret {
    type Err = InvalidSecret;

    fn from_str(text: &str) -> Result<Self, InvalidSecret> {
        let encoded = text.strip_prefix(PREFIX).ok_or(InvalidSecret)?;
        let bytes = STANDARD.decode(encoded).map_err(|_| InvalidSecret)?;
        if BYTES.contains(&bytes.len()) { Ok(Self::of(text.to_owned(), &bytes)) } else { Err(InvalidSecret) }
    }
}

impl fmt::Debug for WebhookSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WebhookSecret(…)")
    }
}

/// A secret as the store has it: the nonce, then what AES-256-GCM made.
#[derive(Clone)]
pub struct SealedSecret(Vec<u8>);

impl SealedSecret {
    /// What the store has.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// For the store.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The secret; `None` where the key is another.
    pub fn open(&self, key: &[u8]) -> Option<WebhookSecret> {
        let (nonce, sealed) = self.0.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut bytes = sealed.to_vec();
        let text = sealing_key(key)?.open_in_place(nonce, Aad::empty(), &mut bytes).ok()?;
        std::str::from_utf8(text).ok()?.parse().ok()
    }
}

impl fmt::Debug for SealedSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealedSecret(…)")
    }
}

/// The header `webhook-signature`: a signature with each secret that is valid, with spaces between them.
pub fn signature_header(secrets: &[WebhookSecret], id: &str, timestamp: i64, body: &str) -> String {
    secrets.iter().map(|secret| secret.sign(id, timestamp, body)).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;
    use sha2::{Digest, Sha256};

    use super::*;

    /// HMAC as RFC 2104 writes it down, by another library than the one that signs.
    fn hmac_sha256(key: &[u8], text: &[u8]) -> Vec<u8> {
        let mut block = [0; 64];
        block[..key.len()].copy_from_slice(key);
        let padded = |with: u8| block.map(|byte| byte ^ with);
        let inner = Sha256::new().chain_update(padded(0x36)).chain_update(text).finalize();
        Sha256::new().chain_update(padded(0x5c)).chain_update(inner).finalize().to_vec()
    }

    /// The vector that the libraries of Standard Webhooks are tested with.
    #[test]
    fn signatures_are_those_of_the_published_vector() {
        let secret: WebhookSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".parse().unwrap();
        let signature = secret.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, r#"{"test": 2432232314}"#);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn a_new_secret_signs_as_its_text_says() {
        let secret = WebhookSecret::generate(&mut StdRng::seed_from_u64(1));
        let key = STANDARD.decode(secret.reveal().strip_prefix("whsec_").unwrap()).unwrap();
        assert_eq!(key.len(), NEW_BYTES);
        let expected = STANDARD.encode(hmac_sha256(&key, b"id.5.body"));
        assert_eq!(secret.sign("id", 5, "body"), format!("v1,{expected}"));
        let again: WebhookSecret = secret.reveal().parse().unwrap();
        assert_eq!(again.sign("id", 5, "body"), format!("v1,{expected}"));
        let other = WebhookSecret::generate(&mut StdRng::seed_from_u64(2));
        let header = signature_header(&[other.clone(), secret], "id", 5, "body");
        assert_eq!(header, format!("{} v1,{expected}", other.sign("id", 5, "body")));
    }

    #[test]
    fn a_sealed_secret_opens_with_its_key_alone_and_nothing_prints() {
        let mut rng = StdRng::seed_from_u64(3);
        let secret = WebhookSecret::generate(&mut rng);
        let sealed = secret.seal(&[7; 32], &mut rng).unwrap();
        assert_eq!(sealed.open(&[7; 32]).unwrap().reveal(), secret.reveal());
        assert!(sealed.open(&[8; 32]).is_none());
        assert!(SealedSecret::new(vec![1; 5]).open(&[7; 32]).is_none());
        assert!(secret.seal(&[7; 31], &mut rng).is_none());
        let text = secret.reveal().as_bytes();
        assert!(!sealed.as_bytes().windows(8).any(|part| part == &text[8..16]));
        assert_eq!(format!("{secret:?} {sealed:?}"), "WebhookSecret(…) SealedSecret(…)");
        // The same secret sealed again is something else.
        assert_ne!(secret.seal(&[7; 32], &mut rng).unwrap().as_bytes(), sealed.as_bytes());
    }

    #[test]
    fn what_is_no_secret_is_told_without_repeating_it() {
        let short = format!("whsec_{}", STANDARD.encode([1; 23]));
        let long = format!("whsec_{}", STANDARD.encode([1; 65]));
        for text in ["", "whsec_", "whsec_%%%%", "whsk_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", &short, &long] {
            assert_eq!(text.parse::<WebhookSecret>().unwrap_err(), InvalidSecret, "{text}");
        }
    }
}
