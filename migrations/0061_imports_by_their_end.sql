-- The console shows the imports of a tenant that ended last, and those that failed lately. Without an index of their own each look reads
-- all imports of the tenant.
--
-- Safe while the programs of the version before run: it only adds an index, on a table with one row for each import.

create index imports_ended_of_tenants on imports (tenant_id, completed_at desc) where completed_at is not null;
