//! Create or enrol, show and change one user; the ping.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use muster_domain::options::MetadataMode;
use muster_domain::outcome::Outcome;
use muster_store::members;

use super::super::AppState;
use super::auth::Caller;
use super::error::{Detail, DoorError};
use super::fields::{RequestFields, creating, refused, updating};
use super::request::{Document, Value};
use super::request_path::RequestPath;
use super::view::{Created, Pong, Shown, Updated};
use crate::user_write::{Values, Write, Written};

/// Creates a user, or enrols the one that has the e-mail address. No field of an existing user changes.
///
/// The organization's default group is created if it is not there, and the user gets an address named `email`.
#[utoipa::path(
    post, path = "/", tag = "bitcaster", operation_id = "bitcaster_create", security(("key" = [])),
    params(("org" = String, Path, description = "Slug of the organization")),
    request_body(content((serde_json::Value = "application/json"),
                         (serde_json::Value = "application/x-www-form-urlencoded"),
                         (serde_json::Value = "multipart/form-data")),
                 description = "`email` (required), `first_name`, `last_name`, `custom_fields`; others are ignored"),
    responses((status = 201, description = "Created", body = Created),
              (status = 200, description = "There already, and enrolled", body = Created),
              (status = 400, description = "The errors: a list of sentences for each field", body = serde_json::Value),
              (status = "default", description = "An error", body = Detail)),
)]
pub(super) async fn create(
    State(state): State<AppState>,
    caller: Caller,
    request_path: RequestPath,
    mut document: Document,
) -> Result<Response, DoorError> {
    let tenant = caller.writes(&request_path.organization)?;
    let mut given = RequestFields::default();
    if let Some(email) = given.required(&mut document, "email") {
        given.set("email", Value::Text(email));
    }
    given.names(&mut document);
    given.custom_fields(&mut document);
    let rules = creating();
    let pairs = given.pairs();
    let values = Values::new(&rules, &pairs);
    let record = match (values.validate(&rules), given.errors.is_empty()) {
        (Ok(record), true) => record,
        (validated, _) => return Err(given.refused(&validated.err().unwrap_or_default())),
    };
    let write = Write {
        tenant,
        actor: caller.actor(),
        organization: &request_path.organization,
        group: Some(&state.0.default_group),
        record: &record,
        rules: rules.clone(),
        registration: None,
    };
    match state.0.user_writer.write(write).await? {
        Written::User(verdict, member, _) => {
            let status = match verdict.outcome {
                Outcome::Inserted => StatusCode::CREATED,
                _ => StatusCode::OK,
            };
            Ok((status, Json(Created::new(*member)?)).into_response())
        }
        Written::Refused(error) => Err(refused(&[error])),
        Written::NoOrganization | Written::NoMember => Err(DoorError::NotFound),
    }
}

/// Shows a member of the organization.
#[utoipa::path(
    get, path = "/", tag = "bitcaster", operation_id = "bitcaster_show", security(("key" = [])),
    params(("org" = String, Path, description = "Slug of the organization"),
           ("username" = String, Path, description = "The user's e-mail address")),
    responses((status = 200, description = "The user", body = Shown),
              (status = "default", description = "An error", body = Detail)),
)]
pub(super) async fn show(
    State(state): State<AppState>,
    caller: Caller,
    request_path: RequestPath,
) -> Result<Json<Shown>, DoorError> {
    let tenant = caller.reads(&request_path.organization)?;
    let email = request_path.email()?;
    let found =
        members::find(&mut *state.0.store.reading(tenant).await?, tenant, &request_path.organization, &email)
            .await?;
    let users = format!("{}{}", state.0.link_base, request_path.prefix.users(&request_path.organization));
    found.map(|member| Json(Shown::new(member, &users))).ok_or(DoorError::NotFound)
}

/// Changes a member of the organization; `PUT` and `PATCH` are the same. What the request does not name stays as it is.
#[utoipa::path(
    method(put, patch), path = "/", tag = "bitcaster", operation_id = "bitcaster_update", security(("key" = [])),
    params(("org" = String, Path, description = "Slug of the organization"),
           ("username" = String, Path, description = "The user's e-mail address")),
    request_body(content((serde_json::Value = "application/json"),
                         (serde_json::Value = "application/x-www-form-urlencoded"),
                         (serde_json::Value = "multipart/form-data")),
                 description = "`first_name`, `last_name`, `locked`, `custom_fields`, and `_mode`: how custom fields meet those \
                                that are there (merge, override, rewrite, remove or ignore)"),
    responses((status = 200, description = "The user as it is now", body = Updated),
              (status = 400, description = "The errors: a list of sentences for each field", body = serde_json::Value),
              (status = "default", description = "An error", body = Detail)),
)]
pub(super) async fn update(
    State(state): State<AppState>,
    caller: Caller,
    request_path: RequestPath,
    mut document: Document,
) -> Result<Json<Updated>, DoorError> {
    let tenant = caller.writes(&request_path.organization)?;
    let email = request_path.email()?;
    let mut given = RequestFields::default();
    given.set("email", Value::Text(email));
    let mode = given.mode(&mut document).unwrap_or_else(|| request_path.prefix.default_mode());
    given.names(&mut document);
    given.flag(&mut document, "locked");
    // Custom fields that are ignored may be anything.
    if mode != MetadataMode::Ignore {
        given.custom_fields(&mut document);
    }
    let rules = updating(mode);
    let pairs = given.pairs();
    let values = Values::new(&rules, &pairs);
    let record = match (values.validate(&rules), given.errors.is_empty()) {
        (Ok(record), true) => record,
        (validated, _) => return Err(given.refused(&validated.err().unwrap_or_default())),
    };
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
        Written::User(_, member, _) => Ok(Json(Updated::new(*member, mode.as_str())?)),
        Written::Refused(error) => Err(refused(&[error])),
        Written::NoOrganization | Written::NoMember => Err(DoorError::NotFound),
    }
}

/// Says whether the token is good, and its name.
#[utoipa::path(
    get, path = "/", tag = "bitcaster", operation_id = "bitcaster_ping", security(("key" = [])),
    responses((status = 200, description = "The token is good", body = Pong),
              (status = "default", description = "An error", body = Detail)),
)]
pub(super) async fn ping(caller: Caller) -> Json<Pong> {
    Json(Pong { token: caller.name().to_owned() })
}
