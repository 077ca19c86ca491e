-- Before-images: what users had before a chunk changed them (docs/decisions/0027-before-images.md).
--
-- Safe while older programs run: a table that they do not know. Chunks that an older worker applies have no before-images, and an
-- undo says of how many users that is so.

create table before_images (
    id        bigint  generated always as identity primary key,
    chunk_id  bigint  not null,
    import_id uuid    not null,
    tenant_id integer not null,
    reopened  integer not null,
    gives_up  boolean not null,
    takes     boolean not null,
    images    bytea,
    unique (chunk_id, reopened)
);
alter table before_images alter column images set storage external;
comment on table before_images is 'One row each time that a chunk was applied and changed or inserted users. Written in the transaction that applies it.';
comment on column before_images.id is 'Given at the end of the transaction, when the users are locked: of two chunks that changed one user the later one has the greater id.';
comment on column before_images.reopened is 'chunks.reopened at that time: which application of the chunk it was.';
comment on column before_images.gives_up is 'A user that was there lost a value of one of the unique fields.';
comment on column before_images.takes is 'A user that was there got a value in one of the unique fields.';
comment on column before_images.images is 'The changes, encoded as the records of a chunk are. Null: users were inserted by one record each, and nothing else; their ids are in the chunk''s outcomes.';

create index before_images_import on before_images (import_id, id);

alter table before_images enable row level security;
create policy own on before_images using (tenant_id = muster_tenant());
