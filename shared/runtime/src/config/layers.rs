//! Applies the file, the environment and arguments to the defaults. Pure: the input is text, the result a configuration or its problems.

use toml::{Table, Value};

use super::reference::OTHER_VARIABLES;
use super::{Config, ConfigError, FILE_VARIABLE, KEYS, Key, Problem, Source};

/// The layers over the defaults.
#[derive(Debug, Default)]
pub struct Layers<'a> {
    /// Name and text of the file.
    pub file: Option<(&'a str, &'a str)>,
    /// Environment variables. An empty one counts as not set.
    pub environment: Vec<(String, String)>,
    /// `section.name` and value from the command line.
    pub arguments: Vec<(&'static str, String)>,
}

impl Layers<'_> {
    /// The configuration, or everything that is wrong with it, `problems` that were found before included.
    pub fn resolve(&self, mut problems: Vec<Problem>) -> Result<Config, ConfigError> {
        let mut config = Config::default();
        if let Some((name, text)) = self.file {
            config.file = Some(name.to_owned());
            config.take_file(name, text, &mut problems);
        }
        for (name, value) in self.environment.iter().filter(|(_, value)| !value.is_empty()) {
            config.take_variable(name, value, &mut problems);
        }
        for (path, value) in &self.arguments {
            match KEYS.iter().find(|key| key.path() == *path) {
                Some(key) => config.take(key, value, Source::Arguments, &mut problems),
                None => problems.push(Problem { place: (*path).to_owned(), message: "is not known".into() }),
            }
        }
        // Whether the values fit together is asked of values that were all understood.
        if problems.is_empty() {
            config.check(&mut problems);
        }
        if problems.is_empty() { Ok(config) } else { Err(ConfigError { problems }) }
    }
}

impl Config {
    fn take(&mut self, key: &Key, text: &str, source: Source, problems: &mut Vec<Problem>) {
        self.sources.insert(key.path(), source);
        if let Err(message) = self.set(key.section, key.name, text) {
            problems.push(self.problem(&key.path(), message));
        }
    }

    /// Says where the value of a setting was set.
    pub(super) fn problem(&self, path: &str, message: String) -> Problem {
        let variable = || KEYS.iter().find(|key| key.path() == path).map(Key::variable).unwrap_or_default();
        let place = match self.source(path) {
            Source::Default => path.to_owned(),
            Source::File => format!("{path} in {}", self.file.as_deref().unwrap_or_default()),
            Source::Environment => format!("environment variable {}", variable()),
            Source::Arguments => format!("{path} on the command line"),
        };
        Problem { place, message }
    }

    fn take_file(&mut self, file: &str, text: &str, problems: &mut Vec<Problem>) {
        let table: Table = match text.parse() {
            Ok(table) => table,
            Err(error) => {
                problems.push(toml_problem(file, text, &error));
                return;
            }
        };
        for (section, value) in &table {
            let Value::Table(values) = value else {
                let message = unknown(section, KEYS.iter().map(|key| key.section.to_owned()));
                problems.push(Problem { place: format!("{section} in {file}"), message });
                continue;
            };
            for (name, value) in values {
                let path = format!("{section}.{name}");
                let place = format!("{path} in {file}");
                match (KEYS.iter().find(|key| key.path() == path), text_of(value)) {
                    (Some(key), Some(text)) => self.take(key, &text, Source::File, problems),
                    (Some(_), None) => {
                        problems.push(Problem {
                            place,
                            message: "must be one text, number or true/false".into(),
                        });
                    }
                    (None, _) => {
                        let message = unknown(&path, KEYS.iter().map(Key::path));
                        problems.push(Problem { place, message });
                    }
                }
            }
        }
    }

    fn take_variable(&mut self, name: &str, value: &str, problems: &mut Vec<Problem>) {
        if let Some(key) = KEYS.iter().find(|key| key.variable() == name) {
            self.take(key, value, Source::Environment, problems);
        } else if may_be_ours(name) && !is_other(name) && !is_service_link(name) {
            let known = KEYS.iter().map(Key::variable).chain([FILE_VARIABLE.to_owned()]);
            // MUSTER_DATABASE_URL means DATABASE_URL: the name by the rule, where another is in use.
            let by_rule = |key: &&Key| format!("MUSTER_{}_{}", key.section, key.name).to_uppercase() == name;
            let message = match KEYS.iter().find(by_rule) {
                Some(key) => format!("is not known; it is {}", key.variable()),
                None => unknown(name, known),
            };
            problems.push(Problem { place: format!("environment variable {name}"), message });
        }
    }
}

/// Whether a variable is one that has to be looked at.
pub(super) fn may_be_ours(name: &str) -> bool {
    name.starts_with("MUSTER_") || KEYS.iter().any(|key| key.variable() == name)
}

fn is_other(name: &str) -> bool {
    OTHER_VARIABLES.iter().any(|(other, _)| *other == name)
}

/// A cluster that has a service named `muster…` sets `MUSTER_…_SERVICE_HOST`, `…_PORT_8080_TCP_ADDR` and the like in every
/// container, and nobody asked it to.
fn is_service_link(name: &str) -> bool {
    name.ends_with("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || name.ends_with("_PORT")
        || ["_TCP", "_UDP", "_SCTP"].iter().any(|protocol| {
            name.split_once("_PORT_").is_some_and(|(_, rest)| {
                rest.starts_with(|c: char| c.is_ascii_digit()) && rest.contains(protocol)
            })
        })
}

fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Integer(number) => Some(number.to_string()),
        Value::Float(number) => Some(number.to_string()),
        Value::Boolean(flag) => Some(flag.to_string()),
        Value::Datetime(_) | Value::Array(_) | Value::Table(_) => None,
    }
}

/// The parser's own message quotes the faulty line, which may contain a password.
fn toml_problem(file: &str, text: &str, error: &toml::de::Error) -> Problem {
    let line =
        error.span().and_then(|span| text.get(..span.start)).map(|before| before.matches('\n').count() + 1);
    let place = match line {
        Some(line) => format!("{file}, line {line}"),
        None => file.to_owned(),
    };
    Problem { place, message: "is not TOML".into() }
}

fn unknown(name: &str, known: impl Iterator<Item = String>) -> String {
    let nearest = known.map(|known| (distance(name, &known), known)).min();
    match nearest {
        Some((distance, known)) if distance <= name.len().div_ceil(3) => {
            format!("is not known; did you mean {known}?")
        }
        _ => "is not known".into(),
    }
}

/// How many letters have to be inserted, removed or replaced to make one text of the other.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in other.iter().enumerate() {
            let replaced = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn variables(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn resolve(file: &str, environment: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let layers = Layers {
            file: Some(("muster.toml", file)),
            environment: variables(environment),
            arguments: vec![],
        };
        layers.resolve(vec![])
    }

    fn problems(file: &str, environment: &[(&str, &str)]) -> Vec<String> {
        let error = resolve(file, environment).unwrap_err();
        error.problems.into_iter().map(|problem| format!("{}: {}", problem.place, problem.message)).collect()
    }

    #[test]
    fn the_defaults_are_good() {
        let config = Layers::default().resolve(vec![]).unwrap();
        assert_eq!(config, Config::default());
        assert!((2..=8).contains(&config.worker.slots()));
    }

    #[test]
    fn traces_are_off_until_a_collector_is_named_and_then_a_tenth_is_recorded() {
        let config = resolve("", &[]).unwrap();
        assert!(config.trace.endpoint.is_none());
        assert_eq!(config.trace.ratio.to_string(), "0.1");
        let config =
            resolve("[trace]\nendpoint = 'https://u:hunter2@tempo:4318'\nratio = 0.05", &[]).unwrap();
        let shown: Vec<Option<String>> =
            ["endpoint", "ratio"].iter().map(|name| config.shown("trace", name)).collect();
        assert_eq!(shown, [Some("https://u:***@tempo:4318".into()), Some("0.05".into())]);
        assert_eq!(
            problems("[trace]\nendpoint = 'grpc://tempo:4317'", &[]),
            ["trace.endpoint in muster.toml: must be a URL that begins with http:// or https://"]
        );
        assert_eq!(
            problems("", &[("MUSTER_TRACE_RATIO", "5%")]),
            [
                "environment variable MUSTER_TRACE_RATIO: must be a number from 0 to 1 with at most six decimals, such as 0.05"
            ]
        );
    }

    #[test]
    fn later_layers_win_and_are_remembered() {
        let file = "[intake]\nlanes = 4\nchunk_bytes = '512 KiB'\n[dispatch]\nlease = '2min'\n[log]\nformat = 'json'";
        let layers = Layers {
            file: Some(("muster.toml", file)),
            environment: variables(&[
                ("MUSTER_INTAKE_LANES", "8"),
                ("MUSTER_DISPATCH_LEASE", "3min"),
                ("PATH", "/bin"),
            ]),
            arguments: vec![("dispatch.lease", "4min".into())],
        };
        let config = layers.resolve(vec![]).unwrap();
        assert_eq!(config.intake.lanes, 8);
        assert_eq!(config.intake.chunk_bytes.bytes(), 512 * 1024);
        assert_eq!(config.dispatch.lease, Duration::from_secs(240));
        for (path, source) in [
            ("intake.lanes", Source::Environment),
            ("intake.chunk_bytes", Source::File),
            ("dispatch.lease", Source::Arguments),
            ("dispatch.window", Source::Default),
        ] {
            assert_eq!(config.source(path), source, "{path}");
        }
    }

    #[test]
    fn all_that_is_wrong_is_told_at_once() {
        let told = problems(
            "[intake]\nlane = 4\nchunk_records = 'many'\nlanes = [1]\n[engin]\nx = 1\n[http]\nlisten = 8080",
            &[
                ("MUSTER_DISPATCH_LEASE", "10"),
                ("MUSTER_WORKER_CONCURENCY", "2"),
                ("MUSTER_DATABASE_URL", "x"),
            ],
        );
        assert_eq!(
            told,
            [
                "engin.x in muster.toml: is not known",
                "http.listen in muster.toml: must be an IP address and a port, such as 127.0.0.1:8080 or [::]:8080",
                "intake.chunk_records in muster.toml: must be a whole number",
                "intake.lane in muster.toml: is not known; did you mean intake.lanes?",
                "intake.lanes in muster.toml: must be one text, number or true/false",
                "environment variable MUSTER_DISPATCH_LEASE: must be a time above 0, such as 250ms, 10s, 5min, 2h or 30d",
                "environment variable MUSTER_WORKER_CONCURENCY: is not known; did you mean MUSTER_WORKER_CONCURRENCY?",
                "environment variable MUSTER_DATABASE_URL: is not known; it is DATABASE_URL",
            ]
        );
    }

    #[test]
    fn values_that_cannot_be_are_told_with_their_place() {
        let told = problems(
            "[worker]\nattempts = 0\nbackoff_initial = '1h'\n[intake]\nchunk_bytes = '1 GiB'\n[log]\nfilter = 'a=b=c'",
            &[
                ("DATABASE_URL", "mysql://u:secret@h/d"),
                ("MUSTER_BROKER_PREFIX", "a b"),
                ("MUSTER_HTTP_PUBLIC_URL", "x"),
            ],
        );
        assert_eq!(
            told,
            [
                "worker.attempts in muster.toml: must be from 1 to 100",
                "intake.chunk_bytes in muster.toml: must be from 1 KiB to 8 MiB: a chunk must fit a message",
                "worker.backoff_initial in muster.toml: must not be longer than worker.backoff_max",
                "environment variable MUSTER_BROKER_PREFIX: must be 1 to 64 letters, digits, '.', '_' and '-'",
                "environment variable DATABASE_URL: must be a URL that begins with postgres:// or postgresql://",
                "environment variable MUSTER_HTTP_PUBLIC_URL: must be a URL that begins with http:// or https://",
                "log.filter in muster.toml: must be a level or a list of target=level, separated by commas",
            ]
        );
    }

    #[test]
    fn broken_toml_is_told_by_its_line_and_without_quoting_it() {
        let error = resolve("[database]\nurl = 'postgres://u:secret@h\n", &[]).unwrap_err();
        assert_eq!(error.problems[0].place, "muster.toml, line 2");
        assert!(!format!("{error} {error:?}").contains("secret"));
    }

    #[test]
    fn secrets_are_hidden_in_everything_that_shows_a_configuration() {
        let config =
            resolve("", &[("DATABASE_URL", "postgres://u:hunter2@h/d"), ("AMQP_URL", "amqp://u:hunter2@h")]);
        let config = config.unwrap();
        let effective = config.effective();
        assert_eq!(effective[0].key, "database.url");
        assert_eq!(effective[0].value.as_deref(), Some("postgres://u:***@h/d"));
        assert_eq!(effective[0].source, Source::Environment);
        let json = serde_json::to_string(&effective).unwrap();
        assert!(!format!("{config:?} {effective:?} {json}").contains("hunter2"));
    }

    #[test]
    fn what_is_shown_can_be_set_again() {
        let mut config = Config::default();
        for setting in Config::default().effective() {
            let Some(value) = setting.value else { continue };
            let (section, name) = setting.key.split_once('.').unwrap();
            config.set(section, name, &value).unwrap();
        }
        assert_eq!(config, Config::default());
    }

    #[test]
    fn variables_that_are_not_settings_are_let_be() {
        let environment = [
            ("MUSTER_CONFIG", "x"),
            ("MUSTER_TOKEN", "x"),
            ("MUSTER_SERVICE_HOST", "10.0.0.1"),
            ("MUSTER_PORT", "tcp://10.0.0.1:8080"),
            ("MUSTER_PRODUCER_SERVICE_PORT_HTTP", "8080"),
            ("MUSTER_PRODUCER_PORT_8080_TCP_ADDR", "10.0.0.1"),
            // Empty counts as not set, as in a compose file that passes a variable on.
            ("DATABASE_URL", ""),
            ("MUSTER_INTAKE_LANES", ""),
        ];
        assert_eq!(resolve("", &environment).unwrap().effective(), Config::default().effective());
    }

    #[test]
    fn no_setting_has_the_variable_of_another() {
        let mut names: Vec<String> = KEYS.iter().map(Key::variable).collect();
        names.extend(OTHER_VARIABLES.iter().map(|(name, _)| (*name).to_owned()));
        names.sort_unstable();
        let all = names.len();
        names.dedup();
        assert_eq!(names.len(), all);
        assert!(KEYS.iter().all(|key| !is_service_link(&key.variable())));
    }
}
