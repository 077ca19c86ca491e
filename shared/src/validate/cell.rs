//! Cells that hold a list or an object in a notation of their own: `custom__tags[]` and `custom__facts{}` (contracts C.2).

use serde_json::{Map, Number, Value};

use crate::error::{ErrorCode, RecordError};

/// `a, b ,,c` → `["a", "b", "c"]`.
pub(super) fn list(cell: &str, separator: char) -> Result<Value, RecordError> {
    refuse_nested(cell)?;
    Ok(cell.split(separator).map(str::trim).filter(|item| !item.is_empty()).map(Value::from).collect())
}

/// `a=1, b=x` → `{"a": 1, "b": "x"}`: numbers, `True`, `False` and `None` as such, everything else as text. Quotes keep
/// commas and blanks; an entry without `=` says nothing.
pub(super) fn object(cell: &str) -> Result<Value, RecordError> {
    refuse_nested(cell)?;
    let mut map = Map::new();
    for entry in split_outside_quotes(cell) {
        if let Some((key, value)) = entry.split_once('=') {
            map.insert(key.trim().to_owned(), literal(value.trim()));
        }
    }
    Ok(Value::Object(map))
}

fn refuse_nested(cell: &str) -> Result<(), RecordError> {
    if cell.contains(['[', '{']) {
        return Err(RecordError::new(
            ErrorCode::ValueInvalid,
            "the cell holds a bracket or a brace: lists and objects here have one level",
        ));
    }
    if cell.contains('\0') {
        return Err(RecordError::new(ErrorCode::ControlChar, "the value holds a NUL character"));
    }
    Ok(())
}

fn split_outside_quotes(cell: &str) -> impl Iterator<Item = &str> {
    let mut quote = None;
    cell.split(move |c| {
        match (quote, c) {
            (None, '"' | '\'') => quote = Some(c),
            (Some(open), c) if c == open => quote = None,
            _ => {}
        }
        quote.is_none() && c == ','
    })
}

fn literal(text: &str) -> Value {
    let quoted = |mark: char| text.strip_prefix(mark).and_then(|rest| rest.strip_suffix(mark));
    if let Some(inner) = quoted('"').or_else(|| quoted('\'')) {
        return Value::from(inner);
    }
    match text {
        "True" => return Value::Bool(true),
        "False" => return Value::Bool(false),
        "None" => return Value::Null,
        _ => {}
    }
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    // `01` is no number in Python, and a leading zero is worth keeping.
    let leading_zero = digits.len() > 1 && digits.starts_with('0') && !digits.starts_with("0.");
    if !digits.starts_with(|c: char| c.is_ascii_digit()) || leading_zero {
        return Value::from(text);
    }
    if let Ok(number) = text.parse::<i64>() {
        return Value::from(number);
    }
    text.parse::<f64>().ok().and_then(Number::from_f64).map_or_else(|| Value::from(text), Value::Number)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn lists_and_objects_of_cells() {
        assert_eq!(list("a, b ,,c", ',').unwrap(), json!(["a", "b", "c"]));
        assert_eq!(list("a, b; c", ';').unwrap(), json!(["a, b", "c"]));
        assert_eq!(list("", ',').unwrap(), json!([]));
        assert_eq!(object("").unwrap(), json!({}));
        assert_eq!(
            object("k=v,n=1, f=1.5,t=True,x=None,z=01,e=,q=x=y,none,s=\"v, 2\",m='a b'").unwrap(),
            json!({"k": "v", "n": 1, "f": 1.5, "t": true, "x": null, "z": "01", "e": "", "q": "x=y", "s": "v, 2", "m": "a b"})
        );
        assert!(list("[a]", ',').is_err() && object("a={b=1}").is_err());
    }
}
