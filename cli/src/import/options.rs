//! The options of an import on the command line: of `muster import users`, `muster inspect` and `muster profile save`.

use clap::Args;
use muster_domain::id::ImportId;
use muster_domain::options::{
    Duplicates, EmptyCell, FullNames, HeaderNames, IdentifierField, ListSeparator, MetadataMode, OnExisting,
    OnInvalid, OnInvalidValue, PhoneCheck, Rows, Sets, Start, UnknownColumns, UnknownNames, Usernames,
    Values,
};
use muster_domain::parse::Format;
use muster_domain::tenant::Slug;

use crate::values::one_of;

macro_rules! texts {
    ($type:ty) => {
        one_of::<$type>(<$type>::ALL.iter().map(|value| value.as_str()))
    };
}

/// Where the help text lists the finer options.
const RULES: &str = "Rules";

/// `NAME=VALUE` arguments as one JSON object, since a name may hold a comma. One without `=` is left for the request to refuse.
fn object(pairs: &[String]) -> Option<String> {
    // The order counts, and so does a name that is given twice: a map would lose both.
    let text = |text: &str| serde_json::Value::from(text.trim()).to_string();
    let pair = |pair: &String| match pair.rsplit_once('=') {
        Some((name, value)) => format!("{}:{}", text(name), text(value)),
        None => format!("{}:{}", text(pair), text("?")),
    };
    let members: Vec<String> = pairs.iter().map(pair).collect();
    (!members.is_empty()).then(|| format!("{{{}}}", members.join(",")))
}

/// Everything that an import can be asked to do.
#[derive(Debug, Args)]
pub(crate) struct OptionArgs {
    /// A named set of options: one that `muster profile save` made, or a built-in one (`muster profile list`); `muster inspect --profile auto` proposes
    /// one. No profile holds another
    #[arg(long, value_name = "NAME")]
    pub(crate) profile: Option<String>,
    /// Format of the file [default: by the ending of its name]
    #[arg(long, value_parser = texts!(Format))]
    pub(crate) format: Option<Format>,
    /// The field that says which user a record means [default: email]
    #[arg(long, value_parser = texts!(IdentifierField))]
    identifier: Option<IdentifierField>,
    /// What happens to a user that exists already [default: update]
    #[arg(long, value_parser = texts!(OnExisting))]
    on_existing: Option<OnExisting>,
    /// How a record's metadata meets the metadata that a user has [default: merge]
    #[arg(long, value_parser = texts!(MetadataMode))]
    metadata: Option<MetadataMode>,
    /// Organization to enrol the users in
    #[arg(long, value_name = "SLUG", visible_alias = "organization")]
    org: Option<Slug>,
    /// Group to enrol the users in; made if it is new
    #[arg(long, value_name = "NAME")]
    group: Option<String>,
    /// Whether invalid records fail alone, or refuse the whole file [default: continue]
    #[arg(long, value_parser = texts!(OnInvalid))]
    on_invalid: Option<OnInvalid>,
    /// Stop before anything is applied where more than this share, in percent, of the records of the first chunk fails for one cause; files
    /// of fewer than 100 records are never stopped, and 0 stops none [default: 50]
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(0..=100))]
    brake: Option<u8>,
    /// What happens with columns that are not known [default: refuse]
    #[arg(long, value_parser = texts!(UnknownColumns))]
    unknown_columns: Option<UnknownColumns>,
    /// Which names of columns and keys are known besides those of the fields [default: common]
    #[arg(long, value_parser = texts!(HeaderNames))]
    header_names: Option<HeaderNames>,
    /// Where the list of records stands in a JSON file: `users`, `/realm/users`; `?users` means: if there is such a list
    #[arg(long, value_name = "POINTER")]
    pub(crate) at: Option<String>,
    /// The sheet of a workbook, by its name or its number [default: the first one that is not hidden]
    #[arg(long, value_name = "NAME")]
    sheet: Option<String>,
    /// Lines to skip before a table's header: a number, or `auto` for titles and comments
    #[arg(long, value_name = "N|auto")]
    skip_lines: Option<String>,
    /// What an empty CSV cell means [default: ignore]
    #[arg(long, value_parser = texts!(EmptyCell))]
    empty_cells: Option<EmptyCell>,
    /// What ends a CSV cell; `auto` tells it from the header [default: auto]
    #[arg(long, value_parser = ["comma", "semicolon", "tab", "pipe", "auto"])]
    delimiter: Option<String>,
    /// Encoding of the file's text [default: auto, which is by its byte order mark, else UTF-8]
    #[arg(long, value_parser = ["auto", "utf-8", "utf-16le", "utf-16be", "latin1", "windows-1252"])]
    encoding: Option<String>,
    /// What short and long rows of a table do [default: strict]
    #[arg(long, value_parser = texts!(Rows), help_heading = RULES)]
    rows: Option<Rows>,
    /// What a column or key means: `--column "E-Mail=email"`, `"Abteilung=custom__department"`, `"Address="` (left out), `"#3=email"` (the
    /// third column); as often as needed; of several names for a field the first counts that has a value in the record
    #[arg(long, value_name = "NAME=FIELD", help_heading = RULES)]
    column: Vec<String>,
    /// What a field does to existing users: remove (null removes), keep (null is an error) or ignore; as often as needed
    #[arg(long, value_name = "FIELD=BEHAVIOUR", help_heading = RULES)]
    behaviour: Vec<String>,
    /// Roles, groups and teams as a whole set, a delta, or either [default: either]
    #[arg(long, value_parser = texts!(Sets), help_heading = RULES)]
    sets: Option<Sets>,
    /// Whether numbers and flags in JSON may come as text [default: exact]
    #[arg(long, value_parser = texts!(Values), help_heading = RULES)]
    values: Option<Values>,
    /// What names do that the catalog does not know [default: refuse]
    #[arg(long, value_parser = texts!(UnknownNames), help_heading = RULES)]
    unknown_names: Option<UnknownNames>,
    /// What records do that mean the same user [default: in_order]
    #[arg(long, value_parser = texts!(Duplicates), help_heading = RULES)]
    duplicates: Option<Duplicates>,
    /// Whether phone numbers are checked by shape or by their country's numbering plan [default: shape]
    #[arg(long, value_parser = texts!(PhoneCheck), help_heading = RULES)]
    phone_check: Option<PhoneCheck>,
    /// Take phone numbers of this country (two letters, such as DE) as people write them
    #[arg(long, value_name = "COUNTRY", help_heading = RULES)]
    phone_country: Option<String>,
    /// The order in which days are written; `auto` looks at the file first, and takes the order that is the only one that fits (it cannot be
    /// saved in a profile) [default: iso]
    #[arg(long, value_parser = ["iso", "dmy", "mdy", "auto"], help_heading = RULES)]
    pub(crate) dates: Option<String>,
    /// What becomes of a full name: it is one value, or one of the form `Last, First` also gives the family and the given name, where the
    /// record does not say them itself [default: whole]
    #[arg(long, value_parser = texts!(FullNames), help_heading = RULES)]
    full_names: Option<FullNames>,
    /// What a value does that an optional field does not take: the record fails, or the value is left out [default: refuse]
    #[arg(long, value_parser = texts!(OnInvalidValue), help_heading = RULES)]
    on_invalid_value: Option<OnInvalidValue>,
    /// What stands between the names in a cell that holds several [default: comma]
    #[arg(long, value_parser = texts!(ListSeparator), help_heading = RULES)]
    list_separator: Option<ListSeparator>,
    /// Words that stand for an empty cell, with commas between them: `NULL,N/A`
    #[arg(long, value_name = "WORDS", allow_hyphen_values = true, help_heading = RULES)]
    null_words: Option<String>,
    /// Which usernames are taken [default: any]
    #[arg(long, value_parser = texts!(Usernames), help_heading = RULES)]
    usernames: Option<Usernames>,
    /// Give every user an address named `email`
    #[arg(long, help_heading = RULES)]
    default_address: bool,
    /// The import whose failed records the file brings again, by its id; a file of failed records says it itself
    #[arg(long, value_name = "ID")]
    mends: Option<ImportId>,
    /// Start at once, or when `muster imports proceed` says so [default: auto]
    #[arg(long, value_parser = texts!(Start))]
    start: Option<Start>,
    /// Only find out what the import would do to every record; `muster imports proceed` applies it then. The same as --start plan
    #[arg(long, visible_alias = "dry-run", conflicts_with = "start")]
    plan: bool,
}

impl OptionArgs {
    /// The options that were given, as the API names them.
    pub(crate) fn pairs(&self) -> Vec<(&'static str, String)> {
        let text = |value: Option<&'static str>| value.map(str::to_owned);
        let given = [
            ("profile", self.profile.clone()),
            ("format", text(self.format.map(Format::as_str))),
            ("identifier", text(self.identifier.map(IdentifierField::as_str))),
            ("on_existing", text(self.on_existing.map(OnExisting::as_str))),
            ("metadata", text(self.metadata.map(MetadataMode::as_str))),
            ("organization", self.org.as_ref().map(|slug| slug.as_str().to_owned())),
            ("group", self.group.clone()),
            ("start", text(self.start.or(self.plan.then_some(Start::Plan)).map(Start::as_str))),
            ("on_invalid", text(self.on_invalid.map(OnInvalid::as_str))),
            ("brake", self.brake.map(|percent| percent.to_string())),
            ("unknown_columns", text(self.unknown_columns.map(UnknownColumns::as_str))),
            ("header_names", text(self.header_names.map(HeaderNames::as_str))),
            ("at", self.at.clone()),
            ("sheet", self.sheet.clone()),
            ("skip_lines", self.skip_lines.clone()),
            ("empty_cells", text(self.empty_cells.map(EmptyCell::as_str))),
            ("rows", text(self.rows.map(Rows::as_str))),
            ("columns", object(&self.column)),
            ("behaviours", object(&self.behaviour)),
            ("sets", text(self.sets.map(Sets::as_str))),
            ("values", text(self.values.map(Values::as_str))),
            ("unknown_names", text(self.unknown_names.map(UnknownNames::as_str))),
            ("duplicates", text(self.duplicates.map(Duplicates::as_str))),
            ("phone_check", text(self.phone_check.map(PhoneCheck::as_str))),
            ("phone_country", self.phone_country.clone()),
            ("dates", self.dates.clone()),
            ("full_names", text(self.full_names.map(FullNames::as_str))),
            ("on_invalid_value", text(self.on_invalid_value.map(OnInvalidValue::as_str))),
            ("list_separator", text(self.list_separator.map(ListSeparator::as_str))),
            ("null_words", self.null_words.clone()),
            ("usernames", text(self.usernames.map(Usernames::as_str))),
            ("default_address", self.default_address.then(|| "true".to_owned())),
            ("delimiter", self.delimiter.clone()),
            ("encoding", self.encoding.clone()),
            ("mends", self.mends.map(|id| id.to_string())),
        ];
        given.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }
}
