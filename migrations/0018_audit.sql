-- What was done that leaves no other trace, for those who must answer for it.
--
-- Safe while older programs run: a table that they do not know.

create table audit (
    id        bigint      generated always as identity primary key,
    tenant_id integer     not null,
    at        timestamptz not null default now(),
    actor     text        not null,
    action    text        collate "C" not null check (action in ('users.erase')),
    subject   uuid,
    counts    jsonb       not null
);
comment on table audit is 'Written once, never changed and never deleted: a trigger refuses that.';
comment on column audit.actor is 'Who did it: `token:` and the id of the token, or `operator` for the command line.';
comment on column audit.subject is 'Id of the user concerned, which leads nowhere once they are erased. Null where there was no such user.';
comment on column audit.counts is 'How many of what. No value of a user.';

create index audit_newest on audit (tenant_id, id desc);

create function audit_is_kept() returns trigger language plpgsql as $$
begin
    raise exception 'the audit is written once and never changed';
end $$;

create trigger audit_is_kept before update or delete on audit for each row execute function audit_is_kept();
create trigger audit_is_kept_whole before truncate on audit for each statement execute function audit_is_kept();
