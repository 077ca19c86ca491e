//! The floor: the fastest way into the users table that the database itself has, for one client and one statement.

use std::fs::File;
use std::path::Path;

use anyhow::{Context as _, ensure};

use crate::postgres;

/// How long the floor took, in seconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FloorTime {
    pub(crate) copy: f64,
    pub(crate) insert: f64,
    /// From the start of the copy to the end of the commit.
    pub(crate) total: f64,
}

/// An ordinary, logged table, as for a load that must survive a crash. `"C"` makes sorting a comparison of bytes.
const STAGING: &str = r#"
create table bench_staging (
    email text collate "C", first_name text, last_name text, office text, department text, employee_id text
)"#;

const COPY: &str = r"\copy bench_staging from pstdin with (format csv, header true)";

/// What somebody who knows the server would write:
///   * New rows come in the order of their e-mail addresses, with ascending ids (UUID version 7: the transaction's time,
///     then the row's number), so that both indexes grow at their right end. Random ids, or addresses as they come,
///     take longer; sorting costs less than it saves.
///   * No foreign key, no trigger: there is none on the table.
///   * Rows that would not change are left alone, as Muster leaves them.
const INSERT: &str = r#"
insert into users as u (id, tenant_id, email, given_name, family_name, metadata)
select ((select lpad(to_hex((extract(epoch from now()) * 1000)::bigint), 12, '0'))
           || '70008000' || lpad(to_hex(row_number() over (order by email)), 12, '0'))::uuid,
       1, email, first_name, last_name,
       jsonb_build_object('office', office, 'department', department, 'employee_id', employee_id)
  from bench_staging
    on conflict (tenant_id, email) where email is not null
    do update set given_name  = excluded.given_name,
                  family_name = excluded.family_name,
                  metadata    = excluded.metadata,
                  version     = u.version + 1,
                  updated_at  = now()
            where (u.given_name, u.family_name, u.metadata)
                  is distinct from (excluded.given_name, excluded.family_name, excluded.metadata)"#;

/// The server's clock, at both ends and between.
const CLOCK: &str = "select extract(epoch from clock_timestamp())";

/// Measures the floor in a fresh database.
pub(crate) fn measure(url: &str, file: &Path) -> anyhow::Result<FloorTime> {
    postgres::psql(url, &[STAGING], None)?;
    postgres::settle(url, file)?;
    let source = File::open(file).with_context(|| format!("cannot read {}", file.display()))?;
    let printed = postgres::psql(url, &[CLOCK, "begin", COPY, CLOCK, INSERT, "commit", CLOCK], Some(source))?;
    let clock = printed
        .lines()
        .map(str::parse)
        .collect::<Result<Vec<f64>, _>>()
        .context("reading the server's clock")?;
    ensure!(clock.len() == 3, "the server's clock was read {} times", clock.len());
    let [start, copied, end] = [0, 1, 2].map(|at| clock.get(at).copied().unwrap_or_default());
    Ok(FloorTime { copy: copied - start, insert: end - copied, total: end - start })
}
