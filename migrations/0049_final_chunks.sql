-- The chunks of an ended import by state, taken together with its final counts, in a column of their own: final_counts is what the chunks'
-- records sum up to, and nothing else, for everybody who reads it. While final_counts is null, this column says nothing.
alter table imports add column final_chunks jsonb;
comment on column imports.final_chunks is 'Chunks by state, taken with final_counts. Only to be read where final_counts is not null.';

update imports
   set final_chunks = final_counts -> 'chunks', final_counts = final_counts - 'chunks'
 where final_counts ? 'chunks';
