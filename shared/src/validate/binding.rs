//! What each column or key of an import means, worked out once.

use std::collections::HashMap;

use super::header::clean;
use crate::error::{ErrorCode, FileError, RecordError};
use crate::field::{Field, FieldRule, FieldSet, FieldTable, METADATA_PATTERN, METADATA_PREFIX};
use crate::formula::unguard_start;
use crate::options::{IdentifierField, ImportOptions, MetadataMode, UnknownColumns};
use crate::parse::Format;
use crate::record::{NameId, Names, Secrets};
use crate::rules::Rules;

/// Whether names are the columns of a table or the keys of objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// CSV: one header for all records; names are cleaned; empty cells have an option.
    Columns,
    /// JSON and NDJSON: each record names its own keys, exactly.
    Keys,
}

impl Shape {
    /// The shape of a format.
    pub fn of(format: Format) -> Self {
        match format {
            Format::Csv => Self::Columns,
            Format::Json | Format::Ndjson => Self::Keys,
        }
    }
}

/// What stands under one name of an upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Rule {
    /// A field.
    Field(FieldRule),
    /// One key of the metadata.
    Metadata(Box<str>, Cell),
    /// Known and left out (`_error_*` of a file of failed records).
    Ignored,
    /// `_error_code` of a file of failed records.
    ErrorCode,
    /// Not known.
    Unknown,
}

/// How the value of a metadata key is written in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cell {
    /// As itself.
    Plain,
    /// As a list: `custom__x[]`.
    List,
    /// As an object: `custom__x{}`.
    Object,
}

impl Rule {
    fn of(name: &str, table: &FieldTable) -> Self {
        if let Some(rule) = table.find(name)
            && name != METADATA_PATTERN
        {
            return Self::Field(rule.clone());
        }
        match name.strip_prefix(METADATA_PREFIX) {
            Some(key) if !key.is_empty() && table.metadata_pattern().is_some() => {
                let suffixed =
                    |suffix| key.strip_suffix(suffix).map(str::trim_end).filter(|key| !key.is_empty());
                match (suffixed("[]"), suffixed("{}")) {
                    (Some(key), _) => Self::Metadata(key.into(), Cell::List),
                    (_, Some(key)) => Self::Metadata(key.into(), Cell::Object),
                    (None, None) => Self::Metadata(key.into(), Cell::Plain),
                }
            }
            _ => Self::Unknown,
        }
    }

    fn field(&self) -> Option<Field> {
        match self {
            Self::Field(rule) => Some(rule.field),
            Self::Metadata(..) => Some(Field::Metadata),
            Self::Ignored | Self::ErrorCode | Self::Unknown => None,
        }
    }

    fn identifies(&self, field: IdentifierField) -> bool {
        self.field() == Some(field.into())
    }
}

/// The rules of an import's columns or keys, by index in its [`Names`].
#[derive(Debug, Clone)]
pub struct Binding {
    shape: Shape,
    table: FieldTable,
    /// What every record must have, with the name to tell it by.
    required: Vec<(Field, String)>,
    rules: Vec<Rule>,
    names: Vec<Box<str>>,
    /// Which of the names hold secrets.
    secrets: Secrets,
    /// The file is one of failed records, whose cells are guarded against spreadsheet formulas.
    guarded: bool,
}

impl Binding {
    /// No names bound yet.
    pub fn new(rules: &Rules) -> Self {
        let table = rules.table().clone();
        let secret = table.0.iter().filter(|rule| rule.field.is_secret()).map(|rule| rule.name.clone());
        let secrets = Secrets::with_aliases(secret);
        let required =
            table.0.iter().filter(|rule| rule.required).map(|rule| (rule.field, rule.name.clone())).collect();
        Self {
            shape: Shape::of(rules.options.format),
            table,
            required,
            rules: Vec::new(),
            names: Vec::new(),
            secrets,
            guarded: false,
        }
    }

    /// Binds the names met since the last call.
    pub fn extend(&mut self, names: &Names) {
        for name in names.iter().skip(self.rules.len()) {
            self.guarded |= self.shape == Shape::Columns && name == "_error_code";
            let rule = match self.shape {
                _ if name == "_error_code" => Rule::ErrorCode,
                _ if matches!(name, "_error_field" | "_error_message") => Rule::Ignored,
                Shape::Columns => self.column(name),
                Shape::Keys => Rule::of(name, &self.table),
            };
            self.secrets.push(name, rule.field().is_some_and(Field::is_secret));
            self.rules.push(rule);
            self.names.push(name.into());
        }
    }

    /// A column: its name is cleaned. The key of a list or an object of metadata keeps its case (contracts C.2).
    fn column(&self, name: &str) -> Rule {
        let trimmed = name.trim();
        if trimmed.ends_with("[]") || trimmed.ends_with("{}") {
            let prefixed = trimmed.get(..METADATA_PREFIX.len());
            if prefixed.is_some_and(|start| start.eq_ignore_ascii_case(METADATA_PREFIX)) {
                let key = trimmed.get(METADATA_PREFIX.len()..).unwrap_or_default().trim_start();
                return Rule::of(&format!("{METADATA_PREFIX}{key}"), &self.table);
            }
        }
        Rule::of(&clean(name), &self.table)
    }

    /// Whether the records name something that only the tenant's catalog knows.
    pub fn needs_catalog(&self, rules: &Rules) -> bool {
        self.rules.iter().filter_map(Rule::field).any(|field| match field {
            Field::Roles
            | Field::Groups
            | Field::Teams
            | Field::Location
            | Field::CustomAttributes
            | Field::MaxChatLimit => true,
            Field::Metadata => rules.options.metadata == MetadataMode::Attributes,
            _ => false,
        })
    }

    /// Whether the header of a table can be worked with: the identifier is there, nothing twice, nothing unknown.
    pub fn check_header(&self, options: &ImportOptions) -> Result<(), FileError> {
        let mut first: HashMap<String, usize> = HashMap::new();
        let mut fields = FieldSet::default();
        for (at, (rule, name)) in self.rules.iter().zip(&self.names).enumerate() {
            if let Some(field) = rule.field() {
                fields.insert(field);
            }
            let place = |error: FileError| error.at_line(1).at_column(at as u64 + 1).in_field(&**name);
            let key = match rule {
                Rule::Ignored | Rule::ErrorCode => continue,
                Rule::Unknown if options.unknown_columns == UnknownColumns::Ignore => continue,
                Rule::Unknown if name.trim().is_empty() => {
                    return Err(place(FileError::new(ErrorCode::CsvHeaderUnknown, "a column has no name")));
                }
                Rule::Unknown => {
                    // A front door's own table may not have the column.
                    let taken = |known: &&str| Rule::of(known, &self.table) != Rule::Unknown;
                    let hint = nearest(&clean(name))
                        .filter(taken)
                        .map_or(String::new(), |known| format!("; did you mean `{known}`?"));
                    let message = format!("the column `{}` is not known{hint}", shorten(name));
                    return Err(place(FileError::new(ErrorCode::CsvHeaderUnknown, message)));
                }
                Rule::Field(rule) => rule.field.as_str().to_owned(),
                Rule::Metadata(key, _) => format!("{METADATA_PREFIX}{key}"),
            };
            if let Some(before) = first.insert(key, at) {
                let message = format!("the columns {} and {} name the same field", before + 1, at + 1);
                return Err(place(FileError::new(ErrorCode::CsvHeaderDuplicate, message)));
            }
        }
        if !fields.contains(options.identifier.into()) {
            let message =
                format!("the header has no column `{}`, which identifies the users", options.identifier);
            return Err(FileError::new(ErrorCode::CsvHeaderMissing, message)
                .at_line(1)
                .in_field(options.identifier.as_str()));
        }
        match self.required.iter().find(|(field, _)| !fields.contains(*field)) {
            None => Ok(()),
            Some((_, name)) => {
                let message = format!("the header has no column `{name}`, which every record must have");
                Err(FileError::new(ErrorCode::CsvHeaderMissing, message).at_line(1).in_field(&**name))
            }
        }
    }

    /// Which of the names bound so far hold secrets.
    pub fn secrets(&self) -> &Secrets {
        &self.secrets
    }

    /// The column or key that identifies users, if one was met.
    pub fn identifier(&self, field: IdentifierField) -> Option<NameId> {
        self.rules.iter().position(|rule| rule.identifies(field)).and_then(|at| NameId::try_from(at).ok())
    }

    /// The first column or key of a field, as the upload spells it, if one was met.
    pub fn name_of(&self, field: Field) -> Option<&str> {
        self.rules.iter().position(|rule| rule.field() == Some(field)).map(|at| self.name(at))
    }

    /// The names bound so far, in the order of the upload.
    pub fn names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.names.iter().map(|name| &**name)
    }

    pub(super) fn rule(&self, name: usize) -> Option<&Rule> {
        self.rules.get(name)
    }

    pub(super) fn name(&self, name: usize) -> &str {
        self.names.get(name).map_or("", |name| &**name)
    }

    pub(super) fn shape(&self) -> Shape {
        self.shape
    }

    /// Takes off the apostrophe that the file of failed records puts before cells a spreadsheet would run.
    pub(super) fn unguard<'t>(&self, text: &'t str) -> &'t str {
        if self.guarded { unguard_start(text) } else { text }
    }

    /// Whether the cells of the file are guarded so.
    pub fn guards_cells(&self) -> bool {
        self.guarded
    }

    pub(super) fn required(&self) -> &[(Field, String)] {
        &self.required
    }

    /// Whether one of the errors is about a name that means the identifier. There may be many names and many errors, but few
    /// names mean it.
    pub(super) fn blames(&self, errors: &[RecordError], field: IdentifierField) -> bool {
        if errors.is_empty() {
            return false;
        }
        let meant = self.names.iter().zip(&self.rules).filter(|(_, rule)| rule.identifies(field));
        let meant: Vec<&str> = meant.map(|(name, _)| &**name).collect();
        errors.iter().any(|error| error.field.as_deref().is_some_and(|name| meant.contains(&name)))
    }
}

/// A header cell for a message: a header is not a user's value, but it may be any length.
fn shorten(name: &str) -> String {
    name.trim().chars().take(60).collect()
}

/// The known name that is close enough to be meant.
fn nearest(name: &str) -> Option<&'static str> {
    const ALIASES: [(&str, &str); 14] = [
        ("e_mail", "email"),
        ("mail", "email"),
        ("email_address", "email"),
        ("e_mail_address", "email"),
        ("phone", "phone_number"),
        ("mobile", "phone_number"),
        ("telephone", "phone_number"),
        ("username", "preferred_username"),
        ("user_name", "preferred_username"),
        ("login", "preferred_username"),
        ("firstname", "first_name"),
        ("lastname", "last_name"),
        ("surname", "last_name"),
        ("timezone", "zoneinfo"),
    ];
    ALIASES.iter().find(|(alias, _)| *alias == name).map(|(_, known)| *known)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(columns: &[&str], options: &ImportOptions) -> Result<(), (ErrorCode, Option<u64>)> {
        let mut binding = Binding::new(&Rules::new(options.clone()));
        binding.extend(&Names::from_header(columns));
        binding.check_header(options).map_err(|error| (error.code, error.column))
    }

    #[test]
    fn headers_are_taken_or_refused_with_their_place() {
        let options = ImportOptions::default();
        assert_eq!(header(&["Email", "First Name", "custom__office", "_error_code"], &options), Ok(()));
        assert_eq!(header(&["first_name"], &options), Err((ErrorCode::CsvHeaderMissing, None)));
        assert_eq!(header(&["email", "EMAIL"], &options), Err((ErrorCode::CsvHeaderDuplicate, Some(2))));
        assert_eq!(
            header(&["email", "first_name", "given_name"], &options),
            Err((ErrorCode::CsvHeaderDuplicate, Some(3)))
        );
        assert_eq!(header(&["email", "is_admin"], &options), Err((ErrorCode::CsvHeaderUnknown, Some(2))));
        assert_eq!(header(&["email", ""], &options), Err((ErrorCode::CsvHeaderUnknown, Some(2))));
        let lenient = ImportOptions { unknown_columns: UnknownColumns::Ignore, ..options };
        assert_eq!(header(&["email", "is_admin", ""], &lenient), Ok(()));
    }
}
