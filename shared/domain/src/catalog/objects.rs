//! Accepts JSON objects only. Derived deserialisers also accept a list of a struct's fields in order, so an
//! empty list would be read as an empty catalog.

use std::collections::BTreeMap;

use serde::de::{DeserializeOwned, Deserializer, Error};
use serde::{Deserialize, de};
use serde_json::{Map, Value};

type Object = Map<String, Value>;

fn read<T: DeserializeOwned, E: de::Error>(object: Object) -> Result<T, E> {
    T::deserialize(Value::Object(object)).map_err(E::custom)
}

/// One.
pub(super) fn one<'de, D: Deserializer<'de>, T: DeserializeOwned>(from: D) -> Result<T, D::Error> {
    read(Object::deserialize(from)?)
}

/// A list of them.
pub(super) fn list<'de, D: Deserializer<'de>, T: DeserializeOwned>(from: D) -> Result<Vec<T>, D::Error> {
    Vec::<Object>::deserialize(from)?.into_iter().map(read).collect()
}

/// A map of them; errors contain the name.
pub(super) fn map<'de, D: Deserializer<'de>, T: DeserializeOwned>(
    from: D,
) -> Result<BTreeMap<String, T>, D::Error> {
    let named = |(name, object): (String, Object)| match read::<T, D::Error>(object) {
        Ok(value) => Ok((name, value)),
        Err(error) => Err(D::Error::custom(format!("{name}: {error}"))),
    };
    BTreeMap::<String, Object>::deserialize(from)?.into_iter().map(named).collect()
}
