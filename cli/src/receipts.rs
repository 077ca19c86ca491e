//! `muster receipts key`: the public key by which receipts of this installation are known.

use clap::{Args, Subcommand};
use muster_domain::receipt::ALGORITHM;
use muster_producer::api::ReceiptKeyView;
use muster_runtime::config::Config;
use muster_store::receipts;

use crate::client::{Remote, ServerToken, operations};
use crate::connect::{self, Need, Session};
use crate::failure::Ended;
use crate::output::{answer, json};
use crate::shutdown::{Aborted, Shutdown};

/// Options of `muster receipts`.
#[derive(Debug, Args)]
pub(crate) struct ReceiptsArgs {
    #[command(subcommand)]
    what: What,
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
enum What {
    /// Print the public key of this installation; the first time makes it. Give it to whoever checks receipts with `muster verify --key`
    #[command(after_help = "Examples:\n  muster receipts key\n  muster receipts key > acme.pub")]
    Key,
}

/// Runs the command.
pub(crate) async fn run(args: &ReceiptsArgs, config: &Config, shutdown: &Shutdown) -> anyhow::Result<Ended> {
    let What::Key = args.what;
    if let Some(server) = &args.server {
        let remote = Remote::new(server, &args.token)?;
        let key = tokio::select! {
            key = remote.ask(operations::IMPORTS_RECEIPT_KEY.call()) => key?,
            () = shutdown.aborting() => return Err(Aborted.into()),
        };
        return told(&key, args.json);
    }
    let work = async |session: &Session| {
        let key = receipts::key(&session.store).await?.public().to_string();
        told(&ReceiptKeyView { algorithm: ALGORITHM.to_owned(), key }, args.json)
    };
    Box::pin(connect::with(config, Need::Look, shutdown, work)).await
}

fn told(key: &ReceiptKeyView, as_json: bool) -> anyhow::Result<Ended> {
    if as_json {
        json(key)?;
    } else {
        answer(&key.key)?;
    }
    Ok(Ended::Done)
}
