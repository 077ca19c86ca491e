//! Migrations: those in the program, those applied to the database, and applying the missing ones.
//!
//! Each migration commits together with the note that it was applied, so a crash leaves a database at some version and
//! never between two. Several programs may migrate at the same time: an advisory lock lets one of them work, and the
//! others then find nothing to do.

use std::collections::BTreeMap;

use sqlx::PgConnection;
use sqlx::migrate::{Migrate, Migrator};

use super::{Store, StoreError};

/// The migrations of this program.
static MIGRATOR: Migrator = sqlx::migrate!("../../migrations");

/// Lock for the whole migration, in addition to the migrator's own: an arbitrary number that never changes.
const LOCK: i64 = 0x6d75_7374_6572_0001;

/// One migration.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Migration {
    /// The number its file's name begins with.
    pub version: i64,
    /// The rest of the name.
    pub description: String,
}

/// What migrating did.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Report {
    /// Applied now, in this order. Empty when there was nothing to do.
    pub applied: Vec<Migration>,
    /// The version that the database has now.
    pub version: i64,
}

/// Brings the database to this program's version.
pub async fn run(store: &Store) -> Result<Report, StoreError> {
    let mut connection = store.connection().await?;
    // However long another program migrates, wait for it, and however long a migration takes, let it.
    sqlx::raw_sql("set statement_timeout = 0; set lock_timeout = 0").execute(&mut connection).await?;
    sqlx::query("select pg_advisory_lock($1)").bind(LOCK).execute(&mut connection).await?;
    // But a migration that waits for a table's lock makes everyone else wait behind it: rather fail, and be run again.
    sqlx::raw_sql("set lock_timeout = '10s'").execute(&mut connection).await?;

    let applied = missing(&mut connection).await?;
    MIGRATOR.run_direct(None, &mut connection, false).await?;
    Ok(Report { applied, version: program_version() })
    // The lock goes with the connection.
}

/// The migrations that the database lacks, in order. Fails with [`StoreError::SchemaTooNew`] when it has one that this
/// program does not know; a program that only works on the database may go on then, since migrations are made so that
/// the programs of the version before keep working.
pub async fn pending(store: &Store) -> Result<Vec<Migration>, StoreError> {
    missing(&mut *store.pool().acquire().await?).await
}

/// The version that this program brings a database to.
pub fn program_version() -> i64 {
    MIGRATOR.iter().map(|migration| migration.version).max().unwrap_or(0)
}

/// A number that changes with the migrations: names the tests' template database.
pub fn fingerprint() -> u64 {
    let checksums: Vec<u8> =
        MIGRATOR.iter().flat_map(|migration| migration.checksum.iter().copied()).collect();
    xxhash_rust::xxh3::xxh3_64(&checksums)
}

async fn missing(connection: &mut PgConnection) -> Result<Vec<Migration>, StoreError> {
    // Not a checked query: the table is the migrator's own and is not there before the first migration.
    let exists: bool = sqlx::query_scalar("select to_regclass('_sqlx_migrations') is not null")
        .fetch_one(&mut *connection)
        .await?;
    let applied = match exists {
        true => connection.list_applied_migrations(&MIGRATOR.table_name).await?,
        false => Vec::new(),
    };
    let mut applied: BTreeMap<i64, _> = applied.into_iter().map(|row| (row.version, row.checksum)).collect();

    let mut missing = Vec::new();
    for migration in MIGRATOR.iter() {
        match applied.remove(&migration.version) {
            Some(checksum) if checksum == migration.checksum => {}
            Some(_) => return Err(StoreError::SchemaDiffers(migration.version)),
            None => missing.push(Migration {
                version: migration.version,
                description: migration.description.clone().into_owned(),
            }),
        }
    }
    match applied.last_key_value() {
        Some((version, _)) => {
            Err(StoreError::SchemaTooNew { database: *version, program: program_version() })
        }
        None => Ok(missing),
    }
}
