-- stint.expire_counters(): what goes, what stays, batch by batch.

begin;
select no_plan();

select stint.set_policy('sliding', 10, 60000) as sliding \gset
select stint.set_policy('fixed', 10, 60000, algorithm => 'fixed_window') as fixed \gset
select stint.set_policy('longer', 10, 3600000) as longer \gset

-- A counter whose newest sub-window started so many seconds ago.
create function pg_temp.put(policy int, client text, seconds numeric, sub_window_us bigint default 6000000, resolution int default 10) returns void
language sql volatile as $$
	insert into stint.counter (policy_id, client_id, head_us, sub_window_us, turn, max_requests, request, granted, granted_next, charged, resolution, counts)
	values (policy, client, (extract(epoch from clock_timestamp()) - seconds) * 1000000, sub_window_us, 1, 10, 1, 1, 0, 0, resolution, '{1}') $$;

select pg_temp.put(:sliding, 'now', 0), pg_temp.put(:sliding, 'ahead', -6), pg_temp.put(:sliding, 'window', 60), pg_temp.put(:sliding, 'run', 67),
	pg_temp.put(:sliding, 'margin', 75), pg_temp.put(:sliding, 'still', 130), pg_temp.put(:sliding, 'idle', 137), pg_temp.put(:sliding, 'old', 100000),
	pg_temp.put(:fixed, 'now', 30, 60000000, 0), pg_temp.put(:fixed, 'idle', 200, 60000000, 0),
	pg_temp.put(:longer, 'was short', 1000), pg_temp.put(999999, 'orphan', 0);

create temp table walk (i int generated always as identity, examined bigint, deleted bigint);
insert into walk (examined, deleted) select * from stint.expire_counters(5);
insert into walk (examined, deleted) select * from stint.expire_counters(5);
insert into walk (examined, deleted) select * from stint.expire_counters(5);
select is((select array_agg(examined order by i) from walk), '{5,5,2}'::bigint[], 'twelve are examined by fives');
select is((select sum(deleted)::int from walk), 4, 'those that count no more are deleted');
select results_eq('select client_id collate "C" from stint.counter order by 1',
	$$ select x collate "C" from unnest(array['ahead', 'margin', 'now', 'now', 'run', 'still', 'was short', 'window']) x $$,
	'what may count for anybody stays: with a margin for stale times, and for a policy that got a longer window');
select is((select policy_id from stint.expiry), 0, 'it starts again at the beginning');
select results_eq('select * from stint.expire_counters(100)', 'values (8::bigint, 0::bigint)', 'another round finds nothing');
select stint.drop_policy('sliding');
select results_eq('select * from stint.expire_counters(100)', 'values (8::bigint, 6::bigint)', 'counters of a dropped policy go at once');
select results_eq('select * from stint.expire_counters(2)', 'values (2::bigint, 0::bigint)', 'a batch that is just full …');
select results_eq('select * from stint.expire_counters(2)', 'values (0::bigint, 0::bigint)', '… is followed by an empty one');
delete from stint.counter;
select results_eq('select * from stint.expire_counters(100)', 'values (0::bigint, 0::bigint)', 'no counters at all');
select results_eq(format('select * from stint.expire_counters(%s)', b), 'values (0::bigint, 0::bigint)', 'batch ' || b) from unnest(array['0', '-1', 'null']) b;

-- A counter that is gone starts anew.
select pg_temp.put(:fixed, 'client', 200, 60000000, 0);
select stint.expire_counters(10);
select is((select granted from test.lease('fixed', 'client', need => 10)), 10, 'an expired client has its whole limit');

select * from finish();
rollback;
