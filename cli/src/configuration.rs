//! `muster config`: the settings in effect, and all there are.

use clap::{Args, Subcommand};
use muster_runtime::config::{Config, reference};

use crate::failure::Exit;
use crate::output::{json, stdout_line, table};

/// Options of `muster config`.
#[derive(Debug, Args)]
pub(crate) struct ConfigArgs {
    #[command(subcommand)]
    pub(crate) what: ConfigCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Show every setting as it is in effect and where it comes from; passwords are hidden
    #[command(after_help = "Examples:\n  muster config show\n  muster config show --json")]
    Show {
        /// Answer as JSON
        #[arg(long)]
        json: bool,
    },
    /// Print the reference of all settings as a table in Markdown
    #[command(after_help = "Examples:\n  muster config reference > settings.md")]
    Reference,
}

/// Runs the command.
pub(crate) fn run(args: &ConfigArgs, config: &Config) -> anyhow::Result<Exit> {
    match args.what {
        ConfigCommand::Reference => stdout_line(reference().trim_end())?,
        ConfigCommand::Show { json: true } => json(&config.effective())?,
        ConfigCommand::Show { json: false } => {
            let rows: Vec<Vec<String>> = config
                .effective()
                .into_iter()
                .map(|setting| {
                    let value = setting.value.unwrap_or_else(|| "(not set)".into());
                    vec![setting.key, value, setting.source.to_string(), setting.variable]
                })
                .collect();
            stdout_line(table(&["SETTING", "VALUE", "SOURCE", "ENVIRONMENT"], &rows))?;
        }
    }
    Ok(Exit::Done)
}
