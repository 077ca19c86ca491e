//! Users of an application: registering and unregistering them.
//!
//! Projects and applications are slugs and need not be created first. Muster has no channels and no
//! distribution lists, so an address is assigned to none, and a list that is named does not exist.

use std::borrow::Cow;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use muster_domain::error::RecordError;
use muster_domain::normalise::EmailAddress;
use muster_domain::outcome::Outcome;
use muster_domain::profile::{Address, AddressKind};
use muster_domain::validate::address_text;
use muster_store::applications::{self, ApplicationMember};
use muster_store::members::Member;
use serde_json::{Map, Value as JsonValue, json};

use super::super::AppState;
use super::auth::Caller;
use super::error::{Detail, DoorError};
use super::fields::{Named, RequestFields, boolean, claiming, registering, registering_addresses};
use super::messages::{BLANK, FieldErrors, NO_BOOLEAN, NULL, REQUIRED, sentence};
use super::request::{Document, Value};
use super::request_path::RequestPath;
use super::view::{AddressView, Assignment, Membership, Registered, RegisteredUser, Unregistered};
use crate::user_write::{Registration, Values, Write, Written};

/// Registers a user with an application: finds or creates it by its name, enrols it in the default group of the organization, adds the
/// addresses, and merges the custom fields into what the application has about the user.
#[utoipa::path(
    post, path = "/", tag = "bitcaster", operation_id = "bitcaster_register", security(("key" = [])),
    params(("org" = String, Path, description = "Slug of the organization"),
           ("project" = String, Path, description = "Slug of the project"),
           ("application" = String, Path, description = "Slug of the application")),
    request_body(content = serde_json::Value, content_type = "application/json",
                 description = "`username` (required), `email`, `first_name`, `last_name`, `custom_fields`, `active`, `addresses` (each \
                                `value`, `name`, `assign_to_preferred_channel`), `distribution_list`"),
    responses((status = 201, description = "The user is new", body = Registered),
              (status = 200, description = "The user was there", body = Registered),
              (status = 400, description = "The errors by field", body = serde_json::Value),
              (status = "default", description = "An error", body = Detail)),
)]
pub(super) async fn register(
    State(state): State<AppState>,
    caller: Caller,
    request_path: RequestPath,
    mut document: Document,
) -> Result<Response, DoorError> {
    let tenant = caller.writes(&request_path.organization)?;
    let (project, application) = request_path.application()?;
    let request = Request::read(&mut document);
    let (user_rules, address_rules) = (registering(request.named), registering_addresses(request.named));
    let (user_pairs, address_pairs) = (request.user.pairs(), request.addressed.pairs());
    let (user, addressed) =
        (Values::new(&user_rules, &user_pairs), Values::new(&address_rules, &address_pairs));
    let (record, addresses) = match (user.validate(&user_rules), addressed.validate(&address_rules)) {
        (Ok(record), Ok(addresses)) if request.user.errors.is_empty() => (record, addresses),
        (record, addresses) => {
            let errors = [record.err(), addresses.err(), Some(request.wrong_addresses())];
            return Err(request.refused(errors.into_iter().flatten().flatten()));
        }
    };
    if let Some(list) = &request.distribution_list {
        return Err(no_list(list));
    }
    let (claim_rules, claim_pairs) = (claiming(), request.user.pairs());
    let claim = Values::new(&claim_rules, &claim_pairs);
    let claim = claim.validate(&claim_rules).ok().filter(|claim| claim.email.value().is_some());
    let custom_fields = request.custom_fields();
    let registration = Registration {
        project,
        application,
        by_email: claim
            .as_ref()
            .filter(|_| request.named == Named::ByUsername)
            .map(|claim| (claim, &claim_rules)),
        addresses: (!request.addresses.is_empty()).then_some((&addresses, &address_rules)),
        custom_fields: custom_fields.as_ref(),
        active: request.active,
    };
    let write = Write {
        tenant,
        actor: caller.actor(),
        organization: &request_path.organization,
        group: Some(&state.0.default_group),
        record: &record,
        rules: user_rules.clone(),
        registration: Some(registration),
    };
    match state.0.user_writer.write(write).await? {
        Written::User(verdict, member, Some(membership)) => {
            let status = match verdict.outcome {
                Outcome::Inserted => StatusCode::CREATED,
                _ => StatusCode::OK,
            };
            let created = status == StatusCode::CREATED;
            Ok((status, Json(request.answer(created, *member, &membership)?)).into_response())
        }
        Written::Refused(error) => Err(request.refused([error])),
        Written::User(..) | Written::NoOrganization | Written::NoMember => Err(DoorError::NotFound),
    }
}

/// Takes a user off the distribution lists of an application. Muster has none, so there is nothing to take it off; the user stays.
#[utoipa::path(
    post, path = "/", tag = "bitcaster", operation_id = "bitcaster_unregister", security(("key" = [])),
    params(("org" = String, Path, description = "Slug of the organization"),
           ("project" = String, Path, description = "Slug of the project"),
           ("application" = String, Path, description = "Slug of the application"),
           ("username" = String, Path, description = "The user's e-mail address or name")),
    responses((status = 200, description = "From how many lists the user was taken", body = Unregistered),
              (status = "default", description = "An error", body = Detail)),
)]
pub(super) async fn unregister(
    State(state): State<AppState>,
    caller: Caller,
    request_path: RequestPath,
) -> Result<Json<Unregistered>, DoorError> {
    let tenant = caller.writes(&request_path.organization)?;
    request_path.application()?;
    let (email, username) = request_path.names();
    let mut reading = state.0.store.reading(tenant).await?;
    let (email, username) = (email.as_deref(), username.as_deref());
    if applications::has_member(&mut *reading, tenant, &request_path.organization, email, username).await? {
        Ok(Json(Unregistered { deleted: 0 }))
    } else {
        Err(DoorError::NotFound)
    }
}

fn no_list(name: &str) -> DoorError {
    let mut errors = FieldErrors::default();
    // A parameter and no user's value; Bitcaster's own words quote it.
    let shown: String = name.chars().take(60).collect();
    errors.set("distribution_list", json!(format!("DistributionList '{shown}' does not exist")));
    DoorError::Fields(errors)
}

/// An address of the request.
#[derive(Debug)]
struct Asked {
    /// Its place in the list of the request; none for the `email` of the request.
    at: Option<usize>,
    name: String,
    value: String,
    assign: bool,
}

/// A registration as it was sent.
#[derive(Debug)]
struct Request {
    named: Named,
    username: String,
    /// The fields of the user, and all errors of the request.
    user: RequestFields,
    /// Its addresses, and the application's custom fields.
    addressed: RequestFields,
    addresses: Vec<Asked>,
    active: bool,
    distribution_list: Option<String>,
}

impl Request {
    fn read(document: &mut Document) -> Self {
        let mut user = RequestFields::default();
        let username = user.required(document, "username").unwrap_or_default();
        let named = if EmailAddress::parse(&username).is_ok() { Named::ByEmail } else { Named::ByUsername };
        user.set("username", Value::Text(username.clone()));
        user.names(document);
        let email = user.text(document, "email").filter(|email| !email.trim().is_empty());
        user.custom_fields(document);
        let mut addressed = RequestFields::default();
        addressed.set("username", Value::Text(username.clone()));
        if let Some(fields) = user.take("custom_fields") {
            addressed.set("custom_fields", fields);
        }
        let active = user.boolean(document, "active").unwrap_or(true);
        let distribution_list = match document.take("distribution_list") {
            None | Some(Value::Null) => None,
            Some(Value::Text(name)) if name.trim().is_empty() => None,
            Some(Value::Text(name) | Value::Json(name)) => Some(name),
        };
        let mut addresses = listed(document, &mut user.errors);
        match (named, email) {
            (Named::ByUsername, Some(email)) => user.set("email", Value::Text(email)),
            // The name is the user's address; another one is an address like those of the list.
            (Named::ByEmail, Some(email)) if is_another(&email, &username) => {
                addresses.insert(0, Asked { at: None, name: String::new(), value: email, assign: false });
            }
            _ => {}
        }
        name_all(&mut addresses);
        if !addresses.is_empty() {
            let entries: Vec<JsonValue> = addresses
                .iter()
                .map(|address| json!({ "name": address.name, "value": address.value }))
                .collect();
            addressed.set("addresses", Value::Json(JsonValue::Array(entries).to_string()));
        }
        Self { named, username, user, addressed, addresses, active, distribution_list }
    }

    /// The errors of each address: the engine reports only the first error of a list.
    fn wrong_addresses(&self) -> Vec<RecordError> {
        let parts = self.addresses.iter().enumerate().flat_map(|(at, address)| {
            [("name", address.name.as_str()), ("value", address.value.as_str())].map(|part| (at, part))
        });
        parts
            .filter_map(|(at, (part, text))| {
                let error = address_text(Cow::Borrowed(text)).err()?;
                Some(error.in_field(format!("addresses.{at}.{part}")))
            })
            .collect()
    }

    /// What the application is to keep, where the request says anything. It was found to be an object.
    fn custom_fields(&self) -> Option<Map<String, JsonValue>> {
        self.addressed.json("custom_fields").and_then(|json| serde_json::from_str(json).ok())
    }

    /// Everything that is wrong: what was noted, and what the engine found. An address has its errors at its place in the list.
    fn refused(&self, errors: impl IntoIterator<Item = RecordError>) -> DoorError {
        let mut told = self.user.errors.clone();
        for error in errors {
            let path = error.field.clone().unwrap_or_default();
            let mut parts = path.split('.');
            let at = match (parts.next(), parts.next().and_then(|at| at.parse::<usize>().ok())) {
                (Some("addresses"), Some(at)) => at,
                _ => {
                    told.note(&error);
                    continue;
                }
            };
            let part = parts.next().unwrap_or("value");
            let sentences = json!([sentence(part, &error)]);
            match self.addresses.get(at).and_then(|address| address.at) {
                Some(at) => told.set("addresses", of_item(at, json!({ part: sentences }))),
                None => told.set("email", sentences),
            }
        }
        DoorError::Fields(told)
    }

    fn answer(
        &self,
        created: bool,
        member: Member,
        membership: &ApplicationMember,
    ) -> Result<Registered, DoorError> {
        let user = RegisteredUser {
            username: match self.named {
                Named::ByEmail => member.email.clone().unwrap_or_default(),
                Named::ByUsername => self.username.trim().to_owned(),
            },
            first_name: member.given_name.clone().unwrap_or_default(),
            last_name: member.family_name.clone().unwrap_or_default(),
            email: member.email.clone().unwrap_or_default(),
        };
        let membership = Membership::new(membership, member.profile.locked)?;
        let asked = self.addresses.iter().filter(|address| address.at.is_some());
        let assignments = asked
            .clone()
            .filter(|address| address.assign)
            .map(|address| Assignment { address: address.value.clone(), channel: None, skipped: true })
            .collect();
        let there = AddressView::all(member);
        let addresses = asked
            .filter_map(|asked| there.iter().find(|there| there.value == asked.value.trim()).cloned())
            .collect();
        Ok(Registered { user, created, membership, addresses, assignments, distribution_list: None })
    }
}

fn is_another(email: &str, username: &str) -> bool {
    let parsed = |text| EmailAddress::parse(text).ok();
    parsed(email).is_none() || parsed(email) != parsed(username)
}

/// Gives each address without a name that of its kind, and a number from the second of a kind on.
fn name_all(addresses: &mut [Asked]) {
    let mut seen: Vec<&'static str> = Vec::new();
    for address in addresses {
        if !address.name.trim().is_empty() {
            continue;
        }
        let kind = match Address::of(address.value.trim()).kind {
            AddressKind::Phone => "phone",
            AddressKind::Email => "email",
            AddressKind::Generic => "generic",
        };
        let before = seen.iter().filter(|other| **other == kind).count();
        seen.push(kind);
        address.name = if before == 0 { kind.to_owned() } else { format!("{kind} {}", before + 1) };
    }
}

/// The readable addresses of the request; notes the errors of the others.
fn listed(document: &mut Document, errors: &mut FieldErrors) -> Vec<Asked> {
    const NAME: &str = "addresses";
    let kind = match document.take(NAME) {
        None => return Vec::new(),
        Some(Value::Null) => {
            errors.add(NAME, NULL);
            return Vec::new();
        }
        Some(Value::Json(json) | Value::Text(json)) if json.starts_with('[') => {
            match serde_json::from_str::<Vec<JsonValue>>(&json) {
                Ok(items) => return read_all(&items, errors),
                Err(_) => "str",
            }
        }
        Some(Value::Text(_)) => "str",
        Some(Value::Json(json)) if json.starts_with('{') => "dict",
        Some(Value::Json(json)) if json.starts_with(['t', 'f']) => "bool",
        Some(Value::Json(_)) => "int",
    };
    let sentence = format!("Expected a list of items but got type \"{kind}\".");
    errors.set(NAME, json!({ "non_field_errors": [sentence] }));
    Vec::new()
}

fn read_all(items: &[JsonValue], errors: &mut FieldErrors) -> Vec<Asked> {
    let mut told = Vec::with_capacity(items.len());
    let mut addresses = Vec::with_capacity(items.len());
    for (at, item) in items.iter().enumerate() {
        match read_one(at, item) {
            Ok(address) => {
                addresses.push(address);
                told.push(json!({}));
            }
            Err(wrong) => told.push(wrong),
        }
    }
    if addresses.len() < items.len() {
        errors.set("addresses", JsonValue::Array(told));
    }
    addresses
}

/// One address, or what is wrong with it by its fields.
fn read_one(at: usize, item: &JsonValue) -> Result<Asked, JsonValue> {
    let Some(object) = item.as_object() else {
        return Err(json!({ "non_field_errors": ["Invalid data. Expected a dictionary."] }));
    };
    let mut wrong = Map::new();
    let mut tell = |field: &str, sentence: &str| {
        wrong.insert(field.to_owned(), json!([sentence]));
    };
    let value = match object.get("value") {
        None => Err(REQUIRED),
        Some(value) => {
            text(value).and_then(|text| if text.trim().is_empty() { Err(BLANK) } else { Ok(text) })
        }
    };
    let name = object.get("name").map_or(Ok(String::new()), text);
    let assign = match object.get("assign_to_preferred_channel") {
        None => Ok(false),
        Some(JsonValue::Null) => Err(NULL),
        Some(JsonValue::String(text)) => boolean(text).ok_or(NO_BOOLEAN),
        Some(other) => boolean(&other.to_string()).ok_or(NO_BOOLEAN),
    };
    let fields = [("value", value.as_ref().err()), ("name", name.as_ref().err())];
    for (field, sentence) in
        fields.into_iter().chain([("assign_to_preferred_channel", assign.as_ref().err())])
    {
        if let Some(sentence) = sentence {
            tell(field, sentence);
        }
    }
    match (name, value, assign) {
        (Ok(name), Ok(value), Ok(assign)) => Ok(Asked { at: Some(at), name, value, assign }),
        _ => Err(JsonValue::Object(wrong)),
    }
}

/// A text; a number is one too, as elsewhere at this door.
fn text(value: &JsonValue) -> Result<String, &'static str> {
    match value {
        JsonValue::Null => Err(NULL),
        JsonValue::String(text) => Ok(text.clone()),
        JsonValue::Number(number) => Ok(number.to_string()),
        _ => Err("Not a valid string."),
    }
}

/// What is wrong with one item of a list, in the list's shape: the items before it are in order.
fn of_item(at: usize, wrong: JsonValue) -> JsonValue {
    let mut items = vec![json!({}); at];
    items.push(wrong);
    JsonValue::Array(items)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(name: &str, value: &str) -> Asked {
        Asked { at: Some(0), name: name.into(), value: value.into(), assign: false }
    }

    #[test]
    fn addresses_without_a_name_are_called_by_their_kind_and_counted() {
        let mut addresses = [
            asked("", "a@example.com"),
            asked(" ", "+390669821234"),
            asked("", "b@example.com"),
            asked("home", "x"),
        ];
        name_all(&mut addresses);
        assert_eq!(addresses.map(|address| address.name), ["email", "phone", "email 2", "home"]);
    }
}
