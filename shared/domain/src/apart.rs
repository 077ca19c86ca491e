//! Values of users in what is kept of a plan: deep ones stand apart, as text.

use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

use crate::fault::{Mutant, mutant};

/// A value of a user. An array or object is stored as separate JSON text in an array: a cell may be nested as
/// deeply as the parser allows, and then the levels around it do not count.
struct Apart<'v>(&'v Value);

impl Serialize for Apart<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            nested @ (Value::Array(_) | Value::Object(_)) => [nested.to_string()].serialize(serializer),
            plain => plain.serialize(serializer),
        }
    }
}

/// Writes the values of a user.
pub(crate) fn write_apart<S: Serializer>(
    values: &Map<String, Value>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    if mutant(Mutant::PlanNestsValues) {
        return values.serialize(serializer);
    }
    serializer.collect_map(values.iter().map(|(path, value)| (path, Apart(value))))
}

/// Puts the arrays and objects back that [`write_apart`] wrote as text.
pub(crate) fn read_apart(values: &mut Map<String, Value>) -> serde_json::Result<()> {
    for value in values.values_mut() {
        let text = match &*value {
            Value::Array(items) => match items.as_slice() {
                [Value::String(text)] => text,
                _ => continue,
            },
            _ => continue,
        };
        let nested: Value = serde_json::from_str(text)?;
        *value = nested;
    }
    Ok(())
}
