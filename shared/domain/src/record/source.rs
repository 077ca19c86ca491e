//! The source of a record, as it is kept beside its errors: what was uploaded, secrets redacted.

use serde_json::value::to_raw_value;

use crate::error::without_nul;

use super::raw::{FieldNames, RawRecord, RawValue};
use super::secrets::Secrets;

/// JSON text `[[name, value], …]` in the order of the upload. A record whose fields could not be read gives its source
/// text under the empty name; one that was not read whole gives nothing but [`REDACTED`](crate::normalise::REDACTED) where it may hold a secret.
pub fn source_json(record: &RawRecord<'_>, names: &FieldNames, secrets: &Secrets) -> String {
    let record = if secrets.hide_whole(record) { Secrets::hidden(record) } else { *record };
    let mut text = String::from("[");
    for field in record.fields {
        if text.len() > 1 {
            text.push(',');
        }
        text.push('[');
        push_string(&mut text, names.get(field.name).unwrap_or_default());
        text.push(',');
        match (secrets.shown(field, names), field.value) {
            (Some(shown), _) => text.push_str(&without_nul(&shown)),
            (None, RawValue::Null) => text.push_str("null"),
            (None, RawValue::Text(value)) => push_string(&mut text, value),
            (None, RawValue::Json(json)) => text.push_str(json),
        }
        text.push(']');
    }
    if record.fields.is_empty()
        && let Some(raw) = record.raw
    {
        text.push_str("[\"\",");
        push_string(&mut text, raw);
        text.push(']');
    }
    text.push(']');
    text
}

/// PostgreSQL's json takes no NUL, and no lone surrogates (a Rust string has none).
fn push_string(text: &mut String, value: &str) {
    if let Ok(json) = to_raw_value(&*without_nul(value)) {
        text.push_str(json.get());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Position, RawField, RecordNumber};

    #[test]
    fn sources_keep_order_and_hide_secrets() {
        let names = FieldNames::from_header(["email", "password_hash", "n"]);
        let fields = [
            RawField { name: 1, value: RawValue::Text("$2y$10$x") },
            RawField { name: 0, value: RawValue::Text("a\"b\0") },
            RawField { name: 2, value: RawValue::Json("1.0") },
        ];
        let position = Position { record: RecordNumber::FIRST, line: 1, byte: 0 };
        let record = RawRecord { position, fields: &fields, defect: None, raw: None };
        assert_eq!(
            source_json(&record, &names, &Secrets::by_name(&names)),
            r#"[["password_hash","REDACTED"],["email","a\"b�"],["n",1.0]]"#
        );
        let names = FieldNames::from_header(["password", "mfa", "mfa_email", "totp_secret"]);
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
            source_json(&record, &names, &Secrets::by_name(&names)),
            concat!(
                r#"[["password",{"password_hash":"REDACTED","type":"bcrypt"}],"#,
                r#"["mfa",{"email":"a@b.co","password":0,"totp":{"n":0,"secret":"REDACTED"}}],"#,
                r#"["mfa_email","a@b.co"],["totp_secret","REDACTED"]]"#
            )
        );
        let fields = [
            RawField { name: 0, value: RawValue::Json("[1]") },
            RawField { name: 1, value: RawValue::Text("x") },
        ];
        let record = RawRecord { position, fields: &fields, defect: None, raw: None };
        assert_eq!(
            source_json(&record, &names, &Secrets::by_name(&names)),
            r#"[["password",[]],["mfa","REDACTED"]]"#
        );
        let empty = [
            RawField { name: 2, value: RawValue::Text("") },
            RawField { name: 0, value: RawValue::Json(r#"{"password_hash": null}"#) },
        ];
        let record = RawRecord { position, fields: &empty, defect: None, raw: None };
        assert_eq!(
            source_json(&record, &names, &Secrets::by_name(&names)),
            r#"[["mfa_email",""],["password",{"password_hash":null}]]"#
        );
        let broken = RawRecord { position, fields: &[], defect: None, raw: Some("{oops") };
        assert_eq!(source_json(&broken, &names, &Secrets::by_name(&names)), r#"[["","{oops"]]"#);
    }
}
