//! The options of an import as fields of a form: of a new import, where none is chosen at first, and of a profile, where those that it has are.
//!
//! Every option of an upload has a field here or on the page itself, and a list offers each value that there is
//! (`every_option_is_offered_with_all_its_values`).

use maud::{Markup, html};
use muster_domain::fault::{Mutant, mutant};

use super::session::field;

/// What an option may be.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    /// One of these values, each with what it means, the usual one first.
    List(&'static [(&'static str, &'static str)]),
    /// A text, with an example.
    Text(&'static str),
}

/// An option as a form has it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Choice {
    /// Its name in requests.
    pub(super) name: &'static str,
    label: &'static str,
    hint: &'static str,
    kind: Kind,
}

const fn list(
    name: &'static str,
    label: &'static str,
    values: &'static [(&'static str, &'static str)],
) -> Choice {
    Choice { name, label, hint: "", kind: Kind::List(values) }
}

const fn text(name: &'static str, label: &'static str, example: &'static str, hint: &'static str) -> Choice {
    Choice { name, label, hint, kind: Kind::Text(example) }
}

/// What most imports ask for.
const FIRST: &[Choice] = &[
    list(
        "identifier",
        "People are told apart by",
        &[
            ("email", "their e-mail address"),
            ("phone_number", "their phone number"),
            ("preferred_username", "their user name"),
        ],
    ),
    list(
        "on_existing",
        "Somebody who is there already is",
        &[
            ("update", "updated"),
            ("skip", "left as they are"),
            ("enrol", "enrolled, and otherwise left as they are"),
        ],
    ),
    list(
        "on_invalid",
        "If some records are wrong",
        &[("continue", "the others are imported"), ("refuse", "nothing is imported")],
    ),
    list(
        "empty_cells",
        "An empty cell",
        &[("ignore", "changes nothing"), ("remove", "removes the value"), ("keep", "is an empty text")],
    ),
    list(
        "dates",
        "Dates are written",
        &[
            ("iso", "2025-12-31"),
            ("dmy", "31.12.2025"),
            ("mdy", "12/31/2025"),
            ("auto", "as the file proves: each column has one order alone"),
        ],
    ),
    list(
        "full_names",
        "A full name such as “Rossi, Mario”",
        &[("whole", "is one value"), ("last_first", "also gives family and given name")],
    ),
    text(
        "phone_country",
        "Phone numbers without a country are of",
        "IT",
        "Two letters; nothing: every number has its country.",
    ),
    list(
        "start",
        "Begin",
        &[("auto", "at once"), ("plan", "after I saw what it would do"), ("manual", "when I say so")],
    ),
];

/// How the file is read.
const FILE: &[Choice] = &[
    list(
        "format",
        "The file is",
        &[
            ("csv", "a table as text (CSV)"),
            ("xlsx", "a workbook (Excel)"),
            ("json", "JSON"),
            ("ndjson", "JSON, one record a line"),
        ],
    ),
    list(
        "delimiter",
        "Cells end with",
        &[
            ("auto", "what the header shows"),
            ("comma", "a comma"),
            ("semicolon", "a semicolon"),
            ("tab", "a tab"),
            ("pipe", "a vertical line"),
        ],
    ),
    list(
        "encoding",
        "Its text is in",
        &[
            ("auto", "UTF-8, or what its first bytes say"),
            ("utf-8", "UTF-8"),
            ("utf-16le", "UTF-16, little-endian"),
            ("utf-16be", "UTF-16, big-endian"),
            ("latin1", "Latin-1 (ISO 8859-1)"),
            ("windows-1252", "Windows-1252"),
        ],
    ),
    text("skip_lines", "Lines before the header", "3", "A number, or auto for titles and comments."),
    text(
        "sheet",
        "Sheet of a workbook",
        "Users",
        "Its name or number; nothing: the first one that is not hidden.",
    ),
    text("at", "Where the list stands in a JSON file", "/realm/users", ""),
    list("rows", "Short and long rows", &[("strict", "fail"), ("flexible", "are taken")]),
    text("null_words", "Words that mean an empty cell", "NULL,N/A", "With commas between them."),
    list(
        "list_separator",
        "Several names in a cell have between them",
        &[("comma", "commas"), ("semicolon", "semicolons"), ("pipe", "vertical lines")],
    ),
    list(
        "header_names",
        "Names of columns that are known",
        &[("common", "common ones in several languages too"), ("exact", "those of the fields alone")],
    ),
    list(
        "unknown_columns",
        "A column that is not known",
        &[("refuse", "refuses the file"), ("ignore", "is left out"), ("metadata", "is kept as metadata")],
    ),
    text(
        "brake",
        "Stop where so many of the first records fail for one cause, in percent",
        "50",
        "0 stops never.",
    ),
];

/// What its records do.
const RECORDS: &[Choice] = &[
    text("organization", "Enrol them in the organization", "acme", "Its short name in the catalog."),
    text("group", "Enrol them in the group", "Staff", "Made where it is new."),
    text(
        "behaviours",
        "What fields do to people who are there",
        "given_name=ignore",
        "remove, keep or ignore; with commas between them.",
    ),
    list(
        "metadata",
        "Metadata",
        &[
            ("merge", "is merged, also within objects"),
            ("override", "replaces the keys that are sent"),
            ("rewrite", "becomes what is sent"),
            ("remove", "loses the keys that are sent"),
            ("ignore", "of people who are there stays"),
            ("attributes", "is custom attributes of the catalog"),
        ],
    ),
    list(
        "sets",
        "Roles, groups and teams are given as",
        &[("either", "a whole set or changes, as it stands"), ("whole", "a whole set"), ("delta", "changes")],
    ),
    list(
        "unknown_names",
        "A role, group, team or location that is not in the catalog",
        &[("refuse", "makes the record fail"), ("ignore", "is left out")],
    ),
    list(
        "duplicates",
        "Records of the same person",
        &[("in_order", "are applied in their order"), ("refuse", "fail, but for the first")],
    ),
    list(
        "on_invalid_value",
        "A value that an optional field does not take",
        &[("refuse", "makes the record fail"), ("drop", "is left out")],
    ),
    list(
        "values",
        "Numbers and flags in JSON",
        &[("exact", "are numbers and flags"), ("lenient", "may be texts, or 0 and 1")],
    ),
    list(
        "phone_check",
        "Phone numbers are checked by",
        &[("shape", "their shape"), ("valid", "the numbering plan of their country")],
    ),
    list(
        "usernames",
        "User names may be",
        &[("any", "any text without blanks"), ("ascii", "plain letters and digits")],
    ),
    list("default_address", "Everybody gets an address named “email”", &[("false", "no"), ("true", "yes")]),
    text(
        "mends",
        "It brings failed records of the import again",
        "its id",
        "A file of failed records says it itself.",
    ),
];

/// Options of one file alone, which no profile has.
const OF_ONE_FILE: [&str; 2] = ["format", "mends"];

/// For what a form is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// A new import.
    Import,
    /// A profile.
    Profile,
}

impl Form {
    fn has(self, choice: &Choice) -> bool {
        self == Self::Import || !OF_ONE_FILE.contains(&choice.name)
    }

    /// All of its fields.
    pub(super) fn fields(self) -> impl Iterator<Item = &'static Choice> {
        FIRST.iter().chain(FILE).chain(RECORDS).filter(move |choice| self.has(choice))
    }
}

/// The fields, with what is chosen of them; the finer ones are folded away.
pub(super) fn view(form: Form, chosen: &[(String, String)]) -> Markup {
    let chooses = |group: &[Choice]| group.iter().any(|choice| field(chosen, choice.name).is_some());
    html! {
        div.options { @for choice in FIRST.iter().filter(|choice| form.has(choice)) { (one(form, choice, chosen)) } }
        @if !mutant(Mutant::FormOfFewOptions) {
            @for (title, group) in [("How the file is read", FILE), ("What its records do", RECORDS)] {
                details.further open[chooses(group)] {
                    summary { (title) }
                    div.options { @for choice in group.iter().filter(|choice| form.has(choice)) { (one(form, choice, chosen)) } }
                }
            }
        }
    }
}

fn one(form: Form, choice: &Choice, chosen: &[(String, String)]) -> Markup {
    let Choice { name, label, hint, kind } = choice;
    let usual = if form == Form::Import { "as usual, or as the profile says" } else { "as usual" };
    let value = field(chosen, name);
    let hint_id = (!hint.is_empty()).then(|| format!("{name}-hint"));
    html! {
        div {
            label for=(name) { (label) }
            @match kind {
                Kind::List(values) => {
                    select id=(name) name=(name) aria-describedby=[hint_id.as_deref()] {
                        option value="" { (usual) }
                        @for (known, meaning) in *values { option value=(known) selected[value == Some(*known)] { (meaning) } }
                    }
                }
                Kind::Text(example) => {
                    input id=(name) name=(name) maxlength="1024" placeholder=(example) autocomplete="off" value=[value]
                        aria-describedby=[hint_id.as_deref()];
                }
            }
            @if let Some(id) = &hint_id { small id=(id) { (hint) } }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::document::option_schema as schema;
    use crate::request::OPTIONS;

    /// Options that the pages have in a way of their own: the profile is a list, the file's name is known, columns are given their meaning.
    const ELSEWHERE: [&str; 3] = ["profile", "filename", "columns"];

    #[test]
    fn every_option_is_offered_with_all_its_values() {
        let shown = view(Form::Import, &[]).into_string();
        for name in OPTIONS.into_iter().filter(|name| !ELSEWHERE.contains(name)) {
            assert!(shown.contains(&format!(" name=\"{name}\"")), "{name} is not offered");
            let known = schema(name).unwrap();
            let field = Form::Import.fields().find(|choice| choice.name == name).unwrap();
            let Kind::List(values) = field.kind else {
                assert!(known["enum"].is_null() && known["type"] != "boolean", "{name} is one of a list");
                continue;
            };
            let mut wanted: Vec<&str> = match known["enum"].as_array() {
                Some(wanted) => wanted.iter().map(|value| value.as_str().unwrap()).collect(),
                None => vec!["false", "true"],
            };
            let mut offered: Vec<&str> = values.iter().map(|(value, _)| *value).collect();
            offered.sort();
            wanted.sort();
            assert_eq!(offered, wanted, "{name}");
            if let Some(usual) = known["default"].as_str() {
                assert_eq!(values[0].0, usual, "the usual value of {name} is the first");
            }
        }
    }

    #[test]
    fn what_a_profile_has_is_chosen_and_what_is_of_one_file_is_not_offered() {
        let chosen = [("dates".to_owned(), "dmy".to_owned()), ("sheet".to_owned(), "\"<b>".to_owned())];
        let shown = view(Form::Profile, &chosen).into_string();
        assert!(shown.contains("<option value=\"dmy\" selected>"), "{shown}");
        assert!(shown.contains("value=\"&quot;&lt;b&gt;\"") && !shown.contains("<b>"), "{shown}");
        assert_eq!(shown.matches(" selected").count(), 1, "{shown}");
        assert_eq!(shown.matches("<details class=\"further\" open>").count(), 1, "{shown}");
        assert!(!shown.contains("name=\"format\"") && !shown.contains("name=\"mends\""), "{shown}");
    }
}
