//! Cells that hold a list or an object in a notation of their own: `custom__tags[]` and `custom__facts{}` (contracts C.2).

use serde_json::{Map, Number, Value};

use crate::error::{ErrorCode, RecordError};
use crate::fault::{Mutant, mutant};

/// `a, b ,,c` → `["a", "b", "c"]`.
pub(super) fn list(cell: &str, separator: char) -> Result<Value, RecordError> {
    refuse_nested(cell)?;
    Ok(cell.split(separator).map(str::trim).filter(|item| !item.is_empty()).map(Value::from).collect())
}

/// `a=1, b=x` → `{"a": 1, "b": "x"}`: numbers, `True`, `False` and `None` as such, everything else as text. What would not be written
/// as it stands there if it were a number (`+49170…`, `1.10`, `1e5`) is a text. Quotes keep commas and blanks; an entry without `=` says
/// nothing.
pub(super) fn object(cell: &str) -> Result<Value, RecordError> {
    refuse_nested(cell)?;
    let mut map = Map::new();
    for entry in split_outside_quotes(cell) {
        if let Some((key, value)) = entry.split_once('=') {
            let value = value.trim();
            let read = match literal(value) {
                Value::Number(number) if number.to_string() != value && !mutant(Mutant::CellDigitsLost) => {
                    Value::from(value)
                }
                read => read,
            };
            map.insert(key.trim().to_owned(), read);
        }
    }
    Ok(Value::Object(map))
}

/// The same as Bitcaster's importer reads it: Python's `shlex` with commas for blanks, so that blanks in values stay, quotes and
/// backslashes may stand anywhere, and what was in quotes may be a number (contracts C.2).
pub(super) fn verbatim_object(cell: &str) -> Result<Value, RecordError> {
    if mutant(Mutant::CellBlanksLost) {
        return object(cell);
    }
    refuse_nested(cell)?;
    let mut map = Map::new();
    for token in tokens(cell)? {
        if let Some((key, value)) = token.split_once('=') {
            let value = match literal(value.trim()) {
                Value::String(text) if text == value.trim() => Value::from(value),
                read => read,
            };
            map.insert(key.trim().to_owned(), value);
        }
    }
    Ok(Value::Object(map))
}

/// What stands between commas, without the quotes and the backslashes that protect something.
fn tokens(cell: &str) -> Result<Vec<String>, RecordError> {
    let mut tokens = Vec::new();
    let (mut token, mut quote) = (String::new(), None);
    let mut characters = cell.chars();
    while let Some(c) = characters.next() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None | Some('"'), '\\') => {
                let Some(next) = characters.next() else { return Err(open_end()) };
                // Inside quotes a backslash protects the quote and itself, and is text before anything else.
                if quote.is_some() && !matches!(next, '"' | '\\') {
                    token.push('\\');
                }
                token.push(next);
            }
            (Some(_), c) => token.push(c),
            (None, '"' | '\'') => quote = Some(c),
            (None, ',') => tokens.push(std::mem::take(&mut token)),
            (None, c) => token.push(c),
        }
    }
    if quote.is_some() {
        return Err(open_end());
    }
    tokens.push(token);
    Ok(tokens)
}

fn open_end() -> RecordError {
    RecordError::new(ErrorCode::ValueInvalid, "the cell ends inside quotes or after a backslash")
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
        assert_eq!(
            object("phone=+491701234567,version=1.10,code=1e5,account=12345678901234567890,n=-7,f=0.5,z=-0")
                .unwrap(),
            json!({"phone": "+491701234567", "version": "1.10", "code": "1e5", "account": "12345678901234567890",
                   "n": -7, "f": 0.5, "z": "-0"})
        );
        assert!(list("[a]", ',').is_err() && object("a={b=1}").is_err());
    }

    /// What `parse_kv` of Bitcaster gives for the same cells.
    #[test]
    fn objects_as_bitcaster_reads_them() {
        for (cell, read) in [
            ("k= v ,n = 1 ,t= True", json!({"k": " v ", "n": 1, "t": true})),
            ("a=\"v, 2\",b='x y',c=\"5\"", json!({"a": "v, 2", "b": "x y", "c": 5})),
            ("a=x\\,y,b=\"q\\\"r\",c=\"s\\t\"", json!({"a": "x,y", "b": "q\"r", "c": "s\\t"})),
            ("none,,e=,q=x=y,z=01", json!({"e": "", "q": "x=y", "z": "01"})),
        ] {
            assert_eq!(verbatim_object(cell).unwrap(), read, "{cell}");
        }
        assert!(verbatim_object("a=\"b").is_err() && verbatim_object("a=b\\").is_err());
    }
}
