//! Lines before a table's header, and the delimiter of its cells.
//!
//! Only what is certain is skipped silently: `sep=`, `#TYPE`, `version:` and rows with nothing in them. Everything else (titles,
//! comments) is named, with the option that skips it.

use super::csv::{cut_header, detect, is_blank_line as is_blank};
use super::{Delimiter, SkipLines};
use crate::error::{ErrorCode, FileError};
use crate::fault::{Mutant, mutant};

/// Lines that are looked at.
const LINES: usize = 30;

/// How a table begins.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TableOpening {
    /// Physical lines before the header.
    pub skip: u64,
    /// What ends its cells, where that is known.
    pub delimiter: Option<Delimiter>,
    /// A description of the skipped lines, for people.
    pub skipped: Vec<&'static str>,
}

/// The text of a table as far as it is looked at.
#[derive(Debug, Clone, Copy)]
pub(super) struct Beginning<'t> {
    pub(super) text: &'t str,
    /// It is all there is.
    pub(super) whole: bool,
    /// It is made of the rows of a sheet, which count as lines do elsewhere: a line break in a cell ends none.
    pub(super) sheet: bool,
}

/// Looks at the first lines of a table. `knows` tells whether a column's name is known.
pub(super) fn look(
    Beginning { text, whole, sheet }: Beginning<'_>,
    delimiter: Option<Delimiter>,
    skip: SkipLines,
    knows: &dyn Fn(&str) -> bool,
) -> Result<TableOpening, FileError> {
    let mut lines = if sheet && !mutant(Mutant::SheetLinesCounted) { rows(text) } else { physical(text) };
    if !whole && lines.len() > 1 {
        lines.pop();
    }
    let mut found = TableOpening { delimiter, ..TableOpening::default() };
    let mut at = 0;
    if let Some(separator) = lines.first().and_then(|line| separator(line)) {
        let named = separator.ok_or_else(|| {
            let message = "the first line names a delimiter (`sep=`) that is not read; there are comma, semicolon, tab and pipe";
            FileError::new(ErrorCode::CsvHeaderUnknown, message).at_line(1)
        })?;
        found.delimiter = delimiter.or(Some(named));
        found.skipped.push("sep=");
        at = 1;
    }
    if let SkipLines::Lines(count) = skip {
        if count as usize > at {
            found.skipped.push("lines that the options skip");
        }
        at = at.max(count as usize);
    }
    while let Some(line) = lines.get(at) {
        match certain(line) {
            Some(what) => found.skipped.push(what),
            None if is_blank(line) => {}
            None => break,
        }
        at += 1;
    }
    let header = header(&lines, at, found.delimiter, knows);
    if let Some(header) = header
        && header > at
    {
        if skip != SkipLines::Auto {
            return Err(before_header(&lines, at, header));
        }
        found.skipped.push("lines before the header");
        at = header;
    }
    found.skip = at as u64;
    found.delimiter = found.delimiter.or_else(|| Some(best(&logical(&lines, at), knows).0));
    Ok(found)
}

fn before_header(lines: &[&str], at: usize, header: usize) -> FileError {
    let what = match lines.get(at) {
        Some(line) if line.starts_with('#') => "a comment",
        _ => "a title",
    };
    let (line, number) = (at + 1, header + 1);
    let message = format!(
        "line {line} looks like {what} and line {number} like the header: skip the lines before it with `--skip-lines {header}` \
         (or `--skip-lines auto`)"
    );
    let error = FileError::new(ErrorCode::CsvHeaderUnknown, message).at_line(line as u64);
    error.mended_by(["--skip-lines".to_owned(), header.to_string()])
}

/// The line of the header, if other lines precede it; `None` if the first line is used.
fn header(
    lines: &[&str],
    at: usize,
    delimiter: Option<Delimiter>,
    knows: &dyn Fn(&str) -> bool,
) -> Option<usize> {
    let known = |line: usize| {
        let text = logical(lines, line);
        match delimiter {
            Some(delimiter) => measure(&text, delimiter, knows),
            None => best(&text, knows).1,
        }
    };
    if lines.get(at).is_none() || known(at).names > 0 {
        return None;
    }
    for line in at + 1..lines.len().min(LINES) {
        let before = &lines[line - 1];
        let filled = before
            .split([',', ';', '\t', '|'])
            .filter(|cell| !cell.trim_matches(['"', ' ']).is_empty())
            .count();
        if filled > 2 && !before.starts_with('#') {
            return None;
        }
        let look = known(line);
        if look.names >= 2 || (look.names == 1 && look.filled <= 2) {
            return Some(line);
        }
    }
    None
}

/// What a line looks like as a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Look {
    names: usize,
    whole: bool,
    cells: usize,
    filled: usize,
}

fn measure(line: &str, delimiter: Delimiter, knows: &dyn Fn(&str) -> bool) -> Look {
    let (cells, cut) = cut_header(line, delimiter);
    Look {
        names: cells.iter().filter(|cell| knows(cell)).count(),
        whole: cut.bad_quote.is_none(),
        cells: cut.cells,
        filled: cells.iter().filter(|cell| !cell.is_empty()).count(),
    }
}

/// The delimiter that gives the most known names, then the most cells.
fn best(line: &str, knows: &dyn Fn(&str) -> bool) -> (Delimiter, Look) {
    let mut best: Option<(Delimiter, Look)> = None;
    for delimiter in Delimiter::ALL {
        let look = measure(line, delimiter, knows);
        let better = |(_, before): &(Delimiter, Look)| {
            (look.names, look.whole, look.cells) > (before.names, before.whole, before.cells)
        };
        if best.as_ref().is_none_or(better) {
            best = Some((delimiter, look));
        }
    }
    match best {
        Some((_, look)) if look.names == 0 => {
            let delimiter = detect(line);
            (delimiter, measure(line, delimiter, knows))
        }
        Some(best) => best,
        None => (Delimiter::Comma, Look { names: 0, whole: true, cells: 0, filled: 0 }),
    }
}

/// `sep=;`, as Excel reads it; `Some(None)` where it names what is not read.
fn separator(line: &str) -> Option<Option<Delimiter>> {
    let line = line.trim_start_matches('"');
    let named =
        line.get(..4).filter(|start| start.eq_ignore_ascii_case("sep=")).and_then(|_| line.get(4..))?;
    let first = named.chars().next()?;
    let rest = named[first.len_utf8()..].trim_end_matches(['"', ',', ';', '\t', '|', ' ']);
    rest.is_empty()
        .then(|| Delimiter::ALL.into_iter().find(|delimiter| char::from(delimiter.byte()) == first))
}

/// A line that no header begins with.
fn certain(line: &str) -> Option<&'static str> {
    let line = line.trim_matches(['"', ',', ';', '\t', ' ']);
    if line.starts_with("#TYPE ") {
        return Some("#TYPE");
    }
    let version = line.strip_prefix("version:v")?;
    version.chars().all(|c| c.is_ascii_digit() || c == '.').then_some("version:")
}

/// Physical lines, without their ends.
fn physical(text: &str) -> Vec<&str> {
    let mut lines = Vec::new();
    let mut rest = text;
    while lines.len() <= LINES * 2 && !rest.is_empty() {
        let end = rest.find(['\n', '\r']).unwrap_or(rest.len());
        lines.push(&rest[..end]);
        let after = &rest[end..];
        rest = after.strip_prefix("\r\n").or_else(|| after.get(1..)).unwrap_or_default();
    }
    lines
}

/// The rows of a sheet's text, without their ends: a quote holds lines together.
fn rows(text: &str) -> Vec<&str> {
    let mut rows = Vec::new();
    let mut rest = text;
    while rows.len() <= LINES * 2 && !rest.is_empty() {
        let mut quoted = false;
        let end = rest.find(|c| {
            quoted ^= c == '"';
            c == '\n' && !quoted
        });
        let (row, after) = rest.split_at(end.unwrap_or(rest.len()));
        rows.push(row.strip_suffix('\r').unwrap_or(row));
        rest = after.get(1..).unwrap_or_default();
    }
    rows
}

/// The line and those after it that a quote holds together.
fn logical(lines: &[&str], at: usize) -> String {
    let mut text = String::new();
    for line in lines.iter().skip(at).take(LINES) {
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(line);
        if text.matches('"').count().is_multiple_of(2) {
            break;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opening(text: &str, skip: SkipLines) -> Result<(u64, Option<Delimiter>), String> {
        of(Beginning { text, whole: true, sheet: false }, skip)
    }

    fn of(beginning: Beginning<'_>, skip: SkipLines) -> Result<(u64, Option<Delimiter>), String> {
        let knows = |name: &str| ["email", "first_name", "name"].contains(&name);
        look(beginning, None, skip, &knows)
            .map(|opening| (opening.skip, opening.delimiter))
            .map_err(|error| error.message)
    }

    #[test]
    fn what_is_certain_is_skipped_and_the_delimiter_found() {
        for (text, wanted) in [
            ("email;first_name\na;b\n", (0, Delimiter::Semicolon)),
            ("sep=;\r\nemail;first_name\r\n", (1, Delimiter::Semicolon)),
            ("\"sep=,\"\nemail;first_name\n", (1, Delimiter::Comma)),
            ("#TYPE Selected.User\n\"email\",\"name\"\n", (1, Delimiter::Comma)),
            ("version:v1.0,,,\nemail,name\n", (1, Delimiter::Comma)),
            (",,\n\nemail,first_name,name\n", (2, Delimiter::Comma)),
            ("email;\na;\n", (0, Delimiter::Semicolon)),
            ("email;name,first\n", (0, Delimiter::Semicolon)),
            ("email\n", (0, Delimiter::Comma)),
            ("\"email\",\"first\nname;x\"\n", (0, Delimiter::Comma)),
        ] {
            assert_eq!(opening(text, SkipLines::Refuse), Ok((wanted.0, Some(wanted.1))), "{text:?}");
        }
        assert!(opening("sep=:\nemail\n", SkipLines::Refuse).is_err());
    }

    #[test]
    fn titles_and_comments_are_named_and_skipped_where_asked() {
        let titled = "Employee list as of 2026-01-05,,\n,,\nemail,first_name,name\n";
        let error = opening(titled, SkipLines::Refuse).unwrap_err();
        assert!(error.contains("`--skip-lines 2`") && !error.contains("Employee"), "{error}");
        for skip in [SkipLines::Auto, SkipLines::Lines(2)] {
            assert_eq!(opening(titled, skip), Ok((2, Some(Delimiter::Comma))));
        }
        assert!(
            opening("# made by HR; v1\nemail,name\n", SkipLines::Refuse).unwrap_err().contains("a comment")
        );
        assert_eq!(opening("x,y,z\na@b.co,email,name\n", SkipLines::Refuse), Ok((0, Some(Delimiter::Comma))));
    }

    #[test]
    fn the_rows_of_a_sheet_are_counted_whatever_breaks_are_in_their_cells() {
        let text = "\"Staff\nas of \"\"today\"\"\nin three lines\",\n,\nemail,\"first_name\"\n";
        let beginning = Beginning { text, whole: true, sheet: true };
        assert!(of(beginning, SkipLines::Refuse).unwrap_err().contains("`--skip-lines 2`"));
        assert_eq!(of(beginning, SkipLines::Lines(2)), Ok((2, Some(Delimiter::Comma))));
        assert_eq!(of(beginning, SkipLines::Auto), Ok((2, Some(Delimiter::Comma))));
    }
}
