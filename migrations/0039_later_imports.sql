-- Which import changed a user since: an undo looks the last chunks of the tenant through, and no others.
--
-- Safe while older programs run: an index, and a comment. The table has a row a chunk and keeps them for some weeks, so that it is built
-- in a moment.

create index before_images_tenant on before_images (tenant_id, id);

comment on column undo_steps.kept is 'Fields that stay as they are in this undo, so that earlier changes of them are left alone too: somebody changed them or took them back already, another user has the value, or what they had does not fit what else the user has now. No values.';
comment on column undo_steps.stands_for is 'The earlier version, as which the user is again; the same where there is none. Also for the undos of other parts of the same import.';
