-- What happened to imports, to be followed: changes of state, and chunks that died.
--
-- Safe while older programs run: a table that they do not know, written by triggers, so that what an older program does is among
-- the events too.

create sequence event_numbers;

create table events (
    id        bigint      generated always as identity primary key,
    number    bigint      unique,
    tenant_id integer     not null,
    import_id uuid        not null,
    at        timestamptz not null default now(),
    kind      text        collate "C" not null check (kind in ('import', 'chunk_dead')),
    data      jsonb       not null
);
comment on table  events        is 'Deleted with their import.';
comment on column events.id     is 'Order of writing. A later one may be committed first, so nobody reads by it.';
comment on column events.number is 'Given after the commit, in the order of the numbers: who has read up to one has missed none. Null: not given yet, and not to be read.';
comment on column events.data   is 'Of an import: `state` and `from`. Of a chunk: `chunk`, `lane`, `problem`. No value of a user.';

create index events_unnumbered on events (id) where number is null;
create index events_of_tenants on events (tenant_id, number);
create index events_of_imports on events (import_id, number);

alter table events enable row level security;
create policy own on events using (tenant_id = muster_tenant());

create function note_import_event() returns trigger language plpgsql as $$
begin
    insert into events (tenant_id, import_id, kind, data)
    values (new.tenant_id, new.id, 'import',
            jsonb_build_object('state', new.state, 'from', case when tg_op = 'UPDATE' then old.state end));
    return null;
end $$;

create trigger note_import_opened after insert on imports for each row execute function note_import_event();
create trigger note_import_moved after update of state on imports
    for each row when (old.state is distinct from new.state) execute function note_import_event();

create function note_dead_chunk() returns trigger language plpgsql as $$
begin
    insert into events (tenant_id, import_id, kind, data)
    values (new.tenant_id, new.import_id, 'chunk_dead',
            jsonb_build_object('chunk', new.id, 'lane', new.lane, 'problem', new.problem));
    return null;
end $$;

create trigger note_dead_chunk after update of state on chunks
    for each row when (new.state = 'dead' and old.state <> 'dead') execute function note_dead_chunk();
