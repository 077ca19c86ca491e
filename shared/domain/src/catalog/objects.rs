//! Objects where objects are expected: derived readers take a list of a struct's fields in order as well, and a catalog that is
//! an empty list would be an empty catalog.

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

/// A map of them; what is wrong is told with its name.
pub(super) fn map<'de, D: Deserializer<'de>, T: DeserializeOwned>(
    from: D,
) -> Result<BTreeMap<String, T>, D::Error> {
    let named = |(name, object): (String, Object)| match read::<T, D::Error>(object) {
        Ok(value) => Ok((name, value)),
        Err(error) => Err(D::Error::custom(format!("{name}: {error}"))),
    };
    BTreeMap::<String, Object>::deserialize(from)?.into_iter().map(named).collect()
}
