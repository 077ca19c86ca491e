//! Masks values of users for callers who may not see them.

use muster_domain::fault::{Mutant, mutant};
use serde_json::Value;

/// The placeholder for hidden values.
const HIDDEN: &str = "•••";

/// A value of a person as those see it who may not know it: enough to tell two apart, too little to write to
/// anybody. The top-level domain is shown only for values that may be an address.
pub(super) fn masked(value: &str) -> String {
    let blank = value.trim().chars().any(char::is_whitespace);
    let is_ending = |ending: &str| {
        if mutant(Mutant::EndingsShown) {
            return !ending.is_empty() && ending.len() <= 10;
        }
        !blank && matches!(ending.len(), 2..=10) && ending.bytes().all(|byte| byte.is_ascii_alphabetic())
    };
    let first = |text: &str| text.chars().next().map(String::from).unwrap_or_default();
    match value.trim().rsplit_once('@') {
        Some((local, domain)) => match domain.rsplit_once('.') {
            Some((_, ending)) if is_ending(ending) => {
                format!("{}{HIDDEN}@{HIDDEN}.{ending}", first(local))
            }
            _ => format!("{}{HIDDEN}@{HIDDEN}", first(local)),
        },
        None => format!("{}{HIDDEN}", first(value.trim())),
    }
}

/// The same of a JSON value. For values other than text only their presence is shown. Flags are not personal data.
pub(super) fn masked_json(value: &Value) -> Value {
    match value {
        Value::String(text) => masked(text).into(),
        Value::Null | Value::Bool(_) => value.clone(),
        Value::Number(_) | Value::Array(_) | Value::Object(_) => HIDDEN.into(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_masked_value_tells_its_first_letter_and_ending_and_no_more() {
        for (value, text) in [
            ("mario.rossi@example.com", "m•••@•••.com"),
            ("mario.rossi@", "m•••@•••"),
            ("+39055123456", "+•••"),
            ("a@host.4711-12", "a•••@•••"),
            ("a@x.b.c", "a•••@•••"),
            ("see a@example.com or Ann.Lee", "s•••@•••"),
            ("a@b.co 0391", "a•••@•••"),
            ("  Ünal", "Ü•••"),
            ("", "•••"),
        ] {
            assert_eq!(masked(value), text);
        }
    }

    #[test]
    fn a_masked_json_value_tells_no_more() {
        for (value, told) in [
            (json!("Rossi"), json!("R•••")),
            (json!(1987), json!("•••")),
            (json!({"street": "Via Roma"}), json!("•••")),
            (json!(true), json!(true)),
            (json!(null), json!(null)),
        ] {
            assert_eq!(masked_json(&value), told);
        }
    }
}
