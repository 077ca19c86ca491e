-- When each application of a chunk was, beside what it changed: the chunk knows its last one alone.
--
-- Safe while older programs run: a column that may be null, that they do not name, and that has its value by itself. It is added without
-- the default and given it after that, so that rows that are there keep null: the time of this migration says nothing of them.

alter table before_images add column at timestamptz;
alter table before_images alter column at set default now();
comment on column before_images.at is 'When the chunk was applied this time. Null: by a program from before this column; then it is when the chunk was applied last.';
