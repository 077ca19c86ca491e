//! The reference of all settings, generated for the documentation.

use std::fmt::Write;

use super::{Config, FILE_VARIABLE, KEYS};

/// Variables that begin like those of settings and are none.
pub const OTHER_VARIABLES: &[(&str, &str)] = &[
    (FILE_VARIABLE, "The configuration file to read."),
    ("MUSTER_SERVER", "The server that commands talk to, as `--server`."),
    ("MUSTER_TOKEN", "The token that commands show it, as `--token`."),
    ("MUSTER_TOKEN_FILE", "The file with it, as `--token-file`."),
    ("MUSTER_TOOLS", "Folder of the tools that `make test` installs."),
    ("MUSTER_SERVICES_DIR", "Folder of the private servers of `make services-up`."),
    ("MUSTER_PG_BINDIR", "Folder of the PostgreSQL that they start."),
    ("MUSTER_RABBITMQ_SBIN", "Folder of the RabbitMQ that they start."),
    ("MUSTER_FUZZ_JOBS", "How many targets `make fuzz` runs at a time."),
    ("MUSTER_CLIENTS_CACHE", "Folder in which the clients of `make test` keep what they install."),
];

/// All settings as a table in Markdown: name in the file, default, environment variable, meaning.
pub fn reference() -> String {
    let defaults = Config::default();
    let mut text = String::from("| Setting | Default | Environment | Meaning |\n|---|---|---|---|\n");
    for key in KEYS {
        let default = match defaults.shown(key.section, key.name) {
            Some(value) => format!("`{value}`"),
            None => "–".into(),
        };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "| `{}` | {default} | `{}` | {} |", key.path(), key.variable(), key.meaning);
    }
    for (name, meaning) in OTHER_VARIABLES {
        let _ = writeln!(text, "| – | – | `{name}` | {meaning} |");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whoever sets what a script offers can still run the program.
    #[test]
    fn what_the_scripts_read_is_known() {
        let scripts = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/local");
        let scripts = std::fs::read_dir(scripts).unwrap().map(|entry| entry.unwrap().path());
        let text: String = scripts.filter_map(|path| std::fs::read_to_string(path).ok()).collect();
        let heads = text.lines().filter_map(|line| line.strip_prefix("# MUSTER_"));
        let offered: std::collections::BTreeSet<String> = heads
            .map(|rest| {
                let end = rest.find(|c: char| !(c.is_ascii_uppercase() || c == '_')).unwrap_or(rest.len());
                format!("MUSTER_{}", &rest[..end])
            })
            .collect();
        assert!(offered.len() >= 4, "{offered:?}");
        for name in offered {
            assert!(
                OTHER_VARIABLES.iter().any(|(other, _)| *other == name),
                "{name} is refused as not known"
            );
        }
    }

    #[test]
    fn the_reference_has_every_setting_in_a_row_of_four_cells() {
        let text = reference();
        let rows: Vec<&str> = text.lines().skip(2).collect();
        assert_eq!(rows.len(), KEYS.len() + OTHER_VARIABLES.len());
        assert!(rows.iter().all(|row| row.matches('|').count() == 5));
        let expected =
            "| `engine.data_dir` | `.muster` | `MUSTER_DATA_DIR` | Folder of the private PostgreSQL. |";
        assert!(rows.contains(&expected));
    }
}
