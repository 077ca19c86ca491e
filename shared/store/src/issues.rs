//! Issues: what a record has to say beside its outcome. Written while it is received, and again while it is applied.

use muster_domain::error::stored;
use muster_domain::fault::{Mutant, mutant};
use muster_domain::id::ImportId;
use muster_domain::receive::Issue;
use sqlx::postgres::PgConnection;

use super::StoreError;
use super::convert::wide;

/// Writes issues of records. A record's later issue replaces its earlier one, so that writing twice is writing once. What the record was
/// warned of while it was received is still so after it was applied, and stays.
pub async fn write_issues(
    connection: &mut PgConnection,
    import: ImportId,
    issues: &[Issue],
) -> Result<(), StoreError> {
    if issues.is_empty() || mutant(Mutant::IssuesForgotten) {
        return Ok(());
    }
    let json = |value: &dyn erased::Json| value.text();
    let records: Vec<i64> = issues.iter().map(|issue| wide(issue.record)).collect();
    let failed: Vec<bool> = issues.iter().map(|issue| issue.failed).collect();
    let errors: Vec<Option<String>> = issues.iter().map(|issue| json(&stored(&issue.errors))).collect();
    let warnings: Vec<Option<String>> = issues.iter().map(|issue| json(&issue.warnings)).collect();
    let sources: Vec<Option<String>> = issues.iter().map(|issue| issue.source.clone()).collect();
    sqlx::query!(
        "insert into record_issues (import_id, record, failed, errors, warnings, source)
         select $1, record, failed, errors::json, warnings::json, source::json
           from unnest($2::bigint[], $3::boolean[], $4::text[], $5::text[], $6::text[])
             as issue (record, failed, errors, warnings, source)
         on conflict (import_id, record) do update
            set failed = excluded.failed, errors = excluded.errors, source = excluded.source,
                warnings = case
                    when record_issues.warnings is null or $7 then excluded.warnings
                    when excluded.warnings is null then record_issues.warnings
                    else (select json_agg(told)
                            from (select told from json_array_elements_text(record_issues.warnings) as told
                                  union all
                                  select told from json_array_elements_text(excluded.warnings) as told
                                   where told not in (select earlier
                                                        from json_array_elements_text(record_issues.warnings) as earlier))
                                 as every)
                end",
        import.get(),
        &records,
        &failed,
        &errors as &[Option<String>],
        &warnings as &[Option<String>],
        &sources as &[Option<String>],
        mutant(Mutant::LaterWarningsReplace),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// JSON text of a list, nothing for an empty one.
mod erased {
    use serde::Serialize;

    pub(super) trait Json {
        fn text(&self) -> Option<String>;
    }

    impl<T: Serialize> Json for Vec<T> {
        fn text(&self) -> Option<String> {
            if self.is_empty() { None } else { serde_json::to_string(self).ok() }
        }
    }
}
