//! The members of an organization as one plain array of any length, read and sent a page at a time.

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use muster_domain::id::TenantId;
use muster_store::{Store, StoreError, catalog, members};
use uuid::Uuid;

use super::super::{AppState, paged};
use super::auth::Caller;
use super::error::{Detail, DoorError};
use super::request_path::RequestPath;
use super::view::Listed;

/// Members read at a time.
const PAGE: usize = 1_000;

/// Lists the members of an organization that have an e-mail address.
#[utoipa::path(
    get, path = "/", tag = "bitcaster", operation_id = "bitcaster_list", security(("key" = [])),
    params(("org" = String, Path, description = "Slug of the organization")),
    responses((status = 200, description = "Every member", body = Vec<Listed>),
              (status = "default", description = "An error", body = Detail)),
)]
pub(super) async fn list(
    State(state): State<AppState>,
    caller: Caller,
    request_path: RequestPath,
) -> Result<Response, DoorError> {
    let tenant = caller.reads(&request_path.organization)?;
    let store = &state.0.store;
    let found =
        catalog::find_organization(&mut *store.reading(tenant).await?, tenant, &request_path.organization)
            .await?;
    let (organization, _) = found.ok_or(DoorError::NotFound)?;
    let pages = Pages {
        store: store.clone(),
        tenant,
        organization: organization.get(),
        users: format!("{}{}", state.0.link_base, request_path.prefix.users(&request_path.organization)),
        after: Uuid::nil(),
        first: true,
        ended: false,
    };
    let pages = stream::try_unfold(pages, |mut pages| async move {
        if pages.ended {
            return Ok(None);
        }
        let piece = pages.next().await?;
        Ok(Some((piece, pages)))
    });
    let body = paged::body(&state, pages).await?;
    Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response())
}

struct Pages {
    store: Store,
    tenant: TenantId,
    organization: i32,
    /// Where the organization's users are.
    users: String,
    after: Uuid,
    first: bool,
    ended: bool,
}

impl Pages {
    /// The next piece of the array.
    async fn next(&mut self) -> Result<Bytes, StoreError> {
        let limit = i64::try_from(PAGE).unwrap_or(i64::MAX);
        let page = members::page(
            &mut *self.store.reading(self.tenant).await?,
            self.tenant,
            self.organization,
            self.after,
            limit,
        )
        .await?;
        self.ended = page.len() < PAGE;
        self.after = page.last().map_or(self.after, |member| member.id);
        let mut piece = Vec::with_capacity(page.len() * 256 + 2);
        for member in page {
            piece.push(if std::mem::take(&mut self.first) { b'[' } else { b',' });
            serde_json::to_writer(&mut piece, &Listed::new(member, &self.users))
                .map_err(|_| StoreError::Program("a member cannot be written as JSON".into()))?;
        }
        if std::mem::take(&mut self.first) {
            piece.push(b'[');
        }
        if self.ended {
            piece.push(b']');
        }
        Ok(piece.into())
    }
}
