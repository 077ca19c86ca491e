//! The configuration: one typed value, defaults < file < environment < arguments, checked as a whole at the start.
//!
//! All mistakes are reported together, each with its place and, for an unknown name, the most similar known
//! name. No message contains a value, and URLs with passwords have a type that does not print them.
//!
//! All settings are listed in `config/settings.rs` only: the types, the names of the environment variables,
//! `muster config show` and the reference in the documentation all come from it.

mod layers;
mod reference;
mod secret;
mod settings;
mod together;
mod value;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;

pub use layers::Layers;
pub use reference::{OTHER_VARIABLES, reference};
pub use secret::SecretUrl;
pub use settings::{
    AuthgearConfig, BitcasterConfig, BrokerConfig, Config, DatabaseConfig, DispatchConfig, EngineConfig,
    HttpConfig, IntakeConfig, KEYS, LogConfig, RetentionConfig, TraceConfig, WorkerConfig,
};
pub use value::{ByteSize, Envelope, LogFormat, Ratio};

/// The file that is read when none is named, if it is there.
pub const DEFAULT_FILE: &str = "muster.toml";
/// The environment variable that names the file.
pub const FILE_VARIABLE: &str = "MUSTER_CONFIG";

/// One setting, as the list has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    /// The table in the file.
    pub section: &'static str,
    /// The name in the table.
    pub name: &'static str,
    /// What it means.
    pub meaning: &'static str,
    variable: Option<&'static str>,
}

impl Key {
    /// `section.name`.
    pub fn path(&self) -> String {
        format!("{}.{}", self.section, self.name)
    }

    /// The name of its environment variable: its own, or `MUSTER_SECTION_NAME`.
    pub fn variable(&self) -> String {
        match self.variable {
            Some(variable) => variable.to_owned(),
            None => format!("MUSTER_{}_{}", self.section, self.name).to_uppercase(),
        }
    }
}

/// Where a value comes from. The later ones win.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// Nobody set it.
    #[default]
    Default,
    /// The configuration file.
    File,
    /// An environment variable.
    Environment,
    /// The command line.
    Arguments,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Default => "default",
            Self::File => "file",
            Self::Environment => "environment",
            Self::Arguments => "arguments",
        })
    }
}

/// One setting as it is in effect. Secrets are hidden.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EffectiveSetting {
    /// `section.name`.
    pub key: String,
    /// The value in the form in which it can be set; `None` where it is not set.
    pub value: Option<String>,
    /// Where it comes from.
    pub source: Source,
    /// Its environment variable.
    pub variable: String,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where: `intake.lanes in muster.toml`, `environment variable MUSTER_INTAKE_LANES`.
    pub place: String,
    /// What. Never the value.
    pub message: String,
}

/// Everything that is wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// At least one.
    pub problems: Vec<Problem>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the configuration is wrong:")?;
        for problem in &self.problems {
            write!(f, "\n  {}: {}", problem.place, problem.message)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

/// The source of each setting; a setting that is missing here has its default.
pub(crate) type Sources = BTreeMap<String, Source>;

impl Config {
    /// Reads the file (`file`, else the one `MUSTER_CONFIG` names, else `muster.toml` if it is there) and the process's
    /// environment. `arguments` are `section.name` and value, and win over both.
    pub fn load(file: Option<&Path>, arguments: Vec<(&'static str, String)>) -> Result<Self, ConfigError> {
        let named = match file {
            Some(path) => Some(path.to_owned()),
            None => std::env::var_os(FILE_VARIABLE).filter(|name| !name.is_empty()).map(PathBuf::from),
        };
        let must_exist = named.is_some();
        let path = named.unwrap_or_else(|| PathBuf::from(DEFAULT_FILE));
        let mut problems = Vec::new();
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => Some(text),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && !must_exist => None,
            Err(error) => {
                problems.push(Problem {
                    place: path.display().to_string(),
                    message: format!("cannot be read: {error}"),
                });
                None
            }
        };
        let name = path.display().to_string();
        let environment = environment(std::env::vars_os(), &mut problems);
        let layers = Layers { file: text.as_deref().map(|text| (&*name, text)), environment, arguments };
        layers.resolve(problems)
    }

    /// Every setting as it is in effect, in the order of the list, secrets hidden.
    pub fn effective(&self) -> Vec<EffectiveSetting> {
        KEYS.iter()
            .map(|key| EffectiveSetting {
                key: key.path(),
                value: self.shown(key.section, key.name),
                source: self.source(&key.path()),
                variable: key.variable(),
            })
            .collect()
    }

    /// Where the value of `section.name` comes from.
    pub fn source(&self, path: &str) -> Source {
        self.sources.get(path).copied().unwrap_or_default()
    }
}

/// The variables that may be ours; one of them that is not Unicode is a problem.
fn environment(
    variables: impl Iterator<Item = (OsString, OsString)>,
    problems: &mut Vec<Problem>,
) -> Vec<(String, String)> {
    let mut ours = Vec::new();
    for (name, value) in variables {
        let Some(name) = name.to_str().filter(|name| layers::may_be_ours(name)) else {
            continue;
        };
        match value.into_string() {
            Ok(value) => ours.push((name.to_owned(), value)),
            Err(_) => problems.push(Problem {
                place: format!("environment variable {name}"),
                message: "is not Unicode text".into(),
            }),
        }
    }
    ours
}
