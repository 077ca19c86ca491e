//! Users: reading and erasing them.

use axum::Json;
use axum::extract::{FromRequestParts, Request, State};
use axum::response::{IntoResponse, Response};
use chrono::SecondsFormat;
use muster_domain::fault::{Mutant, mutant};
use muster_domain::id::{TenantId, UserId};
use muster_domain::normalise::{EmailAddress, PhoneNumber, Username};
use muster_domain::options::IdentifierField;
use muster_domain::quantity::parse_moment;
use muster_domain::tenant::Slug;
use muster_domain::token::Scope;
use muster_domain::user::User;
use muster_store::erase as erasing;
use muster_store::users::{self, UserFilter};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::auth::Caller;
use super::error::ApiError;
use super::params::{Id, Params, and, invalid, next_page};
use super::records::streamed;
use super::{AppState, ccai};
use crate::export::{self, ExportFormat, UsersWanted};

/// Users that were found.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct UserList {
    /// The users; one at most where a unique field was asked for.
    #[schema(value_type = Vec<Object>)]
    pub users: Vec<User>,
    /// What to give as `after` for the next page; null on the last.
    pub next: Option<String>,
    /// Address of the next page; null on the last.
    pub next_link: Option<String>,
}

/// Finds the user with a value in one of the unique fields; without one, lists users page by page, in the order of their coming.
///
/// With Basic authentication the request is one of `GET /apps/api/v1/users`, which some clients send here.
#[utoipa::path(
    get, path = "/v1/users", tag = "users",
    params(("email" = Option<String>, Query, description = "the user with this e-mail address"),
           ("phone_number" = Option<String>, Query, description = "the user with this phone number, as E.164 has it"),
           ("preferred_username" = Option<String>, Query, description = "the user with this name"),
           ("organization" = Option<String>, Query, description = "list: those in the organization of this slug"),
           ("updated_since" = Option<String>, Query, description = "list: those that were changed since then (RFC 3339)"),
           ("after" = Option<String>, Query, description = "list: `next` of the page before"),
           ("limit" = Option<u16>, Query, description = "list: most users of the page")),
    responses((status = 200, description = "The user or none; or a page of users", body = UserList,
               headers(("Link" = String, description = "Address of the next page, `rel=\"next\"`; absent on the last")))),
)]
pub(super) async fn find(State(state): State<AppState>, request: Request) -> Result<Response, ApiError> {
    if ccai::asked_by_api_user(&request) {
        return Ok(ccai::mirror(state, request).await);
    }
    let (mut parts, _) = request.into_parts();
    let caller = Caller::from_request_parts(&mut parts, &state).await?;
    let params = Params::from_request_parts(&mut parts, &state).await?;
    found(&state, &caller, params).await
}

async fn found(state: &AppState, caller: &Caller, mut params: Params) -> Result<Response, ApiError> {
    let tenant = caller.may(Scope::UsersRead)?;
    let mut wanted = Vec::new();
    for field in IdentifierField::ALL {
        if let Some(value) = params.take::<String>(field.as_str())? {
            wanted.push((*field, value));
        }
    }
    if wanted.is_empty() {
        return page(state, tenant, params).await;
    }
    // Generated clients send the defaults too, and a single user has no pages.
    params.take_limit(100, 1000)?;
    params.finish()?;
    let [(field, value)] = wanted.as_slice() else {
        return Err(invalid("query", "must have one of: email, phone_number, preferred_username"));
    };
    let found = match key(*field, value) {
        Some(key) => users::find(&mut *state.0.store.reading(tenant).await?, tenant, *field, &key).await?,
        None => return Err(invalid(field.as_str(), "is not a value that this field can have")),
    };
    let users = found.into_iter().collect();
    Ok(Json(UserList { users, next: None, next_link: None }).into_response())
}

async fn page(state: &AppState, tenant: TenantId, mut params: Params) -> Result<Response, ApiError> {
    let wanted = filters(&mut params)?;
    let after: Option<UserId> = params.take_after()?;
    let limit = usize::from(params.take_limit(100, 1000)?);
    params.finish()?;
    let filter = UserFilter {
        after,
        organization: wanted.organization.as_deref(),
        updated_since: wanted.updated_since,
    };
    let most = i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1);
    let mut page = users::page(&mut *state.0.store.reading(tenant).await?, tenant, filter, most).await?;
    let more = page.len() > limit;
    page.truncate(limit);
    let next = if more { page.last().map(|user| user.id) } else { None };
    let next_link = next.filter(|_| !mutant(Mutant::UsersWithoutLinks)).map(|next| {
        let mut link = format!("{}/v1/users?after={next}&limit={limit}", state.0.link_base);
        if let Some(organization) = &wanted.organization {
            and(&mut link, "organization", organization);
        }
        if let Some(since) = wanted.updated_since {
            and(&mut link, "updated_since", &since.to_rfc3339_opts(SecondsFormat::AutoSi, true));
        }
        link
    });
    let headers = next_page(next_link.as_deref());
    let next = next.map(|next| next.to_string());
    Ok((headers, Json(UserList { users: page, next, next_link })).into_response())
}

fn filters(params: &mut Params) -> Result<UsersWanted, ApiError> {
    let organization: Option<Slug> = params.take("organization")?;
    let since = params.take::<String>("updated_since")?.map(|text| parse_moment(&text)).transpose();
    let updated_since = since.map_err(|message| invalid("updated_since", message))?;
    Ok(UsersWanted { organization: organization.map(|slug| slug.as_str().to_owned()), updated_since })
}

/// All users as a file that import takes: a table, or an object a line. Importing it again changes nothing.
#[utoipa::path(
    get, path = "/v1/users/export", tag = "users",
    params(("format" = Option<String>, Query, description = "csv, or ndjson"),
           ("organization" = Option<String>, Query, description = "those in the organization of this slug"),
           ("updated_since" = Option<String>, Query, description = "those that were changed since then (RFC 3339)")),
    responses((status = 200, description = "The users", content((String = "text/csv"), (String = "application/x-ndjson")))),
)]
pub(super) async fn export(
    State(state): State<AppState>,
    caller: Caller,
    mut params: Params,
) -> Result<Response, ApiError> {
    let tenant = caller.may(Scope::UsersRead)?;
    let wanted = filters(&mut params)?;
    let format = match params.take::<String>("format")?.as_deref() {
        None | Some("csv") => ExportFormat::Csv,
        Some("ndjson") => ExportFormat::Ndjson,
        Some(_) => return Err(invalid("format", "must be one of: csv, ndjson")),
    };
    params.finish()?;
    let pages = export::users(&state.0.store, tenant, wanted, format);
    streamed(&state, pages, format, &format!("users.{}", format.extension())).await
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
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ErasedView {
    /// Users: one.
    pub users: u64,
    /// Staged records of theirs, and failed ones of others in which a value named them.
    pub records: u64,
    /// Other staged records of others in which a value named them: it is hidden.
    pub mentions: u64,
    /// Before-images of theirs, and of others in which a value named them.
    #[serde(default)]
    #[schema(required = true)]
    pub changes: u64,
}

impl From<erasing::Erased> for ErasedView {
    fn from(erased: erasing::Erased) -> Self {
        let erasing::Erased { users, records, mentions, changes } = erased;
        Self { users, records, mentions, changes }
    }
}

/// Erases a user, and every trace of the person in staged records and errors. That it was done is kept.
///
/// Takes a while where much is staged. A request that was cut off must be sent again.
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
    let erased = erasing::erase(store, tenant, &person, &caller.actor()).await?;
    tracing::info!(tenant = tenant.get(), records = erased.records, "a person was erased");
    Ok(Json(erased.into()))
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
