//! `muster receipts key`: the public key that verifies receipts of this installation.

use clap::{Args, Subcommand};
use muster_domain::receipt::ALGORITHM;
use muster_producer::api::ReceiptKeyView;
use muster_runtime::config::Config;
use muster_store::receipts;

use crate::client::{Remote, ServerToken, operations};
use crate::connect::{self, Need, Session};
use crate::failure::Exit;
use crate::output::{json, stdout_line};
use crate::shutdown::{Aborted, Shutdown};

/// Options of `muster receipts`.
#[derive(Debug, Args)]
pub(crate) struct ReceiptsArgs {
    #[command(subcommand)]
    what: ReceiptsCommand,
    /// Ask this server instead of the database
    #[arg(long, global = true, value_name = "URL", env = "MUSTER_SERVER")]
    server: Option<String>,
    #[command(flatten)]
    token: ServerToken,
    /// Answer as JSON
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum ReceiptsCommand {
    /// Print the public key of this installation; the first time makes it. Pass it to people who check receipts with `muster verify --key`
    #[command(after_help = "Examples:\n  muster receipts key\n  muster receipts key > acme.pub")]
    Key,
}

/// Runs the command.
pub(crate) async fn run(args: &ReceiptsArgs, config: &Config, shutdown: &Shutdown) -> anyhow::Result<Exit> {
    let ReceiptsCommand::Key = args.what;
    if let Some(server) = &args.server {
        let remote = Remote::new(server, &args.token)?;
        let key = tokio::select! {
            key = remote.ask(operations::IMPORTS_RECEIPT_KEY.call()) => key?,
            () = shutdown.aborting() => return Err(Aborted.into()),
        };
        return print_key(&key, args.json);
    }
    let work = async |session: &Session| {
        let key = receipts::key(&session.store).await?.public().to_string();
        print_key(&ReceiptKeyView { algorithm: ALGORITHM.to_owned(), key }, args.json)
    };
    Box::pin(connect::with(config, Need::Look, shutdown, work)).await
}

fn print_key(key: &ReceiptKeyView, as_json: bool) -> anyhow::Result<Exit> {
    if as_json {
        json(key)?;
    } else {
        stdout_line(&key.key)?;
    }
    Ok(Exit::Done)
}
