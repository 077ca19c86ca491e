-- Tokens that expire, and that say when they were last used.
--
-- Safe while older programs run: columns that may be null and that those do not name. An older producer does not look at
-- the expiry: create such tokens once every producer knows it.

alter table tokens add column expires_at timestamptz;
alter table tokens add column last_used_at timestamptz;
comment on column tokens.expires_at is 'From then on the token opens nothing. Null: never.';
comment on column tokens.last_used_at is 'When it was last used, to the hour. Null: never, or before this was written down.';
