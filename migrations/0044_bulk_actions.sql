-- What is done to many imports at once.
--
-- Safe while older programs run: a table that they do not know. An action that a newer program began waits for a newer dispatcher.

create table bulk_actions (
    id            uuid        primary key,
    tenant_id     integer     not null references tenants (id),
    actor         text        not null,
    action        text        collate "C" not null check (action in ('pause', 'resume', 'cancel', 'retry', 'redrive')),
    filter        jsonb       not null check (jsonb_typeof(filter) = 'object'),
    imports       uuid[]      not null,
    records       bigint      not null check (records >= 0),
    states        jsonb       not null check (jsonb_typeof(states) = 'object'),
    state         text        collate "C" not null default 'preview' check (state in ('preview', 'running', 'done', 'aborted')),
    succeeded     integer     not null default 0 check (succeeded >= 0),
    refused       integer     not null default 0 check (refused >= 0),
    refusals      jsonb       not null default '[]' check (jsonb_typeof(refusals) = 'array'),
    claimed_until timestamptz,
    touched_at    timestamptz not null default now(),
    created_at    timestamptz not null default now(),
    started_at    timestamptz,
    ended_at      timestamptz,
    check (succeeded + refused <= cardinality(imports)),
    check (state not in ('done', 'aborted') or ended_at is not null)
);
comment on table  bulk_actions is 'Something that is done to each of many imports of a tenant: looked at first, then started, then worked off by a dispatcher.';
comment on column bulk_actions.actor is 'Who asked for it: `token:` and the id of the token, or `operator` for the command line.';
comment on column bulk_actions.filter is 'How the imports were chosen, by name, as it was asked.';
comment on column bulk_actions.imports is 'The imports that were found when it was looked at, in the order in which they are done.';
comment on column bulk_actions.records is 'How many of their records it was about at that moment.';
comment on column bulk_actions.states is 'How many of the imports were in which state at that moment.';
comment on column bulk_actions.succeeded is 'Imports that are as wanted now. Together with the refused ones it says how far the list is worked off.';
comment on column bulk_actions.refusals is 'The first of the imports that could not be done, each with the reason.';
comment on column bulk_actions.claimed_until is 'Until when a dispatcher works on it. Null: none does.';
comment on column bulk_actions.touched_at is 'When it was last worked on: the one that waits longest is next.';

create index bulk_actions_newest on bulk_actions (tenant_id, id desc);
create index bulk_actions_running on bulk_actions (touched_at) where state = 'running';

-- The second lock between tenants (0019) holds for these rows too.
alter table bulk_actions enable row level security;
create policy own on bulk_actions using (tenant_id = muster_tenant());
