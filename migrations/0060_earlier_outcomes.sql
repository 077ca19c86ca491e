-- A retry opens a chunk again, and its end then has another moment. What the chunk had settled before keeps the moment that it had: the
-- console's picture of records over time would else tell a whole chunk for one record that was tried again.
--
-- Safe while the programs of the version before run: columns that they do not know. A chunk that one of them opens again is told as before.

alter table chunks
    add column earlier_done   integer     not null default 0,
    add column earlier_failed integer     not null default 0,
    add column earlier_at     timestamptz;

comment on column chunks.earlier_done   is 'Records that were inserted, updated or skipped before the last retry opened the chunk again.';
comment on column chunks.earlier_failed is 'Records that had failed before that, and were left as they are.';
comment on column chunks.earlier_at     is 'When the chunk was applied first. Null: no retry has opened it.';
