//! Finds records of an import by the line on which they begin, or by their identifier. The results are record
//! numbers. At most one decoded chunk is in memory, whatever the size of the import, and a search that takes
//! too long is stopped.

use std::time::Duration;

use muster_domain::chunk::{ChunkRecords, LaneCount, LaneHash, decode, lane_of};
use muster_domain::fault::{Mutant, mutant};
use muster_domain::id::{ImportId, TenantId};
use muster_domain::normalise::{EmailAddress, PhoneNumber, Username};
use muster_domain::options::{IdentifierField, ImportOptions};
use muster_domain::parse::Format;
use muster_domain::record::RawValue;
use muster_domain::rules::Rules;
use muster_domain::validate::Binding;
use sqlx::postgres::PgConnection;
use tokio::time::Instant;

use super::convert::wide;
use super::{Store, StoreError};

/// What a search came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found<T> {
    /// What was found.
    pub found: T,
    /// The record at which the search was stopped because its time was over.
    pub stopped_at: Option<u64>,
}

/// How long a search may take; it looks at the clock between chunks.
#[derive(Debug, Clone, Copy)]
struct Deadline(Instant);

impl Deadline {
    fn after(most: Duration) -> Self {
        Self(Instant::now() + most)
    }

    fn is_over(self) -> bool {
        Instant::now() >= self.0 && !mutant(Mutant::LooksForEver)
    }
}

/// The last record that begins on a line or before it. Of an import of another tenant there is none.
pub async fn at_line(
    store: &Store,
    tenant: TenantId,
    import: ImportId,
    format: Format,
    line: u64,
    most: Duration,
) -> Result<Found<Option<u64>>, StoreError> {
    let deadline = Deadline::after(most);
    let mut snapshot = store.reading_one_moment(tenant).await?;
    let mut found: Option<(u64, u64)> = None;
    let mut stopped_at = None;
    'lanes: for lane in 0..lanes(&mut snapshot, tenant, import).await? {
        // Where each record has a line of its own, record n begins on line n at the earliest.
        let own_lines = !matches!(format, Format::Json) || mutant(Mutant::RecordsHaveLines);
        let mut before = if own_lines { wide(line).saturating_add(1) } else { i64::MAX };
        loop {
            if deadline.is_over() {
                let at = if before == i64::MAX { 0 } else { before.unsigned_abs() };
                stopped_at = Some(found.map_or(at, |(_, record)| record));
                break 'lanes;
            }
            let row = sqlx::query!(
                "select first_record, body
                   from chunks
                  where import_id = $1 and lane = $2 and first_record < $3 and tenant_id = $4
                  order by last_record desc
                  limit 1",
                import.get(),
                lane,
                before,
                tenant.get(),
            )
            .fetch_optional(&mut *snapshot)
            .await?;
            let Some(row) = row else { break };
            before = row.first_record;
            let Ok(chunk) = decode(&row.body) else { continue };
            let fields = chunk.fields();
            let places =
                chunk.records(&fields).map(|record| (record.position.line, record.position.record.get()));
            let Some(last) = places.filter(|(begins, _)| *begins <= line).max() else { continue };
            found = found.max(Some(last));
            break;
        }
    }
    snapshot.commit().await?;
    Ok(Found { found: found.map(|(_, record)| record), stopped_at })
}

/// The first records with an identifier, in file order. The identifier is compared as written in the file and as stored.
pub async fn with_identifier(
    store: &Store,
    tenant: TenantId,
    import: ImportId,
    options: &ImportOptions,
    text: &str,
    most: usize,
    time: Duration,
) -> Result<Found<Vec<u64>>, StoreError> {
    let mut snapshot = store.reading_one_moment(tenant).await?;
    let lanes = lanes(&mut snapshot, tenant, import).await?;
    let key = key(options.identifier, text);
    let mut search = Search {
        rules: Rules::new(options.clone()),
        field: options.identifier,
        text,
        key,
        most,
        deadline: Deadline::after(time),
        found: Vec::new(),
        stopped_at: None,
    };
    // A valid identifier decides the lane of its records, unless the file writes it in another way.
    let own = search.key.as_deref().map(|key| {
        let count = LaneCount::new(u32::try_from(lanes).unwrap_or(1));
        i32::try_from(lane_of(Some(LaneHash::of(key)), 0, count)).unwrap_or(0)
    });
    if let Some(lane) = own {
        search.lanes(&mut snapshot, tenant, import, vec![lane]).await?;
    }
    if search.key.is_none() || search.found.is_empty() {
        let others = (0..lanes).filter(|lane| Some(*lane) != own).collect();
        search.lanes(&mut snapshot, tenant, import, others).await?;
    }
    snapshot.commit().await?;
    search.found.sort_unstable();
    search.found.truncate(most);
    Ok(Found { found: search.found, stopped_at: search.stopped_at })
}

struct Search<'t> {
    rules: Rules,
    field: IdentifierField,
    text: &'t str,
    /// The text as it would be stored, where it is a valid identifier.
    key: Option<String>,
    most: usize,
    deadline: Deadline,
    found: Vec<u64>,
    stopped_at: Option<u64>,
}

impl Search<'_> {
    /// Searches lanes side by side, so that of what is found nothing before the record to which it came is missing.
    async fn lanes(
        &mut self,
        connection: &mut PgConnection,
        tenant: TenantId,
        import: ImportId,
        lanes: Vec<i32>,
    ) -> Result<(), StoreError> {
        let mut open: Vec<(i64, i32)> = lanes.into_iter().map(|lane| (0, lane)).collect();
        while self.stopped_at.is_none() {
            let Some(next) = (0..open.len()).min_by_key(|at| open.get(*at).copied()) else { break };
            let Some((after, lane)) = open.get(next).copied() else { break };
            let before = self.found.iter().filter(|record| **record <= after.unsigned_abs()).count();
            if before >= self.most {
                break;
            }
            if self.deadline.is_over() {
                self.stopped_at = Some(after.unsigned_abs());
                break;
            }
            let row = sqlx::query!(
                "select last_record, body
                   from chunks
                  where import_id = $1 and lane = $2 and last_record > $3 and tenant_id = $4
                  order by last_record
                  limit 1",
                import.get(),
                lane,
                after,
                tenant.get(),
            )
            .fetch_optional(&mut *connection)
            .await?;
            let Some(row) = row else {
                open.swap_remove(next);
                continue;
            };
            if let Some(place) = open.get_mut(next) {
                place.0 = row.last_record;
            }
            // What cannot be read has no identifiers to tell.
            if let Ok(chunk) = decode(&row.body) {
                self.chunk(&chunk);
            }
        }
        Ok(())
    }

    fn chunk(&mut self, chunk: &ChunkRecords) {
        let mut binding = Binding::new(&self.rules);
        binding.extend(chunk.names());
        let fields = chunk.fields();
        for record in chunk.records(&fields) {
            let Some(name) = binding.identifier(&record, &self.rules, self.field) else { continue };
            // The values of a record that was not read completely may be secrets.
            let hidden = binding.secrets().hide_whole(&record) || binding.secrets().hides(name);
            if let Some(RawValue::Text(value) | RawValue::Json(value)) = record.value(name)
                && !hidden
                && self.is_meant(value)
            {
                self.found.push(record.position.record.get());
            }
        }
    }

    fn is_meant(&self, value: &str) -> bool {
        value.trim() == self.text.trim()
            || self.key.is_some() && key(self.field, value).as_deref() == self.key.as_deref()
    }
}

/// An identifier in the form in which it is stored.
fn key(field: IdentifierField, value: &str) -> Option<String> {
    let key = match field {
        IdentifierField::Email => EmailAddress::parse(value).ok()?.into_inner(),
        IdentifierField::PhoneNumber => PhoneNumber::parse(value).ok()?.into_inner(),
        IdentifierField::PreferredUsername => Username::parse(value).ok()?.into_inner(),
    };
    Some(key.into_owned())
}

async fn lanes(connection: &mut PgConnection, tenant: TenantId, import: ImportId) -> Result<i32, StoreError> {
    let lanes = sqlx::query_scalar!(
        "select lanes from imports where id = $1 and tenant_id = $2",
        import.get(),
        tenant.get(),
    );
    Ok(lanes.fetch_optional(connection).await?.unwrap_or(0))
}
