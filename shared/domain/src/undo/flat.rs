//! A user as a map from the path of a field to its value: what before-images and the three-way rule compare.
//!
//! Every column and every standard attribute is a field under its own name. Of metadata, agent fields and addresses each key is a field
//! (`metadata.office`), of roles, groups, teams and memberships each element (`roles.3`): so two imports that changed different
//! keys of one user do not count as changes of the same.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Number, Value};

use crate::fault::{Mutant, mutant};
use crate::plan::ExistingUser;
use crate::profile::Profile;

/// The fields that a user has, by path.
pub type Flat = BTreeMap<String, Value>;

/// Fields whose values are unique in a tenant.
pub(super) const UNIQUE: [&str; 3] = ["email", "phone_number", "preferred_username"];
const METADATA: &str = "metadata.";
const MEMBERSHIPS: &str = "memberships.";
/// The columns of their own.
const COLUMNS: [&str; 5] = ["email", "phone_number", "preferred_username", "given_name", "family_name"];
/// Members of a profile that are one field each.
const PLAIN: [&str; 9] = [
    "email_verified",
    "phone_number_verified",
    "location",
    "disabled_at",
    "valid_from",
    "valid_until",
    "locked",
    "mfa_email",
    "mfa_phone_number",
];
/// Members of a profile with a field for each element, and those with one for each key.
const SETS: [&str; 3] = ["roles", "groups", "teams"];
const OBJECTS: [&str; 2] = ["addresses", "agent"];

/// The path of a membership.
pub fn membership_path(organization: i32, group: i32) -> String {
    format!("{MEMBERSHIPS}{organization}.{group}")
}

/// Whether a path is one of a membership.
pub fn is_membership(path: &str) -> bool {
    path.starts_with(MEMBERSHIPS)
}

/// Organization and group of a membership's path.
pub(super) fn membership_of(path: &str) -> Option<(i32, i32)> {
    let (organization, group) = path.strip_prefix(MEMBERSHIPS)?.split_once('.')?;
    Some((organization.parse().ok()?, group.parse().ok()?))
}

/// The fields of a profile.
pub fn flat_profile(profile: &Profile) -> Map<String, Value> {
    let mut flat = Map::new();
    // Maps with text keys and plain values: it cannot fail.
    let Ok(Value::Object(members)) = serde_json::to_value(profile) else { return flat };
    for (name, value) in members {
        match value {
            Value::Array(elements) => {
                flat.extend(elements.iter().map(|element| (format!("{name}.{element}"), Value::Bool(true))));
            }
            Value::Object(keys) if OBJECTS.contains(&name.as_str()) => {
                flat.extend(keys.into_iter().map(|(key, value)| (format!("{name}.{key}"), value)));
            }
            value => {
                flat.insert(name, value);
            }
        }
    }
    flat
}

/// Whether two values are the same. The store keeps numbers, not how they were written: `1e16` of a file comes back as
/// `10000000000000000`.
pub(crate) fn same(one: Option<&Value>, other: Option<&Value>) -> bool {
    alike(one, other, same_number)
}

/// Whether the store gives two values back as the same. It tells `1.0` from `1`, and `1e16` not from `10000000000000000`.
pub(crate) fn kept_alike(one: Option<&Value>, other: Option<&Value>) -> bool {
    alike(one, other, kept_alike_number)
}

/// The same for objects.
pub(crate) fn objects_kept_alike(one: &Map<String, Value>, other: &Map<String, Value>) -> bool {
    alike_objects(one, other, kept_alike_number)
}

/// Compares values in which numbers are the same where that function says so.
fn alike(one: Option<&Value>, other: Option<&Value>, numbers: fn(&Number, &Number) -> bool) -> bool {
    let (Some(one), Some(other)) = (one, other) else { return one.is_none() && other.is_none() };
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => numbers(one, other),
        (Value::Array(one), Value::Array(other)) => {
            let mut pairs = one.iter().zip(other);
            one.len() == other.len() && pairs.all(|(one, other)| alike(Some(one), Some(other), numbers))
        }
        (Value::Object(one), Value::Object(other)) => alike_objects(one, other, numbers),
        _ => one == other,
    }
}

fn alike_objects(
    one: &Map<String, Value>,
    other: &Map<String, Value>,
    numbers: fn(&Number, &Number) -> bool,
) -> bool {
    one.len() == other.len() && one.iter().all(|(key, value)| alike(Some(value), other.get(key), numbers))
}

fn same_number(one: &Number, other: &Number) -> bool {
    let digits = mutant(Mutant::UndoComparesDigits);
    one == other || !digits && whole(one).is_some_and(|number| Some(number) == whole(other))
}

fn kept_alike_number(one: &Number, other: &Number) -> bool {
    // From there on floats are written with an exponent, which the store resolves.
    let resolved =
        |number: &Number| number.is_f64() && number.as_f64().is_some_and(|float| float.abs() >= 1e16);
    one == other
        || (resolved(one) || resolved(other)) && whole(one).is_some_and(|number| Some(number) == whole(other))
}

/// A number without a fraction. `None` for others, and for those that no integer of JSON is read as.
#[expect(clippy::cast_possible_truncation, reason = "it has no fraction and is in range")]
fn whole(number: &Number) -> Option<i128> {
    if let Some(integer) = number.as_i64() {
        return Some(integer.into());
    }
    if let Some(integer) = number.as_u64() {
        return Some(integer.into());
    }
    let float = number.as_f64().filter(|float| float.fract() == 0.0)?;
    // Between these every float without a fraction is an integer exactly.
    ((i64::MIN as f64)..=(u64::MAX as f64)).contains(&float).then_some(float as i128)
}

/// Adds what differs between two objects to what was before and what is after, each key behind the prefix.
pub fn put_differences(
    prefix: &str,
    old: &Map<String, Value>,
    new: &Map<String, Value>,
    before: &mut Map<String, Value>,
    after: &mut Map<String, Value>,
) {
    for (key, value) in old {
        if !kept_alike(new.get(key), Some(value)) {
            before.insert(format!("{prefix}{key}"), value.clone());
        }
    }
    for (key, value) in new {
        if !kept_alike(old.get(key), Some(value)) {
            after.insert(format!("{prefix}{key}"), value.clone());
        }
    }
}

/// Everything that a user has. `None` where its JSON cannot be read.
pub fn flat_user(user: &ExistingUser, memberships: &[(i32, i32)]) -> Option<Flat> {
    let mut flat = Flat::new();
    let texts =
        [&user.email, &user.phone_number, &user.preferred_username, &user.given_name, &user.family_name];
    for (name, text) in COLUMNS.iter().zip(texts) {
        flat.extend(text.as_ref().map(|text| ((*name).to_owned(), Value::from(text.as_str()))));
    }
    flat.extend(object(user.attributes.as_deref())?);
    let metadata = object(user.metadata.as_deref())?;
    flat.extend(metadata.into_iter().map(|(key, value)| (format!("{METADATA}{key}"), value)));
    if let Some(profile) = user.profile.as_deref() {
        flat.extend(flat_profile(profile));
    }
    let paths = memberships.iter().map(|(organization, group)| membership_path(*organization, *group));
    flat.extend(paths.map(|path| (path, Value::Bool(true))));
    Some(flat)
}

fn object(json: Option<&str>) -> Option<Map<String, Value>> {
    json.map_or_else(|| Some(Map::new()), |json| serde_json::from_str(json).ok())
}

/// A user as the columns of the store have it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Row {
    /// The columns with a text: e-mail address, phone number, username, given and family name.
    pub texts: [Option<String>; 5],
    /// Standard attributes as JSON text, `None` for none.
    pub attributes: Option<String>,
    /// Metadata as JSON text, `None` for none.
    pub metadata: Option<String>,
    /// Profile as JSON text, `None` for none.
    pub profile: Option<String>,
    /// Organization and group of each membership.
    pub memberships: BTreeSet<(i32, i32)>,
}

/// The columns of a user with these fields. `None` where they are no user's: what was stored is damaged.
pub fn row_of(flat: &Flat) -> Option<Row> {
    let mut row = Row::default();
    let (mut attributes, mut metadata, mut profile) = (Map::new(), Map::new(), Map::new());
    for (path, value) in flat {
        if let Some(at) = COLUMNS.iter().position(|name| name == path) {
            *row.texts.get_mut(at)? = Some(value.as_str()?.to_owned());
        } else if let Some(key) = path.strip_prefix(METADATA) {
            metadata.insert(key.to_owned(), value.clone());
        } else if is_membership(path) {
            row.memberships.insert(membership_of(path)?);
        } else if PLAIN.contains(&path.as_str()) {
            profile.insert(path.clone(), value.clone());
        } else if let Some((member, key)) = path.split_once('.') {
            put_inner(&mut profile, member, key, value)?;
        } else {
            attributes.insert(path.clone(), value.clone());
        }
    }
    let text = |map: Map<String, Value>| (!map.is_empty()).then(|| Value::Object(map).to_string());
    row.attributes = text(attributes);
    row.metadata = text(metadata);
    row.profile = serde_json::from_value::<Profile>(Value::Object(profile)).ok()?.to_json();
    Some(row)
}

fn put_inner(profile: &mut Map<String, Value>, member: &str, key: &str, value: &Value) -> Option<()> {
    if SETS.contains(&member) {
        let set = profile.entry(member).or_insert_with(|| Value::Array(Vec::new()));
        set.as_array_mut()?.push(Value::from(key.parse::<i32>().ok()?));
    } else if OBJECTS.contains(&member) {
        let object = profile.entry(member).or_insert_with(|| Value::Object(Map::new()));
        object.as_object_mut()?.insert(key.to_owned(), value.clone());
    } else {
        return None;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_are_the_same_however_they_are_written() {
        let read = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        for (one, other, expected) in [
            ("1e16", "10000000000000000", true),
            ("1.0", "1", true),
            ("-0.0", "0", true),
            ("1.5", "1", false),
            ("18446744073709551615", "18446744073709551615.0", false),
            ("1.8446744073709552e19", "18446744073709551616", true),
            (r#"{"a": [1.0, {"b": 2e3}]}"#, r#"{"a": [1, {"b": 2000}]}"#, true),
            (r#"{"a": 1.0, "b": null}"#, r#"{"a": 1}"#, false),
            (r#"[1.0]"#, r#"[1, 1]"#, false),
            (r#""1""#, "1", false),
            ("true", "1", false),
        ] {
            let (one, other) = (read(one), read(other));
            assert_eq!(same(Some(&one), Some(&other)), expected, "{one} {other}");
            assert_eq!(same(Some(&other), Some(&one)), expected, "{other} {one}");
        }
        assert!(same(None, None) && !same(None, Some(&Value::Null)) && !same(Some(&Value::Null), None));
    }

    #[test]
    fn the_store_tells_a_number_from_the_same_one_only_below_an_exponent() {
        let read = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        for (one, other, expected) in [
            ("1.0", "1", false),
            ("-0.0", "0", false),
            ("9999999999999998.0", "9999999999999998", false),
            ("1e16", "10000000000000000", true),
            ("-1e16", "-10000000000000000", true),
            ("1e16", "10000000000000001", false),
            ("1.8e19", "18000000000000000000", true),
            (r#"{"a": [1e16]}"#, r#"{"a": [10000000000000000]}"#, true),
        ] {
            let (one, other) = (read(one), read(other));
            assert_eq!(kept_alike(Some(&one), Some(&other)), expected, "{one} {other}");
            assert_eq!(kept_alike(Some(&other), Some(&one)), expected, "{other} {one}");
        }
    }

    #[test]
    fn a_user_comes_back_from_its_fields() {
        let mut profile = Profile {
            roles: [3, 11].into(),
            teams: [4].into(),
            location: Some(9),
            locked: true,
            mfa_email: Some("m@example.com".into()),
            ..Profile::default()
        };
        profile.add_address("e.mail", "a@example.com");
        profile.agent.insert("alias".into(), json!("Ann"));
        let user = ExistingUser {
            email: Some("a@example.com".into()),
            family_name: Some("Bell".into()),
            attributes: Some(json!({"locale": "en", "address": {"country": "IT"}}).to_string()),
            metadata: Some(json!({"a.b": null, "roles.1": [1], "n": {"x": 1}}).to_string()),
            profile: Some(Box::new(profile.clone())),
            ..ExistingUser::default()
        };
        let flat = flat_user(&user, &[(1, 0), (2, 7)]).unwrap();
        for path in
            ["roles.11", "teams.4", "addresses.e.mail", "agent.alias", "metadata.a.b", "memberships.2.7"]
        {
            assert!(flat.contains_key(path), "{path}: {flat:?}");
        }
        let row = row_of(&flat).unwrap();
        assert_eq!(row.texts[0].as_deref(), Some("a@example.com"));
        assert_eq!((row.texts[1].as_deref(), row.texts[4].as_deref()), (None, Some("Bell")));
        let same = |one: Option<&str>, other: Option<&str>| object(one) == object(other);
        assert!(same(row.attributes.as_deref(), user.attributes.as_deref()));
        assert!(same(row.metadata.as_deref(), user.metadata.as_deref()));
        assert_eq!(Profile::parse(row.profile.as_deref()), Some(profile));
        assert_eq!(row.memberships, [(1, 0), (2, 7)].into());
        assert_eq!(row_of(&Flat::new()), Some(Row::default()));
    }
}
