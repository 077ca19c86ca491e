-- What the imports of a family have corrected of each other's failed records is noted with the import, so that lists and the overview know it
-- without reading chunks. And a worker that the database leaves waiting says so with what it holds: it can write nothing about a chunk
-- whose row its own transaction still locks.
--
-- Safe while the programs of the version before run: columns that they do not name, with a constant default or null, and an index on a table
-- with one row for each import. What they complete is counted by the first dispatcher of this version.

alter table imports
    add column mended      bigint not null default 0,
    add column kin_counted timestamptz;
comment on column imports.mended      is 'Of its failed records, those that imports of its family corrected, as last counted.';
comment on column imports.kin_counted is 'The state_since that the family''s count knows. Null: not counted yet.';

create index imports_kin_to_count on imports (id)
    where (mends is not null or undoes is not null or mended > 0)
      and (kin_counted is not null or state in ('completed', 'cancelled'))
      and kin_counted is distinct from state_since;

alter table chunk_holders
    add column troubled      bigint[]    not null default '{}',
    add column problem       text,
    add column problem_since timestamptz;
comment on column chunk_holders.troubled      is 'Of its chunks, those over which the database does not answer.';
comment on column chunk_holders.problem       is 'What was met with the last of them, without any user''s value. Null: nothing.';
comment on column chunk_holders.problem_since is 'Since when the first of them waits.';
