//! The problems of an import: failures grouped by code and field, and warnings grouped by text, each with its first records.
//!
//! They are grouped when requested, from the rows of records with errors and warnings. The time grows with
//! their number, the memory does not.

use std::collections::BTreeMap;

use muster_domain::chunk::decode;
use muster_domain::error::ErrorCode;
use muster_domain::fault::{Mutant, mutant};
use muster_domain::id::{ImportId, TenantId};
use muster_domain::record::{REDACTED, looks_secret};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue as Json;

use super::convert::wide;
use super::{Store, StoreError};

/// Places that a problem names.
const PLACES: i64 = 3;
/// Longest example, in characters.
const EXAMPLE_CHARS: usize = 60;

/// Failures with one cause.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// The code of the error.
    pub code: String,
    /// The column or key, if it concerns one.
    pub field: Option<String>,
    /// How many errors have it.
    pub count: u64,
    /// The message of the first one, or what is true of all where each of the messages names fields of its own record.
    pub message: String,
    /// The value of the first record, as uploaded, if it is not a secret.
    pub example: Option<String>,
    /// What to do about it; the import's id is in its commands.
    pub advice: Option<String>,
    /// The first records.
    pub first: Vec<Place>,
}

/// Warnings with one text. Those that begin with the number of another record, as in `Record 7, an earlier one …`, have one text whatever
/// the number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warned {
    /// The text of the first one.
    pub message: String,
    /// How many records have it.
    pub count: u64,
    /// The first records.
    pub first: Vec<Place>,
}

/// The problems of an import's records.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problems {
    /// The causes of failures, the most frequent first.
    pub problems: Vec<Problem>,
    /// Whether there are more causes than these.
    pub more: bool,
    /// The warnings, the most frequent first.
    #[serde(default)]
    pub warnings: Vec<Warned>,
    /// Whether there are more warnings than these.
    #[serde(default)]
    pub more_warnings: bool,
}

impl Problems {
    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.problems.is_empty() && self.warnings.is_empty()
    }
}

/// Where a record stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Its number.
    pub record: u64,
    /// Its line in the file; of a workbook its row. Not known once the upload's records are gone.
    pub line: Option<u64>,
}

/// Which errors are meant.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cause<'c> {
    /// Those with this code.
    pub code: Option<&'c str>,
    /// Those about this column or key.
    pub field: Option<&'c str>,
}

impl Cause<'_> {
    /// As the audit has it; none where all errors are meant.
    pub(crate) fn as_filter(&self) -> Option<serde_json::Value> {
        let pairs = [("code", self.code), ("field", self.field)];
        let given: serde_json::Map<String, serde_json::Value> =
            pairs.into_iter().filter_map(|(name, text)| Some((name.to_owned(), text?.into()))).collect();
        (!given.is_empty()).then_some(given.into())
    }

    /// Whether all errors are meant.
    pub fn is_any(self) -> bool {
        self.code.is_none() && self.field.is_none()
    }
}

/// Up to `limit` causes and `limit` warnings of a tenant's import. Of an import of another there are none.
pub async fn problems(
    store: &Store,
    tenant: TenantId,
    import: ImportId,
    limit: i64,
) -> Result<Problems, StoreError> {
    // One moment for groups and their records.
    let mut snapshot = store.reading_one_moment(tenant).await?;
    let problems = problems_in(&mut snapshot, tenant, import, limit).await?;
    snapshot.commit().await?;
    Ok(problems)
}

/// The same as a transaction sees it.
pub(super) async fn problems_in(
    connection: &mut sqlx::PgConnection,
    tenant: TenantId,
    import: ImportId,
    limit: i64,
) -> Result<Problems, StoreError> {
    let (problems, more) = failures(connection, tenant, import, limit).await?;
    let (warnings, more_warnings) = warnings(connection, tenant, import, limit).await?;
    Ok(Problems { problems, more, warnings, more_warnings })
}

async fn failures(
    connection: &mut sqlx::PgConnection,
    tenant: TenantId,
    import: ImportId,
    limit: i64,
) -> Result<(Vec<Problem>, bool), StoreError> {
    let rows = sqlx::query!(
        r#"with causes as (
                select error->>'code' as code, error->>'field' as field, count(*) as count, min(issue.record) as record,
                       min(error->>'message') <> max(error->>'message') as differ
                  from record_issues as issue
                 cross join lateral json_array_elements(issue.errors) as error
                 where issue.import_id = $1 and issue.failed
                   and exists (select from imports where id = $1 and (tenant_id = $4 or $5))
                 group by error->>'code', error->>'field'
                 order by count(*) desc, min(issue.record)
                 limit $2
           )
           select causes.code as "code!", causes.field, causes.count as "count!", first.records as "records!",
                  issue.source as "source: sqlx::types::Json<Box<Json>>", coalesce(causes.differ, false) as "differ!",
                  (select error->>'message'
                     from json_array_elements(issue.errors) as error
                    where error->>'code' = causes.code and error->>'field' is not distinct from causes.field
                    limit 1) as message
             from causes
             join record_issues as issue on issue.import_id = $1 and issue.record = causes.record
            cross join lateral (
                  select array_agg(record order by record) as records
                    from (select record
                            from record_issues as other
                           where other.import_id = $1 and other.record >= causes.record and other.failed
                             and exists (select from json_array_elements(other.errors) as error
                                          where error->>'code' = causes.code
                                            and error->>'field' is not distinct from causes.field)
                           order by record
                           limit least($3, causes.count)) as these) as first
            order by causes.count desc, causes.record"#,
        import.get(),
        limit + 1,
        PLACES,
        tenant.get(),
        mutant(Mutant::RecordsOfAnyTenant),
    )
    .fetch_all(&mut *connection)
    .await?;
    let more = i64::try_from(rows.len()).unwrap_or(i64::MAX) > limit;
    let wanted: Vec<i64> = rows.iter().flat_map(|row| row.records.iter().copied()).collect();
    let lines = lines(connection, import, &wanted).await?;
    let problems = rows.into_iter().take(usize::try_from(limit).unwrap_or(0)).map(|row| Problem {
        first: row.records.iter().map(|record| place(*record, &lines)).collect(),
        example: example(row.source.as_ref().map(|source| source.0.get()), row.field.as_deref(), &row.code),
        advice: advice(&row.code, import),
        count: row.count.unsigned_abs(),
        message: of_all(&row.code, row.differ).map_or_else(|| row.message.unwrap_or_default(), str::to_owned),
        code: row.code,
        field: row.field,
    });
    Ok((problems.collect(), more))
}

/// What to do about a code, with the import's id in the commands.
fn advice(code: &str, import: ImportId) -> Option<String> {
    let code: ErrorCode = code.parse().ok()?;
    Some(code.advice().replace("<ID>", &import.to_string()))
}

/// What is true of all errors of a cause whose messages name what is wrong with one record each: its fields are not those of the others.
fn of_all(code: &str, differ: bool) -> Option<&'static str> {
    let is_named = differ && code == ErrorCode::ChangedSincePlan.as_str() && !mutant(Mutant::FirstForAll);
    is_named.then(|| ErrorCode::ChangedSincePlan.explanation().trim_end_matches('.'))
}

async fn warnings(
    connection: &mut sqlx::PgConnection,
    tenant: TenantId,
    import: ImportId,
    limit: i64,
) -> Result<(Vec<Warned>, bool), StoreError> {
    let rows = sqlx::query!(
        r#"with texts as (
                select regexp_replace(message, '^Record [0-9]+, ', '') as text, count(*) as count, min(issue.record) as record
                  from record_issues as issue
                 cross join lateral json_array_elements_text(issue.warnings) as message
                 where issue.import_id = $1
                   and exists (select from imports where id = $1 and (tenant_id = $4 or $5))
                 group by regexp_replace(message, '^Record [0-9]+, ', '')
                 order by count(*) desc, min(issue.record)
                 limit $2
           )
           select (select message
                     from json_array_elements_text(issue.warnings) as message
                    where regexp_replace(message, '^Record [0-9]+, ', '') = texts.text
                    limit 1) as "message!",
                  texts.count as "count!", first.records as "records!"
             from texts
             join record_issues as issue on issue.import_id = $1 and issue.record = texts.record
            cross join lateral (
                  select array_agg(record order by record) as records
                    from (select record
                            from record_issues as other
                           where other.import_id = $1 and other.record >= texts.record
                             and exists (select from json_array_elements_text(other.warnings) as message
                                          where regexp_replace(message, '^Record [0-9]+, ', '') = texts.text)
                           order by record
                           limit least($3, texts.count)) as these) as first
            order by texts.count desc, texts.record"#,
        import.get(),
        limit + 1,
        PLACES,
        tenant.get(),
        mutant(Mutant::RecordsOfAnyTenant),
    )
    .fetch_all(&mut *connection)
    .await?;
    let more = i64::try_from(rows.len()).unwrap_or(i64::MAX) > limit;
    let wanted: Vec<i64> = rows.iter().flat_map(|row| row.records.iter().copied()).collect();
    let lines = lines(connection, import, &wanted).await?;
    let warnings = rows.into_iter().take(usize::try_from(limit).unwrap_or(0)).map(|row| Warned {
        first: row.records.iter().map(|record| place(*record, &lines)).collect(),
        count: row.count.unsigned_abs(),
        message: row.message,
    });
    Ok((warnings.collect(), more))
}

fn place(record: i64, lines: &BTreeMap<i64, u64>) -> Place {
    Place { record: record.unsigned_abs(), line: lines.get(&record).copied() }
}

/// The lines of these records. Each chunk that holds one is decoded once.
async fn lines(
    connection: &mut sqlx::PgConnection,
    import: ImportId,
    records: &[i64],
) -> Result<BTreeMap<i64, u64>, StoreError> {
    let mut lines = BTreeMap::new();
    if records.is_empty() {
        return Ok(lines);
    }
    let mut after = 0_i64;
    loop {
        // One at a time: a chunk may be large.
        let row = sqlx::query!(
            "select id, body
               from chunks
              where import_id = $1 and id > $2
                and exists (select from unnest($3::bigint[]) as wanted (record)
                             where record between first_record and last_record)
              order by id
              limit 1",
            import.get(),
            after,
            records,
        )
        .fetch_optional(&mut *connection)
        .await?;
        let Some(row) = row else { return Ok(lines) };
        after = row.id;
        // A body that cannot be read has no lines to tell.
        let Ok(chunk) = decode(&row.body) else { continue };
        let fields = chunk.fields();
        for record in chunk.records(&fields) {
            let number = wide(record.position.record.get());
            // Changes that an undo takes back have no lines.
            if records.contains(&number) && record.position.line > 0 {
                lines.insert(number, record.position.line);
            }
        }
    }
}

/// The value under a name of a record's source, if it may be shown. Of a name in a list (`roles.2`), which only the catalog knows, it is
/// that name; of one in a cell it is the cell.
pub fn example(source: Option<&str>, field: Option<&str>, code: &str) -> Option<String> {
    let field = field?;
    let fields: Vec<(String, serde_json::Value)> = serde_json::from_str(source?).ok()?;
    let named = |wanted: &str| fields.iter().find(|(name, _)| name == wanted).map(|(_, value)| value);
    let value = match (named(field), field.rsplit_once('.')) {
        (Some(value), _) => value.clone(),
        (None, Some((list, place))) if code == ErrorCode::CatalogUnknown.as_str() && !looks_secret(list) => {
            match named(list)? {
                serde_json::Value::Array(items) => match items.get(place.parse::<usize>().ok()?)? {
                    serde_json::Value::Object(change) => change.get("name")?.clone(),
                    name => name.clone(),
                },
                cell => cell.clone(),
            }
        }
        (None, _) => return None,
    };
    let text = match value {
        serde_json::Value::String(text) => text,
        serde_json::Value::Null => return None,
        other => other.to_string(),
    };
    let shown = !text.is_empty() && !text.contains(REDACTED) && !looks_secret(field);
    shown.then(|| text.chars().take(EXAMPLE_CHARS).collect())
}

/// The failed records with such an error after one, in file order.
pub(super) async fn with_cause(
    connection: &mut sqlx::PgConnection,
    import: ImportId,
    cause: Cause<'_>,
    after: u64,
    limit: i64,
) -> Result<Vec<i64>, StoreError> {
    Ok(sqlx::query_scalar!(
        "select record
           from record_issues
          where import_id = $1 and record > $2 and failed
            and exists (select from json_array_elements(errors) as error
                         where ($3::text is null or error->>'code' = $3)
                           and ($4::text is null or error->>'field' = $4))
          order by record
          limit $5",
        import.get(),
        wide(after),
        cause.code,
        cause.field,
        limit,
    )
    .fetch_all(connection)
    .await?)
}

/// Which of these records failed with such an error.
pub(super) async fn among(
    connection: &mut sqlx::PgConnection,
    import: ImportId,
    cause: Cause<'_>,
    records: &[i64],
) -> Result<Vec<i64>, StoreError> {
    Ok(sqlx::query_scalar!(
        "select record
           from record_issues
          where import_id = $1 and record = any($2) and failed
            and exists (select from json_array_elements(errors) as error
                         where ($3::text is null or error->>'code' = $3)
                           and ($4::text is null or error->>'field' = $4))
          order by record",
        import.get(),
        records,
        cause.code,
        cause.field,
    )
    .fetch_all(connection)
    .await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_example_is_the_value_or_the_name_in_a_list_and_no_secret() {
        let told = |source: &str, field: &str, code: &str| example(Some(source), Some(field), code);
        let source = r#"[["Role","chief; cook"],["roles",["a","b"]],["teams",[{"name":"x","value":1}]],["password","p"],["email","bad"]]"#;
        for (field, wanted) in [
            ("Role.0", Some("chief; cook")),
            ("Role", Some("chief; cook")),
            ("roles.1", Some("b")),
            ("teams.0", Some("x")),
            ("roles.7", None),
            ("password.0", None),
            ("nothing.0", None),
        ] {
            assert_eq!(told(source, field, "catalog_unknown").as_deref(), wanted, "{field}");
        }
        assert_eq!(told(source, "email", "email_invalid").as_deref(), Some("bad"));
        assert_eq!(told(source, "roles.1", "type_mismatch"), None, "other values inside may be anything");
    }
}
