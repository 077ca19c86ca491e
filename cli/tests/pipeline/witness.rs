//! Witnesses in the test's own database: they see every change of a chunk's row, whoever makes it.
//!
//! A second application of a chunk raises, also where it would change nothing; and as what raises is rolled back, it is
//! counted by a sequence, which is not. So is a lane of which two chunks are with the workers at once; a move that an index
//! refuses is none.

use std::collections::BTreeMap;

use muster_domain::id::ImportId;
use muster_domain::outcome::OutcomeSheet;
use muster_store::Store;
use sqlx::Row;

const WITNESSES: &str = "
    create schema witness;
    create sequence witness.order_of_applying;
    create sequence witness.applied_twice;
    create sequence witness.lane_shared;
    create table witness.applied (
        chunk_id   bigint,
        reopened   integer,
        place      bigint not null default nextval('witness.order_of_applying'),
        outcomes   bytea not null,
        primary key (chunk_id, reopened)
    );
    create function witness.look() returns trigger language plpgsql as $$
    begin
        -- One whose last records were found to repeat others while it was staged is at its end, and was applied by nobody.
        if new.state = 'applied' and new.applied_at is not null and new.applied_at is distinct from old.applied_at
           and not (old.state = 'staged' and old.applied_at is null and new.failed = new.records) then
            if old.state <> 'dispatched'
               or exists (select from witness.applied where chunk_id = new.id and reopened = new.reopened) then
                perform nextval('witness.applied_twice');
                raise exception 'chunk % is applied a second time', new.id;
            end if;
            insert into witness.applied (chunk_id, reopened, outcomes) values (new.id, new.reopened, new.outcomes);
        end if;
        if new.state = 'dispatched' and old.state <> 'dispatched'
           and exists (select from public.chunks
                        where import_id = new.import_id and lane = new.lane and id <> new.id
                          and state = 'dispatched') then
            perform nextval('witness.lane_shared');
        end if;
        return new;
    end $$;
    create trigger witness after update on public.chunks for each row execute function witness.look();";

/// Puts the witnesses into a fresh database.
pub(crate) async fn install(store: &Store) {
    let mut connection = store.connection().await.unwrap();
    sqlx::raw_sql(WITNESSES).execute(&mut connection).await.unwrap();
}

/// Nothing was applied twice, and no lane had two chunks with the workers at once.
pub(crate) async fn assert_satisfied(store: &Store) {
    let mut connection = store.connection().await.unwrap();
    let (twice, shared): (bool, bool) = sqlx::query_as(
        "select (select is_called from witness.applied_twice), (select is_called from witness.lane_shared)",
    )
    .fetch_one(&mut connection)
    .await
    .unwrap();
    assert!(!twice, "a chunk was applied twice");
    assert!(!shared, "a lane had two chunks with the workers at once");
}

/// One application of a chunk.
#[derive(Debug)]
pub(crate) struct Application {
    /// Which of all applications in the database it was.
    pub(crate) place: i64,
    /// What had become of the chunk's records after it.
    pub(crate) sheet: OutcomeSheet,
}

/// The applications of each chunk of an import, in their order.
pub(crate) async fn applications(store: &Store, import: ImportId) -> BTreeMap<i64, Vec<Application>> {
    let mut connection = store.connection().await.unwrap();
    let rows = sqlx::query(
        "select a.chunk_id, a.place, c.records, a.outcomes
           from witness.applied a join chunks c on c.id = a.chunk_id
          where c.import_id = $1 order by a.place",
    )
    .bind(import.get())
    .fetch_all(&mut connection)
    .await
    .unwrap();
    let mut applications: BTreeMap<i64, Vec<Application>> = BTreeMap::new();
    for row in rows {
        let records = usize::try_from(row.get::<i32, _>(2)).unwrap();
        let sheet = OutcomeSheet::decode(row.get(3), records).unwrap();
        applications.entry(row.get(0)).or_default().push(Application { place: row.get(1), sheet });
    }
    applications
}
