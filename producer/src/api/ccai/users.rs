//! User configuration data: all or selected users, in the fields of an upload, for clients that mirror them.

use axum::body::Body;
use axum::extract::{FromRequestParts, OriginalUri, Request, State};
use axum::http::{HeaderMap, Uri, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use muster_domain::catalog::CatalogKind;
use muster_domain::id::TenantId;
use muster_domain::normalise::{EmailAddress, has_forbidden_char};
use muster_domain::token::Scope;
use muster_store::catalog::{self, CatalogName};
use muster_store::profiles::{self, ProfiledUser, Wanted};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::auth::{ApiUser, is_basic};
use super::error::{Answer, DoorError, Message};
use super::jobs::address;
use super::page::{Page, json_body, query};
use super::template::Named;
use super::view::moment;
use crate::api::AppState;

/// Users a page, where none is asked for, and at the most.
const PAGE: (u64, u64) = (100, 1_000);
/// Most users that can be named.
const MAX_NAMED: usize = 1_000;
/// Users that are written to the answer at a time: each has every role and team of the catalog.
const AT_A_TIME: usize = 20;

/// A user as an upload would have it, but for `id` and `deactivated_at`.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CcaiUser)]
pub(super) struct UserView<'u> {
    id: String,
    email: &'u str,
    agent_number: &'u str,
    first_name: &'u str,
    last_name: &'u str,
    alias: &'u str,
    /// Null for an active user.
    deactivated_at: Option<String>,
    location: &'u str,
    /// A number, or empty.
    max_chat_limit: Value,
    max_chat_limit_enabled: u8,
    unrestricted_international_calling: u8,
    external_user: u8,
    ucaas_sip_uri: &'u str,
    ucaas_user_name: &'u str,
    extension_number: &'u str,
    roles: Vec<Named>,
    teams: Vec<Named>,
    direct_inbound_number1: &'u str,
    direct_inbound_number2: &'u str,
    direct_inbound_number3: &'u str,
    direct_inbound_number4: &'u str,
    direct_inbound_number5: &'u str,
    availability_filter: &'u str,
    /// A number, or empty.
    availability_filter_timeout: Value,
}

impl<'u> UserView<'u> {
    fn of(user: &'u ProfiledUser, names: &'u [CatalogName]) -> Self {
        let profile = &user.profile;
        let text = |name: &str| profile.agent.get(name).and_then(Value::as_str).unwrap_or_default();
        let flag = |name: &str| u8::from(profile.agent.get(name).and_then(Value::as_bool).unwrap_or(false));
        let number = |name: &str| profile.agent.get(name).cloned().unwrap_or_else(|| Value::from(""));
        let of_kind = |kind| names.iter().filter(move |name| name.kind == kind);
        let named = |kind, ids: &std::collections::BTreeSet<i32>| {
            of_kind(kind)
                .map(|name| Named { name: name.name.clone(), value: u8::from(ids.contains(&name.id)) })
                .collect()
        };
        let location = of_kind(CatalogKind::Location).find(|name| Some(name.id) == profile.location);
        Self {
            id: user.id.to_string(),
            email: &user.email,
            agent_number: text("agent_number"),
            first_name: user.given_name.as_deref().unwrap_or_default(),
            last_name: user.family_name.as_deref().unwrap_or_default(),
            alias: text("alias"),
            deactivated_at: profile.disabled_at.map(moment),
            location: location.map_or("", |location| &location.name),
            max_chat_limit: number("max_chat_limit"),
            max_chat_limit_enabled: flag("max_chat_limit_enabled"),
            unrestricted_international_calling: flag("unrestricted_international_calling"),
            external_user: flag("external_user"),
            ucaas_sip_uri: text("ucaas_sip_uri"),
            ucaas_user_name: text("ucaas_user_name"),
            extension_number: text("extension_number"),
            roles: named(CatalogKind::Role, &profile.roles),
            teams: named(CatalogKind::Team, &profile.teams),
            direct_inbound_number1: text("direct_inbound_number1"),
            direct_inbound_number2: text("direct_inbound_number2"),
            direct_inbound_number3: text("direct_inbound_number3"),
            direct_inbound_number4: text("direct_inbound_number4"),
            direct_inbound_number5: text("direct_inbound_number5"),
            availability_filter: text("availability_filter"),
            availability_filter_timeout: number("availability_filter_timeout"),
        }
    }
}

/// Lists users, by e-mail address: all of them a page at a time, or those that are named.
#[utoipa::path(
    get, path = "/users", tag = "ccai", operation_id = "ccai_users", security(("api_user" = [])),
    params(("email" = Option<Vec<String>>, Query, description = "users with these addresses; up to 1,000, also with commas"),
           ("id" = Option<Vec<String>>, Query, description = "users with these ids, in the same way"),
           ("agent_number" = Option<Vec<String>>, Query, description = "users with these agent numbers, in the same way"),
           ("page" = Option<u64>, Query, description = "from 1; not where users are named"),
           ("per_page" = Option<u64>, Query, description = "1 to 1,000, else 100")),
    responses(
        (status = 200, description = "Users", body = Vec<UserView<'static>>,
         headers(("Link" = String, description = "addresses of the other pages"),
                 ("Total" = u64, description = "users there are"),
                 ("Per-Page" = u64, description = "users a page"))),
        (status = "default", description = "An error", body = Message)),
)]
pub(super) async fn list(
    State(state): State<AppState>,
    user: ApiUser,
    OriginalUri(uri): OriginalUri,
    body: Body,
) -> Answer<Response> {
    let tenant = user.may(Scope::UsersRead)?;
    let pairs = query(&uri)?;
    let body = json_body(&state, body).await?;
    let names = catalog::names(&mut *state.0.store.reading(tenant).await?, tenant).await?;
    let (headers, users) = match named(&pairs)? {
        Some(wanted) => chosen(&state, tenant, &uri, &pairs, &wanted).await?,
        None => {
            let page = Page::read(&pairs, &body, PAGE.0, PAGE.1)?;
            let mut reading = state.0.store.reading(tenant).await?;
            let total = profiles::count(&mut *reading, tenant).await?;
            let users = profiles::page(&mut *reading, tenant, page.offset(), page.size).await?;
            (page.headers(&address(&state, &uri), total), users)
        }
    };
    let body = Body::from_stream(written(users, names));
    Ok(([(header::CONTENT_TYPE, "application/json")], headers, body).into_response())
}

/// Whether `GET /v1/users` is meant for this front door: its clients have no bearer token.
pub(in crate::api) fn asked_by_api_user(request: &Request) -> bool {
    is_basic(request.headers())
}

/// Answers `GET /v1/users` for a client of this front door.
pub(in crate::api) async fn mirror(state: AppState, request: Request) -> Response {
    let uri = request.uri().clone();
    let (mut parts, body) = request.into_parts();
    match ApiUser::from_request_parts(&mut parts, &state).await {
        Ok(user) => list(State(state), user, OriginalUri(uri), body).await.into_response(),
        Err(refusal) => refusal.into_response(),
    }
}

/// The users that the query names, of one kind only.
fn named(pairs: &[(String, String)]) -> Answer<Option<Wanted>> {
    let values = |name: &str| -> Vec<String> {
        let given = pairs.iter().filter(|(given, _)| given == name || given.strip_suffix("[]") == Some(name));
        let parts = given.flat_map(|(_, value)| value.split(','));
        parts.map(str::trim).filter(|value| !value.is_empty()).map(str::to_owned).collect()
    };
    let (emails, ids, numbers) = (values("email"), values("id"), values("agent_number"));
    let kinds = [&emails, &ids, &numbers].into_iter().filter(|list| !list.is_empty());
    let (kinds, count) = kinds.fold((0, 0), |(kinds, count), list| (kinds + 1, count + list.len()));
    if kinds == 0 {
        return Ok(None);
    }
    if kinds > 1 {
        return Err(DoorError::bad_request("Users can be named by one of: email, id, agent_number"));
    }
    if count > MAX_NAMED {
        return Err(DoorError::bad_request("More than 1,000 users are named"));
    }
    if pairs.iter().any(|(name, _)| name == "page") {
        return Err(DoorError::bad_request("A page cannot be asked for where users are named"));
    }
    Ok(Some(if !emails.is_empty() {
        // A text that cannot be an address belongs to no user.
        let normalised = emails.iter().filter_map(|email| EmailAddress::parse(email).ok());
        Wanted::Emails(normalised.map(|email| email.into_inner().into_owned()).collect())
    } else if !ids.is_empty() {
        Wanted::Ids(ids.iter().filter_map(|id| id.parse().ok()).collect())
    } else {
        // A number with a character that no field may contain belongs to no user, and the database would refuse the query.
        Wanted::AgentNumbers(numbers.into_iter().filter(|number| !has_forbidden_char(number)).collect())
    }))
}

async fn chosen(
    state: &AppState,
    tenant: TenantId,
    uri: &Uri,
    pairs: &[(String, String)],
    wanted: &Wanted,
) -> Answer<(HeaderMap, Vec<ProfiledUser>)> {
    // A page size says nothing here, but a wrong one is wrong.
    Page::read(pairs, &Value::Null, PAGE.0, PAGE.1)?;
    let users = profiles::chosen(&mut *state.0.store.reading(tenant).await?, tenant, wanted).await?;
    let all = Page { number: 1, size: PAGE.1.max(users.len() as u64) };
    Ok((all.headers(&address(state, uri), users.len() as u64), users))
}

/// The text of the JSON array, some users at a time.
fn written(
    users: Vec<ProfiledUser>,
    names: Vec<CatalogName>,
) -> impl stream::Stream<Item = Result<Bytes, std::convert::Infallible>> {
    stream::unfold(Some(0), move |from| {
        let piece = from.map(|from: usize| {
            let mut piece = Vec::new();
            for (at, user) in users.iter().enumerate().skip(from).take(AT_A_TIME) {
                piece.push(if at == 0 { b'[' } else { b',' });
                // Texts and numbers: writing them to memory cannot fail.
                let _ = serde_json::to_writer(&mut piece, &UserView::of(user, &names));
            }
            let next = from + AT_A_TIME;
            if next < users.len() {
                return (Ok(Bytes::from(piece)), Some(next));
            }
            piece.extend_from_slice(if users.is_empty() { b"[]" } else { b"]" });
            (Ok(Bytes::from(piece)), None)
        });
        async { piece }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Option<Option<Wanted>> {
        let pairs: Vec<_> = pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        named(&pairs).ok()
    }

    #[test]
    fn users_are_named_by_one_kind() {
        assert_eq!(read(&[("per_page", "5")]), Some(None));
        let emails = Wanted::Emails(vec!["a@example.com".into(), "b@example.com".into()]);
        assert_eq!(
            read(&[("email", "A@example.com, nobody"), ("email", "b@example.com")]),
            Some(Some(emails))
        );
        assert_eq!(read(&[("agent_number[]", "7")]), Some(Some(Wanted::AgentNumbers(vec!["7".into()]))));
        assert_eq!(read(&[("id", "x")]), Some(Some(Wanted::Ids(vec![]))));
        assert_eq!(read(&[("email", "a@example.com"), ("id", "x")]), None);
        assert_eq!(read(&[("email", "a@example.com"), ("page", "1")]), None);
        assert_eq!(read(&[("agent_number", &"7,".repeat(1_001))]), None);
    }
}
