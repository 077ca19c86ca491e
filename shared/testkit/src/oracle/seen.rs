//! A user of the store in the oracle's form, so that the two can be compared.

use muster_domain::plan::ExistingUser;
use serde_json::{Map, Value};

use super::Fields;

/// What a user has. `name` tells the folded name of an id of the catalog.
///
/// # Panics
/// When the user's JSON cannot be read.
pub fn seen(user: &ExistingUser, name: &dyn Fn(i32) -> String) -> Fields {
    let mut fields = Fields::new();
    let object = |json: &Option<String>| -> Map<String, Value> {
        json.as_deref().map(|json| serde_json::from_str(json).expect("an object")).unwrap_or_default()
    };
    let texts = [
        ("email", &user.email),
        ("phone_number", &user.phone_number),
        ("preferred_username", &user.preferred_username),
        ("given_name", &user.given_name),
        ("family_name", &user.family_name),
    ];
    for (key, text) in texts {
        fields.extend(text.as_ref().map(|text| (key.to_owned(), Value::from(text.as_str()))));
    }
    fields.extend(object(&user.attributes));
    let metadata = object(&user.metadata);
    if !metadata.is_empty() {
        fields.insert("metadata".to_owned(), Value::Object(metadata));
    }
    let Some(profile) = user.profile.as_deref() else { return fields };
    let flags = [
        ("email_verified", profile.email_verified),
        ("phone_number_verified", profile.phone_number_verified),
        ("locked", profile.locked),
        ("disabled", profile.disabled_at.is_some()),
    ];
    fields
        .extend(flags.into_iter().filter(|(_, on)| *on).map(|(key, _)| (key.to_owned(), Value::Bool(true))));
    for (key, ids) in [("roles", &profile.roles), ("groups", &profile.groups), ("teams", &profile.teams)] {
        let mut names: Vec<String> = ids.iter().map(|id| name(*id)).collect();
        names.sort();
        if !names.is_empty() {
            fields.insert(key.to_owned(), Value::from(names));
        }
    }
    let texts = [
        ("location", profile.location.map(name)),
        ("account_valid_from", profile.valid_from.map(|moment| moment.to_rfc3339())),
        ("account_valid_until", profile.valid_until.map(|moment| moment.to_rfc3339())),
        ("mfa_email", profile.mfa_email.clone()),
        ("mfa_phone_number", profile.mfa_phone_number.clone()),
    ];
    for (key, text) in texts {
        fields.extend(text.map(|text| (key.to_owned(), Value::from(text))));
    }
    let addresses: Map<String, Value> = profile
        .addresses
        .iter()
        .map(|(name, address)| (name.clone(), Value::from(address.value.as_str())))
        .collect();
    if !addresses.is_empty() {
        fields.insert("addresses".to_owned(), Value::Object(addresses));
    }
    fields.extend(profile.agent.clone());
    fields
}
