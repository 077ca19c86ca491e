-- Who is signed in at the console.
--
-- Safe while older programs run: a table that they do not know.

create table console_sessions (
    hash       bytea       primary key check (octet_length(hash) = 32),
    tenant_id  integer     not null references tenants (id),
    token_id   uuid        not null references tokens (id),
    created_at timestamptz not null default now(),
    used_at    timestamptz not null default now()
);
comment on table console_sessions is 'A browser that showed a token. It may do what the token may, as long as the token counts.';
comment on column console_sessions.hash is 'SHA-256 of what the browser keeps (256 random bits), which is stored nowhere.';
comment on column console_sessions.used_at is 'When a person last asked for something, to the minute. What a page asks by itself does not count.';

-- The second lock between tenants (0019): no session is anything that a front door reads for a tenant.
alter table console_sessions enable row level security;
create policy own on console_sessions using (tenant_id = muster_tenant());
do $$
begin
    if exists (select from pg_roles where rolname = 'muster_tenant') then
        revoke all on console_sessions from muster_tenant;
    end if;
exception
    when insufficient_privilege then null;
end $$;
