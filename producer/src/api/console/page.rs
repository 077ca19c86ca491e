//! The frame of all pages.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequestParts, Request, State};
use axum::http::Method;
use axum::http::header::CONTENT_LENGTH;
use axum::middleware::Next;
use axum::response::{Html, IntoResponse, Response};
use maud::{Markup, html};
use muster_domain::fault::{Mutant, mutant};
use muster_domain::token::Scope;
use tokio::time::sleep;

use super::BASE;
use super::error::{Refusal, database_away};
pub(super) use super::frame::{bare, capital, sentence};
use super::frame::{mark, whole};
use super::session::{FORM_FIELD, Visit};
use crate::api::AppState;

/// Where in the console a page belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Section {
    /// What goes on.
    Overview,
    /// All tenants.
    Tenants,
    /// Imports and their records.
    Imports,
    /// A new import.
    New,
    /// Named sets of options.
    Profiles,
    /// The queue and those who work.
    Queue,
    /// Users.
    Users,
    /// What records may name.
    Catalog,
    /// Who is told what happens.
    Webhooks,
    /// Credentials.
    Tokens,
    /// What was done that leaves no other trace.
    Audit,
}

impl Section {
    const ALL: [Self; 11] = [
        Self::Overview,
        Self::Tenants,
        Self::Imports,
        Self::New,
        Self::Profiles,
        Self::Queue,
        Self::Users,
        Self::Catalog,
        Self::Webhooks,
        Self::Tokens,
        Self::Audit,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Overview => "Overview",
            Self::Tenants => "Tenants",
            Self::Imports => "Imports",
            Self::New => "New import",
            Self::Profiles => "Profiles",
            Self::Queue => "Queue",
            Self::Users => "Users",
            Self::Catalog => "Catalog",
            Self::Webhooks => "Webhooks",
            Self::Tokens => "Tokens",
            Self::Audit => "Audit",
        }
    }

    fn path(self) -> &'static str {
        match self {
            Self::Overview => BASE,
            Self::Tenants => "/console/tenants",
            Self::Imports => "/console/imports",
            Self::New => "/console/new",
            Self::Profiles => "/console/profiles",
            Self::Queue => "/console/queue",
            Self::Users => "/console/users",
            Self::Catalog => "/console/catalog",
            Self::Webhooks => "/console/webhooks",
            Self::Tokens => "/console/tokens",
            Self::Audit => "/console/audit",
        }
    }

    /// Where the first page is that somebody may see; none where there is none.
    pub(super) fn first(allows: impl Fn(Scope) -> bool) -> Option<&'static str> {
        Self::ALL.into_iter().find(|section| allows(section.scope())).map(Self::path)
    }

    fn scope(self) -> Scope {
        match self {
            Self::Overview | Self::Imports | Self::Profiles => Scope::ImportRead,
            Self::Tenants => Scope::TenantsAll,
            Self::New => Scope::ImportWrite,
            Self::Queue | Self::Tokens | Self::Audit => Scope::Ops,
            Self::Webhooks => Scope::WebhooksRead,
            Self::Users => Scope::UsersRead,
            Self::Catalog => Scope::CatalogRead,
        }
    }
}

/// A page for somebody who is signed in.
#[derive(Debug)]
pub(super) struct Page {
    /// Where it belongs.
    pub(super) section: Section,
    /// What it is called.
    pub(super) title: String,
    /// After how many milliseconds the page renews itself; none where it does not.
    pub(super) renew: Option<u32>,
    /// What it says.
    pub(super) main: Markup,
}

impl Page {
    /// The whole page.
    pub(super) fn show(self, visit: &Visit) -> Response {
        let main = html! {
            main #main tabindex="-1" data-renew=[self.renew] data-session=(visit.mark()) { (self.main) }
        };
        Html(whole(&self.title, &header(visit, Some(self.section)), &main).into_string()).into_response()
    }
}

/// How long a page may take before it is asked whether the database answers at all.
const PATIENCE: Duration = Duration::from_secs(2);

/// Ends what only shows something as soon as the database is known not to answer: nobody is to look at an empty page until the request's
/// own time is over. What does something is left to its end, since nobody else knows what became of it.
pub(super) async fn while_the_database_answers(
    State(state): State<AppState>,
    request: Request,
    next: Next,
) -> Response {
    if request.method() != Method::GET || mutant(Mutant::PagesWaitForDatabase) {
        return next.run(request).await;
    }
    let silence = async {
        loop {
            sleep(PATIENCE).await;
            if state.0.checks.store.word(&state.0.store).await == "unreachable" {
                return;
            }
        }
    };
    tokio::select! {
        response = next.run(request) => response,
        () = silence => database_away(),
    }
}

/// Gives what stands instead of a page the header of somebody who is signed in: with the menu, and the way out.
pub(super) async fn with_header(State(state): State<AppState>, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let mut asked = parts.clone();
    let mut response = next.run(Request::from_parts(parts, body)).await;
    let Some(Refusal { title, main }) = response.extensions_mut().remove() else { return response };
    let Ok(visit) = Visit::from_request_parts(&mut asked, &state).await else { return response };
    let main = html! { main #main.narrow tabindex="-1" { (main) } };
    let page = whole(&title, &header(&visit, None), &main).into_string();
    // It is the length of the page without the header.
    response.headers_mut().remove(CONTENT_LENGTH);
    *response.body_mut() = Body::from(page);
    response
}

fn header(visit: &Visit, here: Option<Section>) -> Markup {
    html! {
        header.top {
            a.brand href=(Section::first(|scope| visit.allows(scope)).unwrap_or(BASE)) { (mark()) "Muster" }
            nav aria-label="Console" {
                ul {
                    @for section in Section::ALL.into_iter().filter(|section| visit.allows(section.scope())) {
                        li { a href=(section.path()) aria-current=[(Some(section) == here).then_some("page")] { (section.name()) } }
                    }
                }
            }
            div.who {
                p {
                    span.tenant { (visit.tenant_name()) } " "
                    span.token { "token " (visit.token_name()) @if let Some(own) = visit.own_tenant() { " of " (own.name) } }
                }
                @if let Some(own) = visit.own_tenant() {
                    form method="post" action="/console/tenants" {
                        (secret(visit))
                        input type="hidden" name="tenant" value=(own.slug);
                        button.away type="submit" { "Back to " (own.name) }
                    }
                }
                form method="post" action="/console/sign-out" {
                    input type="hidden" name=(FORM_FIELD) value=(visit.leaving_form());
                    button.quiet type="submit" { "Sign out" }
                }
            }
        }
    }
}

/// What every form carries but the one that ends the session.
pub(super) fn secret(visit: &Visit) -> Markup {
    html! { input type="hidden" name=(FORM_FIELD) value=(visit.form()); }
}
