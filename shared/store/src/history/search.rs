//! Looking for what happened to a user: before-images, what requests left, and what is left of imports without before-images.

use chrono::{DateTime, Utc};
use muster_domain::chunk::decode;
use muster_domain::fault::{Mutant, mutant};
use muster_domain::id::{ChunkId, ImportId, TenantId};
use muster_domain::options::ImportOptions;
use muster_domain::rules::Rules;
use serde_json::{Map, Value};
use sqlx::postgres::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

use super::super::StoreError;
use super::super::convert::read_sheet;
use super::chunk::{Chunk, differences};
use super::{Cursor, Entry, Kept};

/// Applications of chunks that one statement looks through.
const WINDOW: i64 = 500;
/// Such statements of one request.
const WINDOWS: u32 = 12;
/// Imports without before-images that one request looks through, most chunks of theirs whose sheets it looks at, and most that it reads.
const IMPORTS: i64 = 50;
const SHEETS: i64 = 6_000;
const CHUNKS: i64 = 200;

pub(super) struct Search {
    pub(super) tenant: TenantId,
    pub(super) user: Uuid,
    pub(super) since: DateTime<Utc>,
    pub(super) limit: usize,
    pub(super) found: Vec<Kept>,
}

/// What a row of before-images has of a user.
struct OfImages {
    /// The number of the row.
    row: i64,
    /// When the chunk was applied.
    at: DateTime<Utc>,
    /// What happened, the last first. None of it where a record of the user did nothing.
    entries: Vec<Kept>,
}

/// What looking before-images through gave.
struct Scanned {
    found: Vec<OfImages>,
    /// All rows from this number on were looked through.
    to: i64,
    /// What was not looked through is older than this; `None` where all was.
    until: Option<DateTime<Utc>>,
}

impl Search {
    /// Finds a page of entries. Returns where the next one goes on.
    pub(super) async fn go(
        &mut self,
        connection: &mut PgConnection,
        from: Cursor,
    ) -> Result<Option<Cursor>, StoreError> {
        let (mut images, mut requests) = match from {
            Cursor::Gone(import, chunk) => return self.gone(connection, (import, chunk)).await,
            Cursor::Kept(images, requests) => (images, requests),
        };
        let Scanned { found, to, until } = self.images(connection, images).await?;
        let of_requests = self.requests(connection, requests).await?;
        let all_requests = of_requests.len() <= self.limit;
        let (mut found, mut of_requests) = (found.into_iter().peekable(), of_requests.into_iter().peekable());
        while self.found.len() < self.limit {
            let image = found.peek().map(|image| image.at);
            let request = of_requests.peek().map(|(_, (entry, _))| entry.at);
            let request_first = match (image, request) {
                (Some(image), Some(request)) => request > image,
                // Chunks that are not searched yet may have later entries.
                (None, Some(request)) => until.is_none_or(|until| request >= until),
                (_, None) => false,
            };
            if request_first {
                let Some((row, entry)) = of_requests.next() else { break };
                requests = row;
                self.found.push(entry);
            } else {
                let Some(image) = found.next() else { break };
                images = image.row;
                self.found.extend(image.entries);
                // Nothing came before it: an earlier application of the chunk finds the same record in the sheet.
                if self.found.last().is_some_and(|(entry, _)| entry.is_first()) {
                    return Ok(None);
                }
            }
        }
        if self.found.last().is_some_and(|(entry, _)| entry.is_first()) {
            return Ok(None);
        }
        if found.peek().is_none() {
            images = to;
            if until.is_none() && of_requests.peek().is_none() && all_requests {
                return match self.found.is_empty() {
                    true => self.gone(connection, (Uuid::max(), 0)).await,
                    false => Ok(Some(Cursor::Gone(Uuid::max(), 0))),
                };
            }
        }
        Ok(Some(Cursor::Kept(images, requests)))
    }

    /// Looks before-images through from a row on, some windows at a time.
    async fn images(&self, connection: &mut PgConnection, mut before: i64) -> Result<Scanned, StoreError> {
        let mut found = Vec::new();
        let mut until = Some(DateTime::<Utc>::MAX_UTC);
        for _ in 0..WINDOWS {
            let window = sqlx::query!(
                // Rows of an older program have no time of their own.
                r#"select count(*) as "rows!", min(b.id) as first, min(coalesce(b.at, c.applied_at)) as since
                     from (select id, chunk_id, at
                             from before_images
                            where tenant_id = $1 and id < $2
                            order by id desc
                            limit $3) as b
                     left join chunks as c on c.id = b.chunk_id and c.tenant_id = $1"#,
                self.tenant.get(),
                before,
                WINDOW,
            )
            .fetch_one(&mut *connection)
            .await?;
            let Some(first) = window.first else { return Ok(Scanned { found, to: 0, until: None }) };
            let wanted = self.limit.saturating_sub(found.len());
            let hits = self.window(connection, (first, before), wanted).await?;
            let full = hits.len() >= wanted;
            found.extend(hits);
            if full {
                let (to, at) =
                    found.last().map_or((first, window.since), |last: &OfImages| (last.row, Some(last.at)));
                return Ok(Scanned { found, to, until: at.or(until) });
            }
            let older = window.since.is_some_and(|at| at < self.since);
            if older || window.rows < WINDOW {
                return Ok(Scanned { found, to: 0, until: None });
            }
            (before, until) = (first, window.since.or(until));
        }
        Ok(Scanned { found, to: before, until })
    }

    /// What the rows of a window have of the user, up to so many rows.
    async fn window(
        &self,
        connection: &mut PgConnection,
        (first, before): (i64, i64),
        most: usize,
    ) -> Result<Vec<OfImages>, StoreError> {
        let rows = sqlx::query!(
            r#"select b.id, b.images, c.id as chunk, c.records, c.body, c.outcomes,
                      coalesce(b.at, c.applied_at, i.created_at) as "at!",
                      coalesce(c.applied_at, i.created_at) as "last_at!",
                      not exists (select from before_images as earlier
                                   where earlier.chunk_id = c.id and earlier.id < b.id) as "first!",
                      i.id as import, i.filename, i.actor, i.undoes, i.options
                 from before_images as b
                 join chunks as c on c.id = b.chunk_id
                 join imports as i on i.id = b.import_id
                where b.tenant_id = $1 and b.id >= $2 and b.id < $3
                  and c.tenant_id = $1 and i.tenant_id = $1
                  -- Found by the database, which has the sheets; of what it finds by chance nothing comes.
                  and position($4::bytea in c.outcomes) > 0
                order by b.id desc
                limit $5"#,
            self.tenant.get(),
            first,
            before,
            &self.user.as_bytes()[..],
            i64::try_from(most).unwrap_or(i64::MAX),
        )
        .fetch_all(connection)
        .await?;
        let mut found = Vec::with_capacity(rows.len());
        for row in rows {
            let sheet = read_sheet(ChunkId::new(row.chunk), row.records, row.outcomes.as_deref())?;
            let (options, _) = ImportOptions::known_of_stored(row.options);
            let at = if mutant(Mutant::HistoryByLastTime) { row.last_at } else { row.at };
            let chunk = Chunk {
                entry: Entry {
                    at,
                    by: if row.undoes.is_some() { "undo" } else { "import" }.to_owned(),
                    import: Some(ImportId::new(row.import)),
                    filename: row.filename,
                    ..Entry::default()
                },
                records: decode(&row.body).ok(),
                rules: Rules::new(options),
                sheet,
            };
            let images = row.images.as_deref().and_then(|images| decode(images).ok());
            let entries = chunk.entries(self.user, images.as_ref(), row.first);
            let entries = entries.into_iter().map(|entry| (entry, row.actor.clone())).collect();
            found.push(OfImages { row: row.id, at, entries });
        }
        Ok(found)
    }

    /// What requests did, up to one entry more than is wanted.
    async fn requests(
        &self,
        connection: &mut PgConnection,
        before: i64,
    ) -> Result<Vec<(i64, Kept)>, StoreError> {
        let rows = sqlx::query!(
            r#"select id, at, actor, kind, before as "before: Json<Map<String, Value>>",
                      after as "after: Json<Map<String, Value>>"
                 from user_changes
                where tenant_id = $1 and user_id = $2 and id < $3
                order by id desc
                limit $4"#,
            self.tenant.get(),
            self.user,
            before,
            // One more, so that it is known whether that is all.
            i64::try_from(self.limit).unwrap_or(i64::MAX).saturating_add(1),
        )
        .fetch_all(connection)
        .await?;
        let entry = |at, kind, before: &Map<String, Value>, after: &Map<String, Value>| Entry {
            at,
            kind,
            by: "request".to_owned(),
            fields: Some(differences(before, after)),
            ..Entry::default()
        };
        Ok(rows
            .into_iter()
            .map(|row| (row.id, (entry(row.at, row.kind, &row.before.0, &row.after.0), row.actor)))
            .collect())
    }

    /// What is left of imports whose before-images are not kept any more: that a record of theirs did something to the user.
    async fn gone(
        &mut self,
        connection: &mut PgConnection,
        (import, chunk): (Uuid, i64),
    ) -> Result<Option<Cursor>, StoreError> {
        let place = (import, chunk);
        let imports = self.forgotten(connection, place).await?;
        let looked_at = self.with_sheets(connection, &imports, place).await?;
        let mut next = beyond(&looked_at, &imports);
        let chunks: Vec<i64> = looked_at.iter().map(|(_, chunk)| *chunk).collect();
        let rows = sqlx::query!(
            r#"select c.id as chunk, c.records, c.body, c.outcomes, c.applied_at, i.id as import, i.filename, i.actor,
                      i.undoes, i.options, i.created_at
                 from chunks as c
                 join imports as i on i.id = c.import_id
                where c.id = any($1) and c.tenant_id = $2 and i.tenant_id = $2
                  and position($3::bytea in c.outcomes) > 0
                order by c.import_id desc, c.id desc
                limit $4"#,
            &chunks,
            self.tenant.get(),
            &self.user.as_bytes()[..],
            CHUNKS,
        )
        .fetch_all(connection)
        .await?;
        if let Some(last) = rows.last().filter(|_| is_full(rows.len(), CHUNKS)) {
            next = Some((last.import, last.chunk));
        }
        for row in rows {
            let place = (row.import, row.chunk);
            let sheet = read_sheet(ChunkId::new(row.chunk), row.records, row.outcomes.as_deref())?;
            let (options, _) = ImportOptions::known_of_stored(row.options);
            let chunk = Chunk {
                entry: Entry {
                    at: row.applied_at.unwrap_or(row.created_at),
                    by: if row.undoes.is_some() { "undo" } else { "import" }.to_owned(),
                    import: Some(ImportId::new(row.import)),
                    filename: row.filename,
                    ..Entry::default()
                },
                records: decode(&row.body).ok(),
                rules: Rules::new(options),
                sheet,
            };
            self.found
                .extend(chunk.what_is_left(self.user).into_iter().map(|entry| (entry, row.actor.clone())));
            if self.found.last().is_some_and(|(entry, _)| entry.is_first()) {
                return Ok(None);
            }
            if self.found.len() >= self.limit {
                next = Some(place);
                break;
            }
        }
        Ok(next.map(|(import, chunk)| Cursor::Gone(import, chunk)))
    }

    /// Imports without before-images from a place on, the last first.
    async fn forgotten(
        &self,
        connection: &mut PgConnection,
        (import, chunk): (Uuid, i64),
    ) -> Result<Vec<Uuid>, StoreError> {
        Ok(sqlx::query_scalar!(
            "select i.id
               from imports as i
              where i.tenant_id = $1 and (i.id < $2 or i.id = $2 and $5)
                and (i.completed_at is null or i.completed_at >= $3)
                and not exists (select from before_images as b where b.import_id = i.id)
              order by i.id desc
              limit $4",
            self.tenant.get(),
            import,
            self.since,
            IMPORTS,
            chunk > 0,
        )
        .fetch_all(connection)
        .await?)
    }

    /// Their chunks that changed users, each with its import. The sheets are large: so many are looked at, and no more.
    async fn with_sheets(
        &self,
        connection: &mut PgConnection,
        imports: &[Uuid],
        (import, chunk): (Uuid, i64),
    ) -> Result<Vec<(Uuid, i64)>, StoreError> {
        let chunks = sqlx::query!(
            "select c.import_id, c.id
               from chunks as c
              where c.import_id = any($1) and c.tenant_id = $2
                and c.inserted + c.updated > 0
                and (c.import_id < $3 or c.import_id = $3 and c.id < $4)
              order by c.import_id desc, c.id desc
              limit $5",
            imports,
            self.tenant.get(),
            import,
            chunk,
            if mutant(Mutant::GoneWithoutBound) { i64::MAX } else { SHEETS },
        )
        .fetch_all(connection)
        .await?;
        Ok(chunks.into_iter().map(|row| (row.import_id, row.id)).collect())
    }
}

/// Where the search goes on after what was looked at; nowhere where that was all.
fn beyond(looked_at: &[(Uuid, i64)], imports: &[Uuid]) -> Option<(Uuid, i64)> {
    match (looked_at.last(), imports.last()) {
        (Some(last), _) if is_full(looked_at.len(), SHEETS) => Some(*last),
        (_, Some(last)) if is_full(imports.len(), IMPORTS) => Some((*last, 0)),
        _ => None,
    }
}

fn is_full(number: usize, most: i64) -> bool {
    i64::try_from(number).is_ok_and(|number| number == most)
}
