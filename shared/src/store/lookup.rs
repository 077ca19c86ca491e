//! Finding records of an import by what stands in the file: the line that they begin on, or their identifier. The answers are numbers of
//! records. At most one decoded chunk is held, whatever the size of the import.

use sqlx::postgres::PgConnection;

use super::intake::wide;
use super::{Store, StoreError};
use crate::chunk::{ChunkRecords, LaneCount, decode, lane_of};
use crate::id::{ImportId, TenantId};
use crate::normalise::{EmailAddress, PhoneNumber, Username};
use crate::options::{IdentifierField, ImportOptions};
use crate::record::RawValue;
use crate::rules::Rules;
use crate::validate::Binding;

/// The last record that begins on a line or before it. Of an import of another tenant there is none.
pub async fn at_line(
    store: &Store,
    tenant: TenantId,
    import: ImportId,
    line: u64,
) -> Result<Option<u64>, StoreError> {
    let mut snapshot = store.reading_one_moment(tenant).await?;
    let mut found: Option<(u64, u64)> = None;
    for lane in 0..lanes(&mut snapshot, tenant, import).await? {
        // Record n begins on line n at the earliest.
        let mut before = wide(line).saturating_add(1);
        loop {
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
    Ok(found.map(|(_, record)| record))
}

/// The first records with an identifier, in file order within each lane: as it stands in the file, or as it is stored.
pub async fn with_identifier(
    store: &Store,
    tenant: TenantId,
    import: ImportId,
    options: &ImportOptions,
    text: &str,
    most: usize,
) -> Result<Vec<u64>, StoreError> {
    let mut snapshot = store.reading_one_moment(tenant).await?;
    let lanes = lanes(&mut snapshot, tenant, import).await?;
    let key = key(options.identifier, text);
    let mut search = Search {
        rules: Rules::new(options.clone()),
        field: options.identifier,
        text,
        key,
        found: Vec::new(),
    };
    // A valid identifier decides the lane of its records, unless the file writes it in another way.
    let own = search.key.as_deref().map(|key| {
        let count = LaneCount::new(u32::try_from(lanes).unwrap_or(1));
        i32::try_from(lane_of(Some(key), 0, count)).unwrap_or(0)
    });
    if let Some(lane) = own {
        search.lane(&mut snapshot, tenant, import, lane, most).await?;
    }
    for lane in (0..lanes).filter(|lane| Some(*lane) != own) {
        if search.key.is_some() && !search.found.is_empty() {
            break;
        }
        search.lane(&mut snapshot, tenant, import, lane, most).await?;
    }
    snapshot.commit().await?;
    search.found.sort_unstable();
    search.found.truncate(most);
    Ok(search.found)
}

struct Search<'t> {
    rules: Rules,
    field: IdentifierField,
    text: &'t str,
    /// The text as it would be stored, where it is a valid identifier.
    key: Option<String>,
    found: Vec<u64>,
}

impl Search<'_> {
    async fn lane(
        &mut self,
        connection: &mut PgConnection,
        tenant: TenantId,
        import: ImportId,
        lane: i32,
        most: usize,
    ) -> Result<(), StoreError> {
        let mut after = 0_i64;
        while self.found.len() < most {
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
            let Some(row) = row else { return Ok(()) };
            after = row.last_record;
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
            // What stands under the name of a record that was not read whole may be a secret.
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
