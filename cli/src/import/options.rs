//! The options of an import on the command line: of `muster import users`, `muster inspect` and `muster profile save`. Their flags and what is
//! said of them are made of the table of options.

use std::collections::BTreeMap;

use clap::builder::{PossibleValuesParser, RangedI64ValueParser, TypedValueParser as _, ValueParser};
use clap::error::Error;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};
use muster_domain::id::ImportId;
use muster_domain::options::Start;
use muster_domain::parse::Format;
use muster_domain::request::{Flag, ImportOption, Kind, OPTIONS, Usual};
use muster_domain::tenant::Slug;

/// A shorter way to say `--start plan`.
const PLAN: &str = "plan";

/// `NAME=VALUE` arguments as one JSON object, since a name may hold a comma. One without `=` is left for the request to refuse.
fn object<'p>(pairs: impl Iterator<Item = &'p String>) -> Option<String> {
    // The order counts, and so does a name that is given twice: a map would lose both.
    let text = |text: &str| serde_json::Value::from(text.trim()).to_string();
    let pair = |pair: &String| match pair.rsplit_once('=') {
        Some((name, value)) => format!("{}:{}", text(name), text(value)),
        None => format!("{}:{}", text(pair), text("?")),
    };
    let members: Vec<String> = pairs.map(pair).collect();
    (!members.is_empty()).then(|| format!("{{{}}}", members.join(",")))
}

/// Everything that an import can be asked to do: the options that were given, as requests have them, by their places in the table.
#[derive(Debug, Clone, Default)]
pub(crate) struct OptionArgs(BTreeMap<usize, String>);

impl OptionArgs {
    /// The options that were given, as the API names them.
    pub(crate) fn pairs(&self) -> Vec<(&'static str, String)> {
        let named = |(place, value): (&usize, &String)| Some((OPTIONS.get(*place)?.name, value.clone()));
        self.0.iter().filter_map(named).collect()
    }

    /// The value of an option, where it was given.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(&place(name)?).map(String::as_str)
    }

    /// Gives an option a value, or takes it away.
    pub(crate) fn set(&mut self, name: &str, value: Option<String>) {
        let Some(place) = place(name) else { return };
        match value {
            Some(value) => self.0.insert(place, value),
            None => self.0.remove(&place),
        };
    }

    /// The format, where it was named.
    pub(crate) fn format(&self) -> Option<Format> {
        self.get("format")?.parse().ok()
    }
}

fn place(name: &str) -> Option<usize> {
    OPTIONS.iter().position(|option| option.name == name)
}

/// The flag of an option.
fn flag(option: &'static ImportOption, flag: Flag, name: &'static str) -> Arg {
    let arg = Arg::new(option.name).long(name).help(help(option)).help_heading(option.group.title());
    let arg = match option.name {
        // It had this name once.
        "organization" => arg.visible_alias("organization"),
        _ => arg,
    };
    let (action, parser) = match option.kind {
        Kind::YesNo => return arg.action(ArgAction::SetTrue),
        Kind::Pairs(_) => (ArgAction::Append, ValueParser::string()),
        kind => (ArgAction::Set, parser(kind)),
    };
    let arg = match flag.value {
        Some(value) => arg.value_name(value),
        None => arg,
    };
    arg.action(action).value_parser(parser).allow_hyphen_values(flag.hyphens)
}

/// Checks that need no file. The rest is checked with the request.
fn parser(kind: Kind) -> ValueParser {
    match kind {
        Kind::Choice(values) => PossibleValuesParser::new(values.iter().map(|value| value.name)).into(),
        Kind::Number(least, most) => RangedI64ValueParser::<u8>::new()
            .range(i64::from(least)..=i64::from(most))
            .map(|number| number.to_string())
            .into(),
        Kind::Slug => {
            ValueParser::new(|text: &str| text.parse::<Slug>().map(|slug| slug.as_str().to_owned()))
        }
        Kind::Id => ValueParser::new(|text: &str| text.parse::<ImportId>().map(|id| id.to_string())),
        Kind::YesNo | Kind::Pairs(_) | Kind::Text(_) => ValueParser::string(),
    }
}

fn help(option: &ImportOption) -> String {
    let further = match option.kind {
        Kind::Pairs(example) => {
            let flag = option.flag_name().unwrap_or_default();
            let first = example.split(',').next().unwrap_or_default();
            format!(". As often as needed, as in `--{flag} \"{first}\"`")
        }
        _ => String::new(),
    };
    let usual = match option.usual {
        // A flag that is not there is off.
        Usual::Value(_) if matches!(option.kind, Kind::YesNo) => String::new(),
        Usual::Value(value) | Usual::Told(value) => format!(" [default: {value}]"),
        Usual::Nothing => String::new(),
    };
    format!("{}{further}{usual}", option.meaning)
}

impl Args for OptionArgs {
    fn augment_args(command: Command) -> Command {
        let flags = OPTIONS.iter().filter_map(|option| Some(flag(option, option.flag?, option.flag_name()?)));
        let plan = Arg::new(PLAN)
            .long(PLAN)
            .visible_alias("dry-run")
            .conflicts_with("start")
            .action(ArgAction::SetTrue)
            .help_heading(ImportOption::find("start").map(|option| option.group.title()))
            .help(
                "Only find out what the import would do to every record; `muster imports proceed` applies it then. The same as --start plan",
            );
        command.args(flags).arg(plan)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for OptionArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let mut given = Self::default();
        for option in OPTIONS.iter().filter(|option| option.flag.is_some()) {
            let name = option.name;
            let value = match option.kind {
                Kind::YesNo => matches.get_flag(name).then(|| "true".to_owned()),
                Kind::Pairs(_) => matches.get_many::<String>(name).and_then(object),
                _ => matches.get_one::<String>(name).cloned(),
            };
            given.set(name, value);
        }
        if matches.get_flag(PLAN) {
            given.set("start", Some(Start::Plan.as_str().to_owned()));
        }
        Ok(given)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use muster_domain::request::ImportRequest;

    use super::*;

    fn parsed(words: &[&str]) -> OptionArgs {
        let command = OptionArgs::augment_args(Command::new("import"));
        let matches = command.try_get_matches_from(["import"].iter().chain(words)).unwrap();
        OptionArgs::from_arg_matches(&matches).unwrap()
    }

    /// What a request is made of comes whole: what the command line takes is what it hands on.
    #[test]
    fn every_flag_is_handed_on_under_the_name_of_its_option() {
        for option in OPTIONS {
            let Some(flag) = option.flag_name() else { continue };
            let value = match option.kind {
                Kind::Choice(values) => values[0].name.to_owned(),
                Kind::Number(_, most) => most.to_string(),
                Kind::Id => ImportId::new(uuid::Uuid::from_u128(7)).to_string(),
                Kind::Pairs(example) => example.split(',').next().unwrap_or_default().to_owned(),
                Kind::Text(text) => text.examples.first().unwrap_or(&"staff").to_string(),
                Kind::Slug => "acme".to_owned(),
                Kind::YesNo => String::new(),
            };
            let word = format!("--{flag}={value}");
            let word = if value.is_empty() { format!("--{flag}") } else { word };
            let pairs = parsed(&[&word]).pairs();
            assert_eq!(pairs.iter().map(|(name, _)| *name).collect::<Vec<_>>(), [option.name]);
            assert!(ImportRequest::from_pairs(pairs).is_ok(), "{word}");
        }
        assert!(parsed(&[]).pairs().is_empty());
    }

    #[test]
    fn the_order_of_the_words_is_none_of_the_request_and_plan_is_a_start() {
        let given = parsed(&[
            "--encoding",
            "latin1",
            "--plan",
            "--org",
            "acme",
            "--column",
            "A,B=email",
            "--column",
            "C=",
        ]);
        let pairs = given.pairs();
        let names: Vec<&str> = pairs.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, ["organization", "start", "columns", "encoding"]);
        assert_eq!(given.get("start"), Some("plan"));
        assert_eq!(given.get("columns"), Some(r#"{"A,B":"email","C":""}"#));
    }
}
