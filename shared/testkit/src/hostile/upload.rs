//! Whole uploads: options, a table of fields, records, and how they are cut.

use std::collections::BTreeSet;

use muster_domain::error::ErrorCode;
use muster_domain::field::{Behaviour, Blank, Field, FieldRule, FieldTable, METADATA_PATTERN};
use muster_domain::options::{
    EmptyCell, Enrolment, IdentifierField, ImportOptions, MetadataMode, OnExisting, PhoneCheck, Sets,
    UnknownColumns, UnknownNames, Usernames, Values,
};
use muster_domain::parse::Format;

use super::{key_samples, samples};
use crate::oracle::{Line, Means, Said};
use crate::random::Random;

/// Bounds of what is made up.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// Records, at the most.
    pub records: usize,
    /// Fields beside the identifier, at the most.
    pub fields: usize,
}

/// An upload.
#[derive(Debug, Clone, PartialEq)]
pub struct Upload {
    /// What it is asked to do.
    pub options: ImportOptions,
    /// Its records.
    pub lines: Vec<Line>,
}

impl Upload {
    /// Makes one up. `enrolments` are the organizations and groups there are.
    pub fn make(random: &mut Random, shape: Shape, enrolments: &[Enrolment]) -> Self {
        let (options, names) = options(random, shape, enrolments);
        let lines =
            (0..random.between(1, shape.records)).map(|at| line(random, &options, &names, at)).collect();
        let mut upload = Self { options, lines };
        if upload.options.format == Format::Csv {
            upload.fill_cells(&names);
        }
        upload
    }

    /// The bytes of the upload.
    pub fn bytes(&self) -> Vec<u8> {
        let lines = self.lines.iter().map(|line| match line {
            Line::Broken(text, _) => (*text).to_owned(),
            Line::Said(said) if self.options.format == Format::Csv => {
                said.iter().map(|said| cell(&said.json)).collect::<Vec<_>>().join(",")
            }
            Line::Said(said) => {
                let pairs = said.iter().map(|said| format!("{}: {}", quoted(&said.name), said.json));
                format!("{{{}}}", pairs.collect::<Vec<_>>().join(", "))
            }
        });
        let text = match self.options.format {
            Format::Csv | Format::Xlsx => {
                let header =
                    self.columns().iter().map(|name| cell(&quoted(name))).collect::<Vec<_>>().join(",");
                std::iter::once(header).chain(lines).map(|line| line + "\r\n").collect::<String>()
            }
            Format::Json => format!("[{}]", lines.collect::<Vec<_>>().join(",\n")),
            Format::Ndjson => lines.map(|line| line + "\n").collect(),
        };
        text.into_bytes()
    }

    /// The same upload with fewer records or fields, smallest steps last: for whoever looks for the smallest one that
    /// still fails.
    pub fn smaller(&self) -> Vec<Self> {
        let mut smaller = Vec::new();
        let count = self.lines.len();
        let mut size = count / 2;
        while size > 0 {
            for start in (0..count).step_by(size) {
                let mut upload = self.clone();
                upload.lines.drain(start..(start + size).min(count));
                smaller.push(upload);
            }
            size /= 2;
        }
        // A table's records have one cell a column.
        if self.options.format != Format::Csv {
            for (at, line) in self.lines.iter().enumerate() {
                let Line::Said(said) = line else { continue };
                for gone in 0..said.len() {
                    let mut upload = self.clone();
                    if let Some(Line::Said(said)) = upload.lines.get_mut(at) {
                        said.remove(gone);
                    }
                    smaller.push(upload);
                }
            }
        }
        smaller.retain(|upload| !upload.lines.is_empty());
        smaller
    }

    fn columns(&self) -> Vec<String> {
        self.lines
            .iter()
            .find_map(|line| match line {
                Line::Said(said) => Some(said.iter().map(|said| said.name.clone()).collect()),
                Line::Broken(..) => None,
            })
            .unwrap_or_else(|| vec![self.options.identifier.as_str().to_owned()])
    }

    /// A table's records have a cell for each column, empty where the record says nothing.
    fn fill_cells(&mut self, names: &[Name]) {
        let options = self.options.clone();
        for line in &mut self.lines {
            let Line::Said(said) = line else { continue };
            let cells = names.iter().map(|name| {
                said.iter().find(|said| said.name == name.text).cloned().unwrap_or_else(|| {
                    let empty = name.samples(&options).into_iter().find(|said| said.json == "\"\"");
                    empty.unwrap_or_else(|| name.silent("\"\""))
                })
            });
            *said = cells.collect();
        }
    }
}

/// A name of an upload: a field, a key of the metadata, or nothing that is known.
#[derive(Debug, Clone)]
struct Name {
    text: String,
    field: Option<Field>,
    key: Option<&'static str>,
}

impl Name {
    fn samples(&self, options: &ImportOptions) -> Vec<Said> {
        let samples = match (self.field, self.key) {
            (Some(field), _) => samples(field, options),
            (None, Some(key)) => key_samples(key, options),
            (None, None) => return vec![self.silent("\"x\""), self.silent("\"\"")],
        };
        samples.iter().map(|sample| sample.under(&self.text)).collect()
    }

    fn silent(&self, json: &str) -> Said {
        Said { name: self.text.clone(), json: json.to_owned(), means: Means::Facts(Vec::new()) }
    }
}

fn options(random: &mut Random, shape: Shape, enrolments: &[Enrolment]) -> (ImportOptions, Vec<Name>) {
    let identifier = *random.pick(&[
        IdentifierField::Email,
        IdentifierField::Email,
        IdentifierField::PhoneNumber,
        IdentifierField::PreferredUsername,
    ]);
    let mut options = ImportOptions {
        format: *random.pick(&[Format::Json, Format::Json, Format::Ndjson, Format::Csv]),
        identifier,
        on_existing: *random.pick(&[
            OnExisting::Update,
            OnExisting::Update,
            OnExisting::Update,
            OnExisting::Skip,
            OnExisting::Enrol,
        ]),
        metadata: *random.pick(MetadataMode::ALL),
        empty_cells: *random.pick(EmptyCell::ALL),
        sets: *random.pick(Sets::ALL),
        values: *random.pick(Values::ALL),
        unknown_names: *random.pick(UnknownNames::ALL),
        phone_check: if random.percent(20) { PhoneCheck::Valid } else { PhoneCheck::Shape },
        usernames: *random.pick(Usernames::ALL),
        default_address: random.percent(30),
        unknown_columns: *random.pick(&[UnknownColumns::Refuse, UnknownColumns::Ignore]),
        enrolment: random.percent(50).then(|| *random.pick(enrolments)),
        ..ImportOptions::default()
    };
    let fields = fields(random, shape, identifier.into());
    if random.percent(60) {
        options.fields = Some(table(random, &fields));
    }
    let mut names: Vec<Name> = fields
        .iter()
        .map(|field| Name { text: field.as_str().to_owned(), field: Some(*field), key: None })
        .collect();
    let open = options.fields.as_ref().is_none_or(|table| table.metadata_pattern().is_some());
    for key in ["a", "b", "member_id", "age"].into_iter().filter(|_| open && random.percent(20)) {
        names.push(Name { text: format!("custom__{key}"), field: None, key: Some(key) });
    }
    let csv = options.format == Format::Csv;
    if random.percent(20) && (!csv || options.unknown_columns == UnknownColumns::Ignore) {
        names.push(Name { text: "mystery".to_owned(), field: None, key: None });
    }
    if random.percent(10) {
        names.push(Name { text: "_error_field".to_owned(), field: None, key: None });
    }
    // Two names of one field are two columns of one field, which refuses a table.
    if !csv && options.fields.is_none() && fields.contains(&Field::GivenName) && random.percent(50) {
        names.push(Name { text: "first_name".to_owned(), field: Some(Field::GivenName), key: None });
    }
    (options, names)
}

/// The fields of an upload, the identifier among them. Two ways to say one thing never stand beside each other, but for
/// the two that may.
fn fields(random: &mut Random, shape: Shape, identifier: Field) -> Vec<Field> {
    let mut fields = BTreeSet::from([identifier]);
    for _ in 0..random.below(shape.fields + 1) {
        // The unique fields and what hangs on them make most of the trouble.
        let field =
            if random.percent(40) { *random.pick(&Field::ALL[..8]) } else { *random.pick(Field::ALL) };
        let parts = |whole: Field| -> &[Field] {
            match whole {
                Field::Mfa => {
                    &[Field::MfaEmail, Field::MfaPhoneNumber, Field::MfaPasswordHash, Field::MfaTotpSecret]
                }
                Field::Password => &[Field::PasswordHash, Field::PasswordExpireAfter],
                _ => &[],
            }
        };
        let taken = [Field::Mfa, Field::Password].into_iter().any(|whole| {
            (field == whole && parts(whole).iter().any(|part| fields.contains(part)))
                || (parts(whole).contains(&field) && fields.contains(&whole))
        });
        if !taken {
            fields.insert(field);
        }
    }
    fields.into_iter().collect()
}

fn table(random: &mut Random, fields: &[Field]) -> FieldTable {
    let mut rules: Vec<FieldRule> = fields
        .iter()
        .map(|field| {
            let mut rule = FieldRule::new(field.as_str(), *field);
            if random.percent(40) {
                rule.behaviour = *random.pick(&Behaviour::ALL);
            }
            rule.required = random.percent(5);
            if random.percent(30) {
                rule.blank = *random.pick(&[Blank::Absent, Blank::TextAbsent, Blank::Null]);
            }
            rule
        })
        .collect();
    if random.percent(50) {
        // Keys of the metadata and the whole of it are one field, with one behaviour.
        let whole = rules.iter().find(|rule| rule.field == Field::Metadata).map(|rule| rule.behaviour);
        rules.push(
            FieldRule::new(METADATA_PATTERN, Field::Metadata)
                .with(whole.unwrap_or(*random.pick(&Behaviour::ALL))),
        );
    }
    FieldTable(rules)
}

/// Lines that are no record, and what is wrong with them.
const BROKEN: [(&str, ErrorCode); 2] =
    [("{\"email\": ", ErrorCode::JsonInvalid), ("7", ErrorCode::TypeMismatch)];

fn line(random: &mut Random, options: &ImportOptions, names: &[Name], number: usize) -> Line {
    // As the first line it would say that the file is something else.
    if options.format == Format::Ndjson && number > 0 && random.percent(2) {
        let (text, code) = *random.pick(&BROKEN);
        return Line::Broken(text, code);
    }
    let mut said: Vec<Said> = Vec::new();
    let mut whole_metadata_goes = false;
    for (at, name) in names.iter().enumerate() {
        let chance = if name.field == Some(options.identifier.into()) { 96 } else { 55 };
        if !random.percent(chance) {
            continue;
        }
        let null = random.percent(if at == 0 { 2 } else { 12 }) && options.format != Format::Csv;
        if null {
            whole_metadata_goes |= name.field == Some(Field::Metadata);
            said.push(name.silent("null"));
            continue;
        }
        let samples = name.samples(options);
        // Mostly good values: a record fails of one bad one.
        let good: Vec<&Said> = samples.iter().filter(|said| matches!(said.means, Means::Facts(_))).collect();
        let chosen = if random.percent(3) || good.is_empty() {
            random.pick(&samples).clone()
        } else {
            (*random.pick(&good)).clone()
        };
        said.push(chosen);
    }
    // That the whole goes and that a part is set: no contract says which holds.
    if whole_metadata_goes {
        said.retain(|said| !said.name.starts_with("custom__"));
    }
    // The order of keys means nothing, but of two that say one thing the first may speak.
    if options.format != Format::Csv {
        for at in (1..said.len()).rev() {
            said.swap(at, random.below(at + 1));
        }
    }
    Line::Said(said)
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// A text is the cell; other JSON stands in it as it is.
fn cell(json: &str) -> String {
    let text = serde_json::from_str::<String>(json).unwrap_or_else(|_| json.to_owned());
    format!("\"{}\"", text.replace('"', "\"\""))
}
