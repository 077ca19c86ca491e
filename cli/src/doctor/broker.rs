//! The check of the queue: reachable, with the right topology, and without dead letters.

use muster_queue::{Queue, QueueOptions, Topology};
use muster_runtime::config::Config;
use secrecy::ExposeSecret;

use super::Check;
use crate::connect::Session;

/// Checks the queue that the configuration names.
pub(super) async fn check(session: &Session, config: &Config) -> Check {
    match session.queue(config) {
        Ok(queue) => of(&queue, config).await,
        Err(error) => Check::failed("broker", error.to_string(), "correct AMQP_URL or MUSTER_BROKER_PREFIX"),
    }
}

/// Checks the broker where the database cannot be used; nothing where the queue is kept in the database.
pub(super) async fn check_alone(config: &Config) -> Option<Check> {
    let url = config.broker.url.as_ref()?;
    let queue = Topology::new(&config.broker.prefix)
        .and_then(|topology| Queue::rabbit(url.secret().expose_secret(), topology, QueueOptions::default()));
    Some(match queue {
        Ok(queue) => of(&queue, config).await,
        Err(error) => Check::failed("broker", error.to_string(), "correct AMQP_URL or MUSTER_BROKER_PREFIX"),
    })
}

async fn of(queue: &Queue, config: &Config) -> Check {
    let server = match queue.check().await {
        Ok(server) => server,
        Err(error) => {
            let place = config.broker.url.as_ref().map_or("the database".to_owned(), ToString::to_string);
            let advice = "check that the broker runs, and address, user and virtual host in AMQP_URL";
            return Check::failed("broker", format!("{place}: {error}"), advice);
        }
    };
    let version = server.version.map(|version| format!(" {version}")).unwrap_or_default();
    let name = format!("{}{version}, topology as it must be", server.backend);
    match queue.depth().await {
        Ok(depth) if depth.dead > 0 => Check::warning(
            "broker",
            format!("{name}; {} message(s) waiting, {} dead letter(s)", depth.ready, depth.dead),
            "a running producer takes dead letters back; `muster imports list` shows what failed",
        ),
        Ok(depth) => Check::ok("broker", format!("{name}; {} message(s) waiting", depth.ready)),
        Err(error) => Check::failed("broker", error.to_string(), "check the rights of the broker's user"),
    }
}
