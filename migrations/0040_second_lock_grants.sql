-- The second lock between tenants (0019) once more, where the role muster_tenant was made by hand after that migration: it had a grant
-- on the tables of that day, and none on those that came later.
--
-- Safe while older programs run: where the role was made by 0019, it has all of this already.

do $$
begin
    -- Who may be the role already need not be allowed to grant it. A superuser may be anybody.
    if exists (select from pg_roles where rolname = 'muster_tenant')
       and not (select rolsuper from pg_roles where rolname = current_user)
       and not pg_has_role(current_user, 'muster_tenant', 'member') then
        grant muster_tenant to current_user;
    end if;
exception
    when insufficient_privilege then null;
end $$;

do $$
begin
    if exists (select from pg_roles where rolname = 'muster_tenant') then
        grant usage on schema public to muster_tenant;
        grant select on all tables in schema public to muster_tenant;
        -- Secrets, and what is about no tenant, are nothing that a front door reads for one.
        revoke all on user_credentials, queues, queue_messages, chunk_holders, audit, tenant_keys, tokens, console_sessions from muster_tenant;
        -- What later migrations add can be read; a table with rows of tenants needs a policy of its own.
        alter default privileges in schema public grant select on tables to muster_tenant;
    end if;
exception
    when insufficient_privilege then null;
end $$;
