//! What is told of records that are tried once more: their errors and sources go, and what they were warned of while the file was
//! received stays, since nobody looks at the file a second time. What applying warned of goes too: it will be told anew where it is
//! still so.

use muster_domain::fault::{self, Mutant};
use muster_domain::id::ImportId;
use muster_domain::warning::Warning;
use sqlx::postgres::PgConnection;
use sqlx::types::Json;

use crate::StoreError;

/// Takes the errors of these records away.
pub(super) async fn forget_errors(
    connection: &mut PgConnection,
    import: ImportId,
    records: &[i64],
) -> Result<(), StoreError> {
    let warned = warned(connection, import, records).await?;
    let kept: Vec<i64> = warned.iter().map(|(record, _)| *record).collect();
    let texts: Vec<String> = warned.into_iter().map(|(_, texts)| texts).collect();
    let gone: Vec<i64> =
        records.iter().copied().filter(|record| kept.binary_search(record).is_err()).collect();
    sqlx::query!(
        "with warned as (
             update record_issues
                set failed = false, errors = null, source = null, warnings = kept.warnings::json
               from unnest($2::bigint[], $3::text[]) as kept (record, warnings)
              where import_id = $1 and record_issues.record = kept.record
         )
         delete from record_issues where import_id = $1 and (record = any($4) or $5 and failed)",
        import.get(),
        &kept,
        &texts,
        &gone,
        fault::mutant(Mutant::RetryDeletesAllErrors),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Those of the records that were warned of something while they were received, in their order, each with that as JSON. Of an undo, whose
/// records come from no file, there are none.
async fn warned(
    connection: &mut PgConnection,
    import: ImportId,
    records: &[i64],
) -> Result<Vec<(i64, String)>, StoreError> {
    if fault::mutant(Mutant::RetryForgetsWarnings) {
        return Ok(Vec::new());
    }
    let rows = sqlx::query!(
        r#"select record, warnings as "warnings!: Json<Vec<String>>"
             from record_issues
            where import_id = $1 and record = any($2) and warnings is not null
              and exists (select from imports where id = $1 and undoes is null)
            order by record"#,
        import.get(),
        records,
    )
    .fetch_all(connection)
    .await?;
    let mut warned = Vec::new();
    for row in rows {
        let of_receiving: Vec<&String> =
            row.warnings.0.iter().filter(|text| !Warning::is_text_of_one(text)).collect();
        if !of_receiving.is_empty() {
            let texts = serde_json::to_string(&of_receiving);
            warned.push((row.record, texts.map_err(|error| StoreError::Program(error.to_string()))?));
        }
    }
    Ok(warned)
}
