//! The checks of the database: version, migrations, settings, clock.

use muster_runtime::clock;
use muster_runtime::config::Config;
use muster_store::{Store, StoreError, inspect, migrate, status};

use super::{Check, Status};
use crate::pipeline::dispatch_options;

/// Clocks that differ by more than this confuse people who read times.
const SKEW_SECONDS: i64 = 5;
/// The oldest PostgreSQL that Muster is tested with.
const OLDEST: i32 = 140_000;

/// The check of a database that cannot be used.
pub(super) fn unreachable(config: &Config, error: &anyhow::Error) -> Check {
    let advice = match config.database.url {
        Some(_) => "check that PostgreSQL runs, and address, user and password in DATABASE_URL".to_owned(),
        None => format!("look at the data folder {}", config.engine.data_dir.display()),
    };
    let causes: Vec<String> = error.chain().map(ToString::to_string).collect();
    Check::failed("database", causes.join(": "), advice)
}

/// All checks of an open database.
pub(super) async fn checks(store: &Store, config: &Config) -> Vec<Check> {
    let mut checks = vec![migrations(store).await];
    if checks.iter().all(|check| check.status == Status::Ok) {
        checks.push(second_lock(store).await);
    }
    if checks.iter().all(|check| check.status != Status::Failed) {
        checks.push(imports(store, config).await);
    }
    match inspect::server(store).await {
        Ok(server) => {
            checks.push(version(&server));
            checks.push(durability(&server));
            checks.push(connections(&server, config));
            let skew = (clock::now() - server.now).num_seconds();
            checks.push(if skew.abs() > SKEW_SECONDS {
                let message = format!("this machine's clock and the database's differ by {skew} s");
                Check::warning("clock", message, "set both by NTP")
            } else {
                Check::ok("clock", "this machine and the database agree on the time")
            });
        }
        Err(error) => checks.push(Check::failed("settings", error.to_string(), "see the database's log")),
    }
    checks
}

async fn migrations(store: &Store) -> Check {
    let id = "migrations";
    match migrate::pending(store).await {
        Ok(pending) if pending.is_empty() => {
            Check::ok(id, format!("the database has version {}", migrate::program_version()))
        }
        Ok(pending) => {
            Check::failed(id, format!("{} migration(s) are missing", pending.len()), "run `muster migrate`")
        }
        Err(error @ StoreError::SchemaTooNew { .. }) => {
            Check::warning(id, error.to_string(), "bring this program to the newer version")
        }
        Err(error) => Check::failed(id, error.to_string(), "see the database's log"),
    }
}

/// Reads for a tenant use a role that sees only its rows, if that role exists.
async fn second_lock(store: &Store) -> Check {
    let id = "second_lock";
    match store.has_second_lock().await {
        Ok(true) => Check::ok(id, "what is read for a tenant is locked by policies too"),
        Ok(false) => Check::warning(
            id,
            "this user may not be the role muster_tenant, or the role may not read every table, so policies do not lock what is read for a tenant",
            "ask somebody with the right to create roles to run what the head of migrations/0019_second_lock.sql says; if the role exists, it lacks a grant: migrations/0040_second_lock_grants.sql has them",
        ),
        Err(error) => Check::failed(id, error.to_string(), "see the database's log"),
    }
}

/// Whether running imports make progress.
async fn imports(store: &Store, config: &Config) -> Check {
    let id = "imports";
    match status::stalled(store, &dispatch_options(config).bounds()).await {
        Ok(stalled) => match stalled.first.first() {
            None => Check::ok(id, "no running import is stalled"),
            Some(first) => Check::warning(
                id,
                format!(
                    "{} running import(s) make no progress, import {} for longest: {}",
                    stalled.count,
                    first.import,
                    first.progress.reason()
                ),
                "`muster imports show ID` and `muster imports chunks ID --problem` tell more; deploy/README.md, An import does not end",
            ),
        },
        Err(error) => Check::failed(id, error.to_string(), "see the database's log"),
    }
}

fn version(server: &inspect::Server) -> Check {
    let message = format!("PostgreSQL {}", server.version);
    if server.version_number < OLDEST {
        return Check::failed("version", message, "use PostgreSQL 14 or newer");
    }
    Check::ok("version", message)
}

/// Connections of one process beside its pool, slots, uploads and single users: those that listen and those of the row queue.
const LISTENING: u32 = 6;

/// A process that is producer and worker in one is the largest there is.
fn connections(server: &inspect::Server, config: &Config) -> Check {
    let id = "connections";
    let there = u32::try_from(server.connections).unwrap_or(0);
    let pool = config.database.max_connections.min((there / 2).max(1));
    let (slots, uploads, singles) =
        (config.worker.slots(), config.intake.uploads, config.http.user_connections);
    let most = pool + slots + uploads + singles + LISTENING;
    let sum = format!(
        "one process takes up to {most} connections ({pool} for reading, {slots} for its worker's slots, {uploads} for \
         uploads, {singles} for single users, {LISTENING} to listen), and the server has {there} for programs"
    );
    if most > there {
        let advice = format!(
            "set max_connections of the server to {} or more for each process, or lower database.max_connections, \
             intake.uploads, http.user_connections or worker.concurrency",
            most + 3
        );
        return Check::warning(id, sum, advice);
    }
    Check::ok(id, sum)
}

fn durability(server: &inspect::Server) -> Check {
    let id = "durability";
    if !server.fsync || !server.full_page_writes {
        let message = "fsync or full_page_writes is off: a power failure destroys the database";
        return Check::failed(id, message, "switch both on in postgresql.conf");
    }
    if server.synchronous_commit == "off" {
        let message = "synchronous_commit is off: a crash loses what was answered with success just before";
        return Check::warning(id, message, "set synchronous_commit = on for this database");
    }
    Check::ok(id, format!("fsync on, synchronous_commit {}", server.synchronous_commit))
}
