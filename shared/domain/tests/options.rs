//! docs/options.md is made of the table of import options.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::fmt::Write;
use std::{env, fs};

use muster_domain::request::{Group, ImportOption, Kind, OPTIONS, Usual};
use muster_testkit::sources;

/// What a value may be, in words.
fn values(option: &ImportOption) -> String {
    match option.kind {
        Kind::Choice(values) => {
            let one =
                |value: &muster_domain::options::ChoiceValue| format!("`{}`: {}", value.name, value.meaning);
            values.iter().map(one).collect::<Vec<_>>().join("<br>")
        }
        Kind::Number(least, most) => format!("a number from {least} to {most}"),
        Kind::YesNo => "`true` or `false`; on the command line the flag alone".to_owned(),
        Kind::Slug => "the slug of an organization of the catalog".to_owned(),
        Kind::Id => "the id of an import".to_owned(),
        Kind::Pairs(example) => {
            format!(
                "pairs with commas between them, `{example}`, or a JSON object of texts; on the command line one pair a flag"
            )
        }
        Kind::Text(text) => match text.examples {
            [] => "a text".to_owned(),
            examples => {
                format!(
                    "a text, as in {}",
                    examples.iter().map(|one| format!("`{one}`")).collect::<Vec<_>>().join(", ")
                )
            }
        },
    }
}

/// Where an option can be said.
fn surfaces(option: &ImportOption) -> String {
    let mut all = vec!["HTTP (query or form)".to_owned()];
    all.extend(option.flag_name().map(|flag| format!("`--{flag}`")));
    all.extend(option.in_profiles.then(|| "profiles".to_owned()));
    all.extend(option.question.map(|_| "the console".to_owned()));
    all.join(", ")
}

fn page() -> String {
    let mut out = String::from(
        "# Options of an import\n\n<!-- Made of shared/domain/src/request/table.rs: MUSTER_UPDATE_DOCS=1 cargo nextest run --workspace --all-features the_page_of_options -->\n\n\
         What an import can be asked to do. Over HTTP an option is a parameter of the query of `POST /v1/imports` (and of\n\
         `POST /v1/inspect`), or a field of the form that stands before the file; on the command line it is a flag of\n\
         `muster import users`, `muster inspect` and `muster profile save`. What is given counts more than what a profile says, and\n\
         what a profile says more than the default. An option that is not known, is given twice or has another value is refused.\n",
    );
    for group in Group::ALL {
        write!(
            out,
            "\n## {}\n\n| Option | What it is for | Values | Default | Where |\n|---|---|---|---|---|\n",
            group.title()
        )
        .unwrap();
        for option in OPTIONS.iter().filter(|option| option.group == *group) {
            let usual = match option.usual {
                Usual::Value(value) => format!("`{value}`"),
                Usual::Told(way) => way.to_owned(),
                Usual::Nothing => "–".to_owned(),
            };
            let cells = [
                &format!("`{}`", option.name),
                &format!("{}.", option.meaning),
                &values(option),
                &usual,
                &surfaces(option),
            ];
            // What ends a cell of the table must not stand in one.
            let cells = cells.map(|cell| cell.replace('|', "\\|"));
            writeln!(out, "| {} |", cells.join(" | ")).unwrap();
        }
    }
    out
}

/// `MUSTER_UPDATE_DOCS=1` writes the page anew.
#[test]
fn the_page_of_options_is_the_table() {
    let path = sources::root().join("docs/options.md");
    if env::var_os("MUSTER_UPDATE_DOCS").is_some() {
        fs::write(&path, page()).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(written == page(), "docs/options.md is out of date: run this test with MUSTER_UPDATE_DOCS=1");
}
