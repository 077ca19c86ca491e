//! The database's own record of what was done, written by triggers in the transaction that does it, and only ever added to.
//! An upsert that is done twice leaves the same user; the witness then has two lines.

use anyhow::Context as _;
use serde_json::json;
use sqlx::Row as _;
use sqlx::postgres::PgRow;

use super::journal::Wrong;
use super::world::World;

/// Users are counted by the statement, so that the witness does not cost more than the work.
pub(crate) const SCHEMA: &str = r"
create schema witness;

create table witness.chunks (
    seq      bigint generated always as identity primary key,
    at       timestamptz not null default clock_timestamp(),
    xid      xid8 not null default pg_current_xact_id(),
    chunk    bigint not null,
    import   uuid not null,
    lane     int not null,
    place    int not null,
    was      text,
    became   text,
    attempts int not null,
    -- Workers that began the chunk and did not tell how it ended, when another began it; else 0.
    begun    int not null,
    pending  int not null,
    inserted int not null,
    updated  int not null,
    skipped  int not null,
    failed   int not null,
    -- Another chunk of the lane is with the workers.
    crowded  boolean not null,
    -- An earlier chunk of the lane has never ended.
    early    boolean not null
);
create index on witness.chunks (chunk);
create index on witness.chunks (at);

create function witness.note_chunk() returns trigger language plpgsql as $$
declare
    goes boolean := new.state = 'dispatched' and old.state <> 'dispatched';
begin
    insert into witness.chunks (chunk, import, lane, place, was, became, attempts, begun, pending, inserted, updated, skipped,
                                failed, crowded, early)
    values (new.id, new.import_id, new.lane, new.seq, old.state, new.state, new.attempts - old.attempts,
            case when cardinality(new.begun) > cardinality(old.begun) then cardinality(new.begun) else 0 end,
            new.pending - old.pending, new.inserted - old.inserted, new.updated - old.updated,
            new.skipped - old.skipped, new.failed - old.failed,
            goes and exists (select from public.chunks c
                              where c.import_id = new.import_id and c.lane = new.lane and c.id <> new.id
                                and c.state = 'dispatched'),
            goes and exists (select from public.chunks c
                              where c.import_id = new.import_id and c.lane = new.lane and c.seq < new.seq
                                and c.state in ('staged', 'dispatched', 'retryable')
                                and not exists (select from witness.chunks w
                                                 where w.chunk = c.id and w.became in ('applied', 'dead'))));
    return null;
end $$;
create trigger witness after update on chunks for each row
    when (old.state is distinct from new.state or old.attempts <> new.attempts or old.pending <> new.pending
          or old.outcomes is distinct from new.outcomes or old.begun <> new.begun
          or old.leased_until is distinct from new.leased_until)
    execute function witness.note_chunk();

create table witness.users (
    seq     bigint generated always as identity primary key,
    xid     xid8 not null default pg_current_xact_id(),
    tenant  int not null,
    kind    text not null,
    rows    bigint not null,
    -- How much the versions rose together.
    raised  bigint not null,
    -- Rows whose version fell, and rows of which more than the version's rise is not told.
    fell    bigint not null
);

create function witness.note_inserts() returns trigger language plpgsql as $$
begin
    insert into witness.users (tenant, kind, rows, raised, fell)
    select tenant_id, 'insert', count(*), sum(version), 0 from new_rows group by tenant_id;
    return null;
end $$;
create trigger witness_insert after insert on users referencing new table as new_rows
    for each statement execute function witness.note_inserts();

create function witness.note_updates() returns trigger language plpgsql as $$
begin
    insert into witness.users (tenant, kind, rows, raised, fell)
    select n.tenant_id, 'update', count(*), sum(n.version - o.version),
           count(*) filter (where n.version < o.version or n.tenant_id <> o.tenant_id)
      from new_rows n join old_rows o on o.id = n.id
     group by n.tenant_id;
    return null;
end $$;
create trigger witness_update after update on users
    referencing old table as old_rows new table as new_rows
    for each statement execute function witness.note_updates();

create function witness.note_deletes() returns trigger language plpgsql as $$
begin
    insert into witness.users (tenant, kind, rows, raised, fell)
    select tenant_id, 'delete', count(*), 0, count(*) from old_rows group by tenant_id;
    return null;
end $$;
create trigger witness_delete after delete on users referencing old table as old_rows
    for each statement execute function witness.note_deletes();

create table witness.imports (
    seq    bigint generated always as identity primary key,
    at     timestamptz not null default clock_timestamp(),
    import uuid not null,
    was    text,
    became text not null,
    total  bigint not null
);
create function witness.note_import() returns trigger language plpgsql as $$
begin
    insert into witness.imports (import, was, became, total)
    values (new.id, case when tg_op = 'UPDATE' then old.state end, new.state, new.total);
    return null;
end $$;
create trigger witness_insert after insert on imports for each row execute function witness.note_import();
create trigger witness_update after update on imports for each row
    when (old.state is distinct from new.state) execute function witness.note_import();
";

/// Each question, the kind of wrong that an answer is, and what is said then. Every row of an answer is a violation; its
/// columns, as JSON, are the evidence.
const QUESTIONS: [(Wrong, &str, &str); 9] = [
    (
        Wrong::Differs,
        "a chunk took a way that is not allowed",
        "select to_jsonb(w) from witness.chunks w
          where was <> became
            and (was, became) not in (values
                 ('staged', 'dispatched'), ('staged', 'retryable'), ('staged', 'dead'), ('staged', 'cancelled'),
                 ('dispatched', 'staged'), ('dispatched', 'retryable'), ('dispatched', 'applied'),
                 ('dispatched', 'dead'), ('dispatched', 'cancelled'),
                 ('retryable', 'dispatched'), ('retryable', 'staged'), ('retryable', 'dead'),
                 ('retryable', 'cancelled'), ('applied', 'staged'), ('dead', 'staged'),
                 ('dispatched', 'planned'), ('planned', 'staged'), ('planned', 'cancelled'))
          limit 100",
    ),
    (
        Wrong::Differs,
        "an import took a way that is not allowed",
        "select to_jsonb(w) from witness.imports w
          where was is not null
            and (was, became) not in (values
                 ('receiving', 'received'), ('receiving', 'running'), ('receiving', 'aborted'),
                 ('receiving', 'refused'), ('received', 'running'), ('received', 'cancelled'),
                 ('running', 'paused'), ('paused', 'running'), ('running', 'completed'),
                 ('paused', 'completed'), ('running', 'cancelled'), ('paused', 'cancelled'),
                 ('completed', 'running'),
                 ('receiving', 'planning'), ('planning', 'planned'), ('planned', 'running'), ('planning', 'cancelled'),
                 ('planned', 'cancelled'))
          limit 100",
    ),
    (
        // Between two ends of a chunk it must have been opened again.
        Wrong::Duplicated,
        "a chunk was applied twice",
        "select to_jsonb(x) from (
           select chunk, import, seq, became,
                  lag(became) over (partition by chunk order by seq) as before
             from witness.chunks
            where was <> became
              and (became in ('applied', 'dead', 'cancelled') or was in ('applied', 'dead'))) x
          where became = 'applied' and before in ('applied', 'cancelled')
          limit 100",
    ),
    (
        Wrong::Duplicated,
        "records were applied that were not pending",
        "select to_jsonb(w) from witness.chunks w
          where was <> became and became in ('applied', 'dead', 'cancelled')
            and (inserted < 0 or updated < 0 or skipped < 0 or failed < 0
                 or -pending <> inserted + updated + skipped + failed)
          limit 100",
    ),
    (
        // The versions of the users rise by one for each record that says inserted or updated, in the same transaction.
        Wrong::Duplicated,
        "users changed otherwise than the outcomes of their transaction say",
        "select jsonb_build_object('xid', coalesce(u.xid, c.xid)::text, 'raised', u.raised, 'said', c.said,
                                   'chunk', c.chunk)
           from (select xid, sum(raised) as raised, sum(fell) as fell from witness.users group by xid) u
           full join (select xid, sum(inserted + updated) as said, min(chunk) as chunk
                        from witness.chunks where became = 'applied' and was <> became group by xid) c
             on c.xid = u.xid
          where coalesce(u.raised, 0) <> coalesce(c.said, 0) or coalesce(u.fell, 0) > 0
          limit 100",
    ),
    (
        Wrong::Duplicated,
        "one transaction applied two chunks",
        "select jsonb_build_object('xid', xid::text, 'chunks', count(*))
           from witness.chunks where became = 'applied' and was <> became
          group by xid having count(*) > 1
          limit 100",
    ),
    (
        Wrong::Differs,
        "two chunks of a lane were with the workers at a time",
        "select to_jsonb(w) from witness.chunks w where crowded limit 100",
    ),
    (
        Wrong::Differs,
        "a chunk went out before an earlier one of its lane had ended",
        "select to_jsonb(w) from witness.chunks w where early limit 100",
    ),
    (
        Wrong::NotEnded,
        "a lease or a due time is left",
        "select jsonb_build_object('chunk', c.id, 'import', c.import_id, 'state', c.state, 'import_state', i.state)
           from chunks c join imports i on i.id = c.import_id
          where c.leased_until is not null or c.due_at is not null
             or c.state in ('staged', 'dispatched', 'retryable') and i.state not in ('received', 'paused')
          limit 100",
    ),
];

impl World {
    /// Asks the witness everything.
    pub(crate) async fn ask_the_witness(&self) -> anyhow::Result<()> {
        for (wrong, what, sql) in QUESTIONS {
            let rows = self.db.rows(sql, |query| query).await.with_context(|| what.to_owned())?;
            for row in rows {
                let evidence: serde_json::Value = row.try_get(0)?;
                self.journal.violation(wrong, what, 1, json!({"evidence": evidence}));
            }
        }
        let count = async |name: &str, sql: &'static str| -> anyhow::Result<()> {
            let number: i64 = self.db.value(sql).await?;
            self.journal.count(name, u64::try_from(number)?);
            Ok(())
        };
        count(
            "chunks applied",
            "select count(*) from witness.chunks where became = 'applied' and was <> became",
        )
        .await?;
        count(
            "chunks applied in transactions of their own",
            "select count(distinct xid) from witness.chunks where became = 'applied' and was <> became",
        )
        .await?;
        count("redelivered", "select count(*) from witness.chunks where begun > 1").await?;
        count(
            "dispatched again",
            "select count(*) from witness.chunks where was = 'dispatched' and became = 'staged'",
        )
        .await?;
        count("dead-lettered", "select count(*) from witness.chunks where became = 'dead' and was <> became")
            .await?;
        count("transactions that wrote users", "select count(distinct xid) from witness.users").await
    }

    /// When a chunk ended, or went on its way again, after a moment: `(chunk, when, how)` of the first such line.
    pub(crate) async fn first_after(
        &self,
        sql: &'static str,
        chunks: Vec<i64>,
        after: chrono::DateTime<chrono::Utc>,
    ) -> anyhow::Result<Vec<PgRow>> {
        self.db.rows(sql, move |query| query.bind(chunks.clone()).bind(after)).await
    }
}
