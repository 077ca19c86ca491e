-- How many chunks each worker applies at a time. The window of a dispatcher follows from it where `dispatch.window` is not set, so that
-- more workers get more chunks, and few of them have few chunks waiting ahead of new work.
--
-- Safe while the programs of the version before run: the column may be null, and a worker that does not say so counts with 8.

alter table chunk_holders
    add column slots integer check (slots > 0);

comment on column chunk_holders.slots is 'Chunks that a worker applies at a time. Null: no worker, or one of a version that does not say.';
