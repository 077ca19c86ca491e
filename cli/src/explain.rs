//! `muster explain CODE`: the catalogue of error codes and of the reasons of outcomes, page by page.

use std::fmt::Write;
use std::io::IsTerminal;

use clap::Args;
use muster_domain::error::ErrorCode;
use muster_domain::outcome::{Outcome, Reason};
use serde::Serialize;

use crate::failure::{Exit, usage};
use crate::output::{json, stdout_line, table};

/// Columns of a page's text.
const WIDTH: usize = 90;

/// Options of `muster explain`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  muster explain email_invalid\n  muster explain            all codes")]
pub(crate) struct ExplainArgs {
    /// The code, as shown in `[…]` after a message, in JSON and in `_error_code`, or the reason of an outcome, as `changed_since`; without
    /// it, all of them
    code: Option<String>,
    /// Answer as JSON
    #[arg(long)]
    json: bool,
}

/// What can be explained: an error code, or the reason of an outcome. No name is both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Term {
    Error(ErrorCode),
    Reason(Reason),
}

impl Term {
    fn all() -> impl Iterator<Item = Self> {
        ErrorCode::ALL.iter().copied().map(Self::Error).chain(Reason::ALL.map(Self::Reason))
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Error(code) => code.as_str(),
            Self::Reason(reason) => reason.as_str(),
        }
    }

    fn page(self) -> Page {
        match self {
            Self::Error(code) => Page {
                code: code.as_str(),
                explanation: code.explanation(),
                places: code.places().iter().map(|place| place.as_str()).collect(),
                advice: code.advice(),
                example: code.example(),
            },
            Self::Reason(reason) => Page {
                code: reason.as_str(),
                explanation: reason.explanation(),
                places: vec![match reason.outcome() {
                    Outcome::Updated => "updated record",
                    _ => "skipped record",
                }],
                advice: reason.advice(),
                example: None,
            },
        }
    }
}

#[derive(Serialize)]
struct Page {
    code: &'static str,
    explanation: &'static str,
    places: Vec<&'static str>,
    advice: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    example: Option<&'static str>,
}

/// Runs the command.
pub(crate) fn run(args: &ExplainArgs) -> anyhow::Result<Exit> {
    match &args.code {
        None if args.json => json(&Term::all().map(Term::page).collect::<Vec<_>>())?,
        None => stdout_line(list())?,
        Some(text) => {
            let page = find(text)?.page();
            if args.json {
                // A list, as without a code: one shape for programs.
                json(&[page])?;
            } else {
                let terminal = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
                stdout_line(page.text(terminal))?;
            }
        }
    }
    Ok(Exit::Done)
}

/// What a text means; it may come with the brackets that it has in messages.
fn find(text: &str) -> anyhow::Result<Term> {
    let name = text.trim().trim_matches(['[', ']']).to_ascii_lowercase().replace('-', "_");
    Term::all().find(|term| term.as_str() == name).ok_or_else(|| {
        let hint = nearest(&name).map(|term| format!(" Did you mean {}?", term.as_str())).unwrap_or_default();
        usage(format!("there is no such error code or reason.{hint} `muster explain` lists them all"))
    })
}

/// What is like the text: a few letters wrong, or a part of its name.
fn nearest(name: &str) -> Option<Term> {
    let wrong = |term: &Term| distance(name, term.as_str());
    let alike = Term::all().min_by_key(wrong)?;
    if wrong(&alike) <= name.chars().count() / 3 {
        return Some(alike);
    }
    let part = |term: &Term| name.len() > 2 && term.as_str().contains(name);
    Term::all().find(part)
}

/// How many letters must be put in, taken out or changed to make one text of the other.
fn distance(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.chars().count()).collect();
    for (at, letter) in one.chars().enumerate() {
        let mut next = vec![at + 1];
        for ((above, pair), beside) in row.iter().skip(1).zip(row.windows(2)).zip(other.chars()) {
            let changed = pair[0] + usize::from(letter != beside);
            let left = next.last().copied().unwrap_or_default();
            next.push(changed.min(above + 1).min(left + 1));
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

fn list() -> String {
    let pages = Term::all().map(Term::page);
    let rows: Vec<Vec<String>> = pages
        .map(|page| vec![page.code.to_owned(), page.places.join(", "), page.explanation.to_owned()])
        .collect();
    format!(
        "{}\n\n`muster explain CODE` says what to do about one.",
        table(&["CODE", "MET IN", "MEANING"], &rows)
    )
}

impl Page {
    fn text(&self, terminal: bool) -> String {
        let strong = |text: &str| match terminal {
            true => format!("\u{1b}[1m{text}\u{1b}[0m"),
            false => text.to_owned(),
        };
        let mut page = format!("{} (met in: {})\n", strong(self.code), self.places.join(", "));
        // Writing to a String cannot fail.
        let _ = write!(page, "\n{}", wrapped(self.explanation));
        let _ = write!(page, "\n{}\n{}", strong("What to do"), wrapped(self.advice));
        if let Some(example) = self.example {
            let _ = write!(page, "\n{}\n", strong("Example"));
            for line in example.lines() {
                let _ = writeln!(page, "  {line}");
            }
        }
        page.trim_end().to_owned()
    }
}

/// The text in lines that end where a word does, two blanks in.
fn wrapped(text: &str) -> String {
    let (mut lines, mut width) = (String::new(), 0);
    for word in text.split_whitespace() {
        let length = word.chars().count();
        if width == 0 || width + 1 + length > WIDTH {
            lines.push_str(if width == 0 { "  " } else { "\n  " });
            width = length;
        } else {
            lines.push(' ');
            width += 1 + length;
        }
        lines.push_str(word);
    }
    lines.push('\n');
    lines
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn a_code_is_found_by_a_text_like_it() {
        assert_eq!(find("[email_invalid]").unwrap(), Term::Error(ErrorCode::EmailInvalid));
        assert_eq!(find("Email-Invalid").unwrap(), Term::Error(ErrorCode::EmailInvalid));
        assert_eq!(find("changed-since").unwrap(), Term::Reason(Reason::ChangedSince));
        for (text, code) in [
            ("emial_invalid", Some(ErrorCode::EmailInvalid)),
            ("csv_unclosed_quotes", Some(ErrorCode::CsvUnclosedQuote)),
            ("unclosed", Some(ErrorCode::CsvUnclosedQuote)),
            ("frobnicate_xyz", None),
            ("", None),
        ] {
            assert_eq!(nearest(text), code.map(Term::Error), "{text}");
        }
        assert_eq!((distance("", "abc"), distance("kitten", "sitting"), distance("ab", "ab")), (3, 3, 0));
    }

    #[test]
    fn every_page_fits() {
        for term in Term::all() {
            let text = term.page().text(false);
            assert!(text.lines().all(|line| line.chars().count() <= WIDTH + 2), "{text}");
        }
    }

    #[test]
    fn no_name_is_an_error_code_and_a_reason() {
        let mut names: Vec<&str> = Term::all().map(Term::as_str).collect();
        names.sort_unstable();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "{names:?}");
    }

    /// What stands between backticks in the catalogue and begins with the program's name can be typed, with a value for each name in `<…>`.
    #[test]
    fn every_command_that_advice_names_can_be_typed() {
        let values = [
            ("<ID>", "0190a5f0-7b7c-7000-8000-000000000001"),
            ("<USER>", "0190a5f0-7b7c-7000-8000-000000000001"),
            ("<TENANT>", "acme"),
            ("<NAME>", "sync"),
            ("<SCOPE>", "import:read"),
            ("FILE", "people.csv"),
        ];
        let mut commands = 0;
        for page in Term::all().map(Term::page) {
            for text in [page.explanation, page.advice] {
                let code = text.split('`').skip(1).step_by(2);
                for command in code.filter(|code| code.starts_with("muster ")) {
                    let typed = values
                        .iter()
                        .fold(command.to_owned(), |typed, (name, value)| typed.replace(name, value));
                    assert!(!typed.contains('<'), "{}: {command}", page.code);
                    let parsed = crate::args::Cli::command().try_get_matches_from(typed.split_whitespace());
                    assert!(parsed.is_ok(), "{}: `{command}`: {}", page.code, parsed.unwrap_err());
                    commands += 1;
                }
            }
        }
        assert!(commands > 10, "{commands}");
    }
}
