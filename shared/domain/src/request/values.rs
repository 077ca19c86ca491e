//! Checks the values of options. An error lists what is allowed.

use crate::catalog::{FieldError, MAX_NAME_BYTES};
use crate::error::ErrorCode;
use crate::fault::{Mutant, mutant};
use crate::normalise::{has_forbidden_char, is_phone_country};
use crate::options::ChoiceValue;
use crate::tenant::Slug;

/// Longest label of a file, in characters.
const FILENAME_CHARS: usize = 255;
/// Longest idempotency key, in bytes.
const KEY_BYTES: usize = 255;

pub(super) fn invalid(field: impl Into<String>, message: impl Into<String>) -> FieldError {
    FieldError::new(ErrorCode::InvalidRequest, field, message)
}

/// Reads a value into its place.
pub(super) fn take<T>(value: &str, place: &mut T) -> Result<(), String>
where
    T: std::str::FromStr,
    T::Err: std::fmt::Display,
{
    *place = value.parse().map_err(|error: T::Err| error.to_string())?;
    Ok(())
}

/// Reads a value into a place that may be empty.
pub(super) fn take_some<T>(value: &str, place: &mut Option<T>) -> Result<(), String>
where
    T: std::str::FromStr,
    T::Err: std::fmt::Display,
{
    *place = Some(value.parse().map_err(|error: T::Err| error.to_string())?);
    Ok(())
}

/// Reads a value that is one of these, or `auto`, which leaves it to be told from the file.
pub(super) fn take_or_auto<T: std::str::FromStr>(
    value: &str,
    place: &mut Option<OrAuto<T>>,
    values: &[ChoiceValue],
) -> Result<(), String> {
    *place = Some(match value {
        "auto" => OrAuto::Auto,
        _ => {
            let names = || values.iter().map(|value| value.name).collect::<Vec<_>>().join(", ");
            OrAuto::Is(value.parse().map_err(|_| format!("must be one of: {}", names()))?)
        }
    });
    Ok(())
}

/// What is named, or left to be told from the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OrAuto<T> {
    Auto,
    Is(T),
}

/// The name of a profile; `auto` proposes one, and decides nothing.
pub(super) fn profile_name(value: &str) -> Result<String, String> {
    match value.parse::<Slug>() {
        Ok(_) if value == "auto" => {
            Err("proposes a profile and takes none: `muster inspect FILE` says which one fits, and name that"
                .into())
        }
        Ok(name) => Ok(name.as_str().to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// A country whose phone numbers may stand without their country code.
pub(super) fn country(value: &str) -> Result<String, String> {
    let country = value.trim().to_ascii_uppercase();
    match is_phone_country(&country) {
        true => Ok(country),
        false => Err("must be the two letters of a country, such as DE or GB".into()),
    }
}

/// Limits of the words that mean an empty cell: their number, and the characters of each.
const NULL_WORDS: (usize, usize) = (16, 32);

pub(super) fn null_words(value: &str) -> Result<Vec<String>, String> {
    let words: Vec<String> = value.split(',').map(|word| word.trim().to_owned()).collect();
    let (most, longest) = NULL_WORDS;
    match words.len() <= most && words.iter().all(|word| (1..=longest).contains(&word.chars().count())) {
        true => Ok(words),
        false => Err(format!("must be up to {most} words with commas between them, as in NULL,N/A")),
    }
}

/// Longest JSON Pointer, in bytes.
const POINTER_BYTES: usize = 1024;

pub(super) fn pointer(value: &str) -> Result<String, String> {
    let keys = value.strip_prefix('?').unwrap_or(value);
    let keys = keys.strip_prefix('/').unwrap_or(keys);
    if keys.is_empty() || value.len() > POINTER_BYTES {
        return Err("must be the way to the list of records, as in `users` or `/realm/users`".into());
    }
    Ok(value.to_owned())
}

/// Longest name of a sheet, in characters; spreadsheets take 31.
const SHEET_CHARS: usize = 255;

pub(super) fn sheet(value: &str) -> Result<String, String> {
    if value.is_empty() || value.chars().count() > SHEET_CHARS {
        return Err("must be the name of a sheet, or its number".into());
    }
    Ok(value.to_owned())
}

pub(super) fn group_name(value: &str) -> Result<String, String> {
    let name = value.trim();
    if name.is_empty() || name.len() > MAX_NAME_BYTES || has_forbidden_char(name) {
        return Err(format!("must be 1 to {MAX_NAME_BYTES} bytes of visible text"));
    }
    Ok(name.to_owned())
}

/// An idempotency key as it may be.
///
/// # Errors
///
/// Where it is empty, too long, or has other than printable ASCII characters.
pub fn checked_key(key: &str) -> Result<String, FieldError> {
    if key.is_empty() || key.len() > KEY_BYTES || !key.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
        return Err(invalid(
            "Idempotency-Key",
            format!("must be 1 to {KEY_BYTES} printable ASCII characters"),
        ));
    }
    Ok(key.to_owned())
}

/// A file's name as a label: its last part, without what cannot be seen. Never used as a path.
pub fn file_label(name: &str) -> Option<String> {
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let visible = last.chars().filter(|c| !c.is_control() && !has_forbidden_char(c.encode_utf8(&mut [0; 4])));
    let label: String = visible.take(FILENAME_CHARS).collect();
    let label = label.trim();
    (!label.is_empty()).then(|| label.to_owned())
}

/// Whether a text holds a character that no text of the database may hold.
pub fn has_nul(text: &str) -> bool {
    text.contains('\0') && !mutant(Mutant::NulInParameters)
}
