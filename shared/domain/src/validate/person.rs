//! Values of one field each: phone numbers, usernames, the state of an account, what an agent has, addresses.

use std::borrow::Cow;

use serde_json::Number;

use super::{MAX_ADDRESS_CHARS, json, value};
use crate::bound::Bound;
use crate::error::{ErrorCode, RecordError};
use crate::fault::{Mutant, mutant};
use crate::field::Field;
use crate::normalise::{EmailAddress, PhoneNumber, Username};
use crate::options::{IdentifierField, PhoneCheck, Usernames};
use crate::record::{AgentValue, MetadataValue, Patch, RawValue, Record};
use crate::rules::Rules;

/// Longest filter timeout, in minutes (contracts B.1.1).
const MAX_FILTER_TIMEOUT: i64 = 1_440;
/// A phone number, as the options have it checked.
pub(super) fn phone<'t>(text: Cow<'t, str>, rules: &Rules) -> Result<PhoneNumber<'t>, RecordError> {
    let phone = PhoneNumber::parse_cow(text)?;
    if rules.options.phone_check == PhoneCheck::Valid && !phone.is_valid() {
        return Err(RecordError::new(
            ErrorCode::PhoneInvalid,
            "the numbering plan of the number's country has no such number",
        ));
    }
    Ok(phone)
}

/// A username, as the options have it checked.
pub(super) fn username<'t>(text: &'t str, rules: &Rules) -> Result<Username<'t>, RecordError> {
    if rules.options.usernames != Usernames::Ascii {
        return Username::parse(text);
    }
    let bounded = |error: RecordError| match Username::bound_of_plain(text) {
        Some(bound) => error.bounded_by(bound),
        None => error,
    };
    let name = Username::parse(text).map_err(bounded)?;
    // As it is written: letters that only fold to ASCII are others.
    let ascii = text.trim().is_ascii() || mutant(Mutant::UsernamesFoldToAscii);
    if !(ascii && name.is_plain()) {
        return Err(bounded(RecordError::new(
            ErrorCode::UsernameInvalid,
            "a username is of letters, digits, '_', '.' and '-', at most 40 of them, and not a reserved name",
        )));
    }
    Ok(name)
}

/// `Active` or `Inactive`: whether the account is disabled.
pub(super) fn status(value: RawValue<'_>) -> Result<Patch<bool>, RecordError> {
    value::text(value, |text| match text.trim() {
        text if text.eq_ignore_ascii_case("active") => Ok(false),
        text if text.eq_ignore_ascii_case("inactive") => Ok(true),
        _ => Err(RecordError::new(ErrorCode::ValueInvalid, "the value must be one of: Active, Inactive")),
    })
}

/// A field of an agent.
pub(super) fn agent<'a>(
    field: Field,
    value: RawValue<'a>,
    rules: &Rules,
) -> Result<Patch<AgentValue<'a>>, RecordError> {
    let lenient = rules.lenient();
    // Whatever is wrong with such a value, its error says what it may be.
    let number = |least: i64, most: Option<i64>| {
        value::integer(value, lenient, least, most.unwrap_or(i64::from(u32::MAX)))
            .map(|patch| patch.map(|number| AgentValue::Number(u32::try_from(number).unwrap_or(u32::MAX))))
            .map_err(|error| {
                error
                    .bounded_by(Bound::Range { minimum: Some(least.into()), maximum: most.map(Number::from) })
            })
    };
    match field {
        Field::UnrestrictedInternationalCalling | Field::ExternalUser | Field::MaxChatLimitEnabled => {
            value::flag(value, lenient).map(|patch| patch.map(AgentValue::Flag))
        }
        Field::MaxChatLimit => number(1, rules.catalog.max_chat_limit.map(i64::from)),
        Field::AvailabilityFilterTimeout => number(0, Some(MAX_FILTER_TIMEOUT)),
        Field::DirectInboundNumber1
        | Field::DirectInboundNumber2
        | Field::DirectInboundNumber3
        | Field::DirectInboundNumber4
        | Field::DirectInboundNumber5 => {
            value::text(value, |text| phone(Cow::Borrowed(text), rules).map(PhoneNumber::into_inner))
                .map(|patch| patch.map(AgentValue::Text))
        }
        _ => value::plain(value, lenient).map(|patch| patch.map(AgentValue::Text)),
    }
}

/// Name and value of an address.
pub(super) type AddressEntry<'a> = (Cow<'a, str>, Cow<'a, str>);

/// `[{"name": "sms", "value": "+39…"}]`.
pub(super) fn addresses<'a>(
    value: RawValue<'a>,
    lenient: bool,
) -> Result<Vec<AddressEntry<'a>>, RecordError> {
    let source = json::source(value, '[', "a list of objects with `name` and `value`", lenient)?;
    let mut addresses: Vec<AddressEntry<'a>> = Vec::new();
    for (at, item) in json::items(source)?.into_iter().enumerate() {
        let place = |error: RecordError| value::nested(error, &at.to_string());
        if !item.starts_with('{') {
            return Err(place(value::mismatch("an object with `name` and `value`")));
        }
        let (mut name, mut value) = (None, None);
        for (key, json) in json::entries(item)? {
            let slot = match &*key {
                "name" => &mut name,
                "value" => &mut value,
                // What an address is, its value tells.
                "type" => continue,
                _ => {
                    return Err(place(
                        RecordError::new(ErrorCode::FieldUnknown, "the field is not known").in_field(key),
                    ));
                }
            };
            match value::json_text(json, address_text).map_err(|error| place(error.in_field(key.clone())))? {
                Patch::Value(text) => *slot = Some(text),
                _ => return Err(place(value::null().in_field(key))),
            }
        }
        match (name, value) {
            // One of the two would be lost without a word.
            (Some(name), Some(value)) if addresses.iter().any(|(n, v)| *n == name && *v != value) => {
                let message = "another address of the record has this name";
                return Err(place(RecordError::new(ErrorCode::AddressTaken, message).in_field("name")));
            }
            (Some(name), Some(value)) => addresses.push((name, value)),
            (None, _) => return Err(place(value::empty().in_field("name"))),
            (_, None) => return Err(place(value::empty().in_field("value"))),
        }
    }
    Ok(addresses)
}

/// The name or the value of an address.
pub fn address_text(text: Cow<'_, str>) -> Result<Cow<'_, str>, RecordError> {
    value::up_to_cow(MAX_ADDRESS_CHARS, text)
}

/// The normalised identifier of a record that has one.
pub(super) fn identifier_of<'a>(record: &Record<'a>, field: IdentifierField) -> Option<Cow<'a, str>> {
    match field {
        IdentifierField::Email => record.email.value().cloned().map(EmailAddress::into_inner),
        IdentifierField::PhoneNumber => record.phone_number.value().cloned().map(PhoneNumber::into_inner),
        IdentifierField::PreferredUsername => {
            record.preferred_username.value().cloned().map(Username::into_inner)
        }
    }
}

/// A value of JSON as the metadata has it.
pub(super) fn owned(value: &serde_json::Value) -> MetadataValue<'static> {
    MetadataValue::Json(Cow::Owned(value.to_string()))
}
