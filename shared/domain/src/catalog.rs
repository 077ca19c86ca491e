//! What a tenant knows by name: organizations, groups, roles, teams, locations, custom attributes, limits.
//!
//! Names are compared trimmed, in NFKC and case-folded ([`fold_name`]), and shown as they were written.

mod objects;

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};
use serde_json::Number;

use crate::bound::Bound;
use crate::error::ErrorCode;
use crate::normalise::{fold_name, has_forbidden_char};
use crate::tenant::Slug;

/// Most entries of one list.
pub const MAX_ENTRIES: usize = 10_000;
/// Longest name, in bytes.
pub const MAX_NAME_BYTES: usize = 255;

/// A tenant's whole catalog, in the shape of `GET` and `PUT /v1/catalog`. What a `PUT` leaves out is empty.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Catalog {
    /// Organizations, by slug.
    #[serde(deserialize_with = "objects::list")]
    pub organizations: Vec<Organization>,
    /// Names of groups.
    pub groups: Vec<String>,
    /// Names of roles.
    pub roles: Vec<String>,
    /// Names of teams.
    pub teams: Vec<String>,
    /// Names of locations.
    pub locations: Vec<String>,
    /// Definitions of custom attributes, by name.
    #[serde(deserialize_with = "objects::map")]
    pub custom_attributes: BTreeMap<String, AttributeDefinition>,
    /// Limits.
    #[serde(deserialize_with = "objects::one")]
    pub limits: Limits,
}

impl Catalog {
    /// Reads the JSON text of one.
    ///
    /// ```
    /// use muster_domain::catalog::Catalog;
    ///
    /// let catalog = Catalog::parse(br#"{"roles": ["Admin", "Agent"]}"#).unwrap();
    /// assert_eq!(catalog.roles, ["Admin", "Agent"]);
    /// assert!(Catalog::parse(br#"{"rolls": []}"#).is_err());
    /// ```
    pub fn parse(json: &[u8]) -> serde_json::Result<Self> {
        if !json.trim_ascii_start().starts_with(b"{") {
            return Err(serde::de::Error::custom("a catalog is a JSON object"));
        }
        serde_json::from_slice(json)
    }
}

/// An organization of a tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Organization {
    /// The short name that requests use; see [`Slug`].
    pub slug: String,
    /// The name for people.
    pub name: String,
}

/// What the values of a custom attribute must be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum AttributeDefinition {
    /// Text that is not empty.
    String {},
    /// A JSON number, within bounds where there are some.
    Number {
        /// Least value.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        minimum: Option<Number>,
        /// Greatest value.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        maximum: Option<Number>,
    },
    /// A whole number, within bounds where there are some.
    Integer {
        /// Least value.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        minimum: Option<i64>,
        /// Greatest value.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        maximum: Option<i64>,
    },
    /// One of these texts.
    Enum {
        /// The texts.
        values: Vec<String>,
    },
    /// A phone number in E.164.
    PhoneNumber {},
    /// An e-mail address.
    Email {},
    /// An absolute URL.
    Url {},
    /// A country code, ISO 3166-1 alpha-2.
    CountryCode {},
}

impl AttributeDefinition {
    /// The bound of its values, where they are numbers.
    pub fn range(&self) -> Option<Bound> {
        match self {
            Self::Number { minimum, maximum } => {
                Some(Bound::Range { minimum: minimum.clone(), maximum: maximum.clone() })
            }
            Self::Integer { minimum, maximum } => {
                Some(Bound::Range { minimum: minimum.map(Number::from), maximum: maximum.map(Number::from) })
            }
            _ => None,
        }
    }
}

/// Limits of a tenant. What is not set does not limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Most chats at a time that a user may be given; a user's value is from 1 to this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_chat_limit: Option<u32>,
}

/// The error of one field of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{field}: {message}")]
pub struct FieldError {
    /// Stable code, for programs.
    pub code: ErrorCode,
    /// Where: `groups[2]`, `custom_attributes.member_id.maximum`.
    pub field: String,
    /// One sentence for people.
    pub message: String,
}

impl FieldError {
    /// An error at a field.
    pub fn new(code: ErrorCode, field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { code, field: field.into(), message: message.into() }
    }
}

/// The lists of plain names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CatalogKind {
    /// Groups in organizations.
    Group,
    /// Roles.
    Role,
    /// Teams.
    Team,
    /// Locations.
    Location,
}

impl CatalogKind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Group, Self::Role, Self::Team, Self::Location];

    /// The text in the store.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Group => "group",
            Self::Role => "role",
            Self::Team => "team",
            Self::Location => "location",
        }
    }

    /// The field of [`Catalog`].
    pub fn field(self) -> &'static str {
        match self {
            Self::Group => "groups",
            Self::Role => "roles",
            Self::Team => "teams",
            Self::Location => "locations",
        }
    }
}

impl Catalog {
    /// The names of a kind.
    pub fn names(&self, kind: CatalogKind) -> &[String] {
        match kind {
            CatalogKind::Group => &self.groups,
            CatalogKind::Role => &self.roles,
            CatalogKind::Team => &self.teams,
            CatalogKind::Location => &self.locations,
        }
    }

    /// The names of this kind, to be changed.
    pub fn names_mut(&mut self, kind: CatalogKind) -> &mut Vec<String> {
        match kind {
            CatalogKind::Group => &mut self.groups,
            CatalogKind::Role => &mut self.roles,
            CatalogKind::Team => &mut self.teams,
            CatalogKind::Location => &mut self.locations,
        }
    }

    /// Checks everything and brings it into its stored form (names trimmed, slugs folded), or says all that is wrong.
    pub fn validated(mut self) -> Result<Self, Vec<FieldError>> {
        let mut errors = Vec::new();
        self.check_organizations(&mut errors);
        for kind in CatalogKind::ALL {
            check_names(self.names_mut(kind), kind.field(), &mut errors);
        }
        self.check_attributes(&mut errors);
        if self.limits.max_chat_limit == Some(0) {
            errors.push(invalid("limits.max_chat_limit", "must be 1 or more"));
        }
        if errors.is_empty() { Ok(self) } else { Err(errors) }
    }

    fn check_organizations(&mut self, errors: &mut Vec<FieldError>) {
        check_count(self.organizations.len(), "organizations", errors);
        let mut seen = HashMap::new();
        for (at, organization) in self.organizations.iter_mut().enumerate() {
            let field = format!("organizations[{at}]");
            check_name(&mut organization.name, &format!("{field}.name"), errors);
            match organization.slug.parse::<Slug>() {
                Ok(slug) => {
                    if let Some(first) = seen.insert(slug.as_str().to_owned(), at) {
                        errors.push(invalid(
                            format!("{field}.slug"),
                            format!("is that of organizations[{first}]"),
                        ));
                    }
                    organization.slug = slug.as_str().to_owned();
                }
                Err(error) => errors.push(invalid(format!("{field}.slug"), error.to_string())),
            }
        }
    }

    fn check_attributes(&self, errors: &mut Vec<FieldError>) {
        check_count(self.custom_attributes.len(), "custom_attributes", errors);
        for (name, definition) in &self.custom_attributes {
            let field = format!("custom_attributes.{name}");
            if !is_attribute_name(name) {
                errors.push(invalid(
                    &field,
                    "must be of a-z, 0-9 and '_', start with a letter and not end with '_'",
                ));
            }
            match definition {
                AttributeDefinition::Integer { minimum: Some(minimum), maximum: Some(maximum) }
                    if minimum > maximum =>
                {
                    errors.push(invalid(format!("{field}.maximum"), "must not be less than the minimum"));
                }
                AttributeDefinition::Number { minimum: Some(minimum), maximum: Some(maximum) }
                    if minimum.as_f64() > maximum.as_f64() =>
                {
                    errors.push(invalid(format!("{field}.maximum"), "must not be less than the minimum"));
                }
                AttributeDefinition::Enum { values } => {
                    check_values(values, &format!("{field}.values"), errors)
                }
                _ => {}
            }
        }
    }
}

fn invalid(field: impl Into<String>, message: impl Into<String>) -> FieldError {
    FieldError::new(ErrorCode::InvalidRequest, field, message)
}

fn check_count(count: usize, field: &str, errors: &mut Vec<FieldError>) {
    if count > MAX_ENTRIES {
        errors.push(invalid(field, format!("has {count} entries, more than {MAX_ENTRIES}")));
    }
}

fn check_names(names: &mut [String], field: &str, errors: &mut Vec<FieldError>) {
    check_count(names.len(), field, errors);
    let mut seen = HashMap::new();
    for (at, name) in names.iter_mut().enumerate() {
        check_name(name, &format!("{field}[{at}]"), errors);
        if let Some(first) = seen.insert(fold_name(name).into_owned(), at) {
            errors.push(invalid(format!("{field}[{at}]"), format!("is the same name as {field}[{first}]")));
        }
    }
}

fn check_name(name: &mut String, field: &str, errors: &mut Vec<FieldError>) {
    *name = name.trim().to_owned();
    if name.is_empty() {
        errors.push(invalid(field, "must not be empty"));
    } else if name.len() > MAX_NAME_BYTES {
        errors.push(invalid(field, format!("is longer than {MAX_NAME_BYTES} bytes")));
    } else if has_forbidden_char(name) {
        errors.push(invalid(field, "holds a control or invisible character"));
    }
}

fn check_values(values: &[String], field: &str, errors: &mut Vec<FieldError>) {
    check_count(values.len(), field, errors);
    if values.is_empty() {
        errors.push(invalid(field, "must not be empty"));
    }
    let mut seen = HashMap::new();
    for (at, value) in values.iter().enumerate() {
        // Values are compared as they are: they are what clients send, not names.
        if value.is_empty() || value.len() > MAX_NAME_BYTES || has_forbidden_char(value) {
            errors.push(invalid(format!("{field}[{at}]"), "must be 1 to 255 bytes of visible text"));
        }
        if let Some(first) = seen.insert(value, at) {
            errors.push(invalid(format!("{field}[{at}]"), format!("is the same value as {field}[{first}]")));
        }
    }
}

/// Starts with a-z, ends with a-z or 0-9, in between also `_` (contracts: Authgear's custom attributes).
fn is_attribute_name(name: &str) -> bool {
    let (first, last) = (name.bytes().next(), name.bytes().next_back());
    name.len() <= MAX_NAME_BYTES
        && first.is_some_and(|byte| byte.is_ascii_lowercase())
        && last.is_some_and(|byte| byte != b'_')
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn catalog(json: &str) -> Catalog {
        serde_json::from_str(json).unwrap()
    }

    fn fields(catalog: Catalog) -> Vec<String> {
        catalog.validated().unwrap_err().into_iter().map(|error| error.field).collect()
    }

    #[test]
    fn a_good_catalog_is_brought_into_its_stored_form() {
        let catalog = catalog(
            r#"{"organizations": [{"slug": "ACME", "name": " Acme Inc. "}], "groups": ["  Reader "],
                "custom_attributes": {"member_id": {"type": "string"}, "age": {"type": "integer", "minimum": 0}},
                "limits": {"max_chat_limit": 10}}"#,
        )
        .validated()
        .unwrap();
        assert_eq!(catalog.organizations, [Organization { slug: "acme".into(), name: "Acme Inc.".into() }]);
        assert_eq!(catalog.groups, ["Reader"]);
        assert_eq!(catalog.clone().validated().unwrap(), catalog);
    }

    #[test]
    fn names_that_only_differ_in_case_or_form_are_one() {
        assert_eq!(
            fields(catalog(r#"{"roles": ["Straße", "admin", "STRASSE", "Admin "]}"#)),
            ["roles[2]", "roles[3]"]
        );
    }

    #[test]
    fn all_mistakes_are_told_at_once() {
        let catalog = catalog(
            r#"{"organizations": [{"slug": "a b", "name": "A"}, {"slug": "x", "name": ""}, {"slug": "X", "name": "X"}],
                "teams": ["", "a\u0000b"],
                "custom_attributes": {
                    "Bad": {"type": "email"}, "bad_": {"type": "url"},
                    "n": {"type": "integer", "minimum": 2, "maximum": 1},
                    "e": {"type": "enum", "values": []}, "f": {"type": "enum", "values": ["a", "a"]}},
                "limits": {"max_chat_limit": 0}}"#,
        );
        assert_eq!(
            fields(catalog),
            [
                "organizations[0].slug",
                "organizations[1].name",
                "organizations[2].slug",
                "teams[0]",
                "teams[1]",
                "custom_attributes.Bad",
                "custom_attributes.bad_",
                "custom_attributes.e.values",
                "custom_attributes.f.values[1]",
                "custom_attributes.n.maximum",
                "limits.max_chat_limit",
            ]
        );
    }

    #[test]
    fn a_key_that_is_not_known_is_refused() {
        for json in [
            r#"{"group": ["a"]}"#,
            r#"{"limits": {"max": 1}}"#,
            r#"{"custom_attributes": {"a": {"type": "string", "minimum": 1}}}"#,
            r#"{"custom_attributes": {"a": {"type": "colour"}}}"#,
            // Lists in the place of objects.
            "[]",
            r#"[[{"slug": "x", "name": "X"}], ["g"]]"#,
            r#"{"organizations": [["x", "X"]]}"#,
            r#"{"limits": [10]}"#,
            r#"{"custom_attributes": {"a": ["string"]}}"#,
        ] {
            assert!(Catalog::parse(json.as_bytes()).is_err(), "{json}");
        }
    }

    #[test]
    fn a_definition_reads_as_it_is_written() {
        let definition = AttributeDefinition::Integer { minimum: Some(0), maximum: None };
        let json = serde_json::to_string(&definition).unwrap();
        assert_eq!(json, r#"{"type":"integer","minimum":0}"#);
        assert_eq!(serde_json::from_str::<AttributeDefinition>(&json).unwrap(), definition);
    }
}
