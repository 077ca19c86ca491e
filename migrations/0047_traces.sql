-- The trace that an upload belongs to, so that chunks that are dispatched later, by any producer, belong to it too.
--
-- Safe while older programs run: a column that may be null and that they do not name. What an older producer receives has no trace, and what it
-- dispatches carries none.

alter table imports add column traceparent text;
comment on column imports.traceparent is 'Trace context of the request that made the import, as W3C''s header traceparent spells it: ids and a flag. Null: none.';
