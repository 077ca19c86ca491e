-- Chunks that retry reopened keep the order of the file; imports that completed with open chunks run again.
--
-- Safe while older programs run: they neither read nor write what is added here. A chunk that an older program reopens is
-- applied as before, without a look at later records, and an older program cannot read the outcomes of a chunk in which a
-- record was superseded: it says so, and reads them once it is the new one.

alter table chunks add column reopened integer not null default 0;
comment on column chunks.reopened is 'How often retry opened the chunk again. Above 0: its records are compared with later ones of the file that were applied first.';

create unlogged table chunk_identifiers (
    chunk_id     bigint primary key,
    fingerprints bytea  not null
);
alter table chunk_identifiers alter column fingerprints set storage external;
comment on table chunk_identifiers is 'Worked out when a reopened chunk is compared with a later one of its lane, and kept so that each is decoded once. May be lost at any time.';
comment on column chunk_identifiers.fingerprints is 'Four bytes of the hash of each normalised identifier, sorted.';

-- Completing once raced with retry: such an import has records that are still to come, and nothing would have freed it.
update imports
   set state = 'running', completed_at = null, final_counts = null
 where state = 'completed'
   and exists (select from chunks c
                where c.import_id = imports.id and c.state in ('staged', 'dispatched', 'retryable'));
