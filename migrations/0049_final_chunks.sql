-- The chunks of an ended import by state, taken together with its final counts, in a column of their own: final_counts is what the chunks'
-- records sum up to, and nothing else, for everybody who reads it. While final_counts is null, this column says nothing.
alter table imports add column final_chunks jsonb;
comment on column imports.final_chunks is 'Chunks by state, taken with final_counts. Only to be read where final_counts is not null.';

-- Safe while older programs run: the column is new and may be null. Imports that ended before have their chunks in final_counts, or nowhere;
-- both are read as before.
