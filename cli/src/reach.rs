//! How a command reached its imports, so that a command which is printed to be copied reaches them too.

use std::fmt::Display;

use muster_shared::parse::Format;
use muster_shared::tenant::Slug;

/// What is to be added to `muster imports …`.
#[derive(Debug, Clone)]
pub(crate) struct Reach(String);

impl Reach {
    /// What was given to this command and is not in the environment, which the next command has as well.
    pub(crate) fn new(server: Option<&str>, tenant: &Slug) -> Self {
        let in_environment = |name: &str| std::env::var_os(name).is_some();
        Self(match server {
            Some(_) if in_environment("MUSTER_SERVER") && in_environment("MUSTER_TOKEN") => String::new(),
            Some(url) if in_environment("MUSTER_TOKEN") => format!(" --server {}", quoted(url)),
            Some(url) => format!(" --server {} --token \"$TOKEN\"", quoted(url)),
            None if tenant.as_str() == Slug::DEFAULT => String::new(),
            None => format!(" --tenant {tenant}"),
        })
    }

    /// The command that does `what` to an import.
    pub(crate) fn command(&self, what: &str, import: impl Display) -> String {
        format!("muster imports {what} {import}{}", self.0)
    }

    /// The command that fetches the failed records, in the format that they came in: a table cannot express null.
    pub(crate) fn failed(&self, import: impl Display, upload: Format) -> String {
        let ending = if upload == Format::Csv { "csv" } else { "ndjson" };
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
        let here = Reach::new(None, &default);
        assert_eq!(here.failed(7, Format::Csv), "muster imports failed 7 -o failed.csv");
        assert_eq!(here.failed(7, Format::Json), "muster imports failed 7 -o failed.ndjson");
        assert_eq!(Reach::new(None, &acme).command("show", 7), "muster imports show 7 --tenant acme");
        let told = Reach::new(Some("https://muster.example.com"), &default).command("proceed", 7);
        assert_eq!(told, "muster imports proceed 7 --server https://muster.example.com --token \"$TOKEN\"");
        assert_eq!(quoted("http://x/?a=1&b='2'"), r"'http://x/?a=1&b='\''2'\'''");
    }
}
