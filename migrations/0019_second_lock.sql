-- The second lock between tenants: what a front door reads for a tenant it reads as the role muster_tenant, which sees the rows
-- of the tenant that its transaction names in muster.tenant and no others (docs/decisions/0026-second-lock.md).
--
-- Safe while older programs run: they work as the owner of the tables, whom policies do not bind. Where the program may not
-- create a role, create it by hand (`create role muster_tenant nologin`, `grant muster_tenant to` the program's user) and grant it
-- `select` on the tables; without it everything works as before, with one lock. `muster doctor` tells.

do $$
begin
    if not exists (select from pg_roles where rolname = 'muster_tenant') then
        create role muster_tenant nologin nosuperuser nobypassrls nocreatedb nocreaterole;
    end if;
exception
    -- A role is one for all databases of a server: another migration made it at this moment, or may make none.
    when duplicate_object or unique_violation or insufficient_privilege then null;
end $$;

do $$
begin
    if exists (select from pg_roles where rolname = 'muster_tenant') then
        -- A superuser may be anybody. (Two migrations that grant a role at once are in each other's way.)
        if not (select rolsuper from pg_roles where rolname = current_user) then
            grant muster_tenant to current_user;
        end if;
        grant usage on schema public to muster_tenant;
        grant select on all tables in schema public to muster_tenant;
        -- Secrets, and what is about no tenant, are nothing that a front door reads for one.
        revoke all on user_credentials, queues, queue_messages, chunk_holders, audit, tenant_keys, tokens from muster_tenant;
        -- What later migrations add can be read; a table with rows of tenants needs a policy of its own.
        alter default privileges in schema public grant select on tables to muster_tenant;
    end if;
exception
    when insufficient_privilege then null;
end $$;

-- The tenant of the transaction. Without one it is null, and no row is anybody's.
create function muster_tenant() returns integer language sql stable parallel safe
    as $$ select nullif(current_setting('muster.tenant', true), '')::integer $$;

-- A loop, so that each table has the same.
do $$
declare
    name text;
begin
    foreach name in array array['users', 'memberships', 'user_credentials', 'organizations', 'catalog_names', 'attribute_definitions',
                                'imports', 'chunks', 'bulk_jobs', 'authgear_imports', 'record_usage', 'tokens', 'tenant_keys', 'audit']
    loop
        execute format('alter table %I enable row level security', name);
        execute format('create policy own on %I using (tenant_id = muster_tenant())', name);
    end loop;
end $$;

alter table tenants enable row level security;
create policy own on tenants using (id = muster_tenant());

-- Rows of an import are those of its tenant.
alter table record_issues enable row level security;
create policy own on record_issues
    using (exists (select from imports where imports.id = record_issues.import_id and imports.tenant_id = muster_tenant()));
alter table import_keys enable row level security;
create policy own on import_keys
    using (exists (select from imports where imports.id = import_keys.import_id and imports.tenant_id = muster_tenant()));
alter table import_doubles enable row level security;
create policy own on import_doubles
    using (exists (select from imports where imports.id = import_doubles.import_id and imports.tenant_id = muster_tenant()));
alter table chunk_identifiers enable row level security;
create policy own on chunk_identifiers
    using (exists (select from chunks where chunks.id = chunk_identifiers.chunk_id and chunks.tenant_id = muster_tenant()));
