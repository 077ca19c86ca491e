//! The metadata modes, one sentence of the contract (C.1.5) after the other.

use muster_domain::options::MetadataMode;
use serde_json::{Map, Value};

pub(super) fn apply(
    stored: &Map<String, Value>,
    sent: &Map<String, Value>,
    mode: MetadataMode,
) -> Map<String, Value> {
    let mut result = stored.clone();
    match mode {
        MetadataMode::Ignore => {}
        MetadataMode::Rewrite => result = sent.clone(),
        MetadataMode::Override => result.extend(sent.clone()),
        MetadataMode::Merge => {
            for (key, value) in sent {
                let merged = match (stored.get(key), value) {
                    (Some(Value::Object(old)), Value::Object(new)) => Value::Object(apply(old, new, mode)),
                    _ => value.clone(),
                };
                result.insert(key.clone(), merged);
            }
        }
        MetadataMode::Remove => {
            for (key, value) in sent {
                match (stored.get(key), value) {
                    (Some(Value::Object(old)), Value::Object(keys)) => {
                        let left = apply(old, keys, mode);
                        if left.is_empty() {
                            result.remove(key);
                        } else {
                            result.insert(key.clone(), Value::Object(left));
                        }
                    }
                    _ => {
                        result.remove(key);
                    }
                }
            }
        }
        MetadataMode::Attributes => {
            for (key, value) in sent {
                if value.is_null() {
                    result.remove(key);
                } else {
                    result.insert(key.clone(), value.clone());
                }
            }
        }
    }
    result
}
