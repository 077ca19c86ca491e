-- Webhooks: addresses that a tenant is told at what happened to its imports, and a row for each thing that each of them is told.
--
-- Safe while older programs run: tables that they do not know. Events of an older program are delivered too, by the first producer
-- that knows of webhooks.

create table webhooks (
    id              uuid        primary key,
    tenant_id       integer     not null references tenants (id),
    url             text        not null check (octet_length(url) <= 2048),
    description     text        not null default '' check (char_length(description) <= 255),
    events          text[]      not null default '{}',
    failed_above    smallint    check (failed_above between 0 and 99),
    enabled         boolean     not null default true,
    disabled_reason text        collate "C" check (disabled_reason in ('gone')),
    two_secrets     boolean     not null default false,
    seen            bigint      not null,
    created_at      timestamptz not null default now(),
    updated_at      timestamptz not null default now(),
    claim           uuid,
    claimed_until   timestamptz,
    tried_at        timestamptz,
    check (not (enabled and disabled_reason is not null))
);
comment on table  webhooks                 is 'An address of a tenant that is told what happens to its imports.';
comment on column webhooks.events          is 'Names of what it is told. None: everything. Names that a program does not know match nothing there.';
comment on column webhooks.failed_above    is 'It is told of an import whose share of failed records is above this, in percent. Null: it is not.';
comment on column webhooks.disabled_reason is 'gone: its receiver answered 410. Null: it is enabled, or somebody disabled it.';
comment on column webhooks.two_secrets     is 'Deliveries are signed with two secrets: those who may read no secrets are told by this.';
comment on column webhooks.seen            is 'Number of the last event whose delivery is written, or that it was not to be told. Moves in the transaction that writes deliveries.';
comment on column webhooks.claim           is 'Who delivers to it at this moment; one at a time. Null: nobody.';
comment on column webhooks.claimed_until   is 'From then on the claim counts no more: who had it is dead.';
comment on column webhooks.tried_at        is 'When a delivery to it was last begun: the one that has waited longest is next.';

create index webhooks_of_tenants on webhooks (tenant_id, id);

create table webhook_secrets (
    webhook_id uuid        primary key references webhooks (id) on delete cascade,
    tenant_id  integer     not null,
    key        bytea       not null check (octet_length(key) = 32)
               default sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())),
    current    bytea       not null,
    previous   bytea,
    rotated_at timestamptz
);
comment on column webhook_secrets.key      is 'What the secrets are sealed with (AES-256-GCM, the nonce before the text). It goes with its webhook.';
comment on column webhook_secrets.current  is 'The secret that deliveries are signed with, sealed.';
comment on column webhook_secrets.previous is 'The one before, as long as its receiver may still have it: deliveries are signed with both. Null: there is one alone.';

create table webhook_deliveries (
    id         uuid        primary key,
    webhook_id uuid        not null references webhooks (id) on delete cascade,
    tenant_id  integer     not null,
    event      bigint,
    import_id  uuid,
    type       text        collate "C" not null,
    payload    text        not null,
    state      text        collate "C" not null default 'pending' check (state in ('pending', 'delivered', 'failed')),
    attempts   integer     not null default 0,
    tries      jsonb       not null default '[]',
    created_at timestamptz not null default now(),
    due_at     timestamptz default now(),
    give_up_at timestamptz,
    ended_at   timestamptz,
    check ((state = 'pending') = (due_at is not null)),
    check ((state = 'pending') = (ended_at is null))
);
comment on table  webhook_deliveries            is 'What a webhook is told, once; and how that went. Kept for a while after its end.';
comment on column webhook_deliveries.id         is 'UUID version 7. What receivers get as webhook-id: the same at every try.';
comment on column webhook_deliveries.event      is 'Number of the event. Null: a ping, or a share of failed records.';
comment on column webhook_deliveries.payload    is 'The body as it is sent, byte for byte. No value of a user.';
comment on column webhook_deliveries.tries      is 'The last ten tries: when, with which status or problem, and how long it took.';
comment on column webhook_deliveries.due_at     is 'When it is tried next. Null: it has ended.';
comment on column webhook_deliveries.give_up_at is 'No further try begins then. Null: it was not tried yet, or is to be tried anew.';

-- What makes writing them again harmless.
create unique index webhook_deliveries_event   on webhook_deliveries (webhook_id, event) where event is not null;
create unique index webhook_deliveries_failing on webhook_deliveries (webhook_id, import_id) where type = 'import.failing';
create index webhook_deliveries_due    on webhook_deliveries (webhook_id, due_at) where state = 'pending';
create index webhook_deliveries_newest on webhook_deliveries (webhook_id, id desc);
create index webhook_deliveries_ended  on webhook_deliveries (ended_at) where state <> 'pending';

-- The second lock between tenants (0019) holds for these rows too, and secrets are nothing that a front door reads.
alter table webhooks enable row level security;
create policy own on webhooks using (tenant_id = muster_tenant());
alter table webhook_secrets enable row level security;
create policy own on webhook_secrets using (tenant_id = muster_tenant());
alter table webhook_deliveries enable row level security;
create policy own on webhook_deliveries using (tenant_id = muster_tenant());
do $$
begin
    if exists (select from pg_roles where rolname = 'muster_tenant') then
        revoke all on webhook_secrets from muster_tenant;
    end if;
exception
    when insufficient_privilege then null;
end $$;
