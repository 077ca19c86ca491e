//! What is wrong with a record, as one Authgear error (contracts A.2.5). Pure.
//!
//! The engine reports all errors; Authgear stops at the first step that fails. So the errors are sorted by
//! Authgear's steps, and those of the first step form the one error. The causes of the schema are computed
//! again from the record, since the engine stops at the first fault of a value.

use std::collections::BTreeMap;

use muster_domain::bound::Bound;
use muster_domain::catalog::AttributeDefinition;
use muster_domain::error::{ErrorCode, RecordError};
use muster_domain::fault::{Mutant, mutant};
use muster_domain::options::IdentifierField;
use muster_domain::validate::bound_of;
use serde_json::{Value, json};

use super::causes::{Cause, Form, Property, Shape, step};
use super::error::{ErrorObject, Kind};
use super::fields::record_shape;

/// The steps in which Authgear works through a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Unexpected,
    Defect,
    Schema,
    Totp,
    LoginId,
    Identity,
    Roles,
    Groups,
    Password,
    Validity,
}

/// Explains errors of one import's records.
#[derive(Debug)]
pub(super) struct Explainer {
    identifier: IdentifierField,
    shape: &'static Shape,
    attributes: BTreeMap<String, AttributeDefinition>,
}

impl Explainer {
    /// For records identified by this field, whose custom attributes are defined so.
    pub(super) fn new(
        identifier: IdentifierField,
        attributes: BTreeMap<String, AttributeDefinition>,
    ) -> Self {
        Self { identifier, shape: record_shape(identifier), attributes }
    }

    /// The one error of a failed record. `record` is what was uploaded, secrets redacted.
    pub(super) fn explain(&self, record: &Value, errors: &[RecordError]) -> ErrorObject {
        let Some(first) = errors.iter().map(|error| step_of(error, record)).min() else {
            return ErrorObject::unexpected();
        };
        // The engine stops at the first fault of a value, but faults of its shape are still reported first.
        let misshapen = || !mutant(Mutant::CausesOfTheEngine) && !self.shape_of(record).is_empty();
        let first = if first > Step::Schema && misshapen() { Step::Schema } else { first };
        let errors: Vec<&RecordError> =
            errors.iter().filter(|error| step_of(error, record) == first).collect();
        match first {
            Step::Unexpected => ErrorObject::unexpected(),
            Step::Defect => {
                let causes = errors.iter().map(|error| defect(error)).collect();
                ErrorObject::validation("invalid value", causes)
            }
            Step::Schema => ErrorObject::validation("invalid value", self.causes(record, &errors)),
            Step::LoginId => ErrorObject::validation("invalid login ID", vec![login_id(record, &errors)]),
            Step::Identity => duplicated(&errors),
            Step::Validity => {
                let message = "the start timestamp of account valid period must be less than the end timestamp of the account \
                               valid period";
                let kind = "AccountValidFromShouldBeBeforeAccountValidUntil";
                ErrorObject::new(Kind::Invalid, "InvalidAccountStatusTransition", message)
                    .with(json!({ "cause": { "kind": kind } }))
            }
            Step::Roles => unknown_keys("RoleUnknownKeys", "unknown role keys", record, &errors),
            Step::Groups => unknown_keys("GroupUnknownKeys", "unknown group keys", record, &errors),
            Step::Password => generic_error(&errors, "InvalidBcryptHash"),
            Step::Totp => generic_error(&errors, "InvalidTOTPSecret"),
        }
    }

    /// What the schema says of the record, and what the engine says beyond it.
    fn causes(&self, record: &Value, errors: &[&RecordError]) -> Vec<Cause> {
        let mut causes = self.shape_of(record);
        for error in errors {
            let place = Place::of(error, self.shape, record);
            let parent = place.location.rsplit_once('/').map_or("", |(parent, _)| parent);
            let told = causes.iter().any(|cause| match error.code {
                ErrorCode::FieldRequired => cause.kind == "required" && cause.location == parent,
                ErrorCode::FieldUnknown => cause.kind.is_empty(),
                _ => cause.location == place.location,
            });
            if told {
                continue;
            }
            // A value of the wrong type is not one of the allowed values either.
            if error.code == ErrorCode::TypeMismatch
                && let (Some(value), Some(AttributeDefinition::Enum { values })) =
                    (place.value, place.definition(&self.attributes))
            {
                causes.push(Cause::not_one_of(place.location.as_str(), value, &json!(values)));
            }
            causes.push(self.cause(error, &place));
        }
        causes
    }

    /// The causes that follow from the schema only.
    fn shape_of(&self, record: &Value) -> Vec<Cause> {
        let mut causes = Vec::new();
        if let Some(object) = record.as_object() {
            self.shape.check(object, &[self.identifier.as_str()], "", &mut causes);
        }
        causes
    }

    fn cause(&self, error: &RecordError, place: &Place<'_>) -> Cause {
        let at = place.location.as_str();
        let format = |otherwise: &'static str| {
            let named = match place.property.map(|property| property.form) {
                Some(Form::Formatted(format)) => format,
                _ => otherwise,
            };
            Cause::format(at, named, &error.message)
        };
        let expected = self.expected(place);
        match error.code {
            ErrorCode::EmailInvalid => format("email"),
            ErrorCode::PhoneInvalid => format("phone"),
            ErrorCode::UriInvalid => format("uri"),
            ErrorCode::DateInvalid => format("date-time"),
            ErrorCode::ZoneinfoInvalid => format("timezone"),
            ErrorCode::LocaleInvalid => format("bcp47"),
            ErrorCode::EmptyNotAllowed => {
                match (place.property.map(|property| property.form), place.definition(&self.attributes)) {
                    (Some(Form::Formatted(format)), _) => Cause::format(at, format, &error.message),
                    (_, Some(AttributeDefinition::Enum { values })) => {
                        Cause::not_one_of(at, &Value::from(""), &json!(values))
                    }
                    (_, Some(definition)) if format_of(definition).is_some() => {
                        Cause::format(at, format_of(definition).unwrap_or_default(), &error.message)
                    }
                    _ => Cause::too_short(at),
                }
            }
            ErrorCode::ValueTooLong => match self.bound(error, place) {
                Some(bound) => Cause::too_long(at, place.value, &bound),
                None => Cause::general(at, &error.message),
            },
            ErrorCode::TypeMismatch | ErrorCode::NullNotAllowed => match place.value {
                Some(value) if !expected.is_empty() => Cause::of_type(at, value, expected),
                _ => Cause::general(at, &error.message),
            },
            ErrorCode::ValueInvalid => match (place.value, place.definition(&self.attributes)) {
                (Some(value), Some(AttributeDefinition::Enum { values })) => {
                    Cause::not_one_of(at, value, &json!(values))
                }
                (_, Some(AttributeDefinition::CountryCode {})) => format(COUNTRY),
                _ => Cause::general(at, &error.message),
            },
            ErrorCode::ValueOutOfRange => match (place.value, self.bound(error, place)) {
                (Some(value), Some(Bound::Range { minimum, maximum })) => {
                    Cause::out_of_range(at, value, minimum.as_ref(), maximum.as_ref())
                }
                _ => Cause::general(at, &error.message),
            },
            _ => Cause::general(at, &error.message),
        }
    }

    /// The bound that the value broke.
    fn bound(&self, error: &RecordError, place: &Place<'_>) -> Option<Bound> {
        bound_of(error, place.value, place.definition(&self.attributes))
    }

    /// The types that a custom attribute takes.
    fn expected(&self, place: &Place<'_>) -> &'static [&'static str] {
        match place.definition(&self.attributes) {
            None => &[],
            Some(AttributeDefinition::Number { .. }) => &["number"],
            Some(AttributeDefinition::Integer { .. }) => &["integer"],
            Some(_) => &["string"],
        }
    }
}

fn step_of(error: &RecordError, record: &Value) -> Step {
    let field = error.field.as_deref().unwrap_or_default();
    let outermost = field.split('.').next().unwrap_or_default();
    match error.code {
        ErrorCode::JsonDuplicateKey
        | ErrorCode::JsonTooDeep
        | ErrorCode::JsonInvalidString
        | ErrorCode::JsonInvalid
        | ErrorCode::InvalidUtf8
        | ErrorCode::TooManyFields
        | ErrorCode::RecordTooLarge => Step::Defect,
        ErrorCode::UsernameInvalid | ErrorCode::ControlChar if outermost == "preferred_username" => {
            let empty =
                record.get(outermost).and_then(Value::as_str).is_none_or(|text| text.trim().is_empty());
            if empty { Step::Schema } else { Step::LoginId }
        }
        ErrorCode::FieldRequired
        | ErrorCode::FieldUnknown
        | ErrorCode::TypeMismatch
        | ErrorCode::NullNotAllowed
        | ErrorCode::EmptyNotAllowed
        | ErrorCode::ValueTooLong
        | ErrorCode::ControlChar
        | ErrorCode::EmailInvalid
        | ErrorCode::PhoneInvalid
        | ErrorCode::UriInvalid
        | ErrorCode::DateInvalid
        | ErrorCode::ZoneinfoInvalid
        | ErrorCode::LocaleInvalid
        | ErrorCode::ValueInvalid
        | ErrorCode::ValueOutOfRange => Step::Schema,
        ErrorCode::IdentityConflict => Step::Identity,
        ErrorCode::ValidityInvalid => Step::Validity,
        ErrorCode::CatalogUnknown if outermost == "groups" => Step::Groups,
        ErrorCode::CatalogUnknown => Step::Roles,
        ErrorCode::HashInvalid | ErrorCode::HashUnsupported | ErrorCode::HashCost => Step::Password,
        ErrorCode::TotpInvalid => Step::Totp,
        _ => Step::Unexpected,
    }
}

/// The position of an error: its pointer, its schema, and the value there.
#[derive(Debug)]
struct Place<'r> {
    location: String,
    property: Option<Property>,
    value: Option<&'r Value>,
    /// The custom attribute, if it is one.
    attribute: Option<String>,
}

impl<'r> Place<'r> {
    fn of(error: &RecordError, shape: &'static Shape, record: &'r Value) -> Self {
        let path = error.field.as_deref().unwrap_or_default();
        let keys: Vec<&str> = if path.is_empty() { Vec::new() } else { path.split('.').collect() };
        let location = keys.iter().fold(String::new(), |location, key| step(&location, key));
        let mut property = keys.first().and_then(|key| shape.property(key)).copied();
        for key in keys.iter().skip(1) {
            property = match property.map(|property| property.form) {
                Some(Form::Object(shape)) => shape.property(key).copied(),
                Some(Form::Texts) => Some(Property::new("", Form::Text)),
                _ => None,
            };
        }
        let attribute = match keys.as_slice() {
            ["custom_attributes", name] => Some((*name).to_owned()),
            _ => None,
        };
        let value = record.pointer(&location);
        Self { location, property, value, attribute }
    }

    fn definition<'d>(
        &self,
        attributes: &'d BTreeMap<String, AttributeDefinition>,
    ) -> Option<&'d AttributeDefinition> {
        attributes.get(self.attribute.as_deref()?)
    }
}

fn defect(error: &RecordError) -> Cause {
    let path = error.field.as_deref().unwrap_or_default();
    let location = if path.is_empty() { String::new() } else { step("", path) };
    Cause::general(location, &error.message)
}

const COUNTRY: &str = "iso3166-1-alpha-2";

/// The format of a custom attribute's texts, which says everything about them, that they are not empty too.
fn format_of(definition: &AttributeDefinition) -> Option<&'static str> {
    match definition {
        AttributeDefinition::PhoneNumber {} => Some("phone"),
        AttributeDefinition::Email {} => Some("email"),
        AttributeDefinition::Url {} => Some("uri"),
        AttributeDefinition::CountryCode {} => Some(COUNTRY),
        AttributeDefinition::String {}
        | AttributeDefinition::Number { .. }
        | AttributeDefinition::Integer { .. }
        | AttributeDefinition::Enum { .. } => None,
    }
}

/// A username that the schema lets pass.
fn login_id(record: &Value, errors: &[&RecordError]) -> Cause {
    const AT: &str = "/login_id";
    let value = record.get("preferred_username");
    let name = value.and_then(Value::as_str).unwrap_or_default().trim();
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    if let Some(bound) = errors.first().and_then(|error| bound_of(error, value, None)) {
        Cause::too_long(AT, Some(&Value::from(name)), &bound)
    } else if name.chars().all(plain) {
        Cause::new(AT, "blocked", json!({ "reason": "UsernameReserved" }))
    } else {
        let message = errors.first().map_or("", |error| error.message.as_str());
        Cause::format(AT, "username", message)
    }
}

fn duplicated(errors: &[&RecordError]) -> ErrorObject {
    let kind = match errors.first().and_then(|error| error.field.as_deref()) {
        Some("phone_number") => "phone",
        Some("preferred_username") => "username",
        _ => "email",
    };
    ErrorObject::new(Kind::Invalid, "InvariantViolated", "identity already exists").with(json!({
        "cause": { "kind": "DuplicatedIdentity" },
        "IdentityTypeIncoming": "login_id",
        "LoginIDTypeIncoming": kind,
        "IdentityTypeExisting": "login_id",
        "LoginIDTypeExisting": kind,
    }))
}

fn unknown_keys(reason: &'static str, message: &str, record: &Value, errors: &[&RecordError]) -> ErrorObject {
    let keys: Vec<&Value> = errors
        .iter()
        .filter_map(|error| {
            let (list, at) = error.field.as_deref()?.split_once('.')?;
            record.get(list)?.get(at.parse::<usize>().ok()?)
        })
        .collect();
    ErrorObject::new(Kind::NotFound, reason, message).with(json!({ "keys": keys }))
}

fn generic_error(errors: &[&RecordError], reason: &'static str) -> ErrorObject {
    let message = errors.first().map_or("", |error| error.message.as_str());
    ErrorObject::new(Kind::Invalid, reason, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn explained(record: &Value, errors: &[(ErrorCode, &str)]) -> Value {
        let attributes = BTreeMap::from([
            ("level".to_owned(), AttributeDefinition::Integer { minimum: Some(1), maximum: Some(9) }),
            ("plan".to_owned(), AttributeDefinition::Enum { values: vec!["a".into(), "b".into()] }),
            ("home".to_owned(), AttributeDefinition::CountryCode {}),
            ("site".to_owned(), AttributeDefinition::Url {}),
            (
                "score".to_owned(),
                AttributeDefinition::Number { minimum: serde_json::Number::from_f64(0.5), maximum: None },
            ),
        ]);
        let errors: Vec<RecordError> = errors
            .iter()
            .map(|(code, field)| {
                let error = RecordError::new(*code, "told");
                if field.is_empty() { error } else { error.in_field(*field) }
            })
            .collect();
        let explainer = Explainer::new(IdentifierField::Email, attributes);
        serde_json::to_value(explainer.explain(record, &errors)).unwrap()
    }

    #[test]
    fn the_first_step_that_fails_makes_the_error() {
        let record = json!({"email": "a@b.co", "roles": ["x", "r", "y"], "name": "", "mfa": {"totp": {"secret": "REDACTED"}}});
        let errors = [
            (ErrorCode::TotpInvalid, "mfa.totp.secret"),
            (ErrorCode::CatalogUnknown, "roles.0"),
            (ErrorCode::CatalogUnknown, "roles.2"),
            (ErrorCode::EmptyNotAllowed, "name"),
        ];
        let error = explained(&record, &errors);
        assert_eq!(error["reason"], "ValidationFailed");
        assert_eq!(error["info"]["causes"].as_array().unwrap().len(), 1);
        let record =
            json!({"email": "a@b.co", "roles": ["x", "r", "y"], "mfa": {"totp": {"secret": "REDACTED"}}});
        assert_eq!(explained(&record, &errors[..3])["reason"], "InvalidTOTPSecret");
        let error = explained(&record, &errors[1..3]);
        assert_eq!((&error["code"], &error["info"]["keys"]), (&json!(404), &json!(["x", "y"])));
        let steps = [
            (ErrorCode::ValidityInvalid, "account_valid_from"),
            (ErrorCode::HashInvalid, "password.password_hash"),
            (ErrorCode::CatalogUnknown, "groups.0"),
            (ErrorCode::CatalogUnknown, "roles.0"),
            (ErrorCode::IdentityConflict, "phone_number"),
            (ErrorCode::TotpInvalid, "mfa.totp.secret"),
        ];
        let reasons: Vec<Value> =
            (1..=steps.len()).map(|most| explained(&record, &steps[..most])["reason"].clone()).collect();
        assert_eq!(
            reasons,
            [
                "InvalidAccountStatusTransition",
                "InvalidBcryptHash",
                "GroupUnknownKeys",
                "RoleUnknownKeys",
                "InvariantViolated",
                "InvalidTOTPSecret"
            ]
        );
        let dead = [(ErrorCode::EmptyNotAllowed, "name"), (ErrorCode::ChunkDead, "")];
        assert_eq!(explained(&record, &dead)["code"], 500);
        assert_eq!(explained(&record, &[])["reason"], "UnexpectedError");
    }

    /// The catalog may have changed since, and limits with the program.
    #[test]
    fn an_error_is_explained_by_the_bound_that_it_carries() {
        let definition = AttributeDefinition::Integer { minimum: Some(1), maximum: Some(9) };
        let explainer =
            Explainer::new(IdentifierField::Email, BTreeMap::from([("level".to_owned(), definition)]));
        let record = json!({"email": "a@b.co", "name": "Ada", "preferred_username": "lovelace",
                            "custom_attributes": {"level": 8}});
        let cause = |code, field: &str, bound| {
            let error = RecordError::new(code, "told").in_field(field).bounded_by(bound);
            let shown = serde_json::to_value(explainer.explain(&record, &[error])).unwrap();
            shown["info"]["causes"][0].clone()
        };
        let range = Bound::Range { minimum: Some(1.into()), maximum: Some(7.into()) };
        assert_eq!(
            cause(ErrorCode::ValueOutOfRange, "custom_attributes.level", range),
            json!({"location": "/custom_attributes/level", "kind": "maximum", "details": {"actual": 8, "maximum": 7}})
        );
        assert_eq!(
            cause(ErrorCode::ValueTooLong, "name", Bound::MaxChars(2)),
            json!({"location": "/name", "kind": "maxLength", "details": {"actual": 3, "expected": 2}})
        );
        assert_eq!(
            cause(ErrorCode::UsernameInvalid, "preferred_username", Bound::MaxChars(5)),
            json!({"location": "/login_id", "kind": "maxLength", "details": {"actual": 8, "expected": 5}})
        );
    }

    #[test]
    fn the_shape_of_a_record_is_told_before_a_bad_secret() {
        let record =
            json!({"email": "a@b.co", "mfa": {"totp": {"secret": "REDACTED", "digits": "REDACTED"}}});
        let error = explained(&record, &[(ErrorCode::TotpInvalid, "mfa.totp.secret")]);
        assert_eq!(error["info"]["causes"], json!([{"location": "/mfa/totp/digits", "kind": ""}]));
    }

    #[test]
    fn an_empty_text_of_a_format_is_not_of_the_format() {
        let record = json!({"email": "a@b.co", "custom_attributes": {"home": "", "site": "", "plan": ""}});
        let cause =
            |field| explained(&record, &[(ErrorCode::EmptyNotAllowed, field)])["info"]["causes"][0].clone();
        let found = cause("custom_attributes.home");
        assert_eq!(
            (&found["kind"], &found["details"]["format"]),
            (&json!("format"), &json!("iso3166-1-alpha-2"))
        );
        let found = cause("custom_attributes.site");
        assert_eq!((&found["kind"], &found["details"]["format"]), (&json!("format"), &json!("uri")));
        assert_eq!(cause("custom_attributes.plan")["kind"], "enum");
    }

    #[test]
    fn custom_attributes_are_explained_by_their_definitions() {
        let record = json!({"email": "a@b.co", "custom_attributes": {"level": 12, "plan": "c"}});
        let cause = |code, field| explained(&record, &[(code, field)])["info"]["causes"][0].clone();
        let found = cause(ErrorCode::ValueOutOfRange, "custom_attributes.level");
        assert_eq!(
            found,
            json!({"location": "/custom_attributes/level", "kind": "maximum", "details": {"actual": 12, "maximum": 9}})
        );
        let record =
            json!({"email": "a@b.co", "custom_attributes": {"level": 1.5, "plan": 7, "score": 0.25}});
        let causes = |code, field| explained(&record, &[(code, field)])["info"]["causes"].clone();
        assert_eq!(
            causes(ErrorCode::ValueOutOfRange, "custom_attributes.score")[0],
            json!({"location": "/custom_attributes/score", "kind": "minimum", "details": {"actual": 0.25, "minimum": 0.5}})
        );
        assert_eq!(
            causes(ErrorCode::TypeMismatch, "custom_attributes.level")[0]["details"],
            json!({"actual": ["number"], "expected": ["integer"]})
        );
        let both = causes(ErrorCode::TypeMismatch, "custom_attributes.plan");
        assert_eq!((&both[0]["kind"], &both[1]["kind"]), (&json!("enum"), &json!("type")));
        let record = json!({"email": "a@b.co", "custom_attributes": {"plan": "c"}});
        let cause = |code, field| explained(&record, &[(code, field)])["info"]["causes"][0].clone();
        let found = cause(ErrorCode::ValueInvalid, "custom_attributes.plan");
        assert_eq!(found["details"], json!({"actual": "c", "expected": ["a", "b"]}));
    }
}
