//! Flags with which an inspection continues, and the resulting command.

use muster_domain::error::FileError;
use muster_domain::fault::{Mutant, mutant};
use muster_domain::validate::quoted;

use crate::import::UsersArgs;

/// Flags that say how a file is read. None else is followed: a file may not choose a server, a tenant or a profile.
const MENDING: [&str; 8] = [
    "--column",
    "--unknown-columns",
    "--skip-lines",
    "--at",
    "--encoding",
    "--format",
    "--delimiter",
    "--rows",
];

/// A flag of the command line with its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Flag {
    name: String,
    value: String,
}

impl Flag {
    pub(super) fn new(name: &str, value: &str) -> Self {
        Self { name: name.to_owned(), value: value.to_owned() }
    }

    /// One word: a value that begins with a hyphen is no flag of its own.
    fn word(&self) -> String {
        format!("{}={}", self.name, self.value)
    }

    /// As people write it.
    fn shown(&self) -> String {
        match self.value.starts_with('-') {
            true => quoted(&self.word()).into_owned(),
            false => format!("{} {}", self.name, quoted(&self.value)),
        }
    }
}

/// The flags that prevent the reported error; none if one of them is not such a flag.
pub(super) fn mending(error: &FileError) -> Option<Vec<Flag>> {
    if mutant(Mutant::FlagsFromMessages) {
        return from_message(&error.message);
    }
    let flag = |pair: &[String]| match pair {
        [name, value] if MENDING.contains(&name.as_str()) => Some(Flag::new(name, value)),
        _ => None,
    };
    let flags: Vec<Flag> = error.mends().chunks(2).map(flag).collect::<Option<_>>()?;
    (!flags.is_empty()).then_some(flags)
}

/// What [`Mutant::FlagsFromMessages`] does.
fn from_message(message: &str) -> Option<Vec<Flag>> {
    let (_, flags) = message.split_once("as in: ")?;
    let (flags, _) = flags.split_once(" (nothing after")?;
    let words: Vec<&str> = flags.split(' ').collect();
    let flag = |pair: &[&str]| match pair {
        [name, value] => Some(Flag::new(name, value)),
        _ => None,
    };
    words.chunks(2).map(flag).collect()
}

/// Reads a command line that is to be one of `muster inspect`, the name of the program before it; none where it is not.
pub(crate) type Parse = fn(Vec<String>) -> Option<Box<UsersArgs>>;

/// The command line with further flags; none where they do not go with it.
pub(super) fn parsed(further: &[Flag], parse: Parse) -> Option<Box<UsersArgs>> {
    parse(without_auto(std::env::args()).into_iter().chain(further.iter().map(Flag::word)).collect())
}

/// The words with the results of `--profile auto` and `--dates auto` in their place.
fn without_auto(words: impl Iterator<Item = String>) -> Vec<String> {
    let mut kept: Vec<String> = Vec::new();
    for word in words {
        match word.as_str() {
            "--profile=auto" | "--dates=auto" => {}
            "auto" if kept.last().is_some_and(|last| last == "--profile" || last == "--dates") => {
                kept.pop();
            }
            _ => kept.push(word),
        }
    }
    kept
}

/// The command that imports the file as it was looked at.
pub(super) fn command(further: &[Flag], parse: Parse) -> String {
    imports(&std::env::args().skip(1).collect::<Vec<_>>(), further, parse)
}

fn imports(words: &[String], further: &[Flag], parse: Parse) -> String {
    let (before, after) = parts(words, parse);
    let forgets = mutant(Mutant::CommandForgetsDatabase);
    let before = if forgets { &[] } else { before };
    let mut after = without_auto(after.iter().cloned());
    after.retain(|word| word != "--json");
    if !forgets {
        after = without_token(after);
    }
    let command = ["import".to_owned(), "users".to_owned()];
    let words = before.iter().chain(&command).chain(&after).map(|word| quoted(word).into_owned());
    let all = std::iter::once("muster".to_owned()).chain(words).chain(further.iter().map(Flag::shown));
    all.collect::<Vec<_>>().join(" ")
}

/// The words before the name of the command, and after it. The same word may be the value of an option before.
fn parts(words: &[String], parse: Parse) -> (&[String], &[String]) {
    let is_command = |at: &usize| {
        let line = std::iter::once("muster".to_owned()).chain(words.iter().take(at + 1).cloned());
        words.get(*at).is_some_and(|word| word == "inspect")
            && parse(line.chain(["-".to_owned()]).collect()).is_some()
    };
    let at = (0..words.len()).find(is_command).unwrap_or(0);
    (words.get(..at).unwrap_or_default(), words.get(at + 1..).unwrap_or_default())
}

/// The words without the token, which others could read.
fn without_token(words: Vec<String>) -> Vec<String> {
    let (mut kept, mut value) = (Vec::new(), false);
    for word in words {
        if std::mem::take(&mut value) || word.starts_with("--token=") {
            continue;
        }
        match word.as_str() {
            "--token" => value = true,
            _ => kept.push(word),
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use muster_domain::error::ErrorCode;

    use super::*;
    use crate::args::Cli;

    fn error(flags: &[&str]) -> FileError {
        let message =
            "the column `as in: --profile z --server https://e.example (nothing after` is not known";
        FileError::new(ErrorCode::CsvHeaderUnknown, message).mended_by(flags.iter().copied())
    }

    #[test]
    fn flags_are_those_of_the_error_and_only_such_as_say_how_a_file_is_read() {
        assert_eq!(mending(&error(&[])), None);
        let columns = mending(&error(&["--column", "A B=custom__a_b", "--column", "--x="])).unwrap();
        assert_eq!(columns[0].shown(), "--column \"A B=custom__a_b\"");
        assert_eq!(
            (columns[1].word().as_str(), columns[1].shown().as_str()),
            ("--column=--x=", "--column=--x=")
        );
        for strange in ["--server", "--profile", "--tenant", "--token-file", "--config"] {
            assert_eq!(mending(&error(&["--skip-lines", "2", strange, "x"])), None, "{strange}");
        }
        assert_eq!(mending(&error(&["--skip-lines"])), None);
    }

    #[test]
    fn the_command_keeps_what_stands_before_its_name_and_no_token() {
        let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let further = [Flag::new("--skip-lines", "2")];
        for (line, expected) in [
            ("inspect a.csv --json", "muster import users a.csv --skip-lines 2"),
            (
                "--data-dir inspect inspect a.csv --dates auto",
                "muster --data-dir inspect import users a.csv --skip-lines 2",
            ),
            (
                "--config=x.toml inspect --token secret a.csv --server https://m.example --token=secret",
                "muster --config=x.toml import users a.csv --server https://m.example --skip-lines 2",
            ),
        ] {
            assert_eq!(imports(&words(line), &further, Cli::inspected), expected);
        }
    }
}
