-- What some users have beyond the columns that every user has, and their secrets.
--
-- Safe while older programs run: they neither read nor write what is added here. A user that an older program changes
-- keeps its profile.

alter table users add column profile jsonb;
comment on column users.profile is 'Flags, catalog ids (roles, groups, teams, location), account state, second factors, addresses, agent fields. Null: none of it.';

create table user_credentials (
    user_id             uuid        primary key,
    tenant_id           integer     not null,
    password_hash       text        collate "C",
    password_expires_at timestamptz,
    mfa_password_hash   text        collate "C",
    totp_secret         text        collate "C",
    created_at          timestamptz not null default now()
);
comment on table user_credentials is 'Secrets that came with new users, for whoever checks logins. A table of its own, so that it can be granted apart: Muster writes it and never reads it.';
comment on column user_credentials.password_hash is 'bcrypt ($2a$, $2b$, $2y$) or an argon2id PHC string, as imported.';
comment on column user_credentials.totp_secret is 'Base32 without padding (RFC 4648).';
