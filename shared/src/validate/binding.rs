//! What each column or key of an import means, worked out once.

use std::collections::HashMap;

use super::header::clean;
use crate::error::{ErrorCode, FileError};
use crate::options::{IdentifierField, ImportOptions, UnknownColumns};
use crate::parse::Format;
use crate::record::{Attribute, NameId, Names};

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

/// The rule that a field's value is put through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rule {
    /// E-mail address.
    Email,
    /// Phone number.
    PhoneNumber,
    /// Username.
    PreferredUsername,
    /// Given name.
    GivenName,
    /// Family name.
    FamilyName,
    /// Another standard attribute.
    Attribute(Attribute),
    /// One key of the metadata.
    Metadata(Box<str>),
    /// The metadata as one object.
    MetadataObject,
    /// Known and left out (`_error_*` of a file of failed records).
    Ignored,
    /// Not known.
    Unknown,
}

impl Rule {
    fn of(name: &str) -> Self {
        match name {
            "email" => Self::Email,
            "phone_number" => Self::PhoneNumber,
            "preferred_username" => Self::PreferredUsername,
            "given_name" | "first_name" => Self::GivenName,
            "family_name" | "last_name" => Self::FamilyName,
            "metadata" => Self::MetadataObject,
            _ => match name.strip_prefix("custom__") {
                Some(key) if !key.is_empty() => Self::Metadata(key.into()),
                _ => Attribute::ALL
                    .into_iter()
                    .find(|attribute| attribute.as_str() == name)
                    .map_or(Self::Unknown, Self::Attribute),
            },
        }
    }

    /// The bit by which a field is known to have been seen; metadata keys are told apart by name instead.
    pub(super) fn bit(&self) -> Option<u64> {
        match self {
            Self::Email => Some(1),
            Self::PhoneNumber => Some(1 << 1),
            Self::PreferredUsername => Some(1 << 2),
            Self::GivenName => Some(1 << 3),
            Self::FamilyName => Some(1 << 4),
            Self::MetadataObject => Some(1 << 5),
            Self::Attribute(attribute) => Some(1 << (8 + *attribute as u64)),
            Self::Metadata(_) | Self::Ignored | Self::Unknown => None,
        }
    }
}

/// The rules of an import's columns or keys, by index in its [`Names`].
#[derive(Debug, Clone)]
pub struct Binding {
    shape: Shape,
    rules: Vec<Rule>,
    names: Vec<Box<str>>,
    /// The file is one of failed records, whose cells are guarded against spreadsheet formulas.
    guarded: bool,
}

impl Binding {
    /// No names bound yet.
    pub fn new(shape: Shape) -> Self {
        Self { shape, rules: Vec::new(), names: Vec::new(), guarded: false }
    }

    /// Binds the names met since the last call.
    pub fn extend(&mut self, names: &Names) {
        for name in names.iter().skip(self.rules.len()) {
            self.guarded |= self.shape == Shape::Columns && name == "_error_code";
            let rule = match self.shape {
                _ if matches!(name, "_error_code" | "_error_field" | "_error_message") => Rule::Ignored,
                Shape::Columns => Rule::of(&clean(name)),
                Shape::Keys => Rule::of(name),
            };
            self.rules.push(rule);
            self.names.push(name.into());
        }
    }

    /// Whether the header of a table can be worked with: the identifier is there, nothing twice, nothing unknown.
    pub fn check_header(&self, options: &ImportOptions) -> Result<(), FileError> {
        let mut first: HashMap<String, usize> = HashMap::new();
        for (at, (rule, name)) in self.rules.iter().zip(&self.names).enumerate() {
            let place = |error: FileError| error.at_line(1).at_column(at as u64 + 1).in_field(&**name);
            let key = match rule {
                Rule::Ignored => continue,
                Rule::Unknown if options.unknown_columns == UnknownColumns::Ignore => continue,
                Rule::Unknown if name.trim().is_empty() => {
                    return Err(place(FileError::new(ErrorCode::CsvHeaderUnknown, "a column has no name")));
                }
                Rule::Unknown => {
                    let hint = nearest(&clean(name))
                        .map_or(String::new(), |known| format!("; did you mean `{known}`?"));
                    let message = format!("the column `{}` is not known{hint}", shorten(name));
                    return Err(place(FileError::new(ErrorCode::CsvHeaderUnknown, message)));
                }
                rule => format!("{rule:?}"),
            };
            if let Some(before) = first.insert(key, at) {
                let message = format!("the columns {} and {} name the same field", before + 1, at + 1);
                return Err(place(FileError::new(ErrorCode::CsvHeaderDuplicate, message)));
            }
        }
        if self.rules.iter().any(|rule| rule.identifies(options.identifier)) {
            return Ok(());
        }
        let message =
            format!("the header has no column `{}`, which identifies the users", options.identifier);
        Err(FileError::new(ErrorCode::CsvHeaderMissing, message)
            .at_line(1)
            .in_field(options.identifier.as_str()))
    }

    /// The column or key that identifies users, if one was met.
    pub fn identifier(&self, field: IdentifierField) -> Option<NameId> {
        self.rules.iter().position(|rule| rule.identifies(field)).and_then(|at| NameId::try_from(at).ok())
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
        if self.guarded { text.strip_prefix('\'').unwrap_or(text) } else { text }
    }

    pub(super) fn means(&self, name: Option<&str>, field: IdentifierField) -> bool {
        let Some(name) = name else { return false };
        self.names.iter().zip(&self.rules).any(|(known, rule)| **known == *name && rule.identifies(field))
    }
}

impl Rule {
    fn identifies(&self, field: IdentifierField) -> bool {
        matches!(
            (self, field),
            (Self::Email, IdentifierField::Email)
                | (Self::PhoneNumber, IdentifierField::PhoneNumber)
                | (Self::PreferredUsername, IdentifierField::PreferredUsername)
        )
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
        let mut binding = Binding::new(Shape::Columns);
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
