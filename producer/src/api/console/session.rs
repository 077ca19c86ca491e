//! Sessions: a cookie that no script can read, a row in the store that names its token, and a secret in every
//! form that no other site can know.
//!
//! The browser keeps 256 random bits, the store their hash. The secret of forms is made from the same bits. A
//! session ends after the idle time of [`LIMITS`], after their longest time, when its token becomes invalid,
//! or when its user signs out. Automatic refreshes of a page ([`BY_ITSELF`]) do not count as use.
//!
//! A session is in one tenant at a time ([`muster_store::sessions`]). The secret of forms is another one in each tenant that an
//! operator opens, so that what a page of one tenant sends is never done in another, however many windows are open.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Form, FromRequest, FromRequestParts, Query, Request};
use axum::http::header::{self, HeaderMap};
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, Uri};
use chrono::{DateTime, Utc};
use futures_util::StreamExt;
use muster_domain::error::{ErrorCode, FileError};
use muster_domain::fault::{Mutant, mutant};
use muster_domain::id::TenantId;
use muster_domain::request::has_nul;
use muster_domain::token::Scope;
use muster_runtime::clock;
use muster_store::sessions::{self, OwnTenant, Session, SessionHash, SessionLimits, SignedIn};
use rand::RngCore;
use sha2::{Digest, Sha256};

use super::error::ConsoleError;
use crate::api::AppState;
use crate::api::auth::Caller;
use crate::api::error::ApiError;
use crate::api::incoming::{BodyLimits, Watch, bounded, drain};
use crate::api::params::invalid;
use crate::api::trail::Trail;

/// How long a session lasts.
pub(super) const LIMITS: SessionLimits =
    SessionLimits { idle: Duration::from_secs(60 * 60), most: Duration::from_secs(12 * 60 * 60) };
/// Largest form, but for those that have a document in them.
const FORM_BYTES: u64 = 2 * 1024 * 1024;
/// The cookie of a session.
const COOKIE: &str = "muster_console";
/// The cookie of somebody who is about to sign in.
const DOOR_COOKIE: &str = "muster_console_door";
/// The header of what a page asks by itself.
const BY_ITSELF: &str = "muster-live";
/// The field of every form that has its secret.
pub(super) const FORM_FIELD: &str = "form";

/// The header that has it where a script sends a file.
pub(super) const FORM_HEADER: &str = "muster-form";

/// What a browser keeps.
#[derive(Clone, Copy)]
pub(super) struct Key([u8; 32]);

impl Key {
    /// A new one.
    pub(super) fn new() -> Self {
        let mut bytes = [0; 32];
        clock::rng().fill_bytes(&mut bytes);
        Self(bytes)
    }

    fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).ok()?;
        Some(Self(bytes))
    }

    fn of(headers: &HeaderMap, cookie: &str) -> Option<Self> {
        let texts = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
        let mut pairs = texts.flat_map(|text| text.split(';')).filter_map(|pair| pair.trim().split_once('='));
        pairs.find(|(name, _)| *name == cookie).and_then(|(_, value)| Self::parse(value))
    }

    /// That of a session.
    pub(super) fn of_session(headers: &HeaderMap) -> Option<Self> {
        Self::of(headers, COOKIE)
    }

    /// That of somebody who is about to sign in.
    pub(super) fn of_door(headers: &HeaderMap) -> Option<Self> {
        Self::of(headers, DOOR_COOKIE)
    }

    /// What the store finds a session by.
    pub(super) fn hash(&self) -> SessionHash {
        Sha256::digest(self.0).into()
    }

    /// The secret of forms; of those of a tenant that was opened, where one is.
    pub(super) fn form(&self, opened: Option<TenantId>) -> String {
        let secret = Sha256::new().chain_update(b"forms of the console").chain_update(self.0);
        let secret = match opened.filter(|_| !mutant(Mutant::FormsOfAnyTenant)) {
            Some(tenant) => secret.chain_update(tenant.get().to_be_bytes()),
            None => secret,
        };
        hex::encode(secret.finalize())
    }

    /// Whether a form has the secret. Hashes are compared, so that the timing reveals nothing.
    pub(super) fn gave(&self, opened: Option<TenantId>, form: &str) -> bool {
        Sha256::digest(form.as_bytes()) == Sha256::digest(self.form(opened).as_bytes())
            || mutant(Mutant::ConsoleTakesAnyForm)
    }

    /// The cookie of the session that this opens.
    pub(super) fn cookie(&self, state: &AppState) -> HeaderValue {
        set_cookie(COOKIE, &hex::encode(self.0), super::BASE, is_secure(state))
    }

    /// The cookie for signing in.
    pub(super) fn door_cookie(&self, state: &AppState) -> HeaderValue {
        set_cookie(DOOR_COOKIE, &hex::encode(self.0), "/console/sign-in", is_secure(state))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(***)")
    }
}

/// The cookie of a session that is over.
pub(super) fn no_cookie(state: &AppState) -> HeaderValue {
    set_cookie(COOKIE, "; Max-Age=0", super::BASE, is_secure(state))
}

fn set_cookie(name: &str, value: &str, path: &str, secure: bool) -> HeaderValue {
    let secure = if secure { "; Secure" } else { "" };
    let text = format!("{name}={value}; Path={path}; HttpOnly; SameSite=Strict{secure}");
    // Only letters, digits and signs.
    HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static(""))
}

/// Whether browsers come over HTTPS, to this program or to a proxy before it.
fn is_secure(state: &AppState) -> bool {
    state.0.encrypted || state.0.link_base.starts_with("https://")
}

/// Somebody who is signed in, and asks for something.
#[derive(Debug, Clone)]
pub(super) struct Visit {
    caller: Caller,
    tenant: String,
    /// The tenant that the session is in, and the token's own one, where it is in another.
    opened: Option<(TenantId, OwnTenant)>,
    key: Key,
}

impl Visit {
    /// The tenant on which the visitor may do this.
    pub(super) fn may(&self, scope: Scope) -> Result<TenantId, ApiError> {
        self.caller.may(scope)
    }

    /// Whether the visitor may do this.
    pub(super) fn allows(&self, scope: Scope) -> bool {
        self.caller.may(scope).is_ok()
    }

    /// The same visitor, as the API knows callers.
    pub(super) fn caller(&self) -> Caller {
        self.caller.clone()
    }

    /// Who the visitor is, as what is done says it.
    pub(super) fn actor(&self) -> String {
        self.caller.actor()
    }

    /// Name of the tenant.
    pub(super) fn tenant_name(&self) -> &str {
        &self.tenant
    }

    /// Name of the token.
    pub(super) fn token_name(&self) -> &str {
        self.caller.name()
    }

    /// The token's own tenant, where the session is in another one.
    pub(super) fn own_tenant(&self) -> Option<&OwnTenant> {
        self.opened.as_ref().map(|(_, own)| own)
    }

    /// Whether the visitor may give a token this: what the visitor's own one may, and other tenants only from its own tenant.
    pub(super) fn may_grant(&self, scope: Scope) -> bool {
        self.allows(scope) && (scope != Scope::TenantsAll || self.opened.is_none())
    }

    /// The tenant that the session is in, where that is not the token's own.
    pub(super) fn opened(&self) -> Option<TenantId> {
        self.opened.as_ref().map(|(tenant, _)| *tenant)
    }

    /// What the form carries that ends the session. It is the same in every tenant, so that every window may do that.
    pub(super) fn leaving_form(&self) -> String {
        self.key.form(None)
    }

    /// What every other form carries.
    pub(super) fn form(&self) -> String {
        self.key.form(self.opened())
    }

    /// Whether a form has the secret that every form carries.
    pub(super) fn gave(&self, form: &str) -> bool {
        self.key.gave(self.opened(), form)
    }

    /// Whether the failed records may be had as a file. It has people's values as they are: in the token's own tenant for whoever may see
    /// imports, as at the API, and in another one only for whoever sees them on pages too.
    pub(super) fn takes_failed_records(&self) -> bool {
        self.opened.is_none() || self.sees_people()
    }

    /// What tells the pages of one session in one tenant from all others. No secret: nothing is done with it.
    pub(super) fn mark(&self) -> String {
        hex::encode(&Sha256::digest(self.form().as_bytes())[..8])
    }

    /// When the visitor's token ends; none for never.
    pub(super) fn ends_at(&self) -> Option<DateTime<Utc>> {
        self.caller.ends_at()
    }

    /// Whether people's values are shown as they are.
    pub(super) fn sees_people(&self) -> bool {
        self.allows(Scope::UsersRead) || mutant(Mutant::ConsoleUnmasked)
    }
}

impl FromRequestParts<AppState> for Visit {
    type Rejection = ConsoleError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ConsoleError> {
        let by_itself = parts.headers.contains_key(BY_ITSELF);
        let script = by_itself || parts.headers.contains_key(FORM_HEADER);
        let over = || match (script, &parts.method) {
            (true, _) => ConsoleError::Over,
            (false, &Method::GET) => {
                ConsoleError::SignIn(parts.uri.path_and_query().map(ToString::to_string))
            }
            (false, _) => ConsoleError::SignIn(None),
        };
        let Some(key) = Key::of_session(&parts.headers) else { return Err(over()) };
        match sessions::find(&state.0.store, &key.hash(), LIMITS, !by_itself).await? {
            Session::Open(SignedIn { credential, tenant, own }) => {
                if let Some(trail) = parts.extensions.get::<Trail>() {
                    trail.found(&credential);
                }
                let opened = own.map(|own| (credential.tenant_id, own));
                Ok(Self { caller: Caller::of(Arc::new(credential)), tenant, opened, key })
            }
            Session::Disabled => Err(ApiError::TenantDisabled.into()),
            Session::Over => Err(over()),
        }
    }
}

/// A form that somebody who is signed in has sent. Without the secret of the session there is none.
#[derive(Debug)]
pub(super) struct Filled {
    /// Who sent it.
    pub(super) visit: Visit,
    fields: Vec<(String, String)>,
}

impl Filled {
    /// The value of a field; the first one, where there are several.
    pub(super) fn field(&self, name: &str) -> Option<&str> {
        field(&self.fields, name)
    }

    /// All values of a field that may stand there several times.
    pub(super) fn values(&self, name: &str) -> Vec<&str> {
        self.fields.iter().filter(|(given, _)| given == name).map(|(_, value)| value.as_str()).collect()
    }

    /// All fields that somebody filled in.
    pub(super) fn all(&self) -> Vec<(String, String)> {
        self.fields.iter().filter(|(name, _)| name != FORM_FIELD).cloned().collect()
    }

    /// The key of the session.
    pub(super) fn key(&self) -> Key {
        self.visit.key
    }

    /// Reads a form of so many bytes at most, once it is known who sends it: a stranger's is not kept. Afterwards that is looked at
    /// again: what is revoked while the form is on its way does nothing.
    async fn read(request: Request, state: &AppState, most: u64) -> Result<Self, ConsoleError> {
        let (mut parts, body) = request.into_parts();
        if !mutant(Mutant::FormsOfStrangersRead)
            && let Err(error) = Visit::from_request_parts(&mut parts, state).await
        {
            drain(&mut body.into_data_stream()).await;
            return Err(error);
        }
        let fields = fields(Request::from_parts(parts.clone(), body), state, most).await;
        let visit = Visit::from_request_parts(&mut parts, state).await?;
        Ok(Self { visit, fields: fields? })
    }

    /// The same, with the secret that every form carries.
    pub(super) async fn within(request: Request, state: &AppState, most: u64) -> Result<Self, ConsoleError> {
        let filled = Self::read(request, state, most).await?;
        if filled.is_given(Visit::gave) { Ok(filled) } else { Err(ConsoleError::Form) }
    }

    /// Whether the secret in the form counts.
    fn is_given(&self, counts: impl Fn(&Visit, &str) -> bool) -> bool {
        let given = self.field(FORM_FIELD).is_some_and(|form| counts(&self.visit, form));
        given || mutant(Mutant::ConsoleTakesAnyForm)
    }
}

impl FromRequest<AppState> for Filled {
    type Rejection = ConsoleError;

    async fn from_request(request: Request, state: &AppState) -> Result<Self, ConsoleError> {
        Self::within(request, state, FORM_BYTES).await
    }
}

/// The form that ends the session, from a window of whatever tenant.
#[derive(Debug)]
pub(super) struct Leaving(pub(super) Key);

impl FromRequest<AppState> for Leaving {
    type Rejection = ConsoleError;

    async fn from_request(request: Request, state: &AppState) -> Result<Self, ConsoleError> {
        let counts = |visit: &Visit, form: &str| visit.gave(form) || visit.key.gave(None, form);
        let filled = Filled::read(request, state, FORM_BYTES).await?;
        if filled.is_given(counts) { Ok(Self(filled.key())) } else { Err(ConsoleError::Form) }
    }
}

/// The value in the query of an address; empty if it cannot be decoded or is not valid text.
pub(super) fn query(uri: &Uri) -> Vec<(String, String)> {
    let mut pairs: Vec<(String, String)> =
        Query::try_from_uri(uri).map(|Query(pairs)| pairs).unwrap_or_default();
    pairs.retain(|(name, value)| !has_nul(name) && !has_nul(value));
    pairs
}

/// The fields of a form of so many bytes at most, which comes as fast as every body has to.
pub(super) async fn fields(
    request: Request,
    state: &AppState,
    most: u64,
) -> Result<Vec<(String, String)>, ApiError> {
    let (parts, body) = request.into_parts();
    let watch = Watch::default();
    let mut pieces = bounded(body, BodyLimits { bytes: Some(most), pace: state.0.pace }, watch.clone());
    let mut bytes = Vec::new();
    while let Some(piece) = pieces.next().await {
        watch.seen();
        let stopped = || FileError::new(ErrorCode::UploadIncomplete, "the form stopped before its end");
        bytes.extend_from_slice(&piece.map_err(|_| ApiError::Body(watch.error().unwrap_or_else(stopped)))?);
    }
    let mut request = Request::from_parts(parts, Body::from(bytes));
    // It is here, and within its limit.
    DefaultBodyLimit::disable().apply(&mut request);
    let form = Form::<Vec<(String, String)>>::from_request(request, state).await;
    let Form(fields) = form.map_err(|_| invalid("form", "the form cannot be read"))?;
    if fields.iter().any(|(name, value)| has_nul(name) || has_nul(value)) {
        return Err(invalid("form", "must not hold a NUL"));
    }
    Ok(fields)
}

/// The value of a field; the first one, where there are several.
pub(super) fn field<'f>(fields: &'f [(String, String)], name: &str) -> Option<&'f str> {
    fields.iter().find(|(given, _)| given == name).map(|(_, value)| value.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_found_among_cookies_and_gives_a_secret_to_forms_that_is_not_itself() {
        let key = Key([7; 32]);
        let mut headers = HeaderMap::new();
        let text = format!("other=1; {COOKIE}={}; {DOOR_COOKIE}=zz", hex::encode([7; 32]));
        headers.insert(header::COOKIE, text.parse().unwrap());
        assert_eq!(Key::of_session(&headers).unwrap().hash(), key.hash());
        assert!(Key::of_door(&headers).is_none(), "not hexadecimal");
        let form = key.form(None);
        assert!(key.gave(None, &form) && !key.gave(None, "") && !key.gave(None, &Key([8; 32]).form(None)));
        assert!(!form.contains(&hex::encode([7; 32])) && form != hex::encode(key.hash()));
        let (one, other) = (Some(TenantId::new(1)), Some(TenantId::new(2)));
        assert!(key.gave(one, &key.form(one)), "in a tenant that was opened");
        assert!(!key.gave(None, &key.form(one)) && !key.gave(one, &form) && !key.gave(other, &key.form(one)));
        assert_eq!(format!("{key:?}"), "Key(***)");
    }

    #[test]
    fn cookies_are_for_the_console_alone_and_no_script_reads_them() {
        let cookie = set_cookie(COOKIE, "00", "/console", true);
        assert_eq!(cookie, "muster_console=00; Path=/console; HttpOnly; SameSite=Strict; Secure");
    }
}
