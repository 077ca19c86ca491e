//! Escapes cells so that no spreadsheet evaluates them as formulas, and unescapes them exactly when the file is read back.
//!
//! A spreadsheet evaluates a cell that begins like a formula. It may see cells where the file has none: it may split at
//! another delimiter, and at line ends inside a quoted cell. So an apostrophe is inserted before anything that looks
//! like a formula, at the start of a cell and after each delimiter and line end within it, and before digits that a spreadsheet would
//! shorten when it saves them. If an apostrophe is already there, another one is added. So removing one apostrophe at each of these places
//! restores every text; any other apostrophe (`'t Hart`) is the text's own, also where somebody typed it into the file.

use std::borrow::Cow;

use crate::fault::{Mutant, mutant};

/// What a formula begins with, in all widths.
const SIGNS: [char; 15] = [
    '=', '+', '-', '@', '\u{ff1d}', '\u{ff0b}', '\u{ff0d}', '\u{ff20}', '\u{2212}', '\u{fe66}', '\u{fe62}',
    '\u{fe63}', '\u{fe6b}', '\u{207a}', '\u{208a}',
];
/// Characters at which a spreadsheet may end a cell.
const ENDS: [char; 6] = [',', ';', '\t', '|', '\n', '\r'];

/// Characters that a spreadsheet may skip before the sign.
fn is_passed_over(c: char) -> bool {
    c == ' ' || c == '"' || c == '\u{a0}'
}

fn is_formula(rest: &str) -> bool {
    rest.trim_start_matches(is_passed_over).starts_with(SIGNS)
}

/// Whether a text at the start of a cell, or after an end within it, gets an apostrophe. Those that it has do not count, so that one
/// more of them changes nothing.
fn wants_guard(rest: &str, first: bool) -> bool {
    let text = rest.trim_start_matches('\'');
    first && text.starts_with(['\t', '\r', '\n']) || is_formula(text)
}

/// Digits of which a spreadsheet would keep a number: without the zeros before them, and without those after the fifteenth.
fn is_shortened(rest: &str) -> bool {
    let text = rest.trim_start_matches('\'');
    let digits = matches!(text.as_bytes().first(), Some(b'0'..=b'9'))
        && text.bytes().all(|byte| byte.is_ascii_digit());
    digits && (text.len() > 15 || text.len() > 1 && text.starts_with('0')) && !mutant(Mutant::DigitsUnguarded)
}

fn is_guarded(cell: &str, first: bool) -> bool {
    wants_guard(cell, first) || first && is_shortened(cell)
}

/// The text of a cell that no spreadsheet evaluates.
///
/// ```
/// use muster_domain::formula::{escape, unescape_start};
///
/// assert_eq!(escape("=1+1"), "'=1+1");
/// assert_eq!(escape("Ada"), "Ada");
/// assert_eq!(unescape_start("'=1+1"), "=1+1");
/// ```
pub fn escape(cell: &str) -> Cow<'_, str> {
    insert(cell, is_guarded)
}

/// The same for a column's name, which is not unescaped when read: it gets an apostrophe if it has none.
pub fn escape_name(name: &str) -> Cow<'_, str> {
    insert(name, |rest, first| !rest.starts_with('\'') && wants_guard(rest, first))
}

fn insert(cell: &str, wanted: impl Fn(&str, bool) -> bool) -> Cow<'_, str> {
    if mutant(Mutant::GuardBeginnings) {
        let unsafe_start = cell.starts_with(['=', '+', '-', '@', '\t', '\r', '\'', '＝', '＋', '－', '＠']);
        return if unsafe_start { Cow::Owned(format!("'{cell}")) } else { Cow::Borrowed(cell) };
    }
    let mut escaped = String::new();
    let mut copied = 0;
    for at in starts(cell) {
        let (before, rest) = cell.split_at(at);
        if wanted(rest, at == 0) {
            escaped.push_str(before.get(copied..).unwrap_or_default());
            escaped.push('\'');
            copied = at;
        }
    }
    if escaped.is_empty() {
        Cow::Borrowed(cell)
    } else {
        Cow::Owned(escaped + cell.get(copied..).unwrap_or_default())
    }
}

/// Takes off what [`escape`] put before the start of a cell.
pub fn unescape_start(cell: &str) -> &str {
    match cell.strip_prefix('\'') {
        Some(plain) if is_guarded(plain, true) || mutant(Mutant::EveryApostropheOff) => plain,
        _ => cell,
    }
}

/// Takes off what [`escape`] put into a cell, its start apart.
pub fn unescape_inside(cell: &str) -> Cow<'_, str> {
    let mut plain = String::new();
    let mut copied = 0;
    for at in starts(cell).filter(|at| *at > 0) {
        let rest = cell.get(at..).unwrap_or_default();
        if rest.starts_with('\'') && is_formula(rest.trim_start_matches('\'')) {
            plain.push_str(cell.get(copied..at).unwrap_or_default());
            copied = at + 1;
        }
    }
    if copied == 0 { Cow::Borrowed(cell) } else { Cow::Owned(plain + cell.get(copied..).unwrap_or_default()) }
}

/// Where a cell may begin for a spreadsheet: at its start, and after each end within it.
fn starts(cell: &str) -> impl Iterator<Item = usize> + '_ {
    std::iter::once(0)
        .chain(cell.char_indices().filter(|(_, c)| ENDS.contains(c)).map(|(at, c)| at + c.len_utf8()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn whatever_a_spreadsheet_may_run_is_escaped() {
        for (plain, escaped) in [
            ("=1+1", "'=1+1"),
            ("x;=1+1", "x;'=1+1"),
            ("a\n=1", "a\n'=1"),
            ("a\r\n+1", "a\r\n'+1"),
            ("a,b", "a,b"),
            ("a|\t@x", "a|\t'@x"),
            ("\u{ff1d}1", "'\u{ff1d}1"),
            ("x; \"=1\"", "x;' \"=1\""),
            ("'quoted", "'quoted"),
            ("'t Hart", "'t Hart"),
            ("'=1", "''=1"),
            ("00007", "'00007"),
            ("'00007", "''00007"),
            ("0", "0"),
            ("4111111111111111", "'4111111111111111"),
            ("123456789012345", "123456789012345"),
            ("0049x", "0049x"),
            ("rock;'n'roll", "rock;'n'roll"),
            ("x;'=1", "x;''=1"),
            ("a=b-c", "a=b-c"),
        ] {
            assert_eq!(escape(plain), escaped);
            assert_eq!(unescape_inside(unescape_start_of(&escape(plain))), plain);
        }
        assert_eq!((escape_name("x;'=1"), escape_name("=1")), ("x;'=1".into(), "'=1".into()));
    }

    fn unescape_start_of(cell: &str) -> &str {
        unescape_start(cell)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]
        #[test]
        fn an_escaped_cell_comes_back_and_no_part_of_it_runs(cell in "[=+@x' \"\\-,;|\\t\\n\\r\u{ff1d}\u{fe66}]{0,12}|'{0,3}0?[0-9]{0,17}") {
            let escaped = escape(&cell);
            let plain = unescape_inside(unescape_start(&escaped));
            prop_assert_eq!(&plain, &cell);
            for part in escaped.split(ENDS) {
                let shown = part.trim_start_matches(is_passed_over);
                prop_assert!(!shown.starts_with(SIGNS), "{:?} in {:?}", part, escaped);
            }
        }
    }
}
