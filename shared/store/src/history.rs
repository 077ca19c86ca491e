//! What happened to a user: every import, undo and request about a single user that changed it, the last one first.
//!
//! What imports and undos did comes from the before-images; which chunks concern a user their sheets of
//! outcomes tell, in which the database looks for the user's id. So that a request is answered soon, it looks
//! a bounded number of chunks through, and says where the next one goes on. What requests about a single user
//! did is kept in a table of its own, written in their transactions ([`note`]). When before-images are no
//! longer kept, only the record, its import and its outcome are known. No secret is in any of this.

mod chunk;
mod names;
mod search;

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, TimeDelta, Utc};
use muster_domain::fault::{Mutant, mutant};
use muster_domain::id::{ImportId, TenantId, UserId};
use muster_domain::undo::{Change, Kind};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::postgres::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

use self::names::{name_actors, name_fields};
use self::search::Search;
use super::{Store, StoreError};

/// How much clocks may differ: what ended longer than this before a user was made did nothing to it.
const CLOCKS: TimeDelta = TimeDelta::days(1);

/// One thing that happened to a user.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// When.
    pub at: DateTime<Utc>,
    /// `inserted`, `updated` or `deleted`.
    pub kind: String,
    /// What did it: `import`, `undo` or `request`.
    pub by: String,
    /// Who did it, where that is known.
    pub actor: Option<Actor>,
    /// The import or undo.
    pub import: Option<ImportId>,
    /// Name of its file.
    pub filename: Option<String>,
    /// Number of the record, the last one where several had a part in it.
    pub record: Option<u64>,
    /// The line of the file that it begins on.
    pub line: Option<u64>,
    /// What changed, by name. Of an import that inserted the user: what its record says. `None` where that is not kept any more.
    pub fields: Option<Vec<FieldChange>>,
}

impl Entry {
    /// Whether nothing can have come before it: the user was made. One that an undo made again was there before.
    fn is_first(&self) -> bool {
        self.kind == Kind::Inserted.as_str() && self.by != "undo"
    }
}

/// Who did something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// `token` or `operator`.
    pub kind: String,
    /// Id of the token.
    pub token: Option<Uuid>,
    /// What the token is called.
    pub name: Option<String>,
}

/// One field before and after.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FieldChange {
    /// Its name, as `given_name`, `metadata.office` or `roles.Agent`.
    pub field: String,
    /// What it was; null for nothing.
    pub before: Value,
    /// The new value; null for none.
    pub after: Value,
}

/// Some of what happened to a user, the last first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Page {
    /// What happened. A page may have fewer entries than were asked for, or none, and not be the last.
    pub entries: Vec<Entry>,
    /// What to give as `after` for the next page; null on the last.
    pub next: Option<String>,
    /// On the last page: whether earlier history is no longer kept. The first entry of all would be that the user was inserted.
    pub older_gone: bool,
}

/// Where a page goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cursor {
    /// Before these rows of before-images and of changes by requests.
    Kept(i64, i64),
    /// Of the imports whose before-images are gone: before this chunk of this one. Before chunk 0 is before the import.
    Gone(Uuid, i64),
}

impl Cursor {
    const START: Self = Self::Kept(i64::MAX, i64::MAX);
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kept(images, requests) => write!(f, "{images}.{requests}"),
            Self::Gone(import, 0) => write!(f, "{import}"),
            Self::Gone(import, chunk) => write!(f, "{import}_{chunk}"),
        }
    }
}

/// The text is no [`Cursor`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be `next` of the page before")]
pub struct NoCursor;

impl FromStr for Cursor {
    type Err = NoCursor;

    fn from_str(text: &str) -> Result<Self, NoCursor> {
        let number = |text: &str| text.parse().ok().filter(|number: &i64| *number >= 0).ok_or(NoCursor);
        if let Some((images, requests)) = text.split_once('.') {
            return Ok(Self::Kept(number(images)?, number(requests)?));
        }
        let (import, chunk) = text.split_once('_').unwrap_or((text, "0"));
        Ok(Self::Gone(import.parse().map_err(|_| NoCursor)?, number(chunk)?))
    }
}

/// Notes what a request about a single user did, in its transaction.
pub async fn note(
    connection: &mut PgConnection,
    tenant: TenantId,
    actor: Option<&str>,
    change: &Change,
) -> Result<(), StoreError> {
    if mutant(Mutant::RequestsLeaveNoTrace) {
        return Ok(());
    }
    sqlx::query!(
        "insert into user_changes (tenant_id, user_id, actor, kind, before, after) values ($1, $2, $3, $4, $5, $6)",
        tenant.get(),
        change.user,
        actor,
        change.kind.as_str(),
        Json(&change.before) as _,
        Json(&change.after) as _,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// What happened to a tenant's user, up to about `limit` entries. `None` where nothing is known of such a user.
pub async fn page(
    store: &Store,
    tenant: TenantId,
    user: UserId,
    after: Option<Cursor>,
    limit: usize,
) -> Result<Option<Page>, StoreError> {
    let mut reading = store.reading_one_moment(tenant).await?;
    let there = sqlx::query_scalar!(
        r#"select exists (select from users where tenant_id = $1 and id = $2) as "there!""#,
        tenant.get(),
        user.get(),
    )
    .fetch_one(&mut *reading)
    .await?;
    let mut search = Search { tenant, user: user.get(), since: since(user.get()), limit, found: Vec::new() };
    let next = search.go(&mut reading, after.unwrap_or(Cursor::START)).await?;
    let mut entries = search.found;
    if !there && entries.is_empty() && after.is_none() && next.is_none() {
        return Ok(None);
    }
    let begins = entries.last().is_some_and(|(entry, _)| entry.is_first());
    let older_gone = next.is_none() && !begins;
    name_fields(&mut reading, tenant, &mut entries).await?;
    reading.commit().await?;
    name_actors(store, &mut entries).await?;
    let entries = entries.into_iter().map(|(entry, _)| entry).collect();
    Ok(Some(Page { entries, next: next.map(|next| next.to_string()), older_gone }))
}

/// Before when nothing can have happened to a user: its id has the time in it.
fn since(user: Uuid) -> DateTime<Utc> {
    let made = user.get_timestamp().and_then(|stamp| {
        let (seconds, nanoseconds) = stamp.to_unix();
        DateTime::from_timestamp(i64::try_from(seconds).ok()?, nanoseconds)
    });
    made.map_or(DateTime::UNIX_EPOCH, |made| made - CLOCKS)
}

/// An entry, and its actor as it is kept.
type Kept = (Entry, Option<String>);

/// Rows deleted in one go.
const AT_A_TIME: i64 = 1_000;

/// Deletes what requests did longer ago than that. Returns how many rows there were.
pub async fn forget(store: &Store, seconds: f64) -> Result<u64, StoreError> {
    let forgotten = sqlx::query!(
        "delete from user_changes
          where id in (select id from user_changes where at < now() - make_interval(secs => $1) limit $2)",
        seconds,
        AT_A_TIME,
    )
    .execute(store.pool())
    .await?;
    Ok(forgotten.rows_affected())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_comes_back_from_its_text() {
        for cursor in
            [Cursor::START, Cursor::Kept(0, 7), Cursor::Gone(Uuid::max(), 0), Cursor::Gone(Uuid::nil(), 7)]
        {
            assert_eq!(cursor.to_string().parse(), Ok(cursor));
        }
        for text in ["", "1", "-1.2", "1.2.3", "x.1", "1.", "x_1", "ffffffff-ffff-ffff-ffff-ffffffffffff_x"] {
            assert_eq!(text.parse::<Cursor>(), Err(NoCursor), "{text}");
        }
    }

    #[test]
    fn a_user_without_a_time_in_its_id_is_looked_for_from_the_beginning() {
        assert_eq!(since(Uuid::from_u128(1)), DateTime::UNIX_EPOCH);
        let made = since(muster_runtime::clock::new_id());
        assert!(muster_runtime::clock::now() - made < TimeDelta::days(2));
    }
}
