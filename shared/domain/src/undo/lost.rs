//! What a tenant's catalog no longer has: a user is not put into it again.

use std::collections::BTreeSet;

use serde_json::Value;

use super::flat::membership_of;

/// What a field names in the catalog, with its id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Named {
    /// An organization.
    Organization(i32),
    /// A group, role, team or location.
    Other(i32),
}

/// What changes name and the catalog no longer has.
pub type Lost = BTreeSet<Named>;

/// Sets whose elements are in the catalog.
const SETS: [&str; 3] = ["roles.", "groups.", "teams."];

/// What a field with this value names in the catalog.
pub fn named(path: &str, value: &Value) -> impl Iterator<Item = Named> + use<> {
    let membership = membership_of(path);
    let organization = membership.map(|(organization, _)| Named::Organization(organization));
    // A membership without a group has the number 0.
    let group = membership.map(|(_, group)| group).filter(|group| *group != 0);
    let element = SETS.iter().find_map(|set| path.strip_prefix(set)?.parse().ok());
    let location = value.as_i64().filter(|_| path == "location").and_then(|id| i32::try_from(id).ok());
    organization.into_iter().chain(group.or(element).or(location).map(Named::Other))
}

/// Whether a field with this value names something that is lost.
pub(super) fn is_lost(lost: &Lost, path: &str, value: Option<&Value>) -> bool {
    !lost.is_empty() && value.is_some_and(|value| named(path, value).any(|named| lost.contains(&named)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_name_what_is_in_the_catalog() {
        for (path, value, expected) in [
            ("memberships.3.0", json!(true), vec![Named::Organization(3)]),
            ("memberships.3.7", json!(true), vec![Named::Organization(3), Named::Other(7)]),
            ("roles.5", json!(true), vec![Named::Other(5)]),
            ("location", json!(9), vec![Named::Other(9)]),
            ("metadata.roles.5", json!(true), Vec::new()),
            ("given_name", json!("9"), Vec::new()),
        ] {
            assert_eq!(named(path, &value).collect::<Vec<_>>(), expected, "{path}");
        }
    }
}
