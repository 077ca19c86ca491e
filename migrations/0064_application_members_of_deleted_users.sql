-- A foreign key with `on delete cascade` looks for members once for each user that is deleted: for an undo that deletes a million users, more
-- work than deleting them. A trigger looks for them once for each statement.
--
-- Safe while the programs of the version before run: whoever deletes users has their members deleted, as before. Members are inserted from the
-- user's row, locked against deletion, so there is none without a user.

alter table application_members drop constraint application_members_user_id_fkey;

create function delete_application_members() returns trigger language plpgsql as $$
begin
    delete from application_members where user_id = any(array(select id from gone));
    return null;
end $$;

create trigger application_members_go after delete on users
    referencing old table as gone for each statement execute function delete_application_members();

comment on column application_members.user_id is 'users.id. No foreign key: the trigger application_members_go of users deletes the members of a user with it.';
