//! The names of an Authgear record, twice: what they are to the engine, and the schema by which errors are explained.

use muster_domain::field::{Behaviour, Field, FieldRule, FieldTable};
use muster_domain::options::{
    IdentifierField, ImportOptions, OnExisting, PhoneCheck, Sets, UnknownColumns, Usernames, Values,
};
use muster_domain::parse::Format;

use super::causes::{Form, Property, Shape};

/// The names and their update behaviours (contracts A.1.5 and A.3.3).
const FIELDS: [(&str, Field, Behaviour); 26] = [
    ("preferred_username", Field::PreferredUsername, Behaviour::Remove),
    ("email", Field::Email, Behaviour::Remove),
    ("phone_number", Field::PhoneNumber, Behaviour::Remove),
    ("email_verified", Field::EmailVerified, Behaviour::Keep),
    ("phone_number_verified", Field::PhoneNumberVerified, Behaviour::Keep),
    ("name", Field::Name, Behaviour::Remove),
    ("given_name", Field::GivenName, Behaviour::Remove),
    ("family_name", Field::FamilyName, Behaviour::Remove),
    ("middle_name", Field::MiddleName, Behaviour::Remove),
    ("nickname", Field::Nickname, Behaviour::Remove),
    ("profile", Field::Profile, Behaviour::Remove),
    ("picture", Field::Picture, Behaviour::Remove),
    ("website", Field::Website, Behaviour::Remove),
    ("gender", Field::Gender, Behaviour::Remove),
    ("birthdate", Field::Birthdate, Behaviour::Remove),
    ("zoneinfo", Field::Zoneinfo, Behaviour::Remove),
    ("locale", Field::Locale, Behaviour::Remove),
    ("address", Field::Address, Behaviour::Remove),
    ("custom_attributes", Field::CustomAttributes, Behaviour::Keep),
    ("roles", Field::Roles, Behaviour::Keep),
    ("groups", Field::Groups, Behaviour::Keep),
    ("disabled", Field::Disabled, Behaviour::Keep),
    ("account_valid_from", Field::AccountValidFrom, Behaviour::Keep),
    ("account_valid_until", Field::AccountValidUntil, Behaviour::Keep),
    ("password", Field::Password, Behaviour::Ignore),
    // Of `mfa` the parts have behaviours of their own, which are the engine's too.
    ("mfa", Field::Mfa, Behaviour::Keep),
];

/// What an import of this front door is asked to do.
pub(super) fn options(identifier: IdentifierField, upsert: bool) -> ImportOptions {
    let rules = FIELDS.map(|(name, field, behaviour)| {
        let rule = FieldRule::new(name, field).with(behaviour);
        if field == identifier.into() { rule.required() } else { rule }
    });
    ImportOptions {
        format: Format::Json,
        identifier,
        on_existing: if upsert { OnExisting::Update } else { OnExisting::Skip },
        unknown_columns: UnknownColumns::Refuse,
        sets: Sets::Whole,
        values: Values::Exact,
        phone_check: PhoneCheck::Valid,
        usernames: Usernames::Ascii,
        fields: Some(FieldTable(rules.to_vec())),
        ..ImportOptions::default()
    }
}

const PASSWORD: Shape = Shape {
    properties: &[
        Property::new("type", Form::OneOf(&["bcrypt", "argon2id"])),
        Property::new("password_hash", Form::Text),
        Property::new("expire_after", Form::Formatted("date-time")),
    ],
    required: &["password_hash", "type"],
    closed: true,
};

const TOTP: Shape =
    Shape { properties: &[Property::new("secret", Form::Text)], required: &["secret"], closed: true };

const MFA: Shape = Shape {
    properties: &[
        Property::nullable("email", Form::Formatted("email")),
        Property::nullable("phone_number", Form::Formatted("phone")),
        Property::new("password", Form::Object(&PASSWORD)),
        Property::new("totp", Form::Object(&TOTP)),
    ],
    required: &[],
    closed: true,
};

const ADDRESS: Shape = Shape {
    properties: &[
        Property::new("formatted", Form::Text),
        Property::new("street_address", Form::Text),
        Property::new("locality", Form::Text),
        Property::new("region", Form::Text),
        Property::new("postal_code", Form::Text),
        Property::new("country", Form::Text),
    ],
    required: &[],
    closed: false,
};

macro_rules! record {
    ($name:ident, $email:ident, $phone:ident, $username:ident) => {
        const $name: Shape = Shape {
            properties: &[
                Property::$username("preferred_username", Form::Text),
                Property::$email("email", Form::Formatted("email")),
                Property::$phone("phone_number", Form::Formatted("phone")),
                Property::new("email_verified", Form::Flag),
                Property::new("phone_number_verified", Form::Flag),
                Property::nullable("name", Form::Text),
                Property::nullable("given_name", Form::Text),
                Property::nullable("family_name", Form::Text),
                Property::nullable("middle_name", Form::Text),
                Property::nullable("nickname", Form::Text),
                Property::nullable("profile", Form::Formatted("uri")),
                Property::nullable("picture", Form::Formatted("x_picture")),
                Property::nullable("website", Form::Formatted("uri")),
                Property::nullable("gender", Form::Text),
                Property::nullable("birthdate", Form::Formatted("birthdate")),
                Property::nullable("zoneinfo", Form::Formatted("timezone")),
                Property::nullable("locale", Form::Formatted("bcp47")),
                Property::nullable("address", Form::Object(&ADDRESS)),
                Property::new("custom_attributes", Form::FreeObject),
                Property::new("roles", Form::Texts),
                Property::new("groups", Form::Texts),
                Property::new("disabled", Form::Flag),
                Property::new("account_valid_from", Form::Formatted("date-time")),
                Property::new("account_valid_until", Form::Formatted("date-time")),
                Property::new("password", Form::Object(&PASSWORD)),
                Property::new("mfa", Form::Object(&MFA)),
            ],
            required: &[],
            closed: true,
        };
    };
}

// Only the identifier must not be null.
record!(BY_EMAIL, new, nullable, nullable);
record!(BY_PHONE_NUMBER, nullable, new, nullable);
record!(BY_PREFERRED_USERNAME, nullable, nullable, new);

/// The schema of a record.
pub(super) fn record_shape(identifier: IdentifierField) -> &'static Shape {
    match identifier {
        IdentifierField::Email => &BY_EMAIL,
        IdentifierField::PhoneNumber => &BY_PHONE_NUMBER,
        IdentifierField::PreferredUsername => &BY_PREFERRED_USERNAME,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_knows_the_names_that_the_engine_is_given() {
        for identifier in IdentifierField::ALL {
            let table = options(*identifier, true).fields.unwrap();
            let shape = record_shape(*identifier);
            assert_eq!(table.0.len(), shape.properties.len());
            for rule in &table.0 {
                let property = shape.property(&rule.name).unwrap();
                assert_eq!(rule.required, rule.name == identifier.as_str());
                // Null removes where the schema has it, but for the identifier, which nothing removes.
                let removed = rule.behaviour == Behaviour::Remove && !rule.required;
                assert_eq!(property.nullable, removed, "{}", rule.name);
            }
        }
    }
}
