//! The record as it appears in responses (contracts A.3.8). Pure.
//!
//! The stored record already hides its secrets: each is an empty value of its type, so that an error can name
//! the type. Clients see one placeholder for all of them.

use muster_domain::record::REDACTED;
use serde_json::{Map, Value};

/// The record that a client sees.
pub(super) fn redacted_input(mut record: Value) -> Value {
    if let Some(fields) = record.as_object_mut() {
        hide(fields, "password", |password| hide_key(password, "password_hash"));
        hide(fields, "mfa", |mfa| {
            hide(mfa, "password", |password| hide_key(password, "password_hash"));
            hide(mfa, "totp", |totp| hide_key(totp, "secret"));
        });
    }
    record
}

/// Hides the values of an object. Anything else under the name is hidden whole.
fn hide(object: &mut Map<String, Value>, name: &str, inside: impl FnOnce(&mut Map<String, Value>)) {
    match object.get_mut(name) {
        None | Some(Value::Null) => {}
        Some(Value::Object(inner)) => inside(inner),
        Some(other) => *other = REDACTED.into(),
    }
}

fn hide_key(object: &mut Map<String, Value>, key: &str) {
    if let Some(value) = object.get_mut(key) {
        *value = REDACTED.into();
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn secrets_are_one_word_whatever_their_type() {
        let kept = json!({"email": "a@b.co", "password": {"type": "bcrypt", "password_hash": null},
                          "mfa": {"email": "m@b.co", "password": 0, "totp": {"secret": "REDACTED", "n": 1}}});
        let seen = json!({"email": "a@b.co", "password": {"type": "bcrypt", "password_hash": "REDACTED"},
                          "mfa": {"email": "m@b.co", "password": "REDACTED", "totp": {"secret": "REDACTED", "n": 1}}});
        assert_eq!(redacted_input(kept), seen);
        assert_eq!(
            redacted_input(json!({"password": [], "mfa": null})),
            json!({"password": "REDACTED", "mfa": null})
        );
    }
}
