-- The queue as rows: the queue seam's second backend, for an installation without a broker.
--
-- Publishing is one INSERT; its commit is the confirm. A consumer is a session with a number of its own, on which it
-- holds an advisory lock for as long as it lives. It claims messages by writing that number into `holder`; acking
-- deletes the row. When a session dies, however it dies, the server lets its lock go; any other consumer that gets the
-- lock knows by that that the holder is dead, and frees its messages. So no clock decides who is alive.
--
-- Safe while older programs run: nothing here is touched by anything else.

create table queues (
    id             integer generated always as identity primary key,
    name           text not null unique collate "C",
    created_at     timestamptz not null default now()
);

comment on table  queues      is 'One row a queue; its dead-letter queue is part of it.';
comment on column queues.name is 'Prefix and version, as in the names of RabbitMQ''s queues: muster.chunks.v1.';

create table queue_messages (
    id             bigint generated always as identity primary key,
    queue_id       integer not null,
    headers        jsonb not null,
    body           bytea not null,
    deliveries     integer not null default 0 check (deliveries >= 0),
    holder         integer,
    dead_reason    text,
    enqueued_at    timestamptz not null default now()
) with (
    -- Rows live for seconds and there are few at a time, so a fixed number of dead ones, not a part of the table, says
    -- when to clean up.
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 1000,
    autovacuum_vacuum_insert_threshold = -1
);

-- Bodies are compressed already: trying again would only cost time.
alter table queue_messages alter column body set storage external;

comment on table  queue_messages             is 'Messages that are not acked yet.';
comment on column queue_messages.id          is 'Order of delivery within a queue.';
comment on column queue_messages.queue_id    is 'queues.id. No foreign key: publishing reads the queue''s row anyway, and a key would lock it every time.';
comment on column queue_messages.headers     is 'Name and value of each header: ids only, never a user''s value.';
comment on column queue_messages.body        is 'Opaque; up to 16 MiB.';
comment on column queue_messages.deliveries  is 'How many times the message was delivered.';
comment on column queue_messages.holder      is 'Number of the consumer that holds the message unsettled; null while it waits.';
comment on column queue_messages.dead_reason is 'Set: the message lies in the dead-letter queue, for this reason.';
comment on column queue_messages.enqueued_at is 'When it was published; for operators, decides nothing.';

-- One index for each question that is asked all the time: what is next, what is dead, what does a holder hold.
create index queue_messages_ready on queue_messages (queue_id, id)     where holder is null and dead_reason is null;
create index queue_messages_dead  on queue_messages (queue_id, id)     where dead_reason is not null;
create index queue_messages_held  on queue_messages (queue_id, holder) where holder is not null;

-- Numbers of consumers. Four bytes, since an advisory lock of two keys takes no more; after two billion consumers they
-- start again, and a number that is still locked is passed over.
create sequence queue_holders as integer minvalue 1 cycle;
