-- Tenants, catalog, users, imports, chunks.
--
-- Two rules stand behind this file:
--   * A user costs as few index entries and as few bytes as can be: sequential ids, "C" collation on keys, unique indexes
--     only over the rows that have the key, no foreign key on the tables that are written by the million (a reference
--     check would cost as much as the insert; the store's functions take the tenant from the credential).
--   * Counting and state live here and nowhere else: every state has a CHECK, every chunk's counts add up by CHECK.

create table tenants (
    id         integer     generated always as identity primary key,
    slug       text        collate "C" not null unique check (slug ~ '^[a-z0-9][a-z0-9._-]{0,62}$'),
    name       text        not null,
    created_at timestamptz not null default now()
);
comment on table tenants is 'The boundary of isolation. Everything else carries tenant_id.';

create table tokens (
    id           uuid        primary key,
    tenant_id    integer     not null references tenants (id),
    name         text        not null,
    hash         bytea       not null unique check (octet_length(hash) = 32),
    scopes       text[]      not null,
    created_at   timestamptz not null default now(),
    revoked_at   timestamptz,
    unique (tenant_id, name)
);
comment on column tokens.hash is 'SHA-256 of the token. The token itself (256 random bits) is shown once and stored nowhere.';

create table organizations (
    id         integer     generated always as identity primary key,
    tenant_id  integer     not null references tenants (id),
    slug       text        collate "C" not null,
    name       text        not null,
    created_at timestamptz not null default now(),
    unique (tenant_id, slug)
);

create table catalog_names (
    id        integer generated always as identity primary key,
    tenant_id integer not null references tenants (id),
    kind      text    collate "C" not null check (kind in ('role', 'group', 'team', 'location')),
    key       text    collate "C" not null,
    name      text    not null,
    unique (tenant_id, kind, key)
);
comment on table catalog_names is 'Roles, groups, teams and locations a tenant knows.';
comment on column catalog_names.key is 'The name, trimmed, NFKC and case-folded: what names are compared by.';

create table attribute_definitions (
    tenant_id  integer not null references tenants (id),
    name       text    collate "C" not null,
    definition jsonb   not null,
    primary key (tenant_id, name)
);
comment on table attribute_definitions is 'Custom attributes a tenant defines: {"type": "integer", "minimum": 0, ...}.';

create table users (
    id                 uuid        primary key,
    tenant_id          integer     not null,
    version            integer     not null default 1,
    email              text        collate "C",
    phone_number       text        collate "C",
    preferred_username text        collate "C",
    given_name         text        collate "C",
    family_name        text        collate "C",
    attributes         jsonb,
    metadata           jsonb,
    created_at         timestamptz not null default now(),
    updated_at         timestamptz not null default now()
);
comment on column users.id is 'UUID version 7, so that new users are neighbours in the index.';
comment on column users.version is '1 when inserted, raised by one by every record that changes the user. Its sum is the witness that nothing was applied twice.';
comment on column users.email is 'Normalised once, in Rust (trimmed, NFKC, case-folded, domain by IDNA); SQL never folds.';
comment on column users.phone_number is 'E.164.';
comment on column users.attributes is 'Standard attributes that have no column of their own. Null: none.';
comment on column users.metadata is 'Custom metadata. Null: none.';

create unique index users_email    on users (tenant_id, email)              where email is not null;
create unique index users_phone    on users (tenant_id, phone_number)       where phone_number is not null;
create unique index users_username on users (tenant_id, preferred_username) where preferred_username is not null;

create table memberships (
    user_id         uuid    not null,
    organization_id integer not null,
    group_id        integer not null,
    tenant_id       integer not null,
    primary key (user_id, organization_id, group_id)
);
comment on column memberships.group_id is 'A catalog name of kind group; 0 where the user is in the organization without a group.';

create table imports (
    id              uuid        primary key,
    number          bigint      generated always as identity unique,
    tenant_id       integer     not null,
    state           text        collate "C" not null default 'receiving'
                    check (state in ('receiving', 'received', 'running', 'paused', 'completed', 'aborted', 'refused', 'cancelled')),
    filename        text,
    options         jsonb       not null,
    columns         jsonb,
    lanes           integer     not null default 0,
    bytes           bigint      not null default 0,
    digest          bytea,
    idempotency_key text        collate "C",
    request_hash    bytea,
    error           jsonb,
    total           bigint      not null default 0,
    final_counts    jsonb,
    created_at      timestamptz not null default now(),
    alive_until     timestamptz not null,
    received_at     timestamptz,
    started_at      timestamptz,
    completed_at    timestamptz
);
comment on column imports.id is 'UUID version 7: newest first is greatest first.';
comment on column imports.number is 'Small whole number for clients whose contract wants one.';
comment on column imports.columns is 'Field names in the order of the upload; what failed.csv is written in.';
comment on column imports.bytes is 'Size of the upload, decompressed.';
comment on column imports.digest is 'SHA-256 of the upload, decompressed. Null until received.';
comment on column imports.request_hash is 'SHA-256 of the request an idempotency key stands for: the same key with another request is refused.';
comment on column imports.error is 'Why the file was refused or aborted.';
comment on column imports.total is 'Records received.';
comment on column imports.final_counts is 'The sum over the chunks, taken when the last one ended. Null while the import runs: then the chunks are summed.';
comment on column imports.alive_until is 'While receiving: the receiver renews this; one that is past is dead, and its import is aborted.';

create unique index imports_idempotency on imports (tenant_id, idempotency_key) where idempotency_key is not null;
create index imports_newest on imports (tenant_id, id desc);
create index imports_open on imports (id) where state in ('receiving', 'received', 'running', 'paused');

create table chunks (
    id            bigint      generated always as identity primary key,
    import_id     uuid        not null,
    tenant_id     integer     not null,
    lane          integer     not null,
    seq           integer     not null,
    state         text        collate "C" not null default 'staged'
                  check (state in ('staged', 'dispatched', 'retryable', 'applied', 'dead', 'cancelled')),
    first_record  bigint      not null,
    last_record   bigint      not null,
    records       integer     not null,
    pending       integer     not null,
    inserted      integer     not null default 0,
    updated       integer     not null default 0,
    skipped       integer     not null default 0,
    failed        integer     not null default 0,
    attempts      integer     not null default 0,
    due_at        timestamptz,
    leased_until  timestamptz,
    applied_at    timestamptz,
    problem       text,
    body_hash     bigint      not null,
    body          bytea       not null,
    outcomes      bytea,
    unique (import_id, lane, seq),
    constraint chunks_add_up check (records = pending + inserted + updated + skipped + failed),
    constraint chunks_end    check (state in ('staged', 'dispatched', 'retryable') or pending = 0)
);
alter table chunks alter column body     set storage external;
alter table chunks alter column outcomes set storage external;
comment on table chunks is 'The truth about staged work. A message is only its carrier and may be lost.';
comment on column chunks.seq is 'Order within the lane, from 0: chunk seq + 1 is dispatched when chunk seq has ended.';
comment on column chunks.attempts is 'Deliveries that began to be applied and did not end well.';
comment on column chunks.due_at is 'When a retryable chunk may be dispatched again.';
comment on column chunks.leased_until is 'A dispatched chunk that is silent for longer is dispatched again.';
comment on column chunks.problem is 'Why the last attempt failed, without any user''s value.';
comment on column chunks.body is 'The records: a version byte, then zstd. Already compressed, so stored as it is.';
comment on column chunks.outcomes is 'One byte a record and, where there is one, the user''s id. Null: all pending.';

create index chunks_open on chunks (import_id, lane, seq) where state in ('staged', 'dispatched', 'retryable');
-- Records are read in file order by merging the lanes: this finds each lane's next chunk.
create index chunks_records on chunks (import_id, lane, last_record);

create table record_issues (
    import_id uuid   not null,
    record    bigint not null,
    failed    boolean not null,
    errors    json,
    warnings  json,
    source    json,
    primary key (import_id, record)
);
comment on table record_issues is 'One row for each record with an error or a warning, and only for those.';
comment on column record_issues.source is 'The record as uploaded, secrets redacted: [[name, value], ...] in the order of the upload.';
