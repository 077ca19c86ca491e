-- What the Authgear front door needs: keys that prove who signed a request, which imports are its own, and how many records
-- a tenant sent, by day.
--
-- Safe while older programs run: they neither read nor write what is added here.

create table tenant_keys (
    tenant_id  integer     not null references tenants (id),
    kid        text        collate "C" not null check (kid <> ''),
    public_key bytea       not null,
    app_id     text        collate "C" check (app_id <> ''),
    host       text        collate "C" check (host <> ''),
    created_at timestamptz not null default now(),
    primary key (tenant_id, kid)
);
comment on table tenant_keys is 'Public keys that verify signed requests. A key speaks for its tenant alone.';
comment on column tenant_keys.kid is 'Key id, as the header of a token names it; two tenants may use the same.';
comment on column tenant_keys.public_key is 'RSAPublicKey (PKCS #1) in DER. Private keys are never here.';
comment on column tenant_keys.app_id is 'What a token may name as its audience instead of the tenant''s slug.';
comment on column tenant_keys.host is 'Where set: the key counts only in requests to this host (lower case, no port).';

create index tenant_keys_kid on tenant_keys (kid);

create table authgear_imports (
    import_id uuid    primary key references imports (id) on delete cascade,
    tenant_id integer not null,
    day       date    not null,
    records   bigint  not null
);
comment on table authgear_imports is 'Imports that came through the Authgear front door: only they can be asked for there. Each goes with its import.';
comment on column authgear_imports.records is 'Records of the request, as counted in record_usage on that day.';

create table record_usage (
    tenant_id integer not null references tenants (id),
    day       date    not null,
    records   bigint  not null check (records >= 0),
    primary key (tenant_id, day)
);
comment on table record_usage is 'Records that a tenant sent, by day in UTC: what quotas are measured by. Outlives the imports.';
