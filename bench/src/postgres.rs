//! PostgreSQL by way of `psql`: databases that come and go, and questions to them.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::Context as _;

use crate::process;

/// Statements or meta-commands, in one session, up to the first that fails. What they print: values, one row a line.
pub(crate) fn psql(url: &str, commands: &[&str], stdin: Option<File>) -> anyhow::Result<String> {
    let mut command = Command::new("psql");
    command.args(["-XqAt", "-v", "ON_ERROR_STOP=1"]).arg(url);
    for text in commands {
        command.args(["-c", text]);
    }
    command.env("PGAPPNAME", "muster-bench").env("PGOPTIONS", "-c client_min_messages=warning");
    command.stdin(stdin.map_or_else(Stdio::null, Stdio::from)).stdout(Stdio::piped()).stderr(Stdio::piped());
    let output = command.output().context("cannot start psql (Debian: postgresql-client)")?;
    process::finished("psql", &output)
}

/// One row's values.
pub(crate) fn row(url: &str, query: &str) -> anyhow::Result<Vec<String>> {
    let text = psql(url, &[query], None)?;
    Ok(text.trim_end().split('|').map(str::to_owned).collect())
}

/// The same server, another database: the path of the URL is replaced, its parameters stay.
pub(crate) fn database_url(server: &str, name: &str) -> anyhow::Result<String> {
    let (scheme, rest) = server.split_once("://").context("the database's URL is not a URL")?;
    let (address, parameters) =
        rest.split_once('?').map_or((rest, None), |(address, all)| (address, Some(all)));
    let authority = address.split('/').next().unwrap_or_default();
    let parameters = parameters.map(|all| format!("?{all}")).unwrap_or_default();
    Ok(format!("{scheme}://{authority}/{name}{parameters}"))
}

pub(crate) fn create_database(server: &str, name: &str, template: &str) -> anyhow::Result<String> {
    psql(server, &[&format!("create database {name} template {template}")], None)?;
    database_url(server, name)
}

pub(crate) fn drop_database(server: &str, name: &str) -> anyhow::Result<()> {
    psql(server, &[&format!("drop database if exists {name} with (force)")], None).map(drop)
}

/// Applies the migrations as files, for when there is no `muster` to do it.
pub(crate) fn apply_migrations(url: &str, folder: &Path) -> anyhow::Result<()> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut files = entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>()?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "sql"));
    files.sort();
    for file in files {
        let mut command = Command::new("psql");
        command.args(["-Xq", "-v", "ON_ERROR_STOP=1", "--single-transaction", "-f"]).arg(&file).arg(url);
        process::run(&mut command).with_context(|| format!("applying {}", file.display()))?;
    }
    Ok(())
}

/// Brings the server to the same state before each timed part: everything written so far is on disk, and the next
/// checkpoint is as far away as can be. The file is in memory.
pub(crate) fn settle(url: &str, file: &Path) -> anyhow::Result<()> {
    psql(url, &["checkpoint"], None)?;
    let mut source = File::open(file).with_context(|| format!("cannot read {}", file.display()))?;
    std::io::copy(&mut source, &mut std::io::sink()).context("reading the file once")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_database_of_the_same_server() {
        for (server, url) in [
            ("postgres://u:p@h:1/postgres", "postgres://u:p@h:1/new"),
            ("postgresql://h", "postgresql://h/new"),
            ("postgres://u@h/a?sslmode=require&x=/", "postgres://u@h/new?sslmode=require&x=/"),
            ("postgres:///a?host=/run/pg", "postgres:///new?host=/run/pg"),
        ] {
            assert_eq!(database_url(server, "new").unwrap(), url);
        }
        assert!(database_url("host=h", "new").is_err());
    }
}
