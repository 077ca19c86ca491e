-- Jobs of front doors whose contract has a job with a small number and a file that can be replaced until it is started;
-- looking for keys that stand twice in one file; finding users by their agent number.
--
-- Safe while older programs run: they neither read nor write what is added here.

create table bulk_jobs (
    id                   bigint      generated always as identity primary key,
    tenant_id            integer     not null,
    import_id            uuid        not null unique,
    uploaded_by          text        not null,
    proceeded_by         text,
    process_requested_at timestamptz,
    created_at           timestamptz not null default now()
);
comment on table bulk_jobs is 'A job and the import that is its file now. The state is the import''s.';
comment on column bulk_jobs.import_id is 'The current import: another upload for the job puts a new one in its place.';
comment on column bulk_jobs.uploaded_by is 'Name of the token that uploaded the current file.';
comment on column bulk_jobs.proceeded_by is 'Name of the token that asked for the start. Null: nobody did.';

create index bulk_jobs_newest on bulk_jobs (tenant_id, id desc);

-- While an import with `duplicates = refuse` is received, every key of its records; gone when it was received. Unlogged:
-- a server that crashes ends the receiver's session, and with it the import.
create unlogged table import_keys (
    import_id uuid     not null,
    list      smallint not null,
    key       uuid     not null,
    record    bigint   not null
);
comment on column import_keys.list is 'Which list the key must be unique in: 0 identifiers, 1 new e-mail addresses.';
comment on column import_keys.key is 'The 128 bits of XXH3 of the normalised value.';

create index import_keys_import on import_keys (import_id);

create unlogged table import_doubles (
    import_id  uuid    not null,
    record     bigint  not null,
    identifier boolean not null,
    new_email  boolean not null,
    primary key (import_id, record)
);
comment on table import_doubles is 'Records whose key an earlier record of the same file has; as short-lived as import_keys.';

-- Only agents have an entry.
create index users_agent_number on users (tenant_id, (profile #>> '{agent,agent_number}'))
    where profile #>> '{agent,agent_number}' is not null;
