-- Undoing an import: an import of its own, whose records are the before-images of the one that it undoes.
--
-- Safe while older programs run: a column that may be null and that they do not name, and a table that they do not know. An older
-- worker puts the chunks of an undo off, since it does not know the option `undo`.

alter table imports add column undoes uuid;
comment on column imports.undoes is 'The import that this one undoes. Null: it undoes none.';

create index imports_undoes on imports (undoes) where undoes is not null;

create table undo_steps (
    import_id  uuid    not null,
    user_id    uuid    not null,
    tenant_id  integer not null,
    version    integer not null,
    stands_for integer not null,
    kept       text[]  not null default '{}',
    primary key (import_id, user_id)
);
comment on table undo_steps is 'What an undo has to remember of a user from one of its chunks to the next: that the user is as it was at an earlier version again, so that it counts as untouched when it is its turn to be deleted; and which fields were left as they are.';
comment on column undo_steps.import_id is 'The undo.';
comment on column undo_steps.version is 'The version that the undo gave the user.';
comment on column undo_steps.stands_for is 'The earlier version, as which the user is again; the same where there is none.';
comment on column undo_steps.kept is 'Fields that somebody else changed: earlier changes of them are left alone too. No values.';

alter table undo_steps enable row level security;
create policy own on undo_steps using (tenant_id = muster_tenant());
