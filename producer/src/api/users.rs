//! Users, to be read and to be erased.

use axum::Json;
use axum::extract::{FromRequestParts, Request, State};
use axum::response::{IntoResponse, Response};
use muster_shared::id::UserId;
use muster_shared::normalise::{EmailAddress, PhoneNumber, Username};
use muster_shared::options::IdentifierField;
use muster_shared::store::{erase as erasing, users};
use muster_shared::token::Scope;
use muster_shared::user::User;
use serde::Serialize;
use utoipa::ToSchema;

use super::auth::Caller;
use super::error::ApiError;
use super::params::{Id, Params, invalid};
use super::{AppState, ccai};

/// Users that were found.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct UserList {
    /// The users; one at most, since each field is unique.
    #[schema(value_type = Vec<Object>)]
    users: Vec<User>,
}

/// Finds the user with a value in one of the unique fields.
///
/// With Basic authentication the request is one of `GET /apps/api/v1/users`, which some clients send here.
#[utoipa::path(
    get, path = "/v1/users", tag = "users",
    params(("email" = Option<String>, Query), ("phone_number" = Option<String>, Query),
           ("preferred_username" = Option<String>, Query)),
    responses((status = 200, description = "The user, or none", body = UserList)),
)]
pub(super) async fn find(State(state): State<AppState>, request: Request) -> Result<Response, ApiError> {
    if ccai::asked_by_api_user(&request) {
        return Ok(ccai::mirror(state, request).await);
    }
    let (mut parts, _) = request.into_parts();
    let caller = Caller::from_request_parts(&mut parts, &state).await?;
    let params = Params::from_request_parts(&mut parts, &state).await?;
    Ok(found(&state, &caller, params).await?.into_response())
}

async fn found(state: &AppState, caller: &Caller, mut params: Params) -> Result<Json<UserList>, ApiError> {
    let tenant = caller.may(Scope::UsersRead)?;
    let mut wanted = Vec::new();
    for field in IdentifierField::ALL {
        if let Some(value) = params.take::<String>(field.as_str())? {
            wanted.push((*field, value));
        }
    }
    params.finish()?;
    let [(field, value)] = wanted.as_slice() else {
        return Err(invalid("query", "must have one of: email, phone_number, preferred_username"));
    };
    let found = match key(*field, value) {
        Some(key) => users::find(&mut *state.0.store.reading(tenant).await?, tenant, *field, &key).await?,
        None => return Err(invalid(field.as_str(), "is not a value that this field can have")),
    };
    Ok(Json(UserList { users: found.into_iter().collect() }))
}

/// The value in the form in which it is stored.
pub(super) fn key(field: IdentifierField, value: &str) -> Option<String> {
    let key = match field {
        IdentifierField::Email => EmailAddress::parse(value).ok()?.into_inner(),
        IdentifierField::PhoneNumber => PhoneNumber::parse(value).ok()?.into_inner(),
        IdentifierField::PreferredUsername => Username::parse(value).ok()?.into_inner(),
    };
    Some(key.into_owned())
}

/// What was erased.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ErasedView {
    /// Users: one.
    users: u64,
    /// Staged records of theirs, and failed ones of others in which a value named them.
    records: u64,
    /// Other staged records of others in which a value named them: it is hidden.
    mentions: u64,
}

/// Erases a user, and every trace of the person in staged records and errors. That it was done is kept.
///
/// Takes a while where much is staged. One that was cut short is to be sent again.
#[utoipa::path(
    delete, path = "/v1/users/{id}", tag = "users", params(("id" = String, Path)),
    responses((status = 200, description = "How much was erased", body = ErasedView)),
)]
pub(super) async fn erase(
    State(state): State<AppState>,
    caller: Caller,
    Id(user): Id<UserId>,
    params: Params,
) -> Result<Json<ErasedView>, ApiError> {
    let tenant = caller.may(Scope::UsersErase)?;
    params.finish()?;
    let store = &state.0.store;
    let person = erasing::person(store, tenant, user).await?.ok_or(ApiError::NotFound)?;
    let erasing::Erased { users, records, mentions } =
        erasing::erase(store, tenant, &person, &format!("token:{}", caller.token())).await?;
    tracing::info!(tenant = tenant.get(), records, "a person was erased");
    Ok(Json(ErasedView { users, records, mentions }))
}

/// Shows a user.
#[utoipa::path(
    get, path = "/v1/users/{id}", tag = "users", params(("id" = String, Path)),
    responses((status = 200, description = "The user", body = serde_json::Value)),
)]
pub(super) async fn show(
    State(state): State<AppState>,
    caller: Caller,
    Id(user): Id<UserId>,
    params: Params,
) -> Result<Json<User>, ApiError> {
    let tenant = caller.may(Scope::UsersRead)?;
    params.finish()?;
    users::get(&mut *state.0.store.reading(tenant).await?, tenant, user)
        .await?
        .map(Json)
        .ok_or(ApiError::NotFound)
}
