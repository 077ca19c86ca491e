//! `muster explain CODE`: the catalogue of error codes, page by page.

use std::fmt::Write;
use std::io::IsTerminal;

use clap::Args;
use muster_domain::error::{ErrorCode, ErrorPlace};
use serde::Serialize;

use crate::failure::{Exit, usage};
use crate::output::{json, stdout_line, table};

/// Columns of a page's text.
const WIDTH: usize = 90;

/// Options of `muster explain`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  muster explain email_invalid\n  muster explain            all codes")]
pub(crate) struct ExplainArgs {
    /// The code, as shown in `[…]` after a message, in JSON and in `_error_code`; without it, all codes
    code: Option<String>,
    /// Answer as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Page {
    code: ErrorCode,
    explanation: &'static str,
    places: &'static [ErrorPlace],
    advice: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    example: Option<&'static str>,
}

impl From<ErrorCode> for Page {
    fn from(code: ErrorCode) -> Self {
        Self {
            code,
            explanation: code.explanation(),
            places: code.places(),
            advice: code.advice(),
            example: code.example(),
        }
    }
}

/// Runs the command.
pub(crate) fn run(args: &ExplainArgs) -> anyhow::Result<Exit> {
    match &args.code {
        None if args.json => json(&ErrorCode::ALL.iter().copied().map(Page::from).collect::<Vec<_>>())?,
        None => stdout_line(list())?,
        Some(text) => {
            let page = Page::from(find(text)?);
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

/// The code that a text means; it may come with the brackets that it has in messages.
fn find(text: &str) -> anyhow::Result<ErrorCode> {
    let name = text.trim().trim_matches(['[', ']']).to_ascii_lowercase().replace('-', "_");
    name.parse().map_err(|_| {
        let hint = nearest(&name).map(|code| format!(" Did you mean {code}?")).unwrap_or_default();
        usage(format!("there is no such error code.{hint} `muster explain` lists them all"))
    })
}

/// The code that is like the text: a few letters wrong, or a part of its name.
fn nearest(name: &str) -> Option<ErrorCode> {
    let wrong = |code: &ErrorCode| distance(name, code.as_str());
    let alike = ErrorCode::ALL.iter().copied().min_by_key(wrong)?;
    if wrong(&alike) <= name.chars().count() / 3 {
        return Some(alike);
    }
    let part = |code: &ErrorCode| name.len() > 2 && code.as_str().contains(name);
    ErrorCode::ALL.iter().copied().find(part)
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

fn words(places: &[ErrorPlace]) -> String {
    places.iter().map(|place| place.as_str()).collect::<Vec<_>>().join(", ")
}

fn list() -> String {
    let rows: Vec<Vec<String>> = ErrorCode::ALL
        .iter()
        .map(|code| vec![code.to_string(), words(code.places()), code.explanation().to_owned()])
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
        let mut page = format!("{} (met in: {})\n", strong(self.code.as_str()), words(self.places));
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
    use super::*;

    #[test]
    fn a_code_is_found_by_a_text_like_it() {
        assert_eq!(find("[email_invalid]").unwrap(), ErrorCode::EmailInvalid);
        assert_eq!(find("Email-Invalid").unwrap(), ErrorCode::EmailInvalid);
        for (text, code) in [
            ("emial_invalid", Some(ErrorCode::EmailInvalid)),
            ("csv_unclosed_quotes", Some(ErrorCode::CsvUnclosedQuote)),
            ("unclosed", Some(ErrorCode::CsvUnclosedQuote)),
            ("frobnicate_xyz", None),
            ("", None),
        ] {
            assert_eq!(nearest(text), code, "{text}");
        }
        assert_eq!((distance("", "abc"), distance("kitten", "sitting"), distance("ab", "ab")), (3, 3, 0));
    }

    #[test]
    fn every_page_fits() {
        for code in ErrorCode::ALL.iter().copied() {
            let text = Page::from(code).text(false);
            assert!(text.lines().all(|line| line.chars().count() <= WIDTH + 2), "{text}");
        }
    }
}
