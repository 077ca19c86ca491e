//! Which names of an upload hold secrets, and what is shown instead of their values.
//!
//! A name counts as secret when the import takes it for a secret field, and when it looks like one: a misspelt or unknown name is
//! where plain secrets are found. When in doubt, a value is hidden: a hidden value can be entered again, but a published secret
//! cannot be taken back.

use serde_json::{Map, Value};

use super::raw::{FieldNames, NameId, RawField, RawRecord, RawValue};
use crate::digits::loses_digits;
use crate::error::ErrorCode;
use crate::fault::{Mutant, mutant};
use crate::normalise::REDACTED;

/// Anywhere in a name, whatever is between its letters.
const PARTS: [&str; 20] = [
    "password",
    "passwd",
    "passwort",
    "passphrase",
    "passcode",
    "pwd",
    "secret",
    "totp",
    "hash",
    "token",
    "apikey",
    "privatekey",
    "accesskey",
    "encryptionkey",
    "signingkey",
    "credential",
    "recoverycode",
    "backupcode",
    "securityanswer",
    "authenticator",
];

/// As a word of a name; words are separated by separators and by capitals.
const WORDS: [&str; 9] = ["pass", "pw", "otp", "hotp", "pin", "salt", "psk", "jwt", "cvv"];

/// What may be read back of the object `password`: how it was hashed and until when it counts (contracts A.3.8).
const PASSWORD_SHOWN: [&str; 2] = ["type", "expire_after"];
/// What may be read back of the object `mfa`: where second factors are sent to.
const MFA_SHOWN: [&str; 2] = ["email", "phone_number"];

/// Whether a name looks like that of a secret, in any case and with any separators, as a key of the metadata too.
pub fn looks_secret(name: &str) -> bool {
    if mutant(Mutant::FewSecretNames) {
        let name = name.to_ascii_lowercase();
        return ["password", "secret", "totp", "hash"].iter().any(|part| name.contains(part));
    }
    let name = crate::normalise::compose(name);
    let letters: String = name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect();
    PARTS.iter().any(|part| letters.contains(part)) || words(&name).any(|word| WORDS.contains(&word.as_str()))
}

/// The words of a name, in lower case: `customerPIN`, `customer_pin` and `customer pin` have two.
fn words(name: &str) -> impl Iterator<Item = String> {
    let mut words = vec![String::new()];
    let mut before = ' ';
    for c in name.chars() {
        if !c.is_alphanumeric() || c.is_uppercase() && before.is_lowercase() {
            words.push(String::new());
        }
        if c.is_alphanumeric()
            && let Some(word) = words.last_mut()
        {
            word.extend(c.to_lowercase());
        }
        before = c;
    }
    words.into_iter()
}

/// Whether a value is written as a password hash is: `$2b$10$…`, `$argon2id$…`, `$6$…`, `{SSHA}…`.
fn looks_hashed(text: &str) -> bool {
    let text = text.trim_start_matches(|c: char| c.is_whitespace() || c == '\'');
    let modular = text.starts_with('$')
        && text.len() >= 20
        && text.get(1..).and_then(|rest| rest.split_once('$')).is_some_and(|(kind, _)| {
            (1..=24).contains(&kind.len())
                && kind.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        });
    let tagged = ["{ssha", "{sha", "{smd5", "{md5", "{crypt", "{pbkdf2", "{argon2", "{bcrypt"];
    modular
        || text
            .get(..8)
            .is_some_and(|start| tagged.iter().any(|tag| start.to_ascii_lowercase().starts_with(tag)))
}

/// The secret names of one import, worked out once a name.
#[derive(Debug, Clone, Default)]
pub struct Secrets {
    hidden: Vec<bool>,
    /// Names that the import takes for secret fields although they do not look like it.
    aliases: Vec<String>,
}

impl Secrets {
    /// By what the names look like alone.
    pub fn by_name(names: &FieldNames) -> Self {
        let mut secrets = Self::default();
        for name in names.iter() {
            secrets.push(name, false);
        }
        secrets
    }

    /// No names yet; these names are taken for secrets wherever they are met.
    pub(crate) fn with_aliases(aliases: impl IntoIterator<Item = String>) -> Self {
        Self { aliases: aliases.into_iter().filter(|name| !looks_secret(name)).collect(), ..Self::default() }
    }

    /// Takes in the next name. `secret`: the import takes it for a secret field.
    pub(crate) fn push(&mut self, name: &str, secret: bool) {
        self.hidden.push(secret || name == "mfa" || looks_secret(name));
    }

    /// Whether the values under a name are hidden.
    pub fn hides(&self, name: NameId) -> bool {
        self.hidden.get(name as usize).copied().unwrap_or(true)
    }

    /// Of how many names is known whether they have secrets.
    pub fn len(&self) -> usize {
        self.hidden.len()
    }

    /// Whether no name was met yet.
    pub fn is_empty(&self) -> bool {
        self.hidden.is_empty()
    }

    /// Whether the upload has any secret, as far as its names are known.
    pub fn any(&self) -> bool {
        self.hidden.contains(&true)
    }

    /// Whether a record has to be hidden whole: it was not read whole, so its values may stand under the wrong names, and one of
    /// them may be a secret.
    pub fn hide_whole(&self, record: &RawRecord<'_>) -> bool {
        // Only a record that was not read whole has its source text.
        if record.defect.is_none() || record.raw.is_none() || mutant(Mutant::ShowUnread) {
            return false;
        }
        let named =
            |text: &str| looks_secret(text) || self.aliases.iter().any(|alias| text.contains(alias.as_str()));
        let cells = |raw: &str| {
            let ends = |c: char| !c.is_ascii_graphic() || matches!(c, ',' | ';' | '|' | '"');
            raw.contains(['$', '{']) && raw.split(ends).any(looks_hashed)
        };
        self.any() || record.raw.is_some_and(|raw| named(raw) || cells(raw))
    }

    /// A record of which only this may be kept, where [`Self::hide_whole`] says so.
    pub fn hidden<'r>(record: &RawRecord<'r>) -> RawRecord<'r> {
        // What is wrong with an object may leave no doubt about which name a value is of.
        let named = |code| matches!(code, ErrorCode::JsonDuplicateKey | ErrorCode::JsonTooDeep);
        let fields = if record.defect.is_some_and(|defect| named(defect.code)) { record.fields } else { &[] };
        RawRecord { fields, raw: record.raw.map(|_| REDACTED), ..*record }
    }

    /// What may be shown of a field: `None` where it may be shown as it is.
    pub fn shown(&self, field: &RawField<'_>, names: &FieldNames) -> Option<String> {
        let name = names.get(field.name).unwrap_or_default();
        match field.value {
            // There is nothing to hide, and no secret that would have to be put in again.
            RawValue::Null | RawValue::Text("") => None,
            RawValue::Json(json) if matches!(name, "password" | "mfa") => Some(redact(name, json)),
            _ if self.hides(field.name) => Some(quoted(REDACTED)),
            RawValue::Text(text) if looks_hashed(text) => Some(quoted(REDACTED)),
            // A cell may hold an object as text, as pairs or as JSON.
            RawValue::Text(text) if name.trim_end().ends_with("{}") && pairs_with_secrets(text) => {
                Some(quoted(REDACTED))
            }
            RawValue::Text(text) if text.trim_start().starts_with(['{', '[']) => {
                inside(text).map(|json| quoted(&json))
            }
            RawValue::Text(_) => None,
            RawValue::Json(json) if json.starts_with(['{', '[']) => inside(json),
            RawValue::Json(_) => None,
        }
    }
}

/// `a=b; password=c`
fn pairs_with_secrets(text: &str) -> bool {
    text.split([',', ';', '\n'])
        .filter_map(|pair| pair.split_once(['=', ':']))
        .any(|(key, _)| looks_secret(key))
}

fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

/// JSON with secrets somewhere in it, hidden; `None` where there are none, so that every digit stays as it was. Where some would be
/// lost beside them, it is hidden whole.
fn inside(json: &str) -> Option<String> {
    let mut value: Value = serde_json::from_str(json).ok()?;
    let shown = |value: Value| if loses_digits(json) { quoted(REDACTED) } else { value.to_string() };
    hide_inside(&mut value).then(|| shown(value))
}

fn hide_inside(value: &mut Value) -> bool {
    match value {
        Value::Object(object) => object.iter_mut().fold(false, |any, (key, value)| {
            if looks_secret(key) {
                *value = hidden(value);
                true
            } else {
                hide_inside(value) || any
            }
        }),
        Value::Array(list) => {
            let mut any = false;
            for value in list {
                any |= hide_inside(value);
            }
            any
        }
        Value::String(text) if looks_hashed(text) => {
            *text = REDACTED.into();
            true
        }
        _ => false,
    }
}

/// A value of the metadata without what may be a secret by its key or by its look.
pub fn without_secrets(key: &str, mut value: Value) -> Value {
    if mutant(Mutant::PlansShowSecrets) {
        return value;
    }
    if looks_secret(key) && !value.is_null() {
        return REDACTED.into();
    }
    hide_inside(&mut value);
    value
}

/// What stands in place of a value that may be a secret: of its type, so that what is wrong with a type can be told.
fn hidden(value: &Value) -> Value {
    match value {
        Value::Null => Value::Null,
        Value::Bool(_) => false.into(),
        Value::Number(_) => 0.into(),
        Value::String(text) if text.is_empty() => "".into(),
        Value::String(_) => REDACTED.into(),
        Value::Array(_) => Value::Array(Vec::new()),
        Value::Object(_) => Value::Object(Map::new()),
    }
}

/// The JSON text of a field as a file of failed records gives it, where [`Secrets::shown`] hid something inside: with the word that is
/// refused when the file comes back. What is kept of a hidden number, flag or list is an empty value of its type, which could be taken
/// for a value.
pub fn given_back(name: &str, json: &str) -> Option<String> {
    let whole = matches!(name, "password" | "mfa");
    if !whole && !json.trim_start().starts_with(['{', '[']) || mutant(Mutant::HiddenByType) {
        return None;
    }
    let mut value: Value = serde_json::from_str(json).ok()?;
    mark(&mut value, whole).then(|| value.to_string())
}

fn mark(value: &mut Value, under_secret: bool) -> bool {
    match value {
        Value::Object(object) if !object.is_empty() => {
            let mut any = false;
            for (key, value) in object.iter_mut() {
                any |= mark(value, under_secret || looks_secret(key));
            }
            any
        }
        Value::Array(list) if !list.is_empty() => {
            let mut any = false;
            for value in list {
                any |= mark(value, under_secret);
            }
            any
        }
        Value::Null | Value::String(_) => false,
        value => {
            if under_secret {
                *value = REDACTED.into();
            }
            under_secret
        }
    }
}

/// Whether something in a value is [`REDACTED`]: the value itself, or a text inside an object or a list.
pub(crate) fn is_redacted(value: RawValue<'_>) -> bool {
    let inside = |json: &str| memchr::memmem::find(json.as_bytes(), b"\"REDACTED\"").is_some();
    match value {
        RawValue::Null => false,
        RawValue::Text(text) => {
            let text = text.trim();
            text == REDACTED || text.starts_with(['{', '[']) && inside(text)
        }
        RawValue::Json(json) => inside(json),
    }
}

/// The objects `password` and `mfa`: only what is known to be no secret is shown. Anything else is hidden whole.
fn redact(name: &str, json: &str) -> String {
    let redacted = match serde_json::from_str(json) {
        Ok(Value::Object(mut object)) => {
            if name == "password" {
                hide_all_but(&mut object, &PASSWORD_SHOWN);
            } else {
                for (key, value) in &mut object {
                    match value {
                        Value::Object(inner) if key == "password" => hide_all_but(inner, &PASSWORD_SHOWN),
                        Value::Object(inner) if key == "totp" => hide_all_but(inner, &[]),
                        value => hide_unless(key, value, &MFA_SHOWN),
                    }
                }
            }
            Value::Object(object)
        }
        Ok(other) => hidden(&other),
        Err(_) => REDACTED.into(),
    };
    redacted.to_string()
}

fn hide_all_but(object: &mut Map<String, Value>, shown: &[&str]) {
    for (key, value) in object {
        hide_unless(key, value, shown);
    }
}

fn hide_unless(key: &str, value: &mut Value, shown: &[&str]) {
    let unknown = mutant(Mutant::ShowUnknownSecretKeys)
        && !matches!(key, "password_hash" | "secret" | "password" | "totp");
    let plain =
        !matches!(value, Value::Object(_) | Value::Array(_)) && !value.as_str().is_some_and(looks_hashed);
    if !(shown.contains(&key) && plain || unknown) {
        *value = hidden(value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_look_like_secrets_count_as_such_however_they_are_spelt() {
        for name in [
            "password",
            "PassWord",
            "pass-word",
            "passwd",
            "PWD",
            "user_pwd",
            "pass",
            "Pass",
            "password_hash",
            "hashed password",
            "secret",
            "clientSecret",
            "token",
            "refresh.token",
            "totp",
            "otp",
            "user-otp",
            "userOtp",
            "api_key",
            "API Key",
            "apiKey",
            "api-key",
            "custom__api_key",
            "custom__pass",
            "custom__PIN[]",
            "private_key",
            "ｐａｓｓｗｏｒｄ",
            "recovery codes",
            "salt",
            "credentials",
            "Passwort",
        ] {
            assert!(looks_secret(name), "{name}");
        }
        for name in [
            "email",
            "passport",
            "custom__passport_number",
            "footposition",
            "compass",
            "spinach",
            "family_name",
            "phone_number",
            "custom__option",
            "key",
            "",
            "saltwater",
            "shipping",
            "keyboard",
        ] {
            assert!(!looks_secret(name), "{name}");
        }
    }

    #[test]
    fn objects_of_secrets_show_what_is_known_to_be_none_and_nothing_else() {
        assert_eq!(
            redact(
                "password",
                r#"{"type":"bcrypt","password_hash":"$2a$","plain":"hunter2","pepper":{"a":1}}"#
            ),
            r#"{"password_hash":"REDACTED","pepper":{},"plain":"REDACTED","type":"bcrypt"}"#
        );
        assert_eq!(
            redact(
                "mfa",
                r#"{"email":"a@b.co","backup":["hunter2"],"totp":{"secret":"X","n":1},"password":{"type":"bcrypt","x":"y"},"sms":"hunter2"}"#
            ),
            r#"{"backup":[],"email":"a@b.co","password":{"type":"bcrypt","x":"REDACTED"},"sms":"REDACTED","totp":{"n":0,"secret":"REDACTED"}}"#
        );
        assert_eq!(redact("password", "[1]"), "[]");
    }

    #[test]
    fn secrets_inside_other_objects_are_hidden_and_all_else_keeps_its_digits() {
        assert_eq!(inside(r#"{"a": 1.0, "b": [{"c": 10000000000000000000000}]}"#), None);
        assert_eq!(inside(r#"{"a":[{"apiKey":"x"}]}"#).unwrap(), r#"{"a":[{"apiKey":"REDACTED"}]}"#);
        let long = r#"{"apiKey": "x", "n": 12345678901234567890123}"#;
        assert_eq!(inside(long).as_deref(), Some(r#""REDACTED""#));
    }

    #[test]
    fn what_was_hidden_inside_is_given_back_as_the_word_that_is_refused() {
        let sent = r#"{"has_token":true,"hashtags":["x"],"n":0,"pin":"","secrets":{"a":1},"token_count":42}"#;
        let kept = inside(sent).unwrap();
        let given = given_back("metadata", &kept).unwrap();
        assert_eq!(
            given,
            r#"{"has_token":"REDACTED","hashtags":"REDACTED","n":0,"pin":"","secrets":"REDACTED","token_count":"REDACTED"}"#
        );
        assert!(is_redacted(RawValue::Json(&given)) && is_redacted(RawValue::Text(&given)));
        assert_eq!(given_back("metadata", r#"{"n": 1.0, "o": {"list": []}}"#), None);
        assert_eq!(given_back("n", "0"), None);
        assert_eq!(given_back("mfa", "0").as_deref(), Some(r#""REDACTED""#));
        assert!(is_redacted(RawValue::Text(" REDACTED ")) && !is_redacted(RawValue::Text("REDACTED by law")));
    }

    #[test]
    fn hashes_are_known_by_their_form() {
        for text in [
            "$2b$10$N9qo8uLOickgx2ZMRZoMye",
            "'$argon2id$v=19$m=65536,t=3",
            "{SSHA}0c0blFTXXNuAMHECS4uxrj3ZieMoWImr",
        ] {
            assert!(looks_hashed(text), "{text}");
        }
        for text in ["$5 and more", "$", "$$$$$$$$$$$$$$$$$$$$$$$$", "{a}", "éééé"] {
            assert!(!looks_hashed(text), "{text}");
        }
    }
}
