-- More of what is done is in the audit: what happens to imports, many at once too, to webhooks and their secrets, profiles, the catalog and
-- tokens. With what it was done to by name, and how it was chosen.
--
-- Safe while older programs run: they write one action, and name the columns that they write; the new ones may be null.

alter table audit add column name   text  check (char_length(name) <= 255);
alter table audit add column filter jsonb check (jsonb_typeof(filter) = 'object');
comment on column audit.subject is 'Id of what it was done to: a user (which leads nowhere once they are erased), an import, a webhook, a token, something done to many imports. Null: it has none.';
comment on column audit.name    is 'What that is called, where its name is no value of a user: a profile, a token. Null: it has none.';
comment on column audit.filter  is 'How it was chosen, as it was requested: a state, an age, the name of a file or column, a code. Null: it was one thing, or everything. It is kept after users are erased.';

-- What newer programs do is called by names that this one does not know.
alter table audit drop constraint audit_action_check;
alter table audit add constraint audit_action_check check (action ~ '^[a-z]+\.[a-z_]+$') not valid;
alter table audit validate constraint audit_action_check;

create index audit_of_subjects on audit (tenant_id, subject, id desc) where subject is not null;

-- What is done to many imports can be chosen by the profile that they were received with.
alter table imports add column profile text;
comment on column imports.profile is 'Name of the profile whose options it has, as it was asked. Null: none, or received by an older program.';
