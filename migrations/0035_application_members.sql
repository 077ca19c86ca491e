-- Members of applications: users whom clients of the front door for Bitcaster registered for one of their applications.
--
-- Safe while older programs run: a table that they do not know. A user whom an older program deletes takes their rows along.

create table application_members (
    tenant_id       integer     not null,
    organization_id integer     not null,
    project         text        collate "C" not null,
    application     text        collate "C" not null,
    user_id         uuid        not null references users on delete cascade,
    custom_fields   jsonb       not null default '{}' check (jsonb_typeof(custom_fields) = 'object'),
    active          boolean     not null default true,
    created_at      timestamptz not null default now(),
    primary key (organization_id, project, application, user_id)
);
comment on table application_members is 'Registered users. There is no table of projects and applications: a slug names one.';
comment on column application_members.custom_fields is 'What the application keeps about the user; the metadata of the user is another thing.';
comment on column application_members.active is 'What the last registration said.';

create index application_members_user on application_members (user_id);

alter table application_members enable row level security;
create policy own on application_members using (tenant_id = muster_tenant());
