-- Plans are written before the lock of their import is taken, so they become visible in another order than that of their ids. Who compares a
-- chunk with those that were planned meanwhile asks which of them a snapshot did not see.
--
-- Safe while the programs of the version before run: they write plans under the lock, and the default gives those their number too. A chunk
-- that one of them plans may miss one that a program of this version plans in the same moment; what it comes to is then reported as changed
-- since the plan.

alter table plans add column kept_by xid8;
alter table plans alter column kept_by set default pg_current_xact_id();
comment on column plans.id is 'Given after the plans were read that the chunk depends on: a chunk that names a value of an earlier one has the greater id. Where a chunk gives a value up that another one names, follows alone tells their order.';
comment on column plans.kept_by is 'The transaction that kept the plan. Null: it is older than this column.';

create index plans_kept_by on plans (import_id, kept_by);
