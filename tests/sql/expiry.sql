-- stint.expire_counters(): what goes, what stays, batch by batch.

-- How far a call comes depends on what other tests have left in the table.
vacuum stint.counter;

begin;
select plan(29);
select setval('stint.expiry_walked_seq', 0);

select stint.set_policy('sliding', 10, 60000) as sliding \gset
select stint.set_policy('fixed', 10, 60000, algorithm => 'fixed_window') as fixed \gset
select stint.set_policy('longer', 10, 3600000) as longer \gset

-- A counter whose newest sub-window started so many seconds ago, `ahead` sub-windows after that of its last grant.
create function pg_temp.put(policy int, client text, seconds numeric, sub_window_us bigint default 6000000, resolution int default 10, ahead int default 0)
returns void
language sql volatile as $$
	insert into stint.counter (policy_id, client_id, current_us, sub_window_us, turn, servers, servers_before, max_requests, request, granted,
		granted_next, charged, early, ahead, resolution, span, counts)
	values (policy, client, (extract(epoch from clock_timestamp()) - seconds) * 1000000 - ahead * sub_window_us, sub_window_us, 1, 1, 0, 10, 1, 1,
		0, 0, 0, ahead, resolution, ahead, '{1}') $$;

select pg_temp.put(:sliding, 'now', 0), pg_temp.put(:sliding, 'ahead', -6), pg_temp.put(:sliding, 'window', 60), pg_temp.put(:sliding, 'run', 67),
	pg_temp.put(:sliding, 'margin', 75, ahead => 10), pg_temp.put(:sliding, 'still', 127, ahead => 10), pg_temp.put(:sliding, 'idle', 137, ahead => 10),
	pg_temp.put(:sliding, 'old', 100000),
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
select is((select last_value from stint.expiry_walked_seq), 0::bigint, 'it starts again at the beginning');
select ctid as version from stint.expiry \gset
select results_eq('select * from stint.expire_counters(100)', 'values (8::bigint, 0::bigint)', 'another round finds nothing');
select is((select ctid from stint.expiry), :'version', '… and writes nothing');
select stint.drop_policy('sliding');
select results_eq('select * from stint.expire_counters(100)', 'values (8::bigint, 6::bigint)', 'counters of a dropped policy go at once');
select results_eq('select * from stint.expire_counters(2)', 'values (2::bigint, 0::bigint)', 'a batch that is just full …');
select results_eq('select * from stint.expire_counters(2)', 'values (0::bigint, 0::bigint)', '… is followed by an empty one');
delete from stint.counter;
select results_eq('select * from stint.expire_counters(100)', 'values (0::bigint, 0::bigint)', 'no counters at all');
select results_eq(format('select * from stint.expire_counters(%s)', b), 'values (0::bigint, 0::bigint)', 'batch ' || b) from unnest(array['0', '-1', 'null']) b;

select pg_temp.put(:longer, 'was longer', 54000, 36000000000);
select results_eq('select * from stint.expire_counters(100)', 'values (1::bigint, 0::bigint)', 'a policy that got a shorter window');
delete from stint.counter;

-- A counter that is gone starts anew.
select pg_temp.put(:fixed, 'client', 200, 60000000, 0);
select stint.expire_counters(10);
select is((select granted from test.lease('fixed', 'client', need => 10)), 10, 'an expired client has its whole limit');

-- A batch costs what it looks at, however many rows are behind it, or were before it: while somebody holds an old snapshot,
-- rows stay that were deleted. (Here this transaction does.)
create function pg_temp.blocks() returns bigint language sql volatile as $$
	select pg_stat_get_xact_blocks_fetched('stint.counter'::regclass) + pg_stat_get_xact_blocks_fetched('stint.counter_pkey'::regclass) $$;
select count(pg_temp.put(:fixed, 'many ' || i, 0, 60000000, 0)) from generate_series(1, 20000) i;
select pg_temp.blocks() as before \gset
select ctid as version from stint.expiry \gset
select results_eq('select * from stint.expire_counters(10)', 'values (10::bigint, 0::bigint)', 'ten of many');
select is((select ctid from stint.expiry), :'version', '… and no version of a row tells how far it has come: calls are many');
select cmp_ok(pg_temp.blocks() - :before, '<', 60::bigint, '… and no more is read than for these');
delete from stint.counter where client_id like 'many %';
select pg_temp.blocks() as before \gset
select results_eq('select deleted from stint.expire_counters(10)', 'values (0::bigint)', 'many that were deleted');
select cmp_ok(pg_temp.blocks() - :before, '<', 400::bigint, '… are passed over some at a time');
select pg_temp.put(:fixed, 'last', 200, 60000000, 0);
select test.expire_all();
select is_empty($$ select from stint.counter where client_id = 'last' $$, '… until the walk is behind them');

-- History of more than a year goes, a batch at a time, once an hour.
delete from stint.change;
create function pg_temp.put_history(how_many int, age interval) returns void language sql volatile as $$
	insert into stint.change (at, changed_by, action, policy_id) select clock_timestamp() - age, 'x', 'changed', 1 from generate_series(1, how_many);
	insert into stint.host_fallback (host_id, host, began_at, ended_at, admitted, clients, reason)
	select 1, 'x', clock_timestamp() - age - i * interval '1 min', clock_timestamp() - age - i * interval '1 min', 0, 0, '' from generate_series(1, how_many) i $$;
create function pg_temp.history() returns text language sql volatile as $$
	select format('%s %s', (select count(*) from stint.change), (select count(*) from stint.host_fallback)) $$;
select pg_temp.put_history(7, '2 years'), pg_temp.put_history(3, '364 days');
select max(change_id) as newest from stint.change \gset
insert into stint.agent_host (name, instance, version, state, state_since, started_at, seen_at, live)
select 'pod-' || i, 'x', '1', 'stopped', now(), now(), now() - (20 + i) * interval '1 day', i > 18 from generate_series(1, 19) i;
select stint.expire_counters(5);
select is(pg_temp.history(), '10 10', 'history is looked at once an hour');
update stint.expiry set history_at = history_at - interval '1 hour';
select results_eq('select deleted from stint.expire_counters(5)', 'values (0::bigint)', 'what is deleted of it is not counted');
select is(pg_temp.history(), '5 5', 'a batch of it');
select stint.expire_counters(5);
select is(pg_temp.history(), '3 3', '… and the next one at once, until there is no more: a year of it stays');
select results_eq('select name from stint.agent_host order by host_id', $$ select 'pod-' || i from generate_series(1, 9) i union all values ('pod-19') $$,
	'hosts that were not heard of for 30 days go as well, unless they are still thought to live');
update stint.change set at = at - interval '1 year';
select stint.expire_counters(5);
select is(pg_temp.history(), '3 3', '… and then not for an hour');
update stint.expiry set history_at = history_at + interval '2 hours';
select stint.expire_counters(5);
select is(pg_temp.history(), '1 3', 'unless the clock was set back');
select is(stint.get_newest_change(), :newest::bigint, 'the newest change stays, agents count from it');

select * from finish();
rollback;
