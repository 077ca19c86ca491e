-- How a commit whose answer was lost is found again. A transaction's number is not enough: after a crash, or on a standby that took
-- over, the server gives the numbers that it forgot to other transactions.
--
-- Safe while older programs run: they do not know the table.
create table commit_marks (
    token uuid        primary key,
    at    timestamptz not null default clock_timestamp()
);
comment on table  commit_marks       is 'Transactions that were committed. Each is looked for once, if at all, when the answer to its commit was lost.';
comment on column commit_marks.token is 'Made for the one transaction that wrote it.';
comment on column commit_marks.at    is 'When it was about to be committed. A row is deleted a quarter of an hour later.';
