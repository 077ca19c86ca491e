-- The key of an import's secrets (docs/decisions/0025-secrets-in-chunks.md).
--
-- Safe while older programs run: a column that may be null and that they do not name. An older worker cannot read
-- chunks with sealed secrets, so upgrade the workers before the producers where imports have secrets.

alter table imports add column secret_key bytea check (octet_length(secret_key) = 32);
alter table imports alter column secret_key
    set default sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()));
comment on column imports.secret_key is 'What password hashes and TOTP secrets in the chunks and messages of this import are sealed with. Null once they are needed no more: nobody reads them then, wherever copies of the chunks are.';
