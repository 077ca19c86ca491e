//! The source of a record, as it is kept beside its errors: what was uploaded, secrets redacted.

use serde_json::value::to_raw_value;

use super::raw::{Names, RawRecord, RawValue};

/// What stands in place of a secret.
pub const REDACTED: &str = "REDACTED";

/// Names that may hold a secret, in whatever upload. A field whose name contains one of them is redacted whole.
const SECRETS: [&str; 5] = ["password", "secret", "totp", "mfa", "hash"];

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
            _ if is_secret(name) => push_string(&mut text, REDACTED),
            RawValue::Null => text.push_str("null"),
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
        let broken = RawRecord { position, fields: &[], defect: None, raw: Some("{oops") };
        assert_eq!(source_json(&broken, &names), r#"[["","{oops"]]"#);
    }
}
