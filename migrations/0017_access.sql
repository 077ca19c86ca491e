-- Tenants that are disabled, and what keys of tenants may do.
--
-- Safe while older programs run: columns with constant defaults or none, which they do not name. An older producer still serves a
-- tenant that is disabled, and takes a key for everything at its front door: disable tenants and limit keys once every producer
-- knows it.

alter table tenants add column disabled_at timestamptz;
comment on column tenants.disabled_at is 'Since when nothing is done for the tenant: no credential of it opens anything, and its running imports wait. Null: it is not disabled.';

-- Dispatchers ask for these in every round; there are few.
create index tenants_disabled on tenants (id) where disabled_at is not null;

alter table tenant_keys add column scopes text[] not null default '{import:write,import:read}';
comment on column tenant_keys.scopes is 'What requests that this key signed may do. A scope that a program does not know grants nothing there.';
