-- Plans: what an import would do to every record, found by the same workers before anything is written to users
-- (docs/decisions/0041-plans.md).
--
-- Safe while older programs run, as long as nobody asks for a plan: states that only an import with `start = plan` has, columns that may
-- be null and that they do not name, and tables that they do not know. Older dispatchers send no chunk of such an import while it is
-- planned, and older workers put its chunks off, since they do not know the value of the option. Older producers cannot read the new
-- states: lists with such an import are 500 there, so all producers are exchanged before the first plan is asked for.

alter table imports drop constraint imports_state_check;
alter table imports add constraint imports_state_check
    check (state in ('receiving', 'received', 'planning', 'planned', 'running', 'paused', 'completed', 'aborted', 'refused', 'cancelled'));
alter table imports
    add column plan       text collate "C" check (plan in ('make', 'refuse', 'apply')),
    add column planned_at timestamptz;
comment on column imports.plan is 'make: what is dispatched is planned, and nothing is written to users. refuse, apply: it is applied after its plan, and what `on_drift` is. Null: it has no plan.';
comment on column imports.planned_at is 'When its plan was whole. Null: it has none, or none yet.';

-- It has the two new states, and takes the place of imports_open.
create index imports_under_way on imports (id) where state in ('receiving', 'received', 'planning', 'planned', 'running', 'paused');
drop index imports_open;

-- Not validated: every row meets the narrower ones that they replace.
alter table chunks drop constraint chunks_state_check;
alter table chunks add constraint chunks_state_check
    check (state in ('staged', 'dispatched', 'retryable', 'planned', 'applied', 'dead', 'cancelled')) not valid;
alter table chunks drop constraint chunks_end;
alter table chunks add constraint chunks_end
    check (state in ('staged', 'dispatched', 'retryable', 'planned') or pending = 0) not valid;

create table plans (
    id        bigint    generated always as identity primary key,
    tenant_id integer   not null,
    import_id uuid      not null,
    chunk_id  bigint    not null unique,
    inserted  integer   not null,
    updated   integer   not null,
    skipped   integer   not null,
    failed    integer   not null,
    sums      jsonb     not null,
    follows   bigint[]  not null,
    users     uuid[]    not null,
    versions  integer[] not null,
    keys      bytea     not null,
    records   bytea     not null
);
alter table plans alter column keys    set storage external;
alter table plans alter column records set storage external;
comment on table plans is 'What the pending records of a chunk would come to: one row a chunk of an import that is or was planned. Deleted with the import, and when it is cancelled before it was applied or planned anew.';
comment on column plans.id is 'Given under the lock of the import''s plan: the order in which its chunks were planned.';
comment on column plans.inserted is 'Records that would insert a user; the next three in the same way. Records that failed while receiving are in chunks.failed.';
comment on column plans.sums is 'The same by field, kind and cause, without a value of a user: what the plan of the whole import is added up from.';
comment on column plans.follows is 'Chunks of other lanes whose effects this one met: they are applied before it, so that what was planned is what happens.';
comment on column plans.users is 'Users that were there and would be changed, as they were met first.';
comment on column plans.versions is 'The version of each of them.';
comment on column plans.keys is 'The keys of this chunk in planned_keys, sorted, eight bytes each, little-endian.';
comment on column plans.records is 'A version byte, then zstd of JSON: outcome, errors and changes of each record, and how each user is left. No secret.';

create index plans_of_imports on plans (import_id, id);

create table planned_keys (
    import_id uuid   not null,
    key       bigint not null,
    plan_id   bigint not null
);
comment on table planned_keys is 'Which chunks of a plan have to do with which unique values, so that later chunks meet what earlier ones would leave. Deleted when the import is planned no more.';
comment on column planned_keys.key is 'Hash of import, field and normalised value.';

create index planned_keys_of_imports on planned_keys (import_id, key);

alter table plans enable row level security;
create policy own on plans using (tenant_id = muster_tenant());
alter table planned_keys enable row level security;
create policy own on planned_keys
    using (exists (select from imports where imports.id = planned_keys.import_id and imports.tenant_id = muster_tenant()));
