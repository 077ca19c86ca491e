//! The source of a record, as it is kept beside its errors: what was uploaded, secrets redacted.

use serde_json::value::to_raw_value;
use serde_json::{Map, Value};

use super::raw::{Names, RawRecord, RawValue};

/// What stands in place of a secret.
pub const REDACTED: &str = "REDACTED";

/// Names that may hold a secret, in whatever upload. A field whose name contains one of them is redacted whole, but for the
/// two whose objects have parts of their own (docs/contracts/authgear.md A.3.8).
const SECRETS: [&str; 4] = ["password", "secret", "totp", "hash"];

/// JSON text `[[name, value], …]` in the order of the upload. A record whose fields could not be read gives its source
/// text under the empty name.
pub fn source_json(record: &RawRecord<'_>, names: &Names) -> String {
    let mut text = String::from("[");
    for field in record.fields {
        let name = names.get(field.name).unwrap_or_default();
        if text.len() > 1 {
            text.push(',');
        }
        text.push('[');
        push_string(&mut text, name);
        text.push(',');
        match field.value {
            RawValue::Null => text.push_str("null"),
            // There is nothing to hide, and no secret that would have to be put in again.
            RawValue::Text("") => push_string(&mut text, ""),
            RawValue::Json(json) if matches!(name, "password" | "mfa") => redact(name, json, &mut text),
            _ if name == "mfa" || is_secret(name) => push_string(&mut text, REDACTED),
            RawValue::Text(value) => push_string(&mut text, value),
            RawValue::Json(json) => text.push_str(json),
        }
        text.push(']');
    }
    if record.fields.is_empty()
        && let Some(raw) = record.raw
    {
        text.push_str("[\"\",");
        push_string(&mut text, if is_secret(raw) { REDACTED } else { raw });
        text.push(']');
    }
    text.push(']');
    text
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

/// An object with the secrets in it redacted; anything else is redacted whole.
fn redact(name: &str, json: &str, text: &mut String) {
    let redacted = match serde_json::from_str(json) {
        Ok(Value::Object(mut object)) => {
            match name {
                "password" => redact_key(&mut object, "password_hash"),
                _ => {
                    redact_object(&mut object, "password", "password_hash");
                    redact_object(&mut object, "totp", "secret");
                }
            }
            Value::Object(object)
        }
        Ok(other) => hidden(&other),
        Err(_) => REDACTED.into(),
    };
    text.push_str(&redacted.to_string());
}

fn redact_object(object: &mut Map<String, Value>, name: &str, key: &str) {
    match object.get_mut(name) {
        None | Some(Value::Null) => {}
        Some(Value::Object(inner)) => redact_key(inner, key),
        Some(other) => *other = hidden(other),
    }
}

fn redact_key(object: &mut Map<String, Value>, key: &str) {
    if let Some(value) = object.get_mut(key) {
        *value = hidden(value);
    }
}

fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    SECRETS.iter().any(|secret| name.contains(secret))
}

/// PostgreSQL's json takes no NUL, and no lone surrogates (a Rust string has none).
fn push_string(text: &mut String, value: &str) {
    let value = if value.contains('\0') {
        std::borrow::Cow::Owned(value.replace('\0', "\u{fffd}"))
    } else {
        value.into()
    };
    if let Ok(json) = to_raw_value(&*value) {
        text.push_str(json.get());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Position, RawField, RecordNumber};

    #[test]
    fn sources_keep_order_and_hide_secrets() {
        let names = Names::from_header(["email", "password_hash", "n"]);
        let fields = [
            RawField { name: 1, value: RawValue::Text("$2y$10$x") },
            RawField { name: 0, value: RawValue::Text("a\"b\0") },
            RawField { name: 2, value: RawValue::Json("1.0") },
        ];
        let position = Position { record: RecordNumber::FIRST, line: 1, byte: 0 };
        let record = RawRecord { position, fields: &fields, defect: None, raw: None };
        assert_eq!(
            source_json(&record, &names),
            r#"[["password_hash","REDACTED"],["email","a\"b�"],["n",1.0]]"#
        );
        let names = Names::from_header(["password", "mfa", "mfa_email", "totp_secret"]);
        let fields = [
            RawField { name: 0, value: RawValue::Json(r#"{"type": "bcrypt", "password_hash": "$2a$"}"#) },
            RawField {
                name: 1,
                value: RawValue::Json(
                    r#"{"email": "a@b.co", "password": 7, "totp": {"secret": "X", "n": 1}}"#,
                ),
            },
            RawField { name: 2, value: RawValue::Text("a@b.co") },
            RawField { name: 3, value: RawValue::Text("X") },
        ];
        let record = RawRecord { position, fields: &fields, defect: None, raw: None };
        assert_eq!(
            source_json(&record, &names),
            concat!(
                r#"[["password",{"password_hash":"REDACTED","type":"bcrypt"}],"#,
                r#"["mfa",{"email":"a@b.co","password":0,"totp":{"n":1,"secret":"REDACTED"}}],"#,
                r#"["mfa_email","a@b.co"],["totp_secret","REDACTED"]]"#
            )
        );
        let fields = [
            RawField { name: 0, value: RawValue::Json("[1]") },
            RawField { name: 1, value: RawValue::Text("x") },
        ];
        let record = RawRecord { position, fields: &fields, defect: None, raw: None };
        assert_eq!(source_json(&record, &names), r#"[["password",[]],["mfa","REDACTED"]]"#);
        let empty = [
            RawField { name: 2, value: RawValue::Text("") },
            RawField { name: 0, value: RawValue::Json(r#"{"password_hash": null}"#) },
        ];
        let record = RawRecord { position, fields: &empty, defect: None, raw: None };
        assert_eq!(source_json(&record, &names), r#"[["mfa_email",""],["password",{"password_hash":null}]]"#);
        let broken = RawRecord { position, fields: &[], defect: None, raw: Some("{oops") };
        assert_eq!(source_json(&broken, &names), r#"[["","{oops"]]"#);
    }
}
