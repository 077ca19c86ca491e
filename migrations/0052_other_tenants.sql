-- An operator's token opens another tenant at the console, and the session says which.
--
-- Safe while older programs run: they do not know the column and stay in the token's own tenant, and take no form of a page that shows
-- another one.

alter table console_sessions add column chosen_tenant_id integer references tenants (id);
comment on column console_sessions.chosen_tenant_id is 'The tenant that was opened in it, by a token with the scope tenants:all. It counts as long as the token has the scope and the tenant is not disabled. Null: that of the token.';

-- What ended lately in all tenants is found without reading every import.
create index imports_ended on imports (completed_at) where completed_at is not null;
