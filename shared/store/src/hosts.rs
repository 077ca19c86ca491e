//! Several servers in one URL, one of which accepts writes: `postgres://user@a:5432,b:5432/database`.
//!
//! The driver supports one server. So this module finds the server that accepts writes, before the first
//! connection and then every second, and new connections of the pool go to it. Connections to a dead server
//! fail, and their callers retry.

use std::str::FromStr;
use std::time::Duration;

use muster_domain::fault::{self, Mutant};
use sqlx::Connection;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool};
use tokio::time::{Instant, sleep, timeout};

use super::{StoreError, socket};

/// How often to look, and how long a server has to answer.
const LOOK: Duration = Duration::from_secs(1);
const ANSWER: Duration = Duration::from_secs(3);

/// One target a server of the URL, in its order. A server without a port has that of the last one that names it, or 5432.
pub(super) fn targets(url: &str) -> Result<Vec<PgConnectOptions>, StoreError> {
    urls(url).iter().map(|url| Ok(PgConnectOptions::from_str(url)?)).collect()
}

fn urls(url: &str) -> Vec<String> {
    let whole = || vec![url.to_owned()];
    let Some((scheme, rest)) = url.split_once("://") else { return whole() };
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let (user, hosts) = match authority.rsplit_once('@') {
        Some((user, hosts)) => (format!("{user}@"), hosts),
        None => (String::new(), authority),
    };
    if !hosts.contains(',') {
        return whole();
    }
    // An IPv6 address is in brackets; its colons do not separate a port.
    let port = |host: &str| host.rsplit_once(':').filter(|(_, port)| !port.ends_with(']')).is_some();
    let last = hosts.rsplit(',').find(|host| port(host)).and_then(|host| host.rsplit_once(':'));
    let default = last.map_or("5432", |(_, port)| port);
    let one = |host: &str| {
        let host = if port(host) { host.to_owned() } else { format!("{host}:{default}") };
        format!("{scheme}://{user}{host}{path}")
    };
    hosts.split(',').filter(|host| !host.is_empty()).map(one).collect()
}

/// The first server that takes writes, and a connection to it. Waits for one as long as `patience`.
pub(super) async fn primary(
    targets: &[PgConnectOptions],
    patience: Duration,
) -> Result<(PgConnectOptions, PgConnection), StoreError> {
    let deadline = Instant::now() + patience;
    loop {
        for target in targets {
            match timeout(ANSWER, ask(target)).await {
                Ok(Ok(Some(connection))) => return Ok((target.clone(), connection)),
                Ok(Ok(None)) => {}
                Ok(Err(error)) => {
                    tracing::debug!(host = target.get_host(), %error, "a server does not answer")
                }
                Err(_) => tracing::debug!(host = target.get_host(), "a server does not answer in time"),
            }
        }
        if Instant::now() >= deadline {
            return Err(StoreError::Unreachable("none of the servers takes writes".into()));
        }
        sleep(LOOK).await;
    }
}

/// What a pool sets for its sessions beside what all of them have.
pub(super) type Settings = fn(PgConnectOptions) -> PgConnectOptions;

/// Lets the next connections of pools go to the server that takes writes, for as long as one of the pools is open.
pub(super) fn follow(pools: Vec<(PgPool, Settings)>, targets: Vec<PgConnectOptions>, watched: PgConnection) {
    tokio::spawn(async move {
        let mut watched = watched;
        while pools.iter().any(|(pool, _)| !pool.is_closed()) {
            sleep(LOOK).await;
            // Too late an answer leaves the connection busy; it is not used again.
            if matches!(timeout(ANSWER, takes_writes(&mut watched)).await, Ok(Ok(true))) {
                continue;
            }
            let Ok((target, connection)) = primary(&targets, Duration::ZERO).await else { continue };
            watched = connection;
            tracing::warn!(
                host = target.get_host(),
                port = target.get_port(),
                "this database server takes the writes now"
            );
            for (pool, settings) in &pools {
                pool.set_connect_options(settings(target.clone()));
            }
        }
    });
}

/// A connection to this server, if it takes writes.
async fn ask(target: &PgConnectOptions) -> Result<Option<PgConnection>, StoreError> {
    let mut connection = if fault::mutant(Mutant::ProbesUntuned) {
        sqlx::ConnectOptions::connect(target).await?
    } else {
        socket::connect(target).await?
    };
    if takes_writes(&mut connection).await? {
        return Ok(Some(connection));
    }
    connection.close().await?;
    Ok(None)
}

async fn takes_writes(connection: &mut PgConnection) -> Result<bool, StoreError> {
    Ok(sqlx::query_scalar("select not pg_is_in_recovery()").fetch_one(connection).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_one_server_or_several() {
        assert_eq!(urls("postgres://u:p@a:1/d?x=1,2"), ["postgres://u:p@a:1/d?x=1,2"]);
        assert_eq!(
            urls("postgres://u:p@a:1,b:2/d?sslmode=require"),
            ["postgres://u:p@a:1/d?sslmode=require", "postgres://u:p@b:2/d?sslmode=require"]
        );
        assert_eq!(urls("postgres://a,b:2/d"), ["postgres://a:2/d", "postgres://b:2/d"]);
        assert_eq!(urls("postgres://a,[::1]/d"), ["postgres://a:5432/d", "postgres://[::1]:5432/d"]);
        assert_eq!(urls("postgres://u:a,b@c/d"), ["postgres://u:a,b@c/d"]);
    }
}
