//! The table of import options. All that takes or shows options is made of it: the parser of requests, parameters over HTTP and fields of
//! forms, flags of the command line with their help, the description of the API, what a profile may hold, the form of the console and
//! docs/options.md.

use std::sync::LazyLock;

use super::option_values::OptionValues;
use super::values::{
    country, file_label, group_name, null_words, pointer, profile_name, sheet, take, take_or_auto, take_some,
};
use crate::options::{
    ChoiceValue, Dates, Duplicates, EmptyCell, FullNames, HeaderNames, IdentifierField, ListSeparator,
    MetadataMode, OnExisting, OnInvalid, OnInvalidValue, PhoneCheck, Rows, Sets, Start, UnknownColumns,
    UnknownNames, Usernames, Values,
};
use crate::parse::{Delimiter, Format, TextEncoding};
use crate::tenant::Slug;

/// One option of an import.
#[derive(Debug, Clone, Copy)]
pub struct ImportOption {
    /// Its name in requests, forms and profiles.
    pub name: &'static str,
    /// Which options it stands with.
    pub group: Group,
    /// What its value may be.
    pub kind: Kind,
    /// What counts where it is not given.
    pub usual: Usual,
    /// What it is for, without a full stop.
    pub meaning: &'static str,
    /// How the command line asks for it; `None` where the file itself says it there.
    pub flag: Option<Flag>,
    /// Whether a profile may hold it: not what is of one file alone.
    pub in_profiles: bool,
    /// How the console's forms ask for it, where they do.
    pub question: Option<Question>,
    pub(super) set: Set,
}

/// Reads a value into its place. An error says what there may be.
pub(super) type Set = fn(&mut OptionValues, &str) -> Result<(), String>;

/// What the value of an option may be.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// One of these.
    Choice(&'static [ChoiceValue]),
    /// A whole number between these bounds, both included.
    Number(u8, u8),
    /// Yes or no.
    YesNo,
    /// The name of an organization.
    Slug,
    /// The id of an import.
    Id,
    /// Names with what each of them means.
    Pairs(&'static str),
    /// A text.
    Text(Text),
}

/// What a text may be, as far as the description of the API says it.
#[derive(Debug, Clone, Copy)]
pub struct Text {
    /// Fewest characters.
    pub least: Option<u16>,
    /// Most characters.
    pub most: Option<u16>,
    /// A regular expression.
    pub pattern: Option<&'static str>,
    /// Values that it may have.
    pub examples: &'static [&'static str],
}

/// What counts where an option is not given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Usual {
    /// This value.
    Value(&'static str),
    /// What is found out in this way.
    Told(&'static str),
    /// Nothing.
    Nothing,
}

/// How the command line asks for an option.
#[derive(Debug, Clone, Copy)]
pub struct Flag {
    /// Its name where it is not that of the option with hyphens.
    pub name: Option<&'static str>,
    /// What stands for its value in the help; nothing: the option's name.
    pub value: Option<&'static str>,
    /// Its value may begin with a hyphen.
    pub hyphens: bool,
}

/// How the forms of the console ask for an option.
#[derive(Debug, Clone, Copy)]
pub struct Question {
    /// With which others.
    pub section: Section,
    /// What it is called.
    pub label: &'static str,
    /// How it is answered.
    pub answer: Answer,
    /// What to know; nothing: no more than the label says.
    pub hint: &'static str,
}

/// Where in a form of the console a question stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Section {
    /// What most imports ask for.
    First,
    /// How the file is read.
    File,
    /// What its records do.
    Records,
}

/// How a question is answered.
#[derive(Debug, Clone, Copy)]
pub enum Answer {
    /// By one of these values, each with what it means, the usual one first.
    OneOf(&'static [(&'static str, &'static str)]),
    /// By a text, of which this is an example.
    Text(&'static str),
}

macro_rules! groups {
    ($($(#[$doc:meta])* $name:ident = $title:literal,)*) => {
        /// Options that stand together in help texts and documents.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Group { $($(#[$doc])* $name,)* }

        impl Group {
            /// All groups, in the order in which they are shown.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// Its heading.
            pub const fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)* }
            }
        }
    };
}

groups! {
    /// What is done to users, and when.
    Import = "The import",
    /// What the file is.
    File = "The file",
    /// What its names mean.
    Columns = "Columns and keys",
    /// What values may be, and what they do.
    Values = "Values",
}

impl ImportOption {
    /// The option of this name.
    pub fn find(name: &str) -> Option<&'static Self> {
        OPTIONS.iter().find(|option| option.name == name)
    }

    /// The name of its flag, without the hyphens before it.
    pub fn flag_name(&self) -> Option<&'static str> {
        let place = OPTIONS.iter().position(|option| option.name == self.name)?;
        self.flag?.name.or_else(|| WITH_HYPHENS.get(place).map(String::as_str))
    }

    const fn usually(self, value: &'static str) -> Self {
        Self { usual: Usual::Value(value), ..self }
    }

    const fn told(self, way: &'static str) -> Self {
        Self { usual: Usual::Told(way), ..self }
    }

    const fn value(self, value: &'static str) -> Self {
        Self { flag: Some(Flag { name: None, value: Some(value), hyphens: false }), ..self }
    }

    const fn flag(self, flag: Flag) -> Self {
        Self { flag: Some(flag), ..self }
    }

    const fn of_one_file(self) -> Self {
        Self { in_profiles: false, ..self }
    }

    const fn listed(
        self,
        section: Section,
        label: &'static str,
        values: &'static [(&'static str, &'static str)],
    ) -> Self {
        Self { question: Some(Question { section, label, answer: Answer::OneOf(values), hint: "" }), ..self }
    }

    /// With what to know beside a list, whose own words are few: a narrow screen cuts long ones off.
    const fn hinted(self, hint: &'static str) -> Self {
        match self.question {
            Some(question) => Self { question: Some(Question { hint, ..question }), ..self },
            None => self,
        }
    }

    const fn written(
        self,
        section: Section,
        label: &'static str,
        example: &'static str,
        hint: &'static str,
    ) -> Self {
        Self { question: Some(Question { section, label, answer: Answer::Text(example), hint }), ..self }
    }
}

const fn option(
    name: &'static str,
    group: Group,
    kind: Kind,
    meaning: &'static str,
    set: Set,
) -> ImportOption {
    let flag = Some(Flag { name: None, value: None, hyphens: false });
    let usual = Usual::Nothing;
    ImportOption { name, group, kind, usual, meaning, flag, in_profiles: true, question: None, set }
}

const fn text(least: u16, examples: &'static [&'static str]) -> Text {
    Text { least: Some(least), most: None, pattern: None, examples }
}

const fn pattern(pattern: &'static str, examples: &'static [&'static str]) -> Text {
    Text { least: None, most: None, pattern: Some(pattern), examples }
}

const fn value(name: &'static str, meaning: &'static str) -> ChoiceValue {
    ChoiceValue { name, meaning }
}

const FORMATS: &[ChoiceValue] = &[
    value(Format::Csv.as_str(), "A table of text with a header line."),
    value(Format::Json.as_str(), "One list of objects, which may be inside an object (`at`)."),
    value(Format::Ndjson.as_str(), "One JSON object a line."),
    value(Format::Xlsx.as_str(), "A workbook, one of whose sheets is a table."),
];

const DELIMITERS: &[ChoiceValue] = &[
    value(Delimiter::Comma.as_str(), "`,`"),
    value(Delimiter::Semicolon.as_str(), "`;`"),
    value(Delimiter::Tab.as_str(), "The tab character."),
    value(Delimiter::Pipe.as_str(), "`|`"),
    value("auto", "The delimiter of the header line."),
];

const ENCODINGS: &[ChoiceValue] = &[
    value(TextEncoding::Utf8.as_str(), "With or without a byte order mark."),
    value(TextEncoding::Utf16Le.as_str(), "The low byte first."),
    value(TextEncoding::Utf16Be.as_str(), "The high byte first."),
    value(TextEncoding::Latin1.as_str(), "ISO 8859-1."),
    value(
        TextEncoding::Windows1252.as_str(),
        "Latin-1 with letters and signs (€, Š) in place of its control characters.",
    ),
    value("auto", "By the byte order mark; UTF-8 without one."),
];

/// Every option there is, in the order in which the command line sends them.
pub const OPTIONS: &[ImportOption] = &[
    option(
        "profile",
        Group::Import,
        Kind::Text(Text { most: Some(255), ..text(1, &[]) }),
        "A named set of options: one that `muster profile save` made, or a built-in one (`muster profile list`); options given beside it take precedence. `muster inspect --profile auto` proposes one. A profile cannot name another one",
        |to, value| profile_name(value).map(|name| to.profile = Some(name)),
    )
    .value("NAME")
    .of_one_file(),
    option("format", Group::File, Kind::Choice(FORMATS), "Format of the file", |to, value| {
        take_some(value, &mut to.format)
    })
    .told("by its media type or its file extension")
    .of_one_file()
    .listed(
        Section::File,
        "The file is",
        &[
            ("csv", "a table as text (CSV)"),
            ("xlsx", "a workbook (Excel)"),
            ("json", "JSON"),
            ("ndjson", "JSON, one record a line"),
        ],
    )
    .hinted("As usual: by its media type or its file extension."),
    option(
        "identifier",
        Group::Import,
        Kind::Choice(IdentifierField::VALUES),
        "The field that identifies the user of a record",
        |to, value| take(value, &mut to.options.identifier),
    )
    .usually("email")
    .listed(
        Section::First,
        "People are identified by",
        &[
            ("email", "their e-mail address"),
            ("phone_number", "their phone number"),
            ("preferred_username", "their user name"),
        ],
    ),
    option(
        "on_existing",
        Group::Import,
        Kind::Choice(OnExisting::VALUES),
        "What happens to existing users",
        |to, value| take(value, &mut to.options.on_existing),
    )
    .usually("update")
    .listed(
        Section::First,
        "Existing users are",
        &[
            ("update", "updated"),
            ("skip", "left as they are"),
            ("enrol", "enrolled, nothing else"),
        ],
    )
    .hinted("“Enrolled, nothing else” leaves their values as they are."),
    option(
        "metadata",
        Group::Values,
        Kind::Choice(MetadataMode::VALUES),
        "How a record's metadata is combined with the metadata of the user",
        |to, value| take(value, &mut to.options.metadata),
    )
    .usually("merge")
    .listed(
        Section::Records,
        "Metadata",
        &[
            ("merge", "is merged, also within objects"),
            ("override", "replaces the keys that are sent"),
            ("rewrite", "becomes what is sent"),
            ("remove", "loses the keys that are sent"),
            ("ignore", "of people who are there stays"),
            ("attributes", "is custom attributes"),
        ],
    )
    .hinted("Custom attributes are those of the catalog."),
    option(
        "organization",
        Group::Import,
        Kind::Slug,
        "Organization to enrol the users in, by its slug",
        |to, value| {
            let slug = value.parse::<Slug>().map_err(|error| error.to_string())?;
            to.options.organization = Some(slug.as_str().to_owned());
            Ok(())
        },
    )
    .flag(Flag { name: Some("org"), value: Some("SLUG"), hyphens: false })
    .written(Section::Records, "Enrol them in the organization", "acme", "Its short name in the catalog."),
    option(
        "group",
        Group::Import,
        Kind::Text(Text { most: Some(255), ..text(1, &[]) }),
        "Group to enrol the users in, by its name; created if it is new",
        |to, value| group_name(value).map(|name| to.options.group = Some(name)),
    )
    .value("NAME")
    .written(Section::Records, "Enrol them in the group", "Staff", "Made where it is new."),
    option(
        "start",
        Group::Import,
        Kind::Choice(Start::VALUES),
        "When the import begins: at once, or when `proceed` is called",
        |to, value| take(value, &mut to.options.start),
    )
    .usually("auto")
    .listed(
        Section::First,
        "Begin",
        &[
            ("auto", "at once"),
            ("plan", "after I saw what it would do"),
            ("manual", "when I say so"),
        ],
    )
    .hinted("A plan shows what every record would do before anything is written."),
    option(
        "on_invalid",
        Group::Import,
        Kind::Choice(OnInvalid::VALUES),
        "Whether only invalid records fail, or the whole file is refused",
        |to, value| take(value, &mut to.options.on_invalid),
    )
    .usually("continue")
    .listed(
        Section::First,
        "If some records are wrong",
        &[("continue", "the others are imported"), ("refuse", "nothing is imported")],
    ),
    option(
        "brake",
        Group::Import,
        Kind::Number(0, 100),
        "Stop before anything is applied if more than this share of the first chunk's records, in percent, fails for one cause; files of fewer than 100 records are never stopped, and 0 turns it off",
        |to, value| match value.parse() {
            Ok(percent @ 0..=100) => {
                to.brake = percent;
                Ok(())
            }
            _ => Err("must be a share in percent, from 0 (off) to 100".into()),
        },
    )
    .usually("50")
    .value("PERCENT")
    .written(
        Section::File,
        "Stop where so many of the first records fail for one cause, in percent",
        "50",
        "0 stops never.",
    ),
    option(
        "unknown_columns",
        Group::Columns,
        Kind::Choice(UnknownColumns::VALUES),
        "What happens with unknown columns and keys",
        |to, value| take(value, &mut to.options.unknown_columns),
    )
    .usually("refuse")
    .listed(
        Section::File,
        "A column that is not known",
        &[("refuse", "refuses the file"), ("ignore", "is left out"), ("metadata", "is kept as metadata")],
    ),
    option(
        "header_names",
        Group::Columns,
        Kind::Choice(HeaderNames::VALUES),
        "Which names of columns and keys are recognised besides those of the fields",
        |to, value| take(value, &mut to.options.header_names),
    )
    .usually("common")
    .listed(
        Section::File,
        "Names of columns that are known",
        &[("common", "common ones too"), ("exact", "those of the fields alone")],
    )
    .hinted("Common ones in several languages, such as “E-Mail” and “Vorname”."),
    option(
        "at",
        Group::File,
        Kind::Text(Text { most: Some(1024), ..text(1, &["users", "/realm/users"]) }),
        "The path of the list of records in a JSON file: `users`, `/realm/users`; `?users` means: if there is such a list",
        |to, value| pointer(value).map(|pointer| to.options.at = Some(pointer)),
    )
    .value("POINTER")
    .written(Section::File, "Where the list stands in a JSON file", "/realm/users", ""),
    option(
        "sheet",
        Group::File,
        Kind::Text(text(1, &["1", "Users"])),
        "The sheet of a workbook, by its name or its number",
        |to, value| sheet(value).map(|sheet| to.options.sheet = Some(sheet)),
    )
    .told("the first one that is not hidden")
    .value("NAME")
    .written(
        Section::File,
        "Sheet of a workbook",
        "Users",
        "Its name or number; nothing: the first one that is not hidden.",
    ),
    option(
        "skip_lines",
        Group::File,
        Kind::Text(pattern("^(auto|[0-9]{1,4})$", &["auto", "2"])),
        "Lines to skip before a table's header: a number, or `auto` for titles and comments",
        |to, value| take(value, &mut to.skip_lines),
    )
    .value("N|auto")
    .written(Section::File, "Lines before the header", "3", "A number, or auto for titles and comments."),
    option(
        "empty_cells",
        Group::Values,
        Kind::Choice(EmptyCell::VALUES),
        "What an empty cell of a table means",
        |to, value| take(value, &mut to.options.empty_cells),
    )
    .usually("ignore")
    .listed(
        Section::First,
        "An empty cell",
        &[("ignore", "changes nothing"), ("remove", "removes the value"), ("keep", "is an empty text")],
    ),
    option(
        "rows",
        Group::File,
        Kind::Choice(Rows::VALUES),
        "Whether short and long rows of a table are accepted",
        |to, value| take(value, &mut to.options.rows),
    )
    .usually("strict")
    .listed(Section::File, "Short and long rows", &[("strict", "fail"), ("flexible", "are taken")]),
    option(
        "columns",
        Group::Columns,
        Kind::Pairs("E-Mail=email,Abteilung=custom__department,Address="),
        "What a column or key means. Nothing after the equals sign leaves it out, `#3` is the third column; if several names are given for a field, the first one with a value in the record is used",
        |to, value| to.columns.set_columns(value),
    )
    .flag(Flag { name: Some("column"), value: Some("NAME=FIELD"), hyphens: false }),
    option(
        "behaviours",
        Group::Columns,
        Kind::Pairs("given_name=ignore"),
        "What a field does to existing users: remove (null removes), keep (null is an error) or ignore",
        |to, value| to.columns.set_behaviours(value),
    )
    .flag(Flag { name: Some("behaviour"), value: Some("FIELD=BEHAVIOUR"), hyphens: false })
    .written(
        Section::Records,
        "What fields do to people who are there",
        "given_name=ignore",
        "remove, keep or ignore; with commas between them.",
    ),
    option(
        "sets",
        Group::Values,
        Kind::Choice(Sets::VALUES),
        "Roles, groups and teams as a whole set, a delta, or either",
        |to, value| take(value, &mut to.options.sets),
    )
    .usually("either")
    .listed(
        Section::Records,
        "Roles, groups and teams are given as",
        &[
            ("either", "a whole set or changes"),
            ("whole", "a whole set"),
            ("delta", "changes"),
        ],
    )
    .hinted("As it stands in the file."),
    option(
        "values",
        Group::Values,
        Kind::Choice(Values::VALUES),
        "Whether numbers and flags in JSON may be written as text",
        |to, value| take(value, &mut to.options.values),
    )
    .usually("exact")
    .listed(
        Section::Records,
        "Numbers and flags in JSON",
        &[("exact", "are numbers and flags"), ("lenient", "may be texts, or 0 and 1")],
    ),
    option(
        "unknown_names",
        Group::Values,
        Kind::Choice(UnknownNames::VALUES),
        "What happens with names that are not in the catalog",
        |to, value| take(value, &mut to.options.unknown_names),
    )
    .usually("refuse")
    .listed(
        Section::Records,
        "A role, group, team or location that is not in the catalog",
        &[("refuse", "makes the record fail"), ("ignore", "is left out")],
    ),
    option(
        "duplicates",
        Group::Import,
        Kind::Choice(Duplicates::VALUES),
        "What happens with records about the same user",
        |to, value| take(value, &mut to.options.duplicates),
    )
    .usually("in_order")
    .listed(
        Section::Records,
        "Records of the same person",
        &[("in_order", "are applied in their order"), ("refuse", "fail, but for the first")],
    ),
    option(
        "phone_check",
        Group::Values,
        Kind::Choice(PhoneCheck::VALUES),
        "Whether phone numbers are checked by form only or also by the numbering plan of their country",
        |to, value| take(value, &mut to.options.phone_check),
    )
    .usually("shape")
    .listed(
        Section::Records,
        "Phone numbers are checked by",
        &[("shape", "their shape"), ("valid", "their country’s numbering plan")],
    ),
    option(
        "phone_country",
            Group::Values,
            Kind::Text(pattern("^[A-Za-z]{2}$", &["DE"])),
            "Accept phone numbers of this country (two letters, such as DE) as people write them",
            |to, value| country(value).map(|country| to.options.phone_country = Some(country)),
        )
    .value("COUNTRY")
    .written(
        Section::First,
        "Phone numbers without a country are of",
        "IT",
        "Two letters; leave it empty if every number has its country.",
    ),
    option(
        "dates",
        Group::Values,
        Kind::Choice(Dates::VALUES),
        "The order of day, month and year in dates. A profile cannot have `auto`, which inspects the file",
        |to, value| take(value, &mut to.options.dates),
    )
    .usually("iso")
    .listed(
        Section::First,
        "Dates are written",
        &[
            ("iso", "2025-12-31"),
            ("dmy", "31.12.2025"),
            ("mdy", "12/31/2025"),
            ("auto", "as the file proves"),
        ],
    )
    .hinted("The file proves an order where each column has one order alone."),
    option(
        "full_names",
        Group::Values,
        Kind::Choice(FullNames::VALUES),
        "What happens with a full name",
        |to, value| take(value, &mut to.options.full_names),
    )
    .usually("whole")
    .listed(
        Section::First,
        "A full name such as “Rossi, Mario”",
        &[("whole", "is one value"), ("last_first", "also gives family and given name")],
    ),
    option(
        "on_invalid_value",
        Group::Values,
        Kind::Choice(OnInvalidValue::VALUES),
        "What happens with an invalid value of an optional field: the record fails, or the value is left out",
        |to, value| take(value, &mut to.options.on_invalid_value),
    )
    .usually("refuse")
    .listed(
        Section::Records,
        "A value that an optional field does not take",
        &[("refuse", "makes the record fail"), ("drop", "is left out")],
    ),
    option(
        "list_separator",
        Group::Values,
        Kind::Choice(ListSeparator::VALUES),
        "The separator of the names in a cell with several names",
        |to, value| take(value, &mut to.options.list_separator),
    )
    .usually("comma")
    .listed(
        Section::File,
        "Several names in a cell have between them",
        &[("comma", "commas"), ("semicolon", "semicolons"), ("pipe", "vertical lines")],
    ),
    option(
        "null_words",
        Group::Values,
        Kind::Text(Text { least: None, most: None, pattern: None, examples: &["NULL,N/A"] }),
        "Words that mean an empty cell, separated by commas: `NULL,N/A`",
        |to, value| null_words(value).map(|words| to.options.null_words = words),
    )
    .flag(Flag { name: None, value: Some("WORDS"), hyphens: true })
    .written(Section::File, "Words that mean an empty cell", "NULL,N/A", "With commas between them."),
    option(
        "usernames",
        Group::Values,
        Kind::Choice(Usernames::VALUES),
        "Which usernames are accepted",
        |to, value| take(value, &mut to.options.usernames),
    )
    .usually("any")
    .listed(
        Section::Records,
        "User names may be",
        &[("any", "any text without blanks"), ("ascii", "plain letters and digits")],
    ),
    option(
        "default_address",
        Group::Values,
        Kind::YesNo,
        "Give every user an address named `email`",
        |to, value| {
            let given = value.parse().map_err(|_| "must be one of: true, false".to_owned())?;
            to.options.default_address = given;
            Ok(())
        },
    )
    .usually("false")
    .listed(
        Section::Records,
        "Everybody gets an address named “email”",
        &[("false", "no"), ("true", "yes")],
    ),
    option(
        "delimiter",
        Group::File,
        Kind::Choice(DELIMITERS),
        "The delimiter of a CSV file",
        |to, value| take_or_auto(value, &mut to.delimiter, DELIMITERS),
    )
    .usually("auto")
    .listed(
        Section::File,
        "Cells end with",
        &[
            ("auto", "what the header shows"),
            ("comma", "a comma"),
            ("semicolon", "a semicolon"),
            ("tab", "a tab"),
            ("pipe", "a vertical line"),
        ],
    ),
    option("encoding", Group::File, Kind::Choice(ENCODINGS), "Encoding of the file's text", |to, value| {
        take_or_auto(value, &mut to.encoding, ENCODINGS)
    })
    .told("the charset of its media type, otherwise auto")
    .listed(
        Section::File,
        "Its text is in",
        &[
            ("auto", "UTF-8, or as its start says"),
            ("utf-8", "UTF-8"),
            ("utf-16le", "UTF-16, little-endian"),
            ("utf-16be", "UTF-16, big-endian"),
            ("latin1", "Latin-1 (ISO 8859-1)"),
            ("windows-1252", "Windows-1252"),
        ],
    )
    .hinted("As usual: the charset of its media type, otherwise what its first bytes say."),
    option(
        "mends",
        Group::Import,
        Kind::Id,
        "The import whose failed records the file brings again, by its id; a file of failed records says it itself",
        |to, value| match value.parse() {
            Ok(id) => {
                to.mends = Some(id);
                Ok(())
            }
            Err(_) => Err("must be the id of an import".into()),
        },
    )
    .value("ID")
    .of_one_file()
    .written(
        Section::Records,
        "It brings failed records of the import again",
        "its id",
        "A file of failed records says it itself.",
    ),
    ImportOption {
        flag: None,
        ..option(
            "filename",
            Group::File,
            Kind::Text(Text { least: None, most: Some(255), pattern: None, examples: &["users.csv"] }),
            "A label for the file; where it ends with .gz or .zst, the file may be compressed although no `Content-Encoding` says so",
            |to, value| {
                to.filename = file_label(value);
                Ok(())
            },
        )
        .told("the name of the file, where it is known")
        .of_one_file()
    },
];

/// The names of all options as flags have them.
static WITH_HYPHENS: LazyLock<Vec<String>> =
    LazyLock::new(|| OPTIONS.iter().map(|option| option.name.replace('_', "-")).collect());

/// The names of all options, in the order of the table.
pub const NAMES: [&str; OPTIONS.len()] = {
    let mut names = [""; OPTIONS.len()];
    let mut at = 0;
    while at < OPTIONS.len() {
        names[at] = OPTIONS[at].name;
        at += 1;
    }
    names
};
