//! The template: one user with every field, and every role and team of the catalog, for clients to copy and fill.

use axum::Json;
use axum::extract::State;
use muster_domain::catalog::{Catalog, CatalogKind};
use muster_domain::fault::{Mutant, mutant};
use muster_domain::token::Scope;
use muster_store::catalog::{self, CatalogName};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::auth::ApiUser;
use super::error::{Answer, Message};
use crate::api::AppState;

/// Most bytes that a client writes around the name of a role or team.
const AROUND_NAME: usize = 128;

/// A role or a team, and whether a user has it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CcaiName)]
pub(super) struct Named {
    /// The name.
    pub(super) name: String,
    /// 1: the user has it. 0: the user has it not.
    pub(super) value: u8,
}

impl Named {
    fn none(names: &[String]) -> Vec<Self> {
        names.iter().map(|name| Self { name: name.clone(), value: 0 }).collect()
    }
}

/// A flag that is off: a text, as in the files of clients.
fn off() -> Value {
    if mutant(Mutant::FlagsAreNumbers) { Value::from(0) } else { Value::from("0") }
}

/// A user with every field that an upload can have.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CcaiTemplate)]
pub(super) struct Template {
    email: &'static str,
    new_email: &'static str,
    agent_number: &'static str,
    first_name: &'static str,
    last_name: &'static str,
    alias: &'static str,
    status: &'static str,
    location: String,
    max_chat_limit: u32,
    #[schema(value_type = String, example = "0")]
    max_chat_limit_enabled: Value,
    #[schema(value_type = String, example = "0")]
    unrestricted_international_calling: Value,
    #[schema(value_type = String, example = "0")]
    external_user: Value,
    ucaas_sip_uri: &'static str,
    ucaas_user_name: &'static str,
    extension_number: &'static str,
    availability_filter: &'static str,
    availability_filter_timeout: &'static str,
    direct_inbound_number1: &'static str,
    direct_inbound_number2: &'static str,
    direct_inbound_number3: &'static str,
    direct_inbound_number4: &'static str,
    direct_inbound_number5: &'static str,
    roles: Vec<Named>,
    teams: Vec<Named>,
}

impl Template {
    fn of(catalog: &Catalog) -> Self {
        Self {
            email: "user1@example.com",
            new_email: "",
            agent_number: "A-001",
            first_name: "John",
            last_name: "Doe",
            alias: "",
            status: "Active",
            location: catalog.locations.first().cloned().unwrap_or_default(),
            max_chat_limit: catalog.limits.max_chat_limit.map_or(2, |most| most.min(2)),
            max_chat_limit_enabled: off(),
            unrestricted_international_calling: off(),
            external_user: off(),
            ucaas_sip_uri: "",
            ucaas_user_name: "",
            extension_number: "",
            availability_filter: "",
            availability_filter_timeout: "",
            direct_inbound_number1: "",
            direct_inbound_number2: "",
            direct_inbound_number3: "",
            direct_inbound_number4: "",
            direct_inbound_number5: "",
            roles: Named::none(&catalog.roles),
            teams: Named::none(&catalog.teams),
        }
    }
}

/// Limit of the bytes that the roles and teams of a copy take in any notation: an escaped character may take
/// three times its bytes, and the JSON may be indented.
pub(super) fn most_bytes(names: &[CatalogName]) -> usize {
    let listed = names.iter().filter(|name| matches!(name.kind, CatalogKind::Role | CatalogKind::Team));
    listed.map(|listed| 3 * listed.name.len() + AROUND_NAME).sum()
}

/// Shows the template, with the roles and teams that there are now.
#[utoipa::path(
    get, path = "/bulk/users/template", tag = "ccai", operation_id = "ccai_template", security(("api_user" = [])),
    responses((status = 200, description = "An array of one user", body = Vec<Template>),
              (status = "default", description = "An error", body = Message)),
)]
pub(super) async fn show(State(state): State<AppState>, user: ApiUser) -> Answer<Json<[Template; 1]>> {
    let tenant = user.may(Scope::ImportRead)?;
    let catalog = catalog::get(&state.0.store, tenant).await?;
    Ok(Json([Template::of(&catalog)]))
}
