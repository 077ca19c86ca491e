//! `muster explain CODE`: the catalogue of error codes.

use clap::Args;
use muster_shared::error::ErrorCode;
use serde::Serialize;

use crate::failure::{Ended, usage};
use crate::output::{answer, json};

/// Options of `muster explain`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  muster explain email_invalid\n  muster explain            all codes")]
pub(crate) struct ExplainArgs {
    /// The code, as it stands in `[…]` after a message, in JSON and in `_error_code`; without it, all codes
    code: Option<String>,
    /// Answer as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Explained {
    code: ErrorCode,
    explanation: &'static str,
}

/// Runs the command.
pub(crate) fn run(args: &ExplainArgs) -> anyhow::Result<Ended> {
    let codes: Vec<ErrorCode> = match &args.code {
        None => ErrorCode::ALL.to_vec(),
        Some(text) => match text.parse() {
            Ok(code) => vec![code],
            Err(_) => return Err(usage("there is no such error code; `muster explain` lists them all")),
        },
    };
    let explained: Vec<Explained> =
        codes.into_iter().map(|code| Explained { code, explanation: code.explanation() }).collect();
    if args.json {
        json(&explained)?;
    } else {
        let lines = explained.iter().map(|one| format!("{}: {}", one.code, one.explanation));
        answer(lines.collect::<Vec<_>>().join("\n"))?;
    }
    Ok(Ended::Done)
}
