-- An upload that came to nothing may have millions of rows staged. Its import ends at once, and the rows are deleted page by page after
-- that: each step is short, and what was done stays done.
--
-- Safe while the programs of the version before run: the column has a constant default, and a program that does not know it deletes
-- everything itself. The index is partial and has next to no rows.

alter table imports
    add column leftovers boolean not null default false;

comment on column imports.leftovers is 'Of an aborted or refused import: rows that were staged of it are still to be deleted.';

create index imports_leftovers on imports (id) where leftovers;
