//! The addresses of a user: listing them, and adding one. Names and values are unique for each user.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use muster_domain::outcome::Outcome;
use muster_store::members;
use serde_json::json;

use super::super::AppState;
use super::auth::Caller;
use super::error::{Detail, DoorError};
use super::fields::{RequestFields, addressing, refused};
use super::messages::NULL;
use super::request::{Document, Value};
use super::request_path::RequestPath;
use super::view::AddressView;
use crate::user_write::{Values, Write, Written};

/// What a client may say an address is. It is not stored, since the kind of an address follows from its value.
const TYPES: [&str; 4] = ["GENERIC", "email", "phone", "account"];

/// Shows a user's addresses, by name.
#[utoipa::path(
    get, path = "/", tag = "bitcaster", operation_id = "bitcaster_addresses", security(("key" = [])),
    params(("org" = String, Path, description = "Slug of the organization"),
           ("username" = String, Path, description = "The user's e-mail address")),
    responses((status = 200, description = "The addresses", body = Vec<AddressView>),
              (status = "default", description = "An error", body = Detail)),
)]
pub(super) async fn list(
    State(state): State<AppState>,
    caller: Caller,
    request_path: RequestPath,
) -> Result<Json<Vec<AddressView>>, DoorError> {
    let tenant = caller.reads(&request_path.organization)?;
    let email = request_path.email()?;
    let found =
        members::find(&mut *state.0.store.reading(tenant).await?, tenant, &request_path.organization, &email)
            .await?;
    found.map(|member| Json(AddressView::all(member))).ok_or(DoorError::NotFound)
}

/// Gives a user an address.
#[utoipa::path(
    post, path = "/", tag = "bitcaster", operation_id = "bitcaster_add_address", security(("key" = [])),
    params(("org" = String, Path, description = "Slug of the organization"),
           ("username" = String, Path, description = "The user's e-mail address")),
    request_body(content((serde_json::Value = "application/json"),
                         (serde_json::Value = "application/x-www-form-urlencoded"),
                         (serde_json::Value = "multipart/form-data")),
                 description = "`name`, `value`, and `type`, which is not stored: it follows from the value"),
    responses((status = 201, description = "Added", body = AddressView),
              (status = 200, description = "There already", body = AddressView),
              (status = 400, description = "The errors: a list of sentences for each field", body = serde_json::Value),
              (status = "default", description = "An error", body = Detail)),
)]
pub(super) async fn add(
    State(state): State<AppState>,
    caller: Caller,
    request_path: RequestPath,
    mut document: Document,
) -> Result<Response, DoorError> {
    let tenant = caller.writes(&request_path.organization)?;
    let email = request_path.email()?;
    let mut given = RequestFields::default();
    given.set("email", Value::Text(email));
    let name = given.required(&mut document, "name");
    let value = given.required(&mut document, "value");
    check_type(&mut given, document.take("type"));
    let (Some(name), Some(value), true) = (name, value, given.errors.is_empty()) else {
        return Err(given.refused(&[]));
    };
    given.set("addresses", Value::Json(json!([{ "name": name, "value": value }]).to_string()));
    let rules = addressing();
    let pairs = given.pairs();
    let values = Values::new(&rules, &pairs);
    let record = values.validate(&rules).map_err(|errors| refused(&errors))?;
    let write = Write {
        tenant,
        actor: caller.actor(),
        organization: &request_path.organization,
        group: None,
        record: &record,
        rules: rules.clone(),
        registration: None,
    };
    match state.0.user_writer.write(write).await? {
        Written::User(verdict, member, _) => {
            let status = match verdict.outcome {
                Outcome::Updated => StatusCode::CREATED,
                _ => StatusCode::OK,
            };
            let added = AddressView::all(*member).into_iter().find(|address| address.name == name.trim());
            Ok((status, Json(added.ok_or(DoorError::NotFound)?)).into_response())
        }
        Written::Refused(error) => Err(refused(&[error])),
        Written::NoOrganization | Written::NoMember => Err(DoorError::NotFound),
    }
}

fn check_type(given: &mut RequestFields, kind: Option<Value>) {
    match kind {
        None => {}
        Some(Value::Null) => given.errors.add("type", NULL),
        Some(Value::Text(text) | Value::Json(text)) if !TYPES.contains(&text.as_str()) => {
            let shown: String = text.chars().take(60).collect();
            given.errors.add("type", format!("\"{shown}\" is not a valid choice."));
        }
        Some(_) => {}
    }
}
