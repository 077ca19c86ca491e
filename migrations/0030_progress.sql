-- How imports and chunks get on: when a chunk was last sent, since when it is in trouble, since when an import is in its state.
--
-- Safe while older programs run: columns that may be null and that they do not name, and a trigger that looks at nothing but the
-- state. What an older program does leaves the times of chunks as they are, so some may be missing.

alter table chunks
    add column sent_at       timestamptz,
    add column problem_at    timestamptz,
    add column problem_since timestamptz;
comment on column chunks.sent_at       is 'When it was last claimed to be sent to the workers.';
comment on column chunks.problem       is 'Why the last attempt failed, or why the queue did not take it; without any user''s value. Null once it is applied.';
comment on column chunks.problem_at    is 'When the problem was last met. Of a dead chunk: when it died.';
comment on column chunks.problem_since is 'When the chunk got into trouble: the first problem since it was last well.';

alter table imports add column state_since timestamptz;
-- After the column, so that what is there already has none rather than the time of this migration.
alter table imports alter column state_since set default now();
comment on column imports.state_since is 'When the import came into its state. Null: before this was noted.';

-- A trigger, so that no move of any program is forgotten.
create function import_moves() returns trigger language plpgsql as $$
begin
    new.state_since := now();
    return new;
end $$;

create trigger import_moves before update of state on imports
    for each row when (old.state is distinct from new.state) execute function import_moves();
