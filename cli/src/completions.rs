//! `muster completions SHELL`.

use clap::{Args, Command};
use clap_complete::Shell;

use crate::failure::Exit;
use crate::output::stdout_line;

/// Options of `muster completions`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  muster completions bash > /etc/bash_completion.d/muster\n  muster completions fish > ~/.config/fish/completions/muster.fish"
)]
pub(crate) struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

/// Runs the command: the completions of `program`.
pub(crate) fn run(args: &CompletionsArgs, mut program: Command) -> anyhow::Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut program, "muster", &mut script);
    stdout_line(String::from_utf8_lossy(&script).trim_end())?;
    Ok(Exit::Done)
}
