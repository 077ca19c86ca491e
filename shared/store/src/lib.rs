//! PostgreSQL: the truth about tenants, users, imports and chunks.
//!
//! The store offers operations, not tables: narrow modules of functions, one transaction for each call, and no SQL anywhere else.
//! A function that needs one statement takes any executor (the pool, a connection, a transaction); one that needs several takes
//! the [`Store`] and opens its own transaction, or a `&mut PgConnection` and leaves the transaction to its caller.
//!
//! "Not found" is `None`, "there already" is [`Created::Existing`]; an `Err` is a [`StoreError`], whose
//! [`kind`](StoreError::kind) says whether trying again can help.
//!
//! The types that matter: [`Store`], a pool of connections, opened by [`StoreOptions`]; [`Connection`] and [`Transaction`], which most
//! functions take; [`StoreError`]. In the order of the data's way, the modules: [`receiving`] (with the private `receipt`), [`dispatch`],
//! [`apply`] with [`upsert`], [`plans`], [`undo`] with [`take_back`], [`reports`] with [`status`], [`records`] and [`problems`];
//! [`receipts`] are signed documents about imports; [`migrate`] has the schema.
//!
//! Never put a time-out or a `select!` around these futures: a cancelled statement leaves its connection busy until the
//! server has finished it. The limits are the server's own (see [`StoreOptions`]).

pub mod applications;
pub mod apply;
pub mod audit;
pub mod authgear;
pub mod bulk;
pub mod bulk_jobs;
pub mod catalog;
pub mod chunks;
mod commit;
pub mod connections;
pub mod console_figures;
mod convert;
mod copy;
pub mod deliveries;
pub mod dispatch;
mod duplicates;
pub mod erase;
mod error;
pub mod events;
pub mod family;
pub mod figures;
pub mod history;
pub mod holders;
pub mod holding;
mod hosts;
pub mod import_profiles;
pub mod inspect;
mod issues;
pub mod keys;
pub mod lifecycle;
pub mod lookup;
pub mod members;
pub mod migrate;
pub mod overview;
pub mod plans;
mod pool;
pub mod problems;
pub mod profiles;
pub mod quota;
pub mod readiness;
mod receipt;
pub mod receipts;
pub mod receiving;
pub mod records;
pub mod reports;
pub mod retention;
mod second_lock;
pub mod sessions;
mod socket;
pub mod status;
pub mod supersede;
pub mod take_back;
pub mod tenants;
pub mod tokens;
pub mod undo;
mod unreadable;
pub mod upsert;
pub mod users;
pub mod webhooks;

use muster_domain::fault::{Mutant, mutant};

pub use commit::{commit, forget_commit_marks};
pub use error::{DatabaseError, StoreError};
pub use muster_runtime::retry::ErrorKind;
pub use pool::{PoolStatus, Store, StoreOptions, UploadPermit, Wakes};

/// One connection to the database.
pub type Connection = sqlx::PgConnection;

/// A transaction, or a savepoint in one. Dropped, it is rolled back.
pub type Transaction<'c> = sqlx::Transaction<'c, sqlx::Postgres>;

/// Begins a transaction.
pub async fn begin(connection: &mut Connection) -> Result<Transaction<'_>, StoreError> {
    Ok(sqlx::Connection::begin(connection).await?)
}

/// Begins a transaction that only reads, for one tenant, and sees one moment however many statements it has.
pub async fn snapshot(
    store: &Store,
    tenant: muster_domain::id::TenantId,
) -> Result<Transaction<'static>, StoreError> {
    store.reading_one_moment(tenant).await
}

/// Begins a part of a transaction that can be rolled back separately.
pub async fn savepoint<'t>(transaction: &'t mut Transaction<'_>) -> Result<Transaction<'t>, StoreError> {
    Ok(sqlx::Connection::begin(&mut **transaction).await?)
}

/// Checks that a row which is locked in its state was moved on.
fn one_moved(rows: u64, what: &str) -> Result<(), StoreError> {
    match rows {
        1 => Ok(()),
        rows => Err(StoreError::Program(format!("{what} was to be moved on, and {rows} were"))),
    }
}

/// The trace that a new import belongs to: that of the work which makes it.
fn trace_of_work() -> Option<String> {
    let current = muster_runtime::telemetry::traces::carried();
    current.filter(|_| !mutant(Mutant::ImportForgetsTrace)).map(|context| context.to_string())
}

/// What creating something by its name found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Created<T> {
    /// It was not there and is now.
    New(T),
    /// It was there already and is unchanged.
    Existing(T),
}

impl<T> Created<T> {
    /// The thing, whether new or not.
    pub fn into_inner(self) -> T {
        match self {
            Self::New(thing) | Self::Existing(thing) => thing,
        }
    }

    /// Whether this call created it.
    pub fn is_new(&self) -> bool {
        matches!(self, Self::New(_))
    }
}
