//! `muster webhook`: addresses that are notified about imports, in the store of this machine or on a server.

mod backend;

use anyhow::bail;
use chrono::{DateTime, Utc};
use clap::{Args, Subcommand, ValueEnum};
use muster_domain::import::DeliveryState;
use muster_domain::tenant::Slug;
use muster_domain::webhook::event_types;
use muster_producer::api::{DeliveryView, WebhookView};
use muster_runtime::config::Config;
use muster_store::webhooks::{NewWebhook, Which};
use serde_json::json as value;
use uuid::Uuid;

use self::backend::Backend;
use crate::client::{Remote, ServerToken};
use crate::connect::{self, Need, Session};
use crate::failure::{Exit, usage};
use crate::output::{json, stderr_line, stdout_line, table};
use crate::shutdown::{Aborted, Shutdown};
use crate::values::one_of;

/// Options of `muster webhook`.
#[derive(Debug, Args)]
pub(crate) struct WebhookArgs {
    #[command(subcommand)]
    what: WebhookCommand,
    /// The tenant whose webhooks they are
    #[arg(long, global = true, value_name = "SLUG", default_value = Slug::DEFAULT)]
    tenant: Slug,
    /// Ask this server instead of the database; its token says which tenant
    #[arg(long, global = true, value_name = "URL", env = "MUSTER_SERVER")]
    server: Option<String>,
    #[command(flatten)]
    token: ServerToken,
    /// Answer as JSON
    #[arg(long, global = true)]
    json: bool,
}

/// The events of a webhook.
#[derive(Debug, Args)]
struct EventArgs {
    /// An event to deliver, such as import.completed; can be repeated; without it, all events
    #[arg(long = "event", value_name = "NAME", value_delimiter = ',')]
    events: Vec<String>,
    /// Notify it of an import if more than this percentage of its records failed, from 0 to 99
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(0..100))]
    failed_above: Option<u8>,
}

/// One of two secrets.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum WhichSecret {
    /// The secret before the rotation
    Old,
    /// The secret from the rotation
    New,
}

#[derive(Debug, Subcommand)]
enum WebhookCommand {
    /// Create a webhook and print its secret, once
    #[command(
        after_help = "Examples:\n  muster webhook create https://hooks.example.com/muster\n  muster webhook create https://hooks.example.com/muster --event import.completed,chunk.dead --failed-above 5"
    )]
    Create {
        /// Where it leads
        url: String,
        #[command(flatten)]
        told: EventArgs,
        /// What people call it
        #[arg(long, default_value = "")]
        description: String,
        /// Do not deliver to it yet
        #[arg(long)]
        disabled: bool,
    },
    /// List the tenant's webhooks
    #[command(after_help = "Examples:\n  muster webhook list")]
    List,
    /// Show a webhook
    #[command(after_help = "Examples:\n  muster webhook show 0198")]
    Show {
        /// Its id, or the beginning or the end of it
        id: String,
    },
    /// Deliver to a webhook again: pending deliveries and new events
    #[command(after_help = "Examples:\n  muster webhook enable 0198")]
    Enable {
        /// Its id, or the beginning or the end of it
        id: String,
    },
    /// Deliver nothing to a webhook until it is enabled
    #[command(after_help = "Examples:\n  muster webhook disable 0198")]
    Disable {
        /// Its id, or the beginning or the end of it
        id: String,
    },
    /// Delete a webhook with its secrets and deliveries
    #[command(after_help = "Examples:\n  muster webhook delete 0198")]
    Delete {
        /// Its id, or the beginning or the end of it
        id: String,
    },
    /// Give a webhook a new secret and print it, once; the old one is valid until it is dropped
    #[command(
        after_help = "Examples:\n  muster webhook rotate 0198           a new secret, beside the old one\n  muster webhook drop-secret 0198      once the receiver has the new one"
    )]
    Rotate {
        /// Its id, or the beginning or the end of it
        id: String,
    },
    /// Drop one of a webhook's two secrets
    #[command(
        after_help = "Examples:\n  muster webhook drop-secret 0198\n  muster webhook drop-secret 0198 --which new"
    )]
    DropSecret {
        /// Its id, or the beginning or the end of it
        id: String,
        /// Which one: the old one when the receiver has the new one, the new one where it was lost
        #[arg(long, value_enum, default_value = "old")]
        which: WhichSecret,
    },
    /// List the deliveries of a webhook and their results, newest first
    #[command(after_help = "Examples:\n  muster webhook deliveries 0198 --state failed")]
    Deliveries {
        /// Its id, or the beginning or the end of it
        id: String,
        /// Those in this state only
        #[arg(long, value_parser = one_of::<DeliveryState>(DeliveryState::ALL.iter().map(|state| state.as_str())))]
        state: Option<DeliveryState>,
        /// Most of them
        #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=200))]
        limit: u16,
    },
    /// Repeat a delivery, whatever its result was
    #[command(after_help = "Examples:\n  muster webhook redeliver 0198 0198f3a0-7b7c-7000-8000-000000000001")]
    Redeliver {
        /// Id of the webhook, or the beginning or the end of it
        id: String,
        /// Id of the delivery
        delivery: Uuid,
    },
    /// Tell a webhook `muster.ping`, once, and say how that went
    #[command(after_help = "Examples:\n  muster webhook ping 0198")]
    Ping {
        /// Its id, or the beginning or the end of it
        id: String,
    },
}

/// Runs the command.
pub(crate) async fn run(args: &WebhookArgs, config: &Config, shutdown: &Shutdown) -> anyhow::Result<Exit> {
    if let WebhookCommand::Create { told, .. } = &args.what {
        let known = event_types();
        if told.events.iter().any(|name| !known.contains(name)) {
            return Err(usage(format!("--event must be one of: {}", known.join(", "))));
        }
    }
    if let Some(server) = &args.server {
        let remote = Remote::new(server, &args.token)?;
        let backend = Backend::Behind(&remote);
        return tokio::select! {
            ended = done(args, &backend) => ended,
            () = shutdown.aborting() => Err(Aborted.into()),
        };
    }
    let work = async |session: &Session| {
        let tenant = session.tenant(&args.tenant).await?;
        done(args, &Backend::Here(&session.store, tenant, config)).await
    };
    Box::pin(connect::with(config, Need::Look, shutdown, work)).await
}

async fn done(args: &WebhookArgs, backend: &Backend<'_>) -> anyhow::Result<Exit> {
    match &args.what {
        WebhookCommand::Create { url, told, description, disabled } => {
            let new = NewWebhook {
                url: url.clone(),
                description: description.clone(),
                events: told.events.clone(),
                failed_above: told.failed_above,
                enabled: !disabled,
            };
            created(args, backend, &new).await
        }
        WebhookCommand::List => listed(&backend.list().await?, args.json),
        WebhookCommand::Show { id } => shown(&find(backend, id).await?, args.json),
        WebhookCommand::Enable { id } => {
            let id = find(backend, id).await?.id;
            shown(&backend.enable(id, true).await?, args.json)
        }
        WebhookCommand::Disable { id } => {
            let id = find(backend, id).await?.id;
            shown(&backend.enable(id, false).await?, args.json)
        }
        WebhookCommand::Delete { id } => {
            let id = find(backend, id).await?.id;
            backend.delete(id).await?;
            print_result(args.json, &value!({ "deleted": id }), &format!("webhook {id} is deleted"))
        }
        WebhookCommand::Rotate { id } => {
            let id = find(backend, id).await?.id;
            let secret = backend.rotate(id).await?;
            print_result(args.json, &value!({ "id": id, "secret": secret }), &secret)?;
            stderr_line(
                "this secret is shown this once; deliveries are signed with both until `muster webhook drop-secret` drops the old one",
            );
            Ok(Exit::Done)
        }
        WebhookCommand::DropSecret { id, which } => {
            let id = find(backend, id).await?.id;
            let which = match which {
                WhichSecret::Old => Which::Old,
                WhichSecret::New => Which::New,
            };
            backend.drop_secret(id, which).await?;
            print_result(args.json, &value!({ "id": id, "secrets": 1 }), "one secret is left")
        }
        WebhookCommand::Deliveries { id, state, limit } => {
            let id = find(backend, id).await?.id;
            deliveries(&backend.deliveries(id, *state, *limit).await?, args.json)
        }
        WebhookCommand::Redeliver { id, delivery } => {
            let id = find(backend, id).await?.id;
            tried(&backend.redeliver(id, *delivery).await?, args.json)
        }
        WebhookCommand::Ping { id } => {
            let id = find(backend, id).await?.id;
            tried(&backend.ping(id).await?, args.json)
        }
    }
}

/// The webhook with this id, or the only one whose id begins or ends so.
async fn find(backend: &Backend<'_>, id: &str) -> anyhow::Result<WebhookView> {
    let id = id.to_lowercase();
    let mut found = backend.list().await?;
    found.retain(|webhook| {
        let text = webhook.id.to_string();
        !id.is_empty() && (text.starts_with(&id) || text.ends_with(&id))
    });
    match (found.pop(), found.is_empty()) {
        (Some(only), true) => Ok(only),
        (Some(_), false) => bail!("several webhooks have an id that begins or ends so; give more of it"),
        (None, _) => bail!("there is no such webhook; `muster webhook list` shows those there are"),
    }
}

async fn created(args: &WebhookArgs, backend: &Backend<'_>, new: &NewWebhook) -> anyhow::Result<Exit> {
    let created = backend.create(new).await?;
    if args.json {
        json(&created)?;
    } else {
        stdout_line(&created.secret)?;
        stderr_line(format_args!(
            "webhook {} is created; its secret is shown this once. `muster webhook ping {}` tries it",
            created.webhook.id, created.webhook.id
        ));
    }
    Ok(Exit::Done)
}

fn print_result(as_json: bool, document: &serde_json::Value, text: &str) -> anyhow::Result<Exit> {
    if as_json {
        json(document)?;
    } else {
        stdout_line(text)?;
    }
    Ok(Exit::Done)
}

fn state_of(webhook: &WebhookView) -> String {
    match (&webhook.disabled_reason, webhook.enabled) {
        (_, true) => "enabled".into(),
        (Some(reason), false) => format!("disabled ({reason})"),
        (None, false) => "disabled".into(),
    }
}

fn events_of(webhook: &WebhookView) -> String {
    let mut names =
        if webhook.events.is_empty() { "everything".to_owned() } else { webhook.events.join(", ") };
    if let Some(percent) = webhook.failed_above {
        names.push_str(&format!(", failed records above {percent} %"));
    }
    names
}

fn listed(webhooks: &[WebhookView], as_json: bool) -> anyhow::Result<Exit> {
    if as_json {
        json(&webhooks)?;
        return Ok(Exit::Done);
    }
    let row = |webhook: &WebhookView| {
        let pending = webhook.pending.to_string();
        vec![webhook.id.to_string(), state_of(webhook), pending, webhook.url.clone(), events_of(webhook)]
    };
    let rows: Vec<Vec<String>> = webhooks.iter().map(row).collect();
    stdout_line(table(&["ID", "STATE", "PENDING", "URL", "TOLD"], &rows))?;
    Ok(Exit::Done)
}

fn shown(webhook: &WebhookView, as_json: bool) -> anyhow::Result<Exit> {
    if as_json {
        json(webhook)?;
        return Ok(Exit::Done);
    }
    let rows = [
        ("id", webhook.id.to_string()),
        ("url", webhook.url.clone()),
        ("description", webhook.description.clone()),
        ("state", state_of(webhook)),
        ("told", events_of(webhook)),
        ("secrets", webhook.secrets.to_string()),
        ("pending", webhook.pending.to_string()),
        ("created", webhook.created_at.to_rfc3339()),
        ("changed", webhook.updated_at.to_rfc3339()),
    ];
    let rows: Vec<Vec<String>> = rows.into_iter().map(|(name, value)| vec![name.to_owned(), value]).collect();
    stdout_line(table(&["WEBHOOK", ""], &rows))?;
    Ok(Exit::Done)
}

/// How the last try of a delivery went.
fn last_try(delivery: &DeliveryView) -> String {
    match delivery.tries.last() {
        None => "not tried yet".into(),
        Some(last) => match (&last.problem, last.status) {
            (Some(problem), _) => problem.clone(),
            (None, Some(status)) => format!("{status} after {} ms", last.took_ms),
            (None, None) => String::new(),
        },
    }
}

fn deliveries(deliveries: &[DeliveryView], as_json: bool) -> anyhow::Result<Exit> {
    if as_json {
        json(&deliveries)?;
        return Ok(Exit::Done);
    }
    let time = |at: Option<DateTime<Utc>>| at.map(|at| at.to_rfc3339()).unwrap_or_default();
    let row = |delivery: &DeliveryView| {
        vec![
            delivery.id.to_string(),
            delivery.kind.clone(),
            delivery.state.to_string(),
            delivery.attempts.to_string(),
            time(Some(delivery.created_at)),
            time(delivery.next_try_at),
            last_try(delivery),
        ]
    };
    let rows: Vec<Vec<String>> = deliveries.iter().map(row).collect();
    stdout_line(table(&["DELIVERY", "TYPE", "STATE", "TRIES", "CREATED", "NEXT TRY", "LAST TRY"], &rows))?;
    Ok(Exit::Done)
}

/// How a delivery went that was waited for.
fn tried(delivery: &DeliveryView, as_json: bool) -> anyhow::Result<Exit> {
    let told = match delivery.state {
        DeliveryState::Delivered => format!("delivered: {}", last_try(delivery)),
        DeliveryState::Failed => format!("failed: {}", last_try(delivery)),
        DeliveryState::Pending => {
            format!("delivery {} is still to be made by a producer: {}", delivery.id, last_try(delivery))
        }
    };
    if as_json {
        json(delivery)?;
    } else {
        stdout_line(told)?;
    }
    Ok(if delivery.state == DeliveryState::Failed { Exit::Failure } else { Exit::Done })
}
