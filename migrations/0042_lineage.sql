-- Lineage, receipts and the history of users.
--
-- Safe while older programs run: columns that may be null and that they do not name, an index on a table with a row an import, and tables that
-- they do not know. What an older program receives has no parent and no actor, and single requests that it answers leave no history.

alter table imports add column mends   uuid;
alter table imports add column actor   text;
alter table imports add column reading jsonb;
comment on column imports.mends   is 'The import of the same tenant whose failed records this one brings again. Null: none.';
comment on column imports.actor   is 'Who sent it: `token:` and the id of the token, or `operator` for the command line. Null: not known.';
comment on column imports.reading is 'How the text of the file was read beside its options: delimiter, encoding, skipped lines. By it the records of the file can be counted again.';

create index imports_mends on imports (mends) where mends is not null;

create table receipt_keys (
    id         integer     primary key default 1 check (id = 1),
    pkcs8      bytea       not null,
    public_key bytea       not null check (octet_length(public_key) = 32),
    created_at timestamptz not null default now()
);
comment on table receipt_keys is 'The one key of this installation, with which receipts are signed: Ed25519, made at first use. Never shown; only its public half is.';

create table user_changes (
    id         bigint      generated always as identity primary key,
    tenant_id  integer     not null,
    user_id    uuid        not null,
    at         timestamptz not null default now(),
    actor      text,
    kind       text        collate "C" not null check (kind in ('inserted', 'updated')),
    before     json        not null,
    after      json        not null
);
comment on table user_changes is 'What requests about a single user changed, written in their transactions. What imports changed is in before_images. No secret.';
comment on column user_changes.before is 'What the user had in the fields that changed, by path as in before-images. Kept as long as before-images are.';

create index user_changes_of_users on user_changes (tenant_id, user_id, id);
create index user_changes_age on user_changes (at);

alter table user_changes enable row level security;
create policy own on user_changes using (tenant_id = muster_tenant());

-- The key is of no tenant, and nothing that a front door reads for one.
do $$
begin
    if exists (select from pg_roles where rolname = 'muster_tenant') then
        revoke all on receipt_keys from muster_tenant;
    end if;
exception
    when insufficient_privilege then null;
end $$;
