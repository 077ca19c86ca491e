-- A tenant's named sets of import options.
--
-- Safe while older programs run: they neither read nor write what is added here.

create table import_profiles (
    tenant_id  integer     not null references tenants (id),
    name       text        not null collate "C" check (name ~ '^[a-z0-9][a-z0-9._-]{0,62}$'),
    options    jsonb       not null check (jsonb_typeof(options) = 'object'),
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    primary key (tenant_id, name)
);
comment on table import_profiles is 'Sets of import options that a tenant has given a name.';
comment on column import_profiles.options is 'Options by name, as they stand in a request: texts alone. Checked when they are saved, and again when they are used.';

-- The second lock between tenants (0019) holds for these rows too.
alter table import_profiles enable row level security;
create policy own on import_profiles using (tenant_id = muster_tenant());
