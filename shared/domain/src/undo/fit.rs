//! Combinations that a user must not have: a flag for a value that it does not describe, two addresses with
//! one value, a validity that ends before it begins. A restored field that does not fit is removed again.

use std::collections::{BTreeSet, HashMap};

use serde_json::Value;

use super::change::FLAGS;
use super::{Change, Flat};
use crate::fault::{Mutant, mutant};
use crate::profile::Address;

const ADDRESSES: &str = "addresses.";
const VALIDITY: [&str; 2] = ["valid_from", "valid_until"];

/// Gives a field a value, or none. Returns the one that it had.
pub(super) fn put(fields: &mut Flat, path: &str, value: Option<&Value>) -> Option<Value> {
    match value {
        Some(value) => fields.insert(path.to_owned(), value.clone()),
        None => fields.remove(path),
    }
}

/// Gives restored fields that do not fit what they had a moment ago, until all of them fit: what one gets again may be in the way of
/// another. Returns them. `old` has what each restored field had.
pub(super) fn put_back<'c>(
    change: &'c Change,
    now: &mut Flat,
    old: &HashMap<&str, Option<Value>>,
    restored: &mut BTreeSet<&'c str>,
) -> Vec<&'c str> {
    let mut all = Vec::new();
    loop {
        let unfit = unfit(change, now, restored);
        if unfit.is_empty() {
            return all;
        }
        for path in unfit {
            put(now, path, old.get(path).and_then(Option::as_ref));
            restored.remove(path);
            all.push(path);
        }
    }
}

/// Removes flags that would claim that a restored value is verified. It never was: somebody verified the
/// value that the import had set. Returns them.
pub(super) fn take_flags(change: &Change, now: &mut Flat, restored: &BTreeSet<&str>) -> Vec<&'static str> {
    if mutant(Mutant::UndoLeavesFlags) {
        return Vec::new();
    }
    let unproved = |(flag, field): (&'static str, &str)| {
        let unproved = restored.contains(field) && !change.before.contains_key(flag);
        (unproved && now.remove(flag).is_some()).then_some(flag)
    };
    FLAGS.into_iter().filter_map(unproved).collect()
}

/// The restored fields that do not fit what else the user has now.
fn unfit<'c>(change: &Change, now: &Flat, restored: &BTreeSet<&'c str>) -> Vec<&'c str> {
    let mut unfit = Vec::new();
    for (flag, field) in FLAGS {
        if let Some(path) = restored.get(flag)
            && change.before.contains_key(flag)
            && now.get(field) != change.before.get(field)
        {
            unfit.push(*path);
        }
    }
    let value = |address: &Value| serde_json::from_value::<Address>(address.clone()).ok().map(|it| it.value);
    for path in restored.iter().filter(|path| path.starts_with(ADDRESSES)) {
        let Some(own) = now.get(*path).and_then(value) else { continue };
        let others = now.iter().filter(|(other, _)| other.starts_with(ADDRESSES) && other != path);
        if others.filter_map(|(_, address)| value(address)).any(|other| other == own) {
            unfit.push(*path);
        }
    }
    let moment = |path: &str| {
        let text = now.get(path).and_then(Value::as_str)?;
        chrono::DateTime::parse_from_rfc3339(text).ok()
    };
    if let [Some(from), Some(until)] = VALIDITY.map(moment)
        && from >= until
    {
        unfit.extend(restored.iter().copied().filter(|path| VALIDITY.contains(path)));
    }
    unfit
}
