//! Facts about the database server, for `muster doctor`. (`muster inspect` looks at files.)

use chrono::{DateTime, Utc};

use super::{Store, StoreError};

/// A server's version, time and the settings that durability rests on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// As it calls itself: `17.2 (Debian 17.2-1)`.
    pub version: String,
    /// As a number: 170002.
    pub version_number: i32,
    /// Its clock.
    pub now: DateTime<Utc>,
    /// Whether it waits for the disk at all.
    pub fsync: bool,
    /// Whether a torn page can be repaired.
    pub full_page_writes: bool,
    /// What a commit waits for.
    pub synchronous_commit: String,
    /// How many connections it has for programs.
    pub connections: i32,
}

/// Asks the server.
pub async fn server(store: &Store) -> Result<Server, StoreError> {
    let row = sqlx::query!(
        r#"select current_setting('server_version')                     as "version!",
                  current_setting('server_version_num')::int            as "version_number!",
                  clock_timestamp()                                     as "now!",
                  current_setting('fsync')::boolean                     as "fsync!",
                  current_setting('full_page_writes')::boolean          as "full_page_writes!",
                  current_setting('synchronous_commit')                 as "synchronous_commit!",
                  current_setting('max_connections')::integer
                    - current_setting('superuser_reserved_connections')::integer
                    - coalesce(current_setting('reserved_connections', true), '0')::integer as "connections!""#
    )
    .fetch_one(store.pool())
    .await?;
    Ok(Server {
        version: row.version,
        version_number: row.version_number,
        now: row.now,
        fsync: row.fsync,
        full_page_writes: row.full_page_writes,
        synchronous_commit: row.synchronous_commit,
        connections: row.connections,
    })
}
