-- stint.take_first_leases(): clients that an agent knows nothing of, whether the database knows them or not.

begin;
select plan(35);

select stint.set_policy('ten', 10, 60000) as ten \gset
select stint.set_policy('fixed', 100, 60000, algorithm => 'fixed_window') as fixed \gset

-- Clients that nobody knows.
select results_eq(
	format($$ select request, granted, granted_next, next_is_open, charged, remaining, retry_us > 0, max_requests from stint.take_first_leases(1, array[%1$s, %2$s, %1$s],
		'{b,b,a}', '{3,1,10}', '{3,1,1}', '{5,60,10}', '{4,2,20}', '{2,1,0}') order by request $$, :ten, :fixed),
	'values (1, 3, 2, true, 0, 5, false, 10), (2, 60, 0, false, 0, 40, false, 100), (3, 10, 0, true, 0, 0, true, 10)',
	'each request has its own policy and its own answer');
select results_eq($$ select policy_id, client_id, counts, ahead::int, span::int, early, servers, servers_before, resolution::int, sub_window_us
	from stint.counter order by 1, 2 $$,
	format('values (%s, ''a'' collate "C", ''{10}''::int[], 0, 10, 0, 2::bigint, 0::bigint, 10, 6030000::bigint),
		(%1$s, ''b'', ''{2,0,3}'', 4, 4, 0, 2, 0, 10, 6030000), (%s, ''b'', ''{60}'', 0, 0, 0, 2, 0, 0, 60000000)', :ten, :fixed),
	'the counters hold it');
select ok(valid_us = starts_in_us and next_valid_us = valid_us + 6030000 and valid_us between 1 and 6030000 and reset_us = valid_us + 60300000
	and sub_window + 6030000 - valid_us between (extract(epoch from now()) * 1000000)::bigint and (extract(epoch from clock_timestamp()) * 1000000)::bigint,
	'durations are counted from now') from test.first_lease('ten', 'c');
select is((select sub_window from test.lease('ten', 'c', need => 0)), (select current_us from stint.counter where client_id = 'c'), 'sub-windows are where take_leases() has them');
select ok(granted = 1 and granted_next = 2 and next_is_open and next_sub_window = sub_window + 2 * 6030000 and valid_us between 6030000 + 1 and 2 * 6030000
	and starts_in_us = valid_us - 6030000 and next_valid_us = valid_us + 2 * 6030000 and reset_us = next_valid_us + 60300000,
	'a short lease of what is needed, and a long one') from test.first_lease('ten', 'long', want => 3, span => 3, span_least => 1);
select ok(granted = 1 and granted_next = 1 and next_is_open and next_sub_window = sub_window + 2 * 6030000 and valid_us between 1 and 6030000 and starts_in_us = valid_us
	and next_valid_us = valid_us + 2 * 6030000 and reset_us = next_valid_us + 11 * 6030000, '… also of a client that is known; reset_us knows of the first one')
	from test.first_lease('ten', 'long', want => 2, span => 2);
select ok(granted = 2 and granted_next = 0 and not next_is_open and next_sub_window = sub_window - 6030000 and valid_us between 2 * 6030000 + 1 and 3 * 6030000,
	'the longest may be the shortest') from test.first_lease('ten', 'short', want => 2, span => 1, span_least => 2);
select row_eq($$ select retry_us - starts_in_us, reset_us - starts_in_us from test.first_lease('ten', 'all', want => 10, span => 3) $$,
	row(60300000::bigint, 78390000::bigint), 'all of it: retry when the short one leaves, reset when the long one does');

-- Clients that another host has made known.
select is((select granted from test.lease('ten', 'known', need => 4)), 4, 'a client of another host');
select results_eq($$ select granted, remaining, retry_us, max_requests from test.first_lease('ten', 'known', need => 5) $$, 'values (5, 1, 0::bigint, 10)',
	'… gets what is left of its limit');
select results_eq($$ select granted, remaining, retry_us between 1 and 66330000 from test.first_lease('ten', 'known', need => 2) $$, 'values (0, 1, true)',
	'… and no more');
select results_eq($$ select granted, remaining, retry_us between 1 and 66330000 from test.first_lease('ten', 'known', need => 2, least_need => 1) $$, 'values (1, 0, true)',
	'… but for those who wait for less');
select results_eq($$ select granted, remaining, retry_us between 1 and 66330000, reset_us between 1 and 66330000 from test.first_lease('ten', 'known') $$,
	'values (0, 0, true, true)', 'a denial says until when');
select is((select counts from stint.counter where client_id = 'known'), '{10}'::int[], 'the counter holds what was granted, no more and no less');
update stint.counter set current_us = current_us - 12 * sub_window_us where client_id = 'known';
select results_eq($$ select granted, remaining from test.first_lease('ten', 'known', need => 7) $$, 'values (7, 3)', 'after a window all is free again');
select is((select counts from stint.counter where client_id = 'known'), '{7}'::int[], '… and forgotten');
select is((select granted_next from test.lease('ten', 'ahead', next_want => 3)), 3, 'a client with credits in the next sub-window');
select results_eq($$ select granted, remaining from test.first_lease('ten', 'ahead', need => 6) $$, 'values (6, 0)', '… keeps those');

-- Limits that leave nothing to grant.
select stint.set_override('ten', 'vip', 1000);
select results_eq($$ select granted, max_requests, remaining from test.first_lease('ten', 'vip', need => 500) $$, 'values (500, 1000, 500)', 'an override holds');
select stint.block_client('ten', 'blocked');
select results_eq($$ select granted, max_requests, remaining, retry_us, reset_us from test.first_lease('ten', 'blocked') $$, 'values (0, 0, 0, -1::bigint, 0::bigint)',
	'a blocked client gets nothing');
select results_eq($$ select granted, max_requests, remaining, retry_us from test.first_lease('ten', 'blocked') $$, 'values (0, 0, 0, -1::bigint)', '… and then nothing');
select results_eq($$ select granted, remaining, retry_us from test.first_lease('ten', 'greedy', need => 11) $$, 'values (0, 10, -1::bigint)', 'a cost above the limit is denied');
select results_eq($$ select granted, remaining from test.first_lease('ten', 'greedy') $$, 'values (1, 9)', '… and counts for nothing');

-- Bad elements never fail a batch.
select results_eq(
	format($$ select request, granted from stint.take_first_leases(1, array[%1$s, 999999, null, %1$s, %1$s, %1$s, %1$s, %1$s, %1$s, %1$s, %1$s],
		array['g1', 'x', 'x', '', null, repeat('x', 256), 'n1', 'n2', 'n3', repeat('ü', 127) || 'x', 'g2'],
		'{1,1,1,1,1,1,0,null,1,1,1}', '{1,1,1,1,1,1,1,1,1,1,1}', '{1,1,1,1,1,1,1,1,-2147483648,1,1}', '{0,0,0,0,0,0,0,0,0,0,0}',
		'{0,0,0,0,0,0,0,0,0,0,0}') order by request $$, :ten),
	'values (1, 1), (10, 1), (11, 1)', 'unknown policies, bad clients and bad numbers have no answer, the others have theirs');
select results_eq(
	format($$ select request, granted from stint.take_first_leases(1, array[%1$s, %1$s, %1$s, %1$s], '{dup,other,dup,dup}', '{1,1,2,3}', '{1,1,2,3}', '{1,1,2,3}', '{0,0,0,0}', '{0,0,0,0}') order by request $$, :ten),
	'values (1, 1), (2, 1)', 'of the same client twice, the first counts');
select is((select granted from test.first_lease('ten', 'h' || coalesce(h::text, ''), host => h)), 1, format('host %s', coalesce(h::text, 'null')))
	from unnest(array[0, -5, null, 2147483647]) h;
select is((select servers from stint.counter where client_id = 'h-5'), 32::bigint, '… is one of 63, whatever it is');
select results_eq($$ select granted, granted_next, next_is_open from test.first_lease('fixed', 'extreme', need => 2147483647, least_need => 1, want => 2147483647,
	span => 2147483647, span_least => 2147483647) $$, 'values (100, 0, false)', 'extremes do no harm');
select results_eq(format($$ select request from stint.take_first_leases(1, array[%1$s, %1$s, %1$s], '{s1,s2,s3}', '{1,1,1}', '{1,1,1}', '{1,1,1}', '{-1,0,2147483647}', '{0,null,-1}') $$, :ten),
	array[]::int[], 'spans that are negative or null have no answer');
select is_empty($$ select * from stint.take_first_leases(1, '{}', '{}', '{}', '{}', '{}', '{}', '{}') $$, 'an empty batch');
select throws_ok($$ select * from stint.take_first_leases(1, '{1,2}', '{a}', '{1}', '{1}', '{1}', '{0}', '{0}') $$,
	'22023', 'stint: the arrays of a batch must have the same length', 'arrays of different lengths');
select throws_ok($$ select * from stint.take_first_leases(1, '{1}', '{a}', '{1}', '{1}', '{0}', null, '{0}') $$,
	'22023', 'stint: the arrays of a batch must have the same length', 'an array that is null');

select * from finish();
rollback;
