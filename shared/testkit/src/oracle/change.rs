//! What a record makes of a user, new or there already.

use muster_domain::field::{Field, FieldTable};
use muster_domain::options::{ImportOptions, MetadataMode};
use muster_domain::parse::Format;
use serde_json::{Map, Value};

use super::read::Record;
use super::{Fact, Fields, metadata};

/// Fields that are a value or nothing, the same for new users and those that are there.
const SIMPLE: [Field; 35] = [
    Field::GivenName,
    Field::FamilyName,
    Field::Name,
    Field::MiddleName,
    Field::Nickname,
    Field::Profile,
    Field::Picture,
    Field::Website,
    Field::Gender,
    Field::Birthdate,
    Field::Zoneinfo,
    Field::Locale,
    Field::Address,
    Field::Location,
    Field::AccountValidFrom,
    Field::AccountValidUntil,
    Field::MfaEmail,
    Field::MfaPhoneNumber,
    Field::AgentNumber,
    Field::Alias,
    Field::ExtensionNumber,
    Field::UnrestrictedInternationalCalling,
    Field::ExternalUser,
    Field::UcaasSipUri,
    Field::UcaasUserName,
    Field::AvailabilityFilter,
    Field::AvailabilityFilterTimeout,
    Field::MaxChatLimit,
    Field::MaxChatLimitEnabled,
    Field::DirectInboundNumber1,
    Field::DirectInboundNumber2,
    Field::DirectInboundNumber3,
    Field::DirectInboundNumber4,
    Field::DirectInboundNumber5,
    Field::Locked,
];
const SETS: [Field; 3] = [Field::Roles, Field::Groups, Field::Teams];
const IDENTITIES: [Field; 3] = [Field::Email, Field::PhoneNumber, Field::PreferredUsername];
const VERIFIED: [(Field, Field); 2] =
    [(Field::EmailVerified, Field::Email), (Field::PhoneNumberVerified, Field::PhoneNumber)];

fn set(fields: &mut Fields, field: Field, value: Option<&Value>) {
    match value {
        // A flag that is off, or a set without a member, is one that is not there.
        None | Some(Value::Bool(false)) if !field.is_agent() => fields.remove(field.as_str()),
        None => fields.remove(field.as_str()),
        Some(value) => fields.insert(field.as_str().to_owned(), value.clone()),
    };
}

/// A new user: every value is set, null says nothing.
pub(super) fn of_new(record: &Record, options: &ImportOptions) -> (Fields, Vec<String>) {
    let mut fields = Fields::new();
    let mut warnings = left_out(record);
    for field in IDENTITIES.into_iter().chain(SIMPLE) {
        set(&mut fields, field, record.value(field));
    }
    if let Some(renamed) = record.value(Field::NewEmail) {
        set(&mut fields, Field::Email, Some(renamed));
    }
    for (flag, of) in VERIFIED {
        match (record.value(flag), record.value(of)) {
            (Some(Value::Bool(true)), None) => {
                warnings.push(format!("{flag} = true has no effect when {of} is absent."));
            }
            // Another address took the place of the one that was verified.
            (Some(Value::Bool(true)), value) if fields.get(of.as_str()) == value => {
                set(&mut fields, flag, Some(&Value::Bool(true)));
            }
            (Some(Value::Bool(false)), _) => {
                warnings.push(format!("{flag} = false has no effect in insert."))
            }
            _ => {}
        }
    }
    match (record.value(Field::Disabled), record.value(Field::Status)) {
        (Some(Value::Bool(true)), _) | (_, Some(Value::Bool(true))) => {
            fields.insert("disabled".to_owned(), Value::Bool(true));
        }
        (Some(_), _) => warnings.push("disabled = false has no effect in insert.".to_owned()),
        _ => {}
    }
    sets(&mut fields, record, |_| false);
    let mut keys = Map::new();
    if let Some(Some(sent)) = &record.metadata {
        // Nothing is there to be removed or ignored, and nothing to merge with.
        let mode = match options.metadata {
            MetadataMode::Remove | MetadataMode::Attributes => options.metadata,
            _ => MetadataMode::Rewrite,
        };
        keys = metadata::apply(&keys, sent, mode);
    }
    custom(&mut keys, record);
    put_metadata(&mut fields, keys);
    if let Some(hash) = record.value(Field::PasswordHash) {
        set(&mut fields, Field::PasswordHash, Some(hash));
        set(&mut fields, Field::PasswordExpireAfter, record.value(Field::PasswordExpireAfter));
    }
    for secret in [Field::MfaPasswordHash, Field::MfaTotpSecret] {
        set(&mut fields, secret, record.value(secret));
    }
    addresses(&mut fields, record);
    default_address(&mut fields, options);
    // A table cannot say null.
    if options.format != Format::Csv {
        let paths = [
            (Field::Email, "email"),
            (Field::PhoneNumber, "phone_number"),
            (Field::PreferredUsername, "preferred_username"),
            (Field::MfaEmail, "mfa.email"),
            (Field::MfaPhoneNumber, "mfa.phone_number"),
        ];
        for (_, path) in paths.into_iter().filter(|(field, _)| record.fact(*field) == Some(&Fact::Null)) {
            warnings.push(format!("{path} = null has no effect in insert."));
        }
    }
    warnings.sort();
    (fields, warnings)
}

/// A user that is there: values are set, null removes, and fields that are ignored stay as they are. Secrets are not touched.
pub(super) fn of_existing(
    before: &Fields,
    record: &Record,
    options: &ImportOptions,
) -> (Fields, Vec<String>) {
    let table = options.fields.clone().unwrap_or_else(FieldTable::native);
    let factors = [Field::MfaEmail, Field::MfaPhoneNumber];
    let ignored =
        |field: Field| table.ignored().contains(field) || (record.mfa_ignored && factors.contains(&field));
    let mut fields = before.clone();
    let mut warnings = left_out(record);
    for field in IDENTITIES.into_iter().chain(SIMPLE) {
        if field != options.identifier.into() && !ignored(field) {
            match record.fact(field) {
                Some(Fact::Is(value)) => set(&mut fields, field, Some(value)),
                Some(Fact::Null) => set(&mut fields, field, None),
                _ => {}
            }
        }
    }
    if let Some(renamed) = record.value(Field::NewEmail).filter(|_| !ignored(Field::NewEmail)) {
        set(&mut fields, Field::Email, Some(renamed));
    }
    for (flag, of) in VERIFIED {
        if fields.get(of.as_str()) != before.get(of.as_str()) {
            set(&mut fields, flag, None);
        }
        match record.fact(flag).filter(|_| !ignored(flag)) {
            Some(Fact::Is(said)) => match record.fact(of) {
                None => warnings.push(format!("{flag} has no effect when {of} is absent.")),
                Some(Fact::Null) => warnings.push(format!("{flag} has no effect when {of} = null.")),
                Some(Fact::Is(value)) if fields.get(of.as_str()) == Some(value) => {
                    set(&mut fields, flag, Some(said))
                }
                Some(_) => {}
            },
            Some(_) => set(&mut fields, flag, None),
            None => {}
        }
    }
    for field in [Field::Disabled, Field::Status] {
        match record.fact(field).filter(|_| !ignored(field)) {
            Some(Fact::Is(Value::Bool(disable))) => {
                if *disable != fields.contains_key("disabled") {
                    set(&mut fields, Field::Disabled, Some(&Value::Bool(*disable)));
                } else if field == Field::Disabled {
                    let state = if *disable { "disabled" } else { "normal" };
                    warnings.push(format!("invalid account status transition: {state} -> {state}"));
                }
            }
            Some(_) => set(&mut fields, Field::Disabled, None),
            None => {}
        }
    }
    sets(&mut fields, record, ignored);
    let mut keys = fields.get("metadata").and_then(Value::as_object).cloned().unwrap_or_default();
    match &record.metadata {
        Some(sent) if !ignored(Field::Metadata) && options.metadata != MetadataMode::Ignore => {
            keys = sent.as_ref().map_or_else(Map::new, |sent| metadata::apply(&keys, sent, options.metadata));
        }
        _ => {}
    }
    if !ignored(Field::CustomAttributes) {
        custom(&mut keys, record);
    }
    put_metadata(&mut fields, keys);
    if !ignored(Field::Addresses) {
        addresses(&mut fields, record);
    }
    default_address(&mut fields, options);
    warnings.sort();
    (fields, warnings)
}

fn left_out(record: &Record) -> Vec<String> {
    let fields = record.facts.iter().filter(|(_, fact)| *fact == Fact::LeftOut);
    fields
        .map(|(field, _)| format!("{field} holds names that the catalog does not know; they were left out."))
        .collect()
}

fn sets(fields: &mut Fields, record: &Record, ignored: impl Fn(Field) -> bool) {
    for field in SETS.into_iter().filter(|field| !ignored(*field)) {
        for (_, fact) in record.facts.iter().filter(|(of, _)| *of == field) {
            let mut names: Vec<String> = fields
                .get(field.as_str())
                .and_then(Value::as_array)
                .map(|names| names.iter().filter_map(Value::as_str).map(str::to_owned).collect())
                .unwrap_or_default();
            match fact {
                Fact::Null => names.clear(),
                Fact::Whole(whole) => names = whole.iter().map(|name| (*name).to_owned()).collect(),
                Fact::Delta(changes) => {
                    for (name, has) in changes {
                        names.retain(|known| known != name);
                        if *has {
                            names.push((*name).to_owned());
                        }
                    }
                }
                Fact::Is(_) | Fact::LeftOut => {}
            }
            names.sort();
            names.dedup();
            set(fields, field, (!names.is_empty()).then(|| Value::from(names)).as_ref());
        }
    }
}

fn custom(keys: &mut Map<String, Value>, record: &Record) {
    if let Some(Value::Object(sent)) = record.value(Field::CustomAttributes) {
        *keys = metadata::apply(keys, sent, MetadataMode::Attributes);
    }
}

fn put_metadata(fields: &mut Fields, keys: Map<String, Value>) {
    if keys.is_empty() {
        fields.remove("metadata");
    } else {
        fields.insert("metadata".to_owned(), Value::Object(keys));
    }
}

fn addresses(fields: &mut Fields, record: &Record) {
    match record.fact(Field::Addresses) {
        Some(Fact::Null) => {
            fields.remove("addresses");
        }
        Some(Fact::Is(Value::Array(pairs))) => {
            for pair in pairs {
                add_address(fields, &pair[0], &pair[1]);
            }
        }
        _ => {}
    }
}

/// Each user gets an address named `email`, where the import says so.
pub(super) fn default_address(fields: &mut Fields, options: &ImportOptions) {
    if let Some(email) = fields.get("email").cloned().filter(|_| options.default_address) {
        add_address(fields, &Value::from("email"), &email);
    }
}

/// A value stands under one name only, the one it was first given.
fn add_address(fields: &mut Fields, name: &Value, value: &Value) {
    let known = fields.entry("addresses".to_owned()).or_insert_with(|| Value::Object(Map::new()));
    let (Some(known), Some(name)) = (known.as_object_mut(), name.as_str()) else { return };
    if !known.values().any(|other| other == value) {
        known.insert(name.to_owned(), value.clone());
    }
}
