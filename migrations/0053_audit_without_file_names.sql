-- The audit keeps no names of files: people name them after people, and nothing can take a name out of the audit when its person is erased.
-- And the first token, which a program makes at its first start, is in it.
--
-- Safe while older programs run: only what is said of columns changes. They write the name of a file as it was given.

comment on column audit.actor  is 'Who did it: `token:` and the id of the token, `operator` for the command line, or `start` for a program that was started for the first time.';
comment on column audit.filter is 'How it was chosen, as it was requested: a state, an age, the name of a column, a code; of a part of a file''s name only how long it is (entries of programs before this migration have it as it was given). Null: it was one thing, or everything. It is kept after users are erased.';
