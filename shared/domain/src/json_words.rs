//! Errors of a JSON text in terms of JSON. The parser's messages name types of this program, which clients do not know.

use crate::fault::{Mutant, mutant};

/// What a reader of JSON says, without types of the program: `invalid type: string "x", expected a whole number from 0 to 255 at line 1
/// column 20`.
pub fn in_words_of_json(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rsplit_once(", expected ") {
        Some((found, rest)) if !mutant(Mutant::TypesInErrors) => {
            let (wanted, place) = match rest.split_once(" at line ") {
                Some((wanted, place)) => (wanted, format!(" at line {place}")),
                None => (rest, String::new()),
            };
            format!("{}, expected {}{place}", kind(found), known(wanted))
        }
        _ => text,
    }
}

/// What was found, by its kind in JSON.
fn kind(found: &str) -> String {
    for (reader, json) in [("map", "an object"), ("sequence", "a list")] {
        if let Some(before) = found.strip_suffix(reader).filter(|before| before.ends_with(": ")) {
            return format!("{before}{json}");
        }
    }
    found.replace(": floating point `", ": number `").replace(": integer `", ": number `")
}

/// What was wanted, by its kind in JSON.
fn known(wanted: &str) -> &str {
    match wanted {
        "a map" => "an object",
        "a sequence" => "a list",
        "u8" => "a whole number from 0 to 255",
        "u16" => "a whole number from 0 to 65,535",
        "u32" => "a whole number from 0 to 4,294,967,295",
        "u64" | "usize" => "a whole number, 0 or more",
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number",
        "f32" | "f64" => "a number",
        wanted if wanted.starts_with("struct ") || wanted.contains("enum ") => "an object",
        wanted => wanted,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Inner {
        #[serde(rename = "count")]
        _count: Option<u8>,
        #[serde(rename = "names")]
        _names: Option<Vec<String>>,
        #[serde(rename = "share")]
        _share: Option<f64>,
        #[serde(rename = "by")]
        _by: Option<BTreeMap<String, i64>>,
    }

    #[test]
    fn what_is_wrong_with_a_json_text_is_told_without_types_of_the_program() {
        for (text, told) in [
            ("5", "invalid type: number `5`, expected an object"),
            (r#"{"count": "x"}"#, "invalid type: string \"x\", expected a whole number from 0 to 255"),
            (r#"{"count": 300}"#, "invalid value: number `300`, expected a whole number from 0 to 255"),
            (r#"{"count": 1.5}"#, "invalid type: number `1.5`, expected a whole number from 0 to 255"),
            (r#"{"names": {}}"#, "invalid type: an object, expected a list"),
            (r#"{"share": []}"#, "invalid type: a list, expected a number"),
            (r#"{"by": 1}"#, "invalid type: number `1`, expected an object"),
            (r#"{"by": {"a": "b"}}"#, "invalid type: string \"b\", expected a whole number"),
            (r#"{"more": 1}"#, "unknown field `more`, expected one of `count`, `names`, `share`, `by`"),
            ("{", "EOF while parsing an object"),
        ] {
            let error = serde_json::from_str::<Inner>(text).unwrap_err();
            let words = in_words_of_json(&error);
            assert!(words.starts_with(told) && words.contains(" at line 1 column "), "{text}: {words}");
        }
    }
}
