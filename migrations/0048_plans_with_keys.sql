-- A chunk that has to do with no other one is planned without the plan's lock: its number says nothing of what was planned before it. Others
-- ask for the newest plan that was written under the lock, at each chunk.
--
-- Safe while older programs run: an index of a table that only planned imports write, a row a chunk; building it takes milliseconds.
create index plans_with_keys on plans (import_id, id) where keys <> '';
