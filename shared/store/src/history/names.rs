//! Names in the place of ids: those of the catalog in what changed, and those of tokens.

use std::collections::HashMap;

use muster_domain::id::TenantId;
use serde_json::Value;
use sqlx::postgres::PgConnection;
use uuid::Uuid;

use super::super::{Store, StoreError, catalog};
use super::{Actor, FieldChange, Kept};

/// Puts the names of the catalog in the place of its ids.
pub(super) async fn name_fields(
    connection: &mut PgConnection,
    tenant: TenantId,
    entries: &mut [Kept],
) -> Result<(), StoreError> {
    let of_catalog = |field: &FieldChange| {
        field.field == "location"
            || ["roles.", "groups.", "teams.", "memberships."]
                .iter()
                .any(|start| field.field.starts_with(start))
    };
    let mut changes: Vec<&mut FieldChange> =
        entries.iter_mut().filter_map(|(entry, _)| entry.fields.as_mut()).flatten().collect();
    if !changes.iter().any(|field| of_catalog(field)) {
        return Ok(());
    }
    let names = catalog::names(&mut *connection, tenant).await?;
    let names: HashMap<i32, String> = names.into_iter().map(|name| (name.id, name.name)).collect();
    let organizations = sqlx::query!("select id, slug from organizations where tenant_id = $1", tenant.get())
        .fetch_all(connection)
        .await?;
    let organizations: HashMap<i32, String> =
        organizations.into_iter().map(|row| (row.id, row.slug)).collect();
    for field in &mut changes {
        if field.field == "location" {
            for value in [&mut field.before, &mut field.after] {
                let id = value.as_i64().and_then(|id| i32::try_from(id).ok());
                if let Some(name) = id.and_then(|id| names.get(&id)) {
                    *value = Value::from(name.as_str());
                }
            }
        } else if of_catalog(field)
            && let Some(named) = named(&field.field, &names, &organizations)
        {
            field.field = named;
        }
    }
    Ok(())
}

/// The path of an element of a set with its name for its id. One whose name has left the catalog keeps its id.
fn named(path: &str, names: &HashMap<i32, String>, organizations: &HashMap<i32, String>) -> Option<String> {
    let (set, id) = path.split_once('.')?;
    if set != "memberships" {
        return Some(format!("{set}.{}", names.get(&id.parse().ok()?)?));
    }
    let (organization, group) = id.split_once('.')?;
    let slug = organizations.get(&organization.parse().ok()?)?;
    match group.parse().ok()? {
        0 => Some(format!("memberships.{slug}")),
        group => Some(format!("memberships.{slug}.{}", names.get(&group)?)),
    }
}

/// Says of each entry who did it. Tokens are not read by the role that reads for tenants, and an operator's is one of another tenant.
pub(super) async fn name_actors(store: &Store, entries: &mut [Kept]) -> Result<(), StoreError> {
    let token = |actor: &str| actor.strip_prefix("token:").and_then(|id| id.parse::<Uuid>().ok());
    let mut ids: Vec<Uuid> =
        entries.iter().filter_map(|(_, actor)| actor.as_deref().and_then(token)).collect();
    ids.sort_unstable();
    ids.dedup();
    let mut names: HashMap<Uuid, String> = HashMap::new();
    if !ids.is_empty() {
        let rows = sqlx::query!("select id, name from tokens where id = any($1)", &ids)
            .fetch_all(store.pool())
            .await?;
        names.extend(rows.into_iter().map(|row| (row.id, row.name)));
    }
    for (entry, actor) in entries {
        let Some(actor) = actor else { continue };
        entry.actor = Some(match token(actor) {
            Some(id) => Actor { kind: "token".into(), token: Some(id), name: names.get(&id).cloned() },
            None => Actor { kind: actor.clone(), token: None, name: None },
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_of_sets_have_their_names() {
        let names = HashMap::from([(3, "Agent".to_owned()), (7, "Staff".to_owned())]);
        let organizations = HashMap::from([(2, "acme".to_owned())]);
        let named = |path| named(path, &names, &organizations);
        assert_eq!(named("roles.3").as_deref(), Some("roles.Agent"));
        assert_eq!(named("memberships.2.7").as_deref(), Some("memberships.acme.Staff"));
        assert_eq!(named("memberships.2.0").as_deref(), Some("memberships.acme"));
        assert_eq!(named("teams.9"), None);
    }
}
