//! Whether the comparison sees anything: after a run the database and a log are damaged on purpose, and each damage must be told.

use std::collections::BTreeSet;
use std::io::Write as _;

use anyhow::Context as _;

use super::journal::held;
use super::model::text;
use super::world::World;

/// A damage, and what the comparison must say of it. `$1` and `$2` are addresses of two users that the model knows.
const DAMAGES: [(&str, &str); 7] = [
    (
        "a user's version is not the number of its outcomes",
        "update users set version = version + 1 where email = $1 or $2 is null",
    ),
    ("a user is not as it must be", "update users set given_name = 'another' where email = $1 or $2 is null"),
    ("a user is not there", "delete from users where email = $2 or $1 is null"),
    (
        "users changed otherwise than the outcomes of their transaction say",
        "insert into witness.users (tenant, kind, rows, raised, fell)
         select tenant_id, 'update', 1, 1, 0 from users where $1 <> $2 limit 1",
    ),
    (
        "an ended import has not an error for each failed record",
        "delete from record_issues where $1 <> $2
            and ctid = (select r.ctid from record_issues r join imports i on i.id = r.import_id
                         where r.failed and i.state = 'completed' limit 1)",
    ),
    (
        "a chunk was applied twice",
        "insert into witness.chunks (chunk, import, lane, place, was, became, attempts, begun, pending, inserted, updated,
                                     skipped, failed, crowded, early)
         select chunk, import, lane, place, was, became, attempts, begun, pending, inserted, updated, skipped, failed,
                crowded, early
           from witness.chunks where $1 <> $2 and was = 'dispatched' and became = 'applied' order by seq desc limit 1",
    ),
    (
        "an accepted import lacks records",
        "delete from chunks where $1 <> $2 and id = (select max(id) from chunks where state = 'applied')",
    ),
];

/// The same of a log.
const LEAK: &str = "a user's value stands in a log";

impl World {
    /// Damages what is there, compares again, and returns the damages that were not told.
    pub(crate) async fn unseen_damages(&self) -> anyhow::Result<Vec<&'static str>> {
        let (one, other) = self.two_users().context("no two users that the model knows")?;
        for (what, sql) in DAMAGES {
            let (one, other) = (one.clone(), other.clone());
            self.db
                .rows(sql, move |query| query.bind(one.clone()).bind(other.clone()))
                .await
                .with_context(|| format!("the damage: {what}"))?;
        }
        let log = self.options.dir.join(format!("{}.log", self.workers[0].name));
        writeln!(std::fs::File::options().append(true).open(log)?, "{}", text::MARKER)?;
        self.journal.expect();
        self.final_checks().await?;
        let told: BTreeSet<String> = self.journal.expected();
        let all = DAMAGES.iter().map(|(what, _)| *what).chain([LEAK]);
        Ok(all.filter(|what| !told.contains(*what)).collect())
    }

    /// The addresses of two users of a series that is known exactly.
    fn two_users(&self) -> Option<(String, String)> {
        held(&self.kept).iter().filter(|(_, kept)| !kept.retired).find_map(|(space, kept)| {
            let mut addresses = kept.users.by_address.keys().map(|address| text::email(*space, *address));
            Some((addresses.next()?, addresses.next()?))
        })
    }
}
