-- Tables of secrets have row security and no policy: the role of the second lock (0019) sees no row of them, whatever it was granted. It was
-- kept from them by revokes alone, which a grant on all tables takes back: one by hand, or 0040 done once more, which does not know of the
-- secrets of webhooks.
--
-- Safe while older programs run: they read these tables as their owner, whom row security does not bind.

drop policy if exists own on user_credentials;
drop policy if exists own on tokens;
drop policy if exists own on tenant_keys;
drop policy if exists own on console_sessions;
drop policy if exists own on audit;
drop policy if exists own on webhook_secrets;

do $$
begin
    if exists (select from pg_roles where rolname = 'muster_tenant') then
        revoke all on webhook_secrets from muster_tenant;
    end if;
exception
    when insufficient_privilege then null;
end $$;
