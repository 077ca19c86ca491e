//! How a command was invoked, so that the commands that it prints for copying use the same server or tenant.

use std::fmt::Display;
use std::path::Path;

use muster_domain::parse::Format;
use muster_domain::tenant::Slug;

/// What to add to `muster imports …`.
#[derive(Debug, Clone)]
pub(crate) struct Invocation {
    /// Variables before the command. A token as an argument could be read by every user of the machine.
    before: &'static str,
    after: String,
}

impl Invocation {
    /// The arguments of this command that the next one needs too; what is in the environment applies to both.
    pub(crate) fn new(server: Option<&str>, token_file: Option<&Path>, tenant: &Slug) -> Self {
        let in_environment = |name: &str| std::env::var_os(name).is_some();
        let mut after = match server {
            Some(_) if in_environment("MUSTER_SERVER") => String::new(),
            Some(url) => format!(" --server {}", quoted(url)),
            None if tenant.as_str() == Slug::DEFAULT => String::new(),
            None => format!(" --tenant {tenant}"),
        };
        let has_token =
            server.is_none() || in_environment("MUSTER_TOKEN") || in_environment("MUSTER_TOKEN_FILE");
        if let Some(file) = token_file.filter(|_| !has_token) {
            after.push_str(&format!(" --token-file {}", quoted(&file.to_string_lossy())));
        }
        let before = if has_token || token_file.is_some() { "" } else { "MUSTER_TOKEN=\"$TOKEN\" " };
        Self { before, after }
    }

    /// The command that does `what` to an import.
    pub(crate) fn command(&self, what: &str, import: impl Display) -> String {
        format!("{}muster imports {what} {import}{}", self.before, self.after)
    }

    /// The text with what the commands between its backticks need too.
    pub(crate) fn completed(&self, text: &str) -> String {
        let parts = text.split('`').enumerate().map(|(at, part)| {
            match at % 2 == 1 && part.starts_with("muster imports ") {
                true => format!("{}{part}{}", self.before, self.after),
                false => part.to_owned(),
            }
        });
        parts.collect::<Vec<_>>().join("`")
    }

    /// The command that lists the records that failed.
    pub(crate) fn failed_records(&self, import: impl Display) -> String {
        format!("{} --outcome failed", self.command("records", import))
    }

    /// The command that fetches the failed records, in the format of the upload, since a table cannot express null.
    pub(crate) fn failed(&self, import: impl Display, upload: Format) -> String {
        let ending = if upload.is_table() { "csv" } else { "ndjson" };
        format!("{} -o failed.{ending}", self.command("failed", import))
    }
}

/// As one word of a shell.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._~:/%@+,=".contains(c);
    if text.chars().all(plain) { text.to_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_and_a_server_are_named_again() {
        let (default, acme) = (Slug::DEFAULT.parse().unwrap(), "acme".parse().unwrap());
        let here = Invocation::new(None, None, &default);
        assert_eq!(here.failed(7, Format::Csv), "muster imports failed 7 -o failed.csv");
        assert_eq!(here.failed(7, Format::Json), "muster imports failed 7 -o failed.ndjson");
        let there = Invocation::new(None, None, &acme);
        let told =
            there.completed("Look at `x`; then `muster imports retry 7 --code y`, or `muster doctor`.");
        assert_eq!(
            told,
            "Look at `x`; then `muster imports retry 7 --code y --tenant acme`, or `muster doctor`."
        );
        assert_eq!(there.command("show", 7), "muster imports show 7 --tenant acme");
        let told = Invocation::new(Some("https://muster.example.com"), None, &default).command("proceed", 7);
        assert_eq!(
            told,
            "MUSTER_TOKEN=\"$TOKEN\" muster imports proceed 7 --server https://muster.example.com"
        );
        let told =
            Invocation::new(Some("https://x"), Some(Path::new("my token")), &default).command("show", 7);
        assert_eq!(told, "muster imports show 7 --server https://x --token-file 'my token'");
        assert_eq!(quoted("http://x/?a=1&b='2'"), r"'http://x/?a=1&b='\''2'\'''");
    }
}
