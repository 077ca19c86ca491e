//! The path of a request: prefix, organization and user.

use axum::extract::{FromRequestParts, MatchedPath, RawPathParams};
use axum::http::request::Parts;
use muster_domain::normalise::{EmailAddress, Username};
use muster_domain::options::MetadataMode;
use muster_domain::tenant::Slug;

use super::super::AppState;
use super::error::DoorError;

/// Which of the two prefixes a client uses. They differ in one default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Prefix {
    /// `/api/o/{org}/u/`, which Bitcaster's server has.
    Served,
    /// `/api/v1/user/{org}/`, which its documents name.
    Documented,
}

impl Prefix {
    /// How custom fields meet those that are there, where the request does not say: each as its clients expect.
    pub(super) fn default_mode(self) -> MetadataMode {
        match self {
            Self::Served => MetadataMode::Ignore,
            Self::Documented => MetadataMode::Merge,
        }
    }

    /// The path of the organization's users.
    pub(super) fn users(self, organization: &Slug) -> String {
        match self {
            Self::Served => format!("/api/o/{organization}/u/"),
            Self::Documented => format!("/api/v1/user/{organization}/"),
        }
    }
}

/// The path of a request.
#[derive(Debug)]
pub(super) struct RequestPath {
    pub(super) prefix: Prefix,
    pub(super) organization: Slug,
    username: Option<String>,
    project: Option<Slug>,
    application: Option<Slug>,
}

impl RequestPath {
    /// The normalised e-mail address by which the path names a user. A name that is not an e-mail address belongs to no user.
    pub(super) fn email(&self) -> Result<String, DoorError> {
        let name = self.username.as_deref().unwrap_or_default();
        let email = EmailAddress::parse(name).map_err(|_| DoorError::NotFound)?;
        Ok(email.into_inner().into_owned())
    }

    /// The normalised e-mail address and the normalised username that the path's name can be.
    pub(super) fn names(&self) -> (Option<String>, Option<String>) {
        let name = self.username.as_deref().unwrap_or_default();
        let email = EmailAddress::parse(name).ok().map(|email| email.into_inner().into_owned());
        let username = Username::parse(name).ok().map(|name| name.into_inner().into_owned());
        (email, username)
    }

    /// The project and its application.
    pub(super) fn application(&self) -> Result<(&Slug, &Slug), DoorError> {
        self.project.as_ref().zip(self.application.as_ref()).ok_or(DoorError::NotFound)
    }
}

impl FromRequestParts<AppState> for RequestPath {
    type Rejection = DoorError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, DoorError> {
        let route = parts.extensions.get::<MatchedPath>().map_or("", MatchedPath::as_str);
        let prefix = if route.starts_with("/api/v1/") { Prefix::Documented } else { Prefix::Served };
        let params =
            RawPathParams::from_request_parts(parts, state).await.map_err(|_| DoorError::NotFound)?;
        let param = |wanted: &str| params.iter().find(|(name, _)| *name == wanted).map(|(_, value)| value);
        let organization = param("org").and_then(|slug| slug.parse().ok()).ok_or(DoorError::NotFound)?;
        let slug = |wanted: &str| param(wanted).and_then(|slug| slug.parse().ok());
        Ok(Self {
            prefix,
            organization,
            username: param("username").map(str::to_owned),
            project: slug("project"),
            application: slug("application"),
        })
    }
}
