//! Uploads that are as hostile as they can be while it is still known what they must come to: few identifiers in many
//! spellings, clashes on every unique field, nulls, empty texts, names that the catalog lacks, values that break their rule.

mod samples;
mod upload;

use muster_domain::catalog::Catalog;
use muster_domain::field::Field;
use muster_domain::options::{ImportOptions, MetadataMode, Sets};
use muster_domain::parse::Format;
use muster_domain::rules::Rules;

use crate::oracle::{Means, Said};
pub use upload::{Shape, Upload};

/// The catalog that the samples speak of.
///
/// # Panics
/// Never: it is a constant.
pub fn catalog() -> Catalog {
    serde_json::from_str(
        r#"{"organizations": [{"slug": "default", "name": "Default"}, {"slug": "acme", "name": "Acme"}],
            "groups": ["Reader", "Writer"], "roles": ["Admin", "Agent", "Straße"], "teams": ["Support", "Sales"],
            "locations": ["Milan", "München"],
            "custom_attributes": {
                "member_id": {"type": "string"}, "age": {"type": "integer", "minimum": 0, "maximum": 150},
                "score": {"type": "number"}, "tier": {"type": "enum", "values": ["gold", "silver"]},
                "country": {"type": "country_code"}, "site": {"type": "url"}, "mail": {"type": "email"},
                "phone": {"type": "phone_number"}},
            "limits": {"max_chat_limit": 10}}"#,
    )
    .expect("a catalog")
}

/// What decides on the meaning of a value, beside its field.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reading<'a> {
    options: &'a ImportOptions,
    lenient: bool,
    csv: bool,
}

impl<'a> Reading<'a> {
    fn new(options: &'a ImportOptions) -> Self {
        let lenient = Rules::new(options.clone()).lenient();
        Self { options, lenient, csv: options.format == Format::Csv }
    }

    fn attributes(&self) -> bool {
        self.options.metadata == MetadataMode::Attributes
    }

    fn sets(&self) -> Sets {
        self.options.sets
    }
}

/// A value and what it means.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// JSON source; in a table, a text is the cell.
    pub json: String,
    /// What it means under these options, null and empty texts aside.
    pub means: Means,
}

/// Every sample of a field.
pub fn samples(field: Field, options: &ImportOptions) -> Vec<Sample> {
    let reading = Reading::new(options);
    let all = samples::of(field, &reading);
    // A table knows no types: only what can stand in a cell.
    all.into_iter().filter(|sample| !reading.csv || in_a_cell(field, &sample.json)).collect()
}

/// Every sample of one key of the metadata (`custom__KEY`).
pub fn key_samples(key: &'static str, options: &ImportOptions) -> Vec<Sample> {
    let reading = Reading::new(options);
    let all = samples::of_key(key, &reading);
    all.into_iter().filter(|sample| !reading.csv || sample.json.starts_with('"')).collect()
}

impl Sample {
    /// The sample under a name.
    pub fn under(&self, name: &str) -> Said {
        Said { name: name.to_owned(), json: self.json.clone(), means: self.means.clone() }
    }
}

fn in_a_cell(field: Field, json: &str) -> bool {
    let number_or_flag = matches!(
        field,
        Field::EmailVerified
            | Field::PhoneNumberVerified
            | Field::Disabled
            | Field::Locked
            | Field::UnrestrictedInternationalCalling
            | Field::ExternalUser
            | Field::MaxChatLimitEnabled
            | Field::MaxChatLimit
            | Field::AvailabilityFilterTimeout
    );
    // NUL and the like are for JSON, whose escapes can say them.
    let written = !json.contains("\\u0") && !json.contains("\\u2");
    // A cell with a brace is a list of one name.
    let names = matches!(field, Field::Roles | Field::Groups | Field::Teams);
    let object_or_list = (json.starts_with('[') || (json.starts_with('{') && !names)) && holds_json(field);
    written && (json.starts_with('"') || object_or_list || (number_or_flag && !json.starts_with(['{', '['])))
}

fn holds_json(field: Field) -> bool {
    matches!(
        field,
        Field::Address
            | Field::CustomAttributes
            | Field::Metadata
            | Field::Roles
            | Field::Groups
            | Field::Teams
            | Field::Password
            | Field::Mfa
            | Field::Addresses
    )
}
