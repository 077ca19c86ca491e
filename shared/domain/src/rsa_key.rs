//! RSA public keys in PEM, which an operator registers so that signed requests can be verified.
//!
//! Two forms are taken, `PUBLIC KEY` (SubjectPublicKeyInfo, what `openssl rsa -pubout` writes) and `RSA PUBLIC KEY` (PKCS #1);
//! both come out as PKCS #1 in DER, which is what verifying takes. Private keys are refused. Non-goals: verification itself,
//! and other kinds of keys.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// Shortest modulus, in bits: shorter ones can be broken.
const MIN_BITS: usize = 2048;
/// Longest modulus, in bits: longer ones cost more than they give, and the verifier takes none.
const MAX_BITS: usize = 8192;
/// The object identifier 1.2.840.113549.1.1.1 (rsaEncryption), in DER.
const RSA_ENCRYPTION: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OBJECT_IDENTIFIER: u8 = 0x06;

/// An RSA public key of a bearable size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RsaPublicKey {
    der: Vec<u8>,
    bits: usize,
}

/// Why a text is no such key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKey {
    /// There is no PEM block, or more than one.
    #[error("the file must hold one PEM block, from `-----BEGIN PUBLIC KEY-----` to its end")]
    NoPem,
    /// The key is a private one.
    #[error(
        "this is a private key: hand over its public half only (openssl rsa -in private.pem -pubout), and keep the private one to yourself"
    )]
    Private,
    /// The block is of another kind.
    #[error("the PEM block must be `PUBLIC KEY` or `RSA PUBLIC KEY`")]
    OtherKind,
    /// What stands in the block is not an RSA key.
    #[error("the PEM block does not hold an RSA public key")]
    NotRsa,
    /// The key is too short or too long.
    #[error("the key must have from 2048 to 8192 bits")]
    Size,
}

impl RsaPublicKey {
    /// Reads a key from PEM.
    pub fn from_pem(text: &str) -> Result<Self, InvalidKey> {
        let (label, der) = pem_block(text)?;
        match label {
            "PUBLIC KEY" => Self::from_pkcs1(subject_public_key(&der).ok_or(InvalidKey::NotRsa)?),
            "RSA PUBLIC KEY" => Self::from_pkcs1(&der),
            label if label.ends_with("PRIVATE KEY") => Err(InvalidKey::Private),
            _ => Err(InvalidKey::OtherKind),
        }
    }

    fn from_pkcs1(der: &[u8]) -> Result<Self, InvalidKey> {
        let bits = modulus_bits(der).ok_or(InvalidKey::NotRsa)?;
        if !(MIN_BITS..=MAX_BITS).contains(&bits) {
            return Err(InvalidKey::Size);
        }
        Ok(Self { der: der.to_vec(), bits })
    }

    /// The key as PKCS #1 in DER.
    pub fn as_der(&self) -> &[u8] {
        &self.der
    }

    /// Length of its modulus.
    pub fn bits(&self) -> usize {
        self.bits
    }
}

/// The label and the bytes of the one block.
fn pem_block(text: &str) -> Result<(&str, Vec<u8>), InvalidKey> {
    let (_, rest) = text.split_once("-----BEGIN ").ok_or(InvalidKey::NoPem)?;
    let (label, rest) = rest.split_once("-----").ok_or(InvalidKey::NoPem)?;
    let (body, rest) = rest.split_once("-----END ").ok_or(InvalidKey::NoPem)?;
    let end = rest.strip_prefix(label).and_then(|rest| rest.strip_prefix("-----"));
    if label.ends_with("PRIVATE KEY") {
        return Ok((label, Vec::new()));
    }
    if end.is_none_or(|after| after.contains("-----BEGIN ")) {
        return Err(InvalidKey::NoPem);
    }
    let digits: String = body.split_ascii_whitespace().collect();
    STANDARD.decode(digits).map(|der| (label, der)).map_err(|_| InvalidKey::NoPem)
}

/// The PKCS #1 key in a SubjectPublicKeyInfo.
fn subject_public_key(der: &[u8]) -> Option<&[u8]> {
    let (info, []) = take(der, SEQUENCE)? else { return None };
    let (algorithm, rest) = take(info, SEQUENCE)?;
    let (identifier, _) = take(algorithm, OBJECT_IDENTIFIER)?;
    let (bits, []) = take(rest, BIT_STRING)? else { return None };
    match bits {
        // The first byte counts the unused bits of the last.
        [0, key @ ..] if identifier == RSA_ENCRYPTION => Some(key),
        _ => None,
    }
}

/// Length of the modulus of a PKCS #1 key whose structure is right.
fn modulus_bits(der: &[u8]) -> Option<usize> {
    let (key, []) = take(der, SEQUENCE)? else { return None };
    let (modulus, rest) = take(key, INTEGER)?;
    let (exponent, []) = take(rest, INTEGER)? else { return None };
    // A positive number whose first bit is set has a zero before it.
    let modulus = modulus.strip_prefix(&[0]).unwrap_or(modulus);
    let first = modulus.first().filter(|first| **first != 0)?;
    (!exponent.is_empty()).then(|| modulus.len() * 8 - first.leading_zeros() as usize)
}

/// The content of the element of this tag at the front, and what follows it.
fn take(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&[found, first], rest) = der.split_first_chunk::<2>()?;
    if found != tag {
        return None;
    }
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81 | 0x82 => {
            let (length, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (length.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
        }
        // Longer ones are no key of a bearable size.
        _ => return None,
    };
    rest.split_at_checked(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PUBLIC: &str = include_str!("../../test_data/keys/public.pem");
    const PKCS1: &str = include_str!("../../test_data/keys/public_pkcs1.pem");
    const SHORT: &str = include_str!("../../test_data/keys/short.pem");
    const ELLIPTIC: &str = include_str!("../../test_data/keys/elliptic.pem");

    #[test]
    fn both_forms_give_the_same_key() {
        let key = RsaPublicKey::from_pem(PUBLIC).unwrap();
        assert_eq!(key.bits(), 2048);
        assert_eq!(RsaPublicKey::from_pem(PKCS1), Ok(key.clone()));
        assert_eq!(RsaPublicKey::from_pem(&format!("a comment\n{}", PUBLIC.replace('\n', "\r\n"))), Ok(key));
    }

    #[test]
    fn other_texts_are_refused_with_their_reason() {
        let private = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
        let certificate = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let twice = format!("{PUBLIC}{PUBLIC}");
        let cut = &PUBLIC[..PUBLIC.len() / 2];
        let bent = PUBLIC.replacen("MII", "MIA", 1);
        for (text, reason) in [
            ("", InvalidKey::NoPem),
            (cut, InvalidKey::NoPem),
            (&twice, InvalidKey::NoPem),
            (private, InvalidKey::Private),
            (certificate, InvalidKey::OtherKind),
            (ELLIPTIC, InvalidKey::NotRsa),
            (&bent, InvalidKey::NotRsa),
            (SHORT, InvalidKey::Size),
        ] {
            assert_eq!(RsaPublicKey::from_pem(text), Err(reason), "{text}");
        }
    }

    #[test]
    fn keys_cut_anywhere_are_refused_without_panic() {
        let key = RsaPublicKey::from_pem(PUBLIC).unwrap();
        for end in 0..key.as_der().len() {
            assert!(RsaPublicKey::from_pkcs1(&key.as_der()[..end]).is_err());
        }
    }
}
