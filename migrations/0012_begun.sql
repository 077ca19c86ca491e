-- Who began a chunk and never told how it ended, so that a chunk that kills its workers is told apart from one that an
-- outage interrupted; how often a chunk was deferred.
--
-- Safe while older programs run: columns with constant defaults, which they do not name. Chunks that they apply have no
-- worker noted, as before.

alter table chunks
    add column begun      uuid[]  not null default '{}',
    add column deferrals  integer not null default 0;
comment on column chunks.attempts   is 'Attempts that did not end well and told so. Workers in `begun` that are gone count too.';
comment on column chunks.begun      is 'Workers that began the chunk and did not tell how that ended: they died, or are at it.';
comment on column chunks.deferrals  is 'How often it was put off without spending an attempt, because of what it needs: a database that refuses everything, or a newer program.';
