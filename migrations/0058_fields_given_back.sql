-- What an undo gave back is told from what somebody else did by the undos after it, field by field.
--
-- Safe while older programs run: a column that may be null and that they do not name.

alter table undo_steps add column given_back jsonb;
comment on column undo_steps.given_back is 'Fields that the undo gave back: to which version of the user, and since which. Null: none is known. No values.';
