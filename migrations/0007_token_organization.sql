-- Tokens that are bound to one organization of their tenant.
--
-- The slug and not the id: when the organization leaves the catalog, its tokens must open nothing, never the whole tenant.
-- Safe while older programs run, but those do not see the binding: create bound tokens once every producer knows it.

alter table tokens add column organization text collate "C";
comment on column tokens.organization is 'Slug of the only organization that the token may work on. Null: all of its tenant.';
