//! What each column or key of an import means, worked out once.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::rule::{By, Cell, Rule};
pub use super::rule::{NOT_KNOWN, OF_FAILED};
use crate::column_name::{clean, fold, unaccented, words};
use crate::error::{RecordError, without_nul};
use crate::fault::{Mutant, mutant};
use crate::field::{Field, FieldRule, FieldTable, METADATA_PREFIX, dictionary};
use crate::formula::unescape_start;
use crate::options::{HeaderNames, IdentifierField, MetadataMode, UnknownColumns};
use crate::parse::{FAILED_MARK, Format};
use crate::record::{FieldNames, NameId, ORIGIN_KEY, Origin, RawRecord, RawValue, Secrets};
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
            Format::Csv | Format::Xlsx => Self::Columns,
            Format::Json | Format::Ndjson => Self::Keys,
        }
    }
}

/// The rules of an import's columns or keys, by index in its [`FieldNames`].
#[derive(Debug, Clone)]
pub struct Binding {
    shape: Shape,
    pub(super) table: FieldTable,
    /// What every record must have, with the name to tell it by.
    required: Vec<(Field, String)>,
    pub(super) rules: Vec<Rule>,
    by: Vec<By>,
    names: Vec<Box<str>>,
    /// The names with a NUL, as they are shown.
    shown: BTreeMap<usize, Box<str>>,
    /// Which of the names hold secrets.
    secrets: Secrets,
    /// Names that the import maps to one field, by their places in the mapping.
    alternatives: Vec<Vec<NameId>>,
    header_names: HeaderNames,
    unknown_columns: UnknownColumns,
    /// The file has failed records, whose cells are escaped against spreadsheet formulas.
    escaped: bool,
    /// What says where a record of a file of failed records comes from.
    origin: Option<NameId>,
    /// What says why a record of such a file failed.
    failure: Option<NameId>,
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
            by: Vec::new(),
            names: Vec::new(),
            shown: BTreeMap::new(),
            secrets,
            alternatives: Vec::new(),
            header_names: rules.options.header_names,
            unknown_columns: rules.options.unknown_columns,
            escaped: false,
            origin: None,
            failure: None,
        }
    }

    /// Binds the names met since the last call.
    pub fn extend(&mut self, names: &FieldNames) {
        if names.len() == self.rules.len() {
            return;
        }
        for name in names.iter().skip(self.rules.len()) {
            self.escaped |= self.shape == Shape::Columns && (name == "_error_code" || name == FAILED_MARK);
            let (rule, by) = match self.shape {
                _ if name == "_error_code" => {
                    self.failure = NameId::try_from(self.rules.len()).ok();
                    (Rule::ErrorCode, By::Mark)
                }
                _ if matches!(name, "_error_field" | "_error_message") => (Rule::Ignored, By::Mark),
                _ if name == FAILED_MARK || name == ORIGIN_KEY => {
                    self.origin = NameId::try_from(self.rules.len()).ok();
                    (Rule::Ignored, By::Mark)
                }
                Shape::Columns => self.column(name),
                Shape::Keys => self.json_key(name),
            };
            self.secrets.push(name, rule.field().is_some_and(Field::is_secret));
            self.rules.push(rule);
            self.by.push(by);
            if let Cow::Owned(shown) = without_nul(name) {
                self.shown.insert(self.names.len(), shown.into());
            }
            self.names.push(name.into());
        }
        self.group();
    }

    /// A column: its name is compared whole. The key of a list or an object of metadata keeps its case (contracts C.2).
    fn column(&self, name: &str) -> (Rule, By) {
        let place = format!("#{}", self.rules.len() + 1);
        match Rule::known(&place, &self.table) {
            Some(rule) => (rule, By::Mapping),
            None => self.column_named(name),
        }
    }

    fn column_named(&self, name: &str) -> (Rule, By) {
        let folded = fold(name);
        if let Some(rule) = self.named(&folded) {
            return rule;
        }
        if let Some(rule) = self.verbatim(name) {
            return (rule, By::Name);
        }
        let trimmed = name.trim();
        if trimmed.ends_with("[]") || trimmed.ends_with("{}") {
            let prefixed = trimmed.get(..METADATA_PREFIX.len());
            if prefixed.is_some_and(|start| start.eq_ignore_ascii_case(METADATA_PREFIX)) {
                let key = trimmed.get(METADATA_PREFIX.len()..).unwrap_or_default().trim_start();
                let rule = Rule::custom(&format!("{METADATA_PREFIX}{key}"), &self.table);
                return rule.map_or((Rule::Unknown, By::Nothing), |rule| (rule, By::Name));
            }
        }
        let cleaned = clean(name);
        if let Some(rule) = Rule::custom(&cleaned, &self.table) {
            return (rule, By::Name);
        }
        let bare = unaccented(&folded);
        if let Some(rule) =
            bare.as_deref().and_then(|bare| self.named(bare)).or_else(|| self.common(name, &folded))
        {
            return rule;
        }
        self.unknown(&cleaned)
    }

    /// A list or an object whose key is the rest of the name from its ninth character, whatever stands before it: a blank at the front
    /// shifts it (contracts C.2).
    fn verbatim(&self, name: &str) -> Option<Rule> {
        self.table.metadata_pattern().filter(|rule| rule.verbatim)?;
        let (name_of, cell) = match (name.strip_suffix("[]"), name.strip_suffix("{}")) {
            (Some(before), _) => (before, Cell::List),
            (_, Some(before)) => (before, Cell::VerbatimObject),
            _ => return None,
        };
        if !clean(name).starts_with(METADATA_PREFIX) {
            return None;
        }
        let shifted = if mutant(Mutant::KeyWithoutItsShift) { name_of.trim_start() } else { name_of };
        let (at, _) = shifted.char_indices().nth(METADATA_PREFIX.len())?;
        shifted.get(at..).map(|key| Rule::Metadata(key.into(), cell))
    }

    /// A key of an object is compared exactly, unless common names are known.
    fn json_key(&self, name: &str) -> (Rule, By) {
        if let Some(rule) = self.named(name) {
            return rule;
        }
        if let Some(rule) = Rule::custom(name, &self.table) {
            return (rule, By::Name);
        }
        if self.header_names == HeaderNames::Common {
            let folded = fold(name);
            if let Some(rule) = self.named(&folded).or_else(|| self.common(name, &folded)) {
                return rule;
            }
        }
        self.unknown(name)
    }

    fn named(&self, name: &str) -> Option<(Rule, By)> {
        let by = |rule: &Rule| match rule {
            Rule::Field(rule) if rule.mapped.is_none() => By::Name,
            _ => By::Mapping,
        };
        Rule::known(name, &self.table).map(|rule| {
            let by = by(&rule);
            (rule, by)
        })
    }

    /// A name of other programs or languages.
    fn common(&self, name: &str, folded: &str) -> Option<(Rule, By)> {
        if self.header_names == HeaderNames::Exact {
            return None;
        }
        let words = words(name);
        if let Some(rule) = words.as_deref().and_then(|words| self.named(words)) {
            return Some(rule);
        }
        let common = dictionary::common(folded).or_else(|| dictionary::common(words.as_deref()?))?;
        let rule = self.table.0.iter().find(|rule| rule.field == common.field && rule.mapped.is_none())?;
        Some((Rule::Field(FieldRule { enabled: common.enabled, ..rule.clone() }), By::Dictionary))
    }

    fn unknown(&self, key: &str) -> (Rule, By) {
        let keeps =
            self.unknown_columns == UnknownColumns::Metadata && self.table.metadata_pattern().is_some();
        if keeps && !key.is_empty() {
            (Rule::Metadata(key.into(), Cell::Plain), By::Metadata)
        } else {
            (Rule::Unknown, By::Nothing)
        }
    }

    /// Notes where the import maps several names to one field.
    fn group(&mut self) {
        let mut groups: Vec<(Field, Vec<(u16, NameId)>)> = Vec::new();
        for (at, rule) in self.rules.iter().enumerate() {
            let (Some((field, place)), Ok(name)) = (rule.mapped_place(), NameId::try_from(at)) else {
                continue;
            };
            match groups.iter_mut().find(|(of, _)| *of == field) {
                None => groups.push((field, vec![(place, name)])),
                Some((_, names)) if names.iter().all(|(other, _)| *other != place) => {
                    names.push((place, name));
                }
                Some(_) => {}
            }
        }
        let alternatives = groups.into_iter().filter(|(_, names)| names.len() > 1).map(|(_, mut names)| {
            names.sort_unstable();
            names.into_iter().map(|(_, name)| name).collect()
        });
        self.alternatives = alternatives.collect();
    }

    /// The names of a record that do not count: of several that the import maps to one field, the first by its place in the mapping
    /// that has something under it does, and where none has, the first that the record has.
    pub(super) fn passed_over(&self, record: &RawRecord<'_>, rules: &Rules) -> Vec<NameId> {
        let mut passed = Vec::new();
        for names in &self.alternatives {
            let there = |name: &&NameId| record.value(**name).is_some();
            let filled =
                |name: &&NameId| record.value(**name).is_some_and(|value| self.is_filled(value, rules));
            let counts = match names.iter().find(filled) {
                Some(name) if !mutant(Mutant::HeaderChoosesColumn) => Some(name),
                _ => names.iter().find(there),
            };
            passed.extend(names.iter().filter(|name| Some(*name) != counts));
        }
        passed
    }

    fn is_filled(&self, value: RawValue<'_>, rules: &Rules) -> bool {
        match value {
            RawValue::Null => false,
            RawValue::Json(_) => true,
            RawValue::Text(text) => {
                let text = self.unescape(text);
                let blank = |c: char| c.is_whitespace() || matches!(c, '\u{200b}' | '\u{feff}');
                !text.chars().all(blank) && !rules.options.is_null_word(text)
            }
        }
    }

    /// Whether two names are mapped to one field, so that each record has one of them that counts.
    pub(super) fn are_alternatives(&self, one: usize, other: usize) -> bool {
        let place = |at: usize| self.rules.get(at).and_then(Rule::mapped_place);
        matches!((place(one), place(other)), (Some((_, one)), Some((_, other))) if one != other)
    }

    /// Whether the import itself says what stands under a name.
    pub(super) fn is_mapped(&self, name: usize) -> bool {
        self.by.get(name) == Some(&By::Mapping)
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

    /// Which of the names bound so far hold secrets.
    pub fn secrets(&self) -> &Secrets {
        &self.secrets
    }

    /// The columns or keys that identify users, as far as they were met.
    pub fn identifiers(&self, field: IdentifierField) -> impl Iterator<Item = NameId> {
        let met = self.rules.iter().enumerate().filter(move |(_, rule)| rule.identifies(field));
        met.filter_map(|(at, _)| NameId::try_from(at).ok())
    }

    /// The column or key that identifies the user of a record.
    pub fn identifier(
        &self,
        record: &RawRecord<'_>,
        rules: &Rules,
        field: IdentifierField,
    ) -> Option<NameId> {
        let passed = self.passed_over(record, rules);
        self.identifiers(field).find(|name| !passed.contains(name))
    }

    /// The first column or key of a field, as the upload spells it, if one was met.
    pub fn name_of(&self, field: Field) -> Option<&str> {
        self.rules.iter().position(|rule| rule.field() == Some(field)).map(|at| self.name(at))
    }

    /// What each name means (`email`, `custom__office`, nothing where it is left out) and how that is known.
    pub fn meanings(&self) -> impl Iterator<Item = (&str, Option<String>, By)> {
        self.names.iter().zip(&self.rules).zip(&self.by).map(|((name, rule), by)| {
            let meaning = match rule {
                Rule::Field(rule) => Some(rule.field.as_str().to_owned()),
                Rule::Metadata(key, cell) => Some(format!("{METADATA_PREFIX}{key}{}", cell.suffix())),
                Rule::Ignored | Rule::ErrorCode | Rule::Unknown => None,
            };
            (&**name, meaning, *by)
        })
    }

    /// The field under a name, keys of the metadata apart.
    pub fn field_of(&self, name: NameId) -> Option<Field> {
        match self.rules.get(name as usize) {
            Some(Rule::Field(rule)) => Some(rule.field),
            _ => None,
        }
    }

    /// Whether a field stands under a name.
    pub fn is_field(&self, name: NameId) -> bool {
        self.field_of(name).is_some()
    }

    /// Whether what stands under a name becomes a part of the user.
    pub fn is_read(&self, name: NameId) -> bool {
        self.rules.get(name as usize).is_some_and(|rule| rule.field().is_some())
    }

    /// Whether an e-mail address stands under a name.
    pub fn is_email(&self, name: NameId) -> bool {
        matches!(self.field_of(name), Some(Field::Email | Field::NewEmail | Field::MfaEmail))
    }

    /// The name itself, as it is shown: as the upload spells it, without a NUL.
    pub fn name_at(&self, name: NameId) -> &str {
        self.name(name as usize)
    }

    /// Whether a name of a table means something here, unknown names apart.
    pub fn knows(&self, name: &str) -> bool {
        // Where it stands is not known yet.
        !matches!(self.column_named(name), (_, By::Nothing | By::Metadata))
    }

    /// The names bound so far, in the order of the upload.
    pub fn names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.names.iter().map(|name| &**name)
    }

    pub(super) fn rule(&self, name: usize) -> Option<&Rule> {
        self.rules.get(name)
    }

    /// The names bound so far, as they are shown.
    pub fn shown_names(&self) -> impl ExactSizeIterator<Item = &str> {
        (0..self.names.len()).map(|name| self.name(name))
    }

    pub(super) fn name(&self, name: usize) -> &str {
        self.shown.get(&name).or_else(|| self.names.get(name)).map_or("", |name| &**name)
    }

    pub(super) fn shape(&self) -> Shape {
        self.shape
    }

    /// Where a record of a mended file comes from, if it says so.
    pub fn origin(&self, record: &RawRecord<'_>) -> Option<Origin> {
        match record.value(self.origin?)? {
            RawValue::Text(text) => self.unescape(text).parse().ok(),
            // A text of JSON, in its quotes.
            RawValue::Json(json) => serde_json::from_str::<String>(json).ok()?.parse().ok(),
            RawValue::Null => None,
        }
    }

    /// Whether the file may have failed records that were given back.
    pub(super) fn has_marks(&self) -> bool {
        self.failure.is_some() || self.origin.is_some()
    }

    /// Whether a record stands in a file of failed records, where what may be a secret is hidden.
    pub(super) fn is_given_back(&self, record: &RawRecord<'_>) -> bool {
        self.failure.is_some_and(|name| record.value(name).is_some()) || self.origin(record).is_some()
    }

    /// What a cell says that a short record of a table does not have: what an empty one does. For a door whose clients expect it, a key
    /// of the metadata is null then, and a field is not named.
    pub(super) fn missing_cell(&self, rule: &Rule) -> Option<RawValue<'static>> {
        let verbatim = self.table.metadata_pattern().is_some_and(|pattern| pattern.verbatim);
        match rule {
            _ if !verbatim && !mutant(Mutant::MissingCellsNull) => Some(RawValue::Text("")),
            Rule::Metadata(..) => Some(RawValue::Null),
            _ => None,
        }
    }

    /// Whether the cells are escaped against spreadsheet formulas.
    pub fn is_escaped(&self) -> bool {
        self.escaped
    }

    /// Removes the apostrophe that a file of failed records has before cells that a spreadsheet would evaluate.
    pub fn unescape<'t>(&self, text: &'t str) -> &'t str {
        if self.escaped { unescape_start(text) } else { text }
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
        let meant = self.shown_names().zip(&self.rules).filter(|(_, rule)| rule.identifies(field));
        let meant: Vec<&str> = meant.map(|(name, _)| name).collect();
        errors.iter().any(|error| error.field.as_deref().is_some_and(|name| meant.contains(&name)))
    }
}
