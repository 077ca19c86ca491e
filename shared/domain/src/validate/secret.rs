//! Passwords and second factors: objects in JSON, flat columns in tables.

use std::borrow::Cow;

use super::{formats, json, value};
use crate::error::{ErrorCode, RecordError};
use crate::fault::{Mutant, mutant};
use crate::normalise::{EmailAddress, HashKind, PasswordHash, TotpSecret};
use crate::record::{Extras, Password, Patch, RawValue};
use crate::rules::Rules;

/// `{"type": "bcrypt", "password_hash": "$2b$…", "expire_after": "…"}`.
pub(super) fn password<'a>(value: RawValue<'a>, lenient: bool) -> Result<Password<'a>, RecordError> {
    password_object(json::source(not_null(value)?, '{', "an object", lenient)?)
}

fn password_object(source: &str) -> Result<Password<'_>, RecordError> {
    let (mut kind, mut hash, mut expire_after) = (None, None, None);
    for (key, json) in json::entries(source)? {
        let in_key = |error: RecordError| error.in_field(key.clone());
        match &*key {
            "type" => kind = Some(present(json).and_then(kind_of).map_err(in_key)?),
            "password_hash" => hash = Some(present(json).map_err(in_key)?),
            "expire_after" => {
                let moment = present(json).and_then(|text| formats::date_time(&text));
                expire_after = Some(moment.map_err(in_key)?);
            }
            _ => return Err(in_key(unknown())),
        }
    }
    let kind = kind.ok_or_else(|| required("type"))?;
    let hash = hash.ok_or_else(|| required("password_hash"))?;
    let hash = password_hash(hash).map_err(|error| error.in_field("password_hash"))?;
    if hash.kind() != kind {
        let message = "the hash is of another kind than `type` says";
        return Err(RecordError::new(ErrorCode::HashInvalid, message).in_field("password_hash"));
    }
    Ok(Password { hash, expire_after })
}

fn kind_of(text: Cow<'_, str>) -> Result<HashKind, RecordError> {
    [HashKind::Bcrypt, HashKind::Argon2id].into_iter().find(|kind| kind.as_str() == text).ok_or_else(|| {
        RecordError::new(ErrorCode::ValueInvalid, "the value must be one of: bcrypt, argon2id")
    })
}

/// The hash of a password, alone.
pub(super) fn password_hash(text: Cow<'_, str>) -> Result<PasswordHash<'_>, RecordError> {
    if text.is_empty() { Err(value::empty()) } else { PasswordHash::parse(text) }
}

/// A TOTP secret, alone.
pub(super) fn totp_secret(text: Cow<'_, str>) -> Result<TotpSecret<'_>, RecordError> {
    if text.is_empty() { Err(value::empty()) } else { TotpSecret::parse(text) }
}

/// `{"email": …, "phone_number": …, "password": {…}, "totp": {"secret": …}}`, each where it is there.
pub(super) fn mfa<'a>(
    value: RawValue<'a>,
    rules: &Rules,
    extras: &mut Extras<'a>,
) -> Result<(), RecordError> {
    let source = json::source(not_null(value)?, '{', "an object", rules.lenient())?;
    // A bad secret is told where the object is as it must be otherwise.
    let mut secret = Ok(());
    for (key, json) in json::entries(source)? {
        let in_key = |error: RecordError| value::nested(error, &key);
        match &*key {
            "email" => extras.mfa_email = value::json_text(json, EmailAddress::parse_cow).map_err(in_key)?,
            "phone_number" => {
                extras.mfa_phone_number =
                    value::json_text(json, |text| super::person::phone(text, rules)).map_err(in_key)?;
            }
            "password" => match object(json).and_then(password_object).map_err(in_key) {
                Ok(password) => extras.mfa_password = Patch::Value(password),
                Err(error) => secret = later(secret, error)?,
            },
            "totp" => match object(json).and_then(totp_object).map_err(in_key) {
                Ok(totp) => extras.mfa_totp = Patch::Value(totp),
                Err(error) => secret = later(secret, error)?,
            },
            _ => return Err(in_key(unknown())),
        }
    }
    secret
}

/// Keeps what is wrong with a secret itself, the first one, and gives any other error up at once.
fn later(
    secret: Result<(), RecordError>,
    error: RecordError,
) -> Result<Result<(), RecordError>, RecordError> {
    let of_secret = matches!(
        error.code,
        ErrorCode::TotpInvalid | ErrorCode::HashInvalid | ErrorCode::HashUnsupported | ErrorCode::HashCost
    );
    if of_secret && !mutant(Mutant::SecretBeforeSchema) { Ok(secret.and(Err(error))) } else { Err(error) }
}

fn totp_object(source: &str) -> Result<TotpSecret<'_>, RecordError> {
    let mut secret = None;
    for (key, json) in json::entries(source)? {
        match &*key {
            "secret" => secret = Some(present(json).map_err(|error| error.in_field("secret"))?),
            _ => return Err(unknown().in_field(key)),
        }
    }
    let secret = secret.ok_or_else(|| required("secret"))?;
    totp_secret(secret).map_err(|error| error.in_field("secret"))
}

fn not_null(value: RawValue<'_>) -> Result<RawValue<'_>, RecordError> {
    if value == RawValue::Null { Err(value::null()) } else { Ok(value) }
}

fn object(json: &str) -> Result<&str, RecordError> {
    if json == "null" {
        Err(value::null())
    } else if json.starts_with('{') {
        Ok(json)
    } else {
        Err(value::mismatch("an object"))
    }
}

fn present(json: &str) -> Result<Cow<'_, str>, RecordError> {
    match value::json_text(json, Ok)? {
        Patch::Value(text) if text.is_empty() => Err(value::empty()),
        Patch::Value(text) => Ok(text),
        _ => Err(value::null()),
    }
}

fn unknown() -> RecordError {
    RecordError::new(ErrorCode::FieldUnknown, "the field is not known")
}

fn required(name: &str) -> RecordError {
    RecordError::new(ErrorCode::FieldRequired, "the field must be there").in_field(name)
}
