-- What is with the workers, and what may go to them. $1: places that are wanted, or null for all; $2: the first lane to look at;
-- $3 and $4: planted faults.
with busy as materialized (
    select id, import_id, tenant_id, lane, sent_at, leased_until > now() as in_flight
      from chunks
     where state = 'dispatched'
), running as materialized (
    select id, tenant_id, lanes, total,
           coalesce(least(lanes, 1 + 2 * $1::integer / count(*) over (partition by tenant_id)), lanes) as most
      from imports
     where state in ('planning', 'running')
       and (tenant_id not in (select tenants.id from tenants where disabled_at is not null) or $3)
), refused as materialized (
    -- Imports of which a chunk was deferred and none was applied since, and when the chunk that was tried last is due.
    select import_id, max(problem_at) as tried, (array_agg(due_at order by problem_at desc))[1] as due
      from chunks
     where state = 'retryable' and deferrals > 0 and not $4
     group by import_id
    having not exists (select from chunks taken
                        where taken.import_id = chunks.import_id and taken.applied_at > max(chunks.problem_at))
)
select id as "id!", import_id as "import_id!", tenant_id as "tenant_id!", 0::bigint as "size!",
       false as "ready!", in_flight as "in_flight!", false as "cut!"
  from busy
union all
select head.id, running.id, running.tenant_id, running.total, true, false, running.most < running.lanes
  from running
 cross join lateral (
       select first.id
         from generate_series(0, running.lanes - 1) as lane (number)
        cross join lateral (
              select c.id, c.lane, c.state, c.due_at
                from chunks c
               where c.import_id = running.id and c.lane = (lane.number + $2) % running.lanes
                 and c.state in ('staged', 'dispatched', 'retryable')
               order by c.seq
               limit 1) as first
        where (first.state = 'staged' or first.state = 'retryable' and first.due_at <= now())
          -- A retry may have opened a chunk of the lane that comes before the one with the workers.
          and not exists (select from busy where busy.import_id = running.id and busy.lane = first.lane)
        limit running.most) as head
 where running.id not in (select import_id from refused)
union all
-- One chunk at a time finds out whether the database takes them again, another one each time.
select head.id, running.id, running.tenant_id, running.total, true, false, false
  from refused
  join running on running.id = refused.import_id
 cross join lateral (
       select first.id
         from generate_series(0, running.lanes - 1) as lane (number)
        cross join lateral (
              select c.id, c.lane, c.state, c.due_at, c.problem_at
                from chunks c
               where c.import_id = running.id and c.lane = lane.number
                 and c.state in ('staged', 'dispatched', 'retryable')
               order by c.seq
               limit 1) as first
        where (first.state = 'staged' or first.state = 'retryable' and first.due_at <= now())
          and not exists (select from busy where busy.import_id = running.id and busy.lane = first.lane)
        order by (first.state = 'retryable'), first.problem_at
        limit 1) as head
 where refused.due <= now()
   -- What was sent before the database refused, or is stuck, holds up nobody.
   and not exists (select from busy
                    where busy.import_id = running.id and busy.in_flight
                      and busy.sent_at > greatest(refused.tried, now() - interval '5 seconds'))
