//! Exit codes, and errors as one clear line with their causes.

use std::fmt;
use std::io;
use std::process::ExitCode;

use muster_domain::catalog::FieldError;
use muster_domain::request::ImportOption;

use crate::output::stderr_line;

/// How a command ended that ran as asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done: exit code 0.
    Done,
    /// Done, and some records failed: exit code 3.
    FailedRecords,
    /// The check or action failed, and this was reported: exit code 1.
    Failure,
}

/// The command line is invalid: exit code 2.
#[derive(Debug)]
pub(crate) struct Usage(pub(crate) String);

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

/// The error for a usage mistake.
pub(crate) fn usage(message: impl Into<String>) -> anyhow::Error {
    Usage(message.into()).into()
}

/// A mistake in an option that parsing the command line does not find.
pub(crate) fn wrong_option(error: FieldError) -> anyhow::Error {
    let flag = ImportOption::find(&error.field).and_then(ImportOption::flag_name);
    let flag = flag.map_or_else(|| error.field.replace('_', "-"), str::to_owned);
    usage(format!("--{flag}: {}", error.message))
}

/// Prints an error, if there is one, and returns the program's exit code.
pub(crate) fn exit(ended: anyhow::Result<Exit>) -> ExitCode {
    match ended {
        Ok(Exit::Done) => ExitCode::SUCCESS,
        Ok(Exit::Failure) => ExitCode::from(1),
        Ok(Exit::FailedRecords) => ExitCode::from(3),
        // The reader closed the pipe: it has read enough.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            stderr_line(ErrorReport(&error));
            ExitCode::from(if error.is::<Usage>() { 2 } else { 1 })
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// An error for people: one line, then each cause that adds information.
struct ErrorReport<'e>(&'e anyhow::Error);

impl fmt::Display for ErrorReport<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut told = self.0.to_string();
        write!(f, "error: {told}")?;
        for cause in self.0.chain().skip(1) {
            let text = cause.to_string();
            if !told.contains(&text) {
                write!(f, "\n  because: {text}")?;
                told.push_str(&text);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    #[test]
    fn an_error_is_told_with_causes_that_say_something_new() {
        let error = anyhow!("no route").context("cannot connect: no route").context("cannot import");
        assert_eq!(
            ErrorReport(&error).to_string(),
            "error: cannot import\n  because: cannot connect: no route"
        );
    }
}
