-- Chunks that wait to be tried again and dead chunks are few, and are looked for by every round of the dispatcher and by the console's
-- overview. Without an index of their own each look reads all chunks of an import.
--
-- Safe while the programs of the version before run: it only adds an index. It is built in the transaction, since the table has one row
-- for up to 2,000 records, so a million rows are read in a second or two.

create index chunks_troubled on chunks (import_id) where state in ('retryable', 'dead');
