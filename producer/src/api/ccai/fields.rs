//! The fields of a record (contracts B.1.1): the field of the engine for each, and its column in the portal's table.

use muster_domain::catalog::Catalog;
use muster_domain::field::{Behaviour, Blank, Field, FieldRule, FieldTable};
use muster_domain::options::{
    Duplicates, EmptyFile, IdentifierField, ImportOptions, OnExisting, OnInvalid, Sets, Start,
    UnknownColumns, UnknownNames, Values,
};
use muster_domain::parse::Format;

/// Names in the order of the portal's columns, of which roles and teams take one each for every name of the catalog.
const COLUMNS: [(&str, Field); 21] = [
    ("email", Field::Email),
    ("new_email", Field::NewEmail),
    ("agent_number", Field::AgentNumber),
    ("first_name", Field::GivenName),
    ("last_name", Field::FamilyName),
    ("alias", Field::Alias),
    ("status", Field::Status),
    ("location", Field::Location),
    ("max_chat_limit", Field::MaxChatLimit),
    ("max_chat_limit_enabled", Field::MaxChatLimitEnabled),
    ("unrestricted_international_calling", Field::UnrestrictedInternationalCalling),
    ("external_user", Field::ExternalUser),
    ("ucaas_sip_uri", Field::UcaasSipUri),
    ("ucaas_user_name", Field::UcaasUserName),
    ("extension_number", Field::ExtensionNumber),
    ("availability_filter", Field::AvailabilityFilter),
    ("direct_inbound_number1", Field::DirectInboundNumber1),
    ("direct_inbound_number2", Field::DirectInboundNumber2),
    ("direct_inbound_number3", Field::DirectInboundNumber3),
    ("direct_inbound_number4", Field::DirectInboundNumber4),
    ("direct_inbound_number5", Field::DirectInboundNumber5),
];

/// The table has no column for it; its errors are reported in the filter's column.
const FILTER_TIMEOUT: &str = "availability_filter_timeout";

/// The column that identifies a record, for errors of a record and not of one of its fields.
const KEY_COLUMN: usize = 1;

/// What every import of this front door is asked to do.
pub(super) fn options() -> ImportOptions {
    ImportOptions {
        format: Format::Json,
        identifier: IdentifierField::Email,
        on_existing: OnExisting::Update,
        start: Start::Manual,
        on_invalid: OnInvalid::Refuse,
        duplicates: Duplicates::Refuse,
        empty_file: EmptyFile::Refuse,
        unknown_columns: UnknownColumns::Ignore,
        unknown_names: UnknownNames::Refuse,
        sets: Sets::Delta,
        values: Values::Lenient,
        fields: Some(table()),
        ..ImportOptions::default()
    }
}

/// An empty value changes nothing; a null location takes the location away; three fields must be there.
fn table() -> FieldTable {
    let rule = |(name, field): (&str, Field)| {
        let rule = FieldRule::new(name, field).with(Behaviour::Keep);
        match field {
            Field::Email | Field::GivenName | Field::FamilyName => rule.required(),
            Field::Location => rule.with(Behaviour::Remove).blank(Blank::TextAbsent),
            _ => rule.blank(Blank::Absent),
        }
    };
    let others = [
        (FILTER_TIMEOUT, Field::AvailabilityFilterTimeout),
        ("roles", Field::Roles),
        ("teams", Field::Teams),
    ];
    FieldTable(COLUMNS.into_iter().chain(others).map(rule).collect())
}

/// Where the columns of the portal's table are: that depends on the tenant's catalog.
#[derive(Debug, Clone, Copy)]
pub(super) struct Columns {
    /// How many roles have a column.
    roles: usize,
}

impl Columns {
    pub(super) fn of(catalog: &Catalog) -> Self {
        Self { roles: catalog.roles.len() }
    }

    /// The number of the column, from 1, of the field with this path (`roles.2.value`).
    ///
    /// Entries of `roles` and `teams` are counted in the record's order; a copy of the template has them in the table's order.
    pub(super) fn column(&self, path: &str) -> usize {
        let mut parts = path.split('.');
        let name = parts.next().unwrap_or_default();
        let entry = parts.next().and_then(|part| part.parse::<usize>().ok()).unwrap_or(0);
        let name = if name == FILTER_TIMEOUT { "availability_filter" } else { name };
        let first_role = COLUMNS.len() + 1;
        match name {
            "roles" => first_role + entry,
            "teams" => first_role + self.roles + entry,
            _ => COLUMNS.iter().position(|(known, _)| *known == name).map_or(KEY_COLUMN, |at| at + 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_counted_as_the_portal_has_them() {
        let columns = Columns { roles: 3 };
        for (path, column) in [
            ("email", 1),
            ("new_email", 2),
            ("max_chat_limit_enabled", 10),
            ("direct_inbound_number5", 21),
            ("roles", 22),
            ("roles.2.value", 24),
            ("teams.0", 25),
            ("teams.1.name", 26),
            ("availability_filter_timeout", 16),
            ("", 1),
        ] {
            assert_eq!(columns.column(path), column, "{path}");
        }
    }
}
