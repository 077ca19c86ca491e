//! Signing in with a token, and leaving.

use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use maud::{Markup, html};
use muster_domain::fault::{Mutant, mutant};
use muster_domain::token::{Credential, Token};
use muster_store::sessions::{self, Session, SignedIn};

use super::error::ConsoleError;
use super::session::{FORM_FIELD, Key, LIMITS, Leaving, field, fields, no_cookie, query};
use super::{BASE, page};
use crate::api::AppState;
use crate::api::auth::{authenticate, malformed};
use crate::api::auth_limit::Origin;
use crate::api::error::ApiError;

/// Largest form of the door, which everybody may send: a token and an address.
const DOOR_BYTES: u64 = 64 * 1024;

/// Shows the page. The address may say where to go afterwards, and that somebody has just left.
pub(super) async fn show(State(state): State<AppState>, request: Request) -> Result<Response, ConsoleError> {
    let asked = query(request.uri());
    let then = place(field(&asked, "then"));
    if let Some(key) = Key::of_session(request.headers())
        && let Session::Open(SignedIn { credential, .. }) =
            sessions::find(&state.0.store, &key.hash(), LIMITS, true).await?
    {
        return Ok(Redirect::to(seen(then, &credential)).into_response());
    }
    let note = field(&asked, "left").map(|_| Note::Left);
    Ok(door(&state, request.headers(), then, note))
}

/// Takes the token.
pub(super) async fn enter(State(state): State<AppState>, request: Request) -> Result<Response, ConsoleError> {
    let (parts, body) = request.into_parts();
    let headers = parts.headers.clone();
    let origin = Origin::of(&parts);
    let fields = fields(Request::from_parts(parts, body), &state, DOOR_BYTES).await?;
    let then = place(field(&fields, "then")).to_owned();
    let given = field(&fields, FORM_FIELD).unwrap_or_default();
    if !Key::of_door(&headers).is_some_and(|key| key.gave(None, given)) {
        return Ok(door(&state, &headers, &then, Some(Note::Again)));
    }
    let token = field(&fields, "token").unwrap_or_default().trim().parse::<Token>();
    let found = match &token {
        Ok(token) => authenticate(&state.0, origin, token).await,
        Err(_) => Err(malformed(&state.0, origin).await),
    };
    let credential = match found {
        Ok(credential) => credential,
        Err(ApiError::Unauthorized) => return Ok(door(&state, &headers, &then, Some(Note::Unknown))),
        Err(error) => return Err(error.into()),
    };
    let key = Key::new();
    sessions::open(&state.0.store, &key.hash(), &credential).await?;
    tracing::info!(tenant = credential.tenant_id.get(), token = %credential.token_id, "signed in at the console");
    let mut response = Redirect::to(seen(&then, &credential)).into_response();
    response.headers_mut().append(header::SET_COOKIE, key.cookie(&state));
    Ok(response)
}

/// Where somebody goes: the overview is the first page of those alone who may see imports.
fn seen<'t>(then: &'t str, credential: &Credential) -> &'t str {
    let first = || page::Section::first(|scope| credential.allows(scope));
    if then == BASE && !mutant(Mutant::SignInToOverview) { first().unwrap_or(BASE) } else { then }
}

/// Ends the session.
pub(super) async fn leave(
    State(state): State<AppState>,
    Leaving(key): Leaving,
) -> Result<Response, ConsoleError> {
    sessions::end(&state.0.store, &key.hash()).await?;
    let mut response = Redirect::to("/console/sign-in?left=1").into_response();
    response.headers_mut().append(header::SET_COOKIE, no_cookie(&state));
    Ok(response)
}

/// The message above the form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Note {
    Left,
    Again,
    Unknown,
}

impl Note {
    fn text(self) -> &'static str {
        match self {
            Self::Left => "You have left. The session is over.",
            Self::Again => "The page was open for too long, or cookies are off. Try once more.",
            Self::Unknown => "No such token: it was never made, it was revoked, or it has expired.",
        }
    }
}

/// The page, with a secret for its form.
fn door(state: &AppState, headers: &header::HeaderMap, then: &str, note: Option<Note>) -> Response {
    let key = Key::of_door(headers).unwrap_or_else(Key::new);
    let mut response = page::bare("Sign in", &view(&key.form(None), then, note)).into_response();
    if note == Some(Note::Unknown) {
        *response.status_mut() = StatusCode::UNAUTHORIZED;
    } else if note == Some(Note::Again) {
        *response.status_mut() = StatusCode::FORBIDDEN;
    }
    let cookie: HeaderValue = key.door_cookie(state);
    response.headers_mut().append(header::SET_COOKIE, cookie);
    response
}

fn view(form: &str, then: &str, note: Option<Note>) -> Markup {
    let wrong = note.is_some_and(|note| note != Note::Left);
    html! {
        div.door {
            h1 { "Sign in" }
            p.lead { "Show a token of your tenant. The console does what the token may, and nothing else." }
            @if let Some(note) = note {
                p.note.wrong[wrong] #note role=(if wrong { "alert" } else { "status" }) { (note.text()) }
            }
            form method="post" action="/console/sign-in" {
                input type="hidden" name=(FORM_FIELD) value=(form);
                input type="hidden" name="then" value=(then);
                // Programs that keep passwords want a name beside each.
                input type="text" name="username" value="console" autocomplete="username" hidden;
                label for="token" { "Token" }
                input #token type="password" name="token" required autocomplete="current-password" autofocus
                    spellcheck="false" placeholder="mst_…" aria-invalid=[wrong.then_some("true")]
                    aria-describedby=[wrong.then_some("note")];
                button.main type="submit" { "Sign in" }
            }
            details {
                summary { "Where do I get a token?" }
                p { "The operator of Muster creates one:" }
                pre { "muster token create --tenant acme --name ann \\\n  --scope import:read --scope import:write" }
                p {
                    "It is shown once. " code { "users:read" } " lets you see people’s addresses, " code { "ops" } " everything of the tenant, and "
                    code { "tenants:all" } " opens the other tenants too, for what its other scopes allow."
                }
            }
        }
    }
}

/// An address of the console, or its first page.
pub(super) fn place(then: Option<&str>) -> &str {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-_.~?=&%+".contains(&byte);
    let ours = |path: &&str| {
        super::owns(path.split('?').next().unwrap_or_default())
            && path.bytes().all(plain)
            && !path.contains("//")
            && !path.contains("..")
            && !path.starts_with("/console/sign-")
    };
    then.filter(ours).unwrap_or(BASE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_goes_back_to_the_console_and_nowhere_else() {
        for good in ["/console", "/console/imports?state=running&q=a%20b", "/console/imports/0190a5f0"] {
            assert_eq!(place(Some(good)), good);
        }
        for bad in [
            "//evil.example",
            "https://evil.example",
            "/consolex",
            "/console//evil",
            "/console/../v1",
            "/console\\x",
            "/console\r\nX: y",
            "javascript:alert(1)",
            "/console/sign-out",
            "",
        ] {
            assert_eq!(place(Some(bad)), BASE, "{bad:?}");
        }
        assert_eq!(place(None), BASE);
    }
}
