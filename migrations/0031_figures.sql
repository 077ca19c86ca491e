-- Imports are counted by state for the metrics, without reading them all.
--
-- Safe while older programs run: an index, on a table with one row an import.

create index imports_state on imports (state);
