-- Chunks that were lost on their way are found at once, not after a lease of minutes: processes say which chunks they hold, a
-- claim that nobody published is known as one, and a lane has one chunk with the workers at a time.
--
-- Safe while older programs run: a table and a column that they do not name. An older dispatcher that would send a second chunk of
-- a lane, which it never should, is refused.

create unlogged table chunk_holders (
    id      uuid        primary key,
    name    text        not null,
    seen_at timestamptz not null default now(),
    chunks  bigint[]    not null
) with (
    -- Each process rewrites its row about every second, in place.
    fillfactor = 50,
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 500
);
comment on table  chunk_holders         is 'What each process holds at the moment. Unlogged: a crash of the database forgets it, and a second later it is there again.';
comment on column chunk_holders.name    is 'What the process is, for people.';
comment on column chunk_holders.seen_at is 'When the process last said so; one that is silent for some seconds is gone.';
comment on column chunk_holders.chunks  is 'Ids of the chunks: with a worker from its delivery until that is settled, with a dispatcher from the claim until that is confirmed.';

alter table chunks add column claim_until timestamptz;
comment on column chunks.claim_until is 'A dispatched chunk whose publishing is not confirmed yet: past this, and held by no process, it is staged again. Null: published.';
comment on column chunks.leased_until is 'Until then a dispatched chunk holds its place in the window. Renewed while its message waits in the queue.';

-- Where a retry had sent a second chunk of a lane, the later one goes back.
update chunks later
   set state = 'staged', leased_until = null
 where later.state = 'dispatched'
   and exists (select from chunks earlier
                where earlier.import_id = later.import_id and earlier.lane = later.lane
                  and earlier.state = 'dispatched' and earlier.seq < later.seq);

-- One chunk of a lane with the workers at a time (P4); and the way to find all that are with the workers.
create unique index chunks_one_a_lane on chunks (import_id, lane) where state = 'dispatched';
