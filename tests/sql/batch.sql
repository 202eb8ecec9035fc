-- stint.take_leases(): batches with good and bad elements, what is written and what is not.

begin;
select plan(56);

select stint.set_policy('ten', 10, 1200000, resolution => 10) as ten \gset
select stint.set_policy('fixed', 100, 1200000, algorithm => 'fixed_window') as fixed \gset

-- A good batch. Some of the clients have been coming for long enough to be given leases that last.
select test.make_known('ten', 'b', 5), test.make_known('ten', 'longer', 5), test.make_known('ten', 'two leases', 9);
select results_eq(
	format($$ select request, granted, granted_next, charged, max_requests, next_is_open from stint.take_leases(1, array[%1$s, %2$s, %1$s],
		'{b,b,a}', '{3,1,0}', '{3,1,0}', '{5,1,0}', '{4,0,0}', '{1,0,0}', '{0,2,0}', '{0,0,4}', '{0,0,0}', '{0,0,0}', '{0,0,0}', '{0,0,0}',
		'{0,0,0}', '{0,0,0}') order by request $$, :ten, :fixed),
	$$ values (1, 3, 2, 0, 10, true), (2, 1, 2, 0, 100, false), (3, 0, 0, 4, 10, false) $$, 'each request has its own policy and its own answer');
select results_eq($$ select policy_id, client_id, counts, ahead::int, early, servers, servers_before, span::int, resolution::int, sub_window_us
	from stint.counter where client_id in ('a', 'b') order by 1, 2 $$,
	format('values (%s, ''a'' collate "C", ''{4}''::int[], 0, 0, 0::bigint, 0::bigint, -1, 10, 120600000::bigint),
		(%1$s, ''b'', ''{2,0,0,3,0,0,0,0,0,1}'', 4, 0, 2, 0, 4, 10, 120600000), (%s, ''b'', ''{2,1}'', 1, 2, 2, 0, -1, 0, 1200000000)', :ten, :fixed),
	'the counters hold it');
select ok(valid_us = starts_in_us and next_valid_us = valid_us + 120600000 and valid_us between 1 and 120600000
	and sub_window + 120600000 - valid_us between (extract(epoch from now()) * 1000000)::bigint and (extract(epoch from clock_timestamp()) * 1000000)::bigint,
	'durations are counted from now') from test.lease('ten', 'c');
select ok(sub_window + 120600000 = next_sub_window and valid_us between 1 + 5 * 120600000 and 6 * 120600000 and starts_in_us = valid_us - 5 * 120600000
	and next_valid_us = valid_us + 120600000 and not next_is_open and granted = 2 and granted_next = 1,
	'a lease for several sub-windows, and one that is as long from the next one on') from test.lease('ten', 'long', want => 2, span_least => 5, next_want => 1);
select row_eq($$ select counts, ahead::int, early from stint.counter where client_id = 'long' $$, row('{1,2}'::int[], 6, 1), '… as the counter says');
select ok(sub_window + 3 * 120600000 = next_sub_window and valid_us between 1 + 120600000 and 2 * 120600000 and starts_in_us = valid_us - 120600000
	and next_valid_us = valid_us + 3 * 120600000 and next_is_open and granted = 1 and granted_next = 4,
	'a short lease of what is needed, and a long one') from test.lease('ten', 'longer', want => 5, span => 4, span_least => 1, next_want => 1);
select row_eq($$ select counts, ahead::int, early from stint.counter where client_id = 'longer' $$, row('{4,0,0,1,0,0,0,0,0,1}'::int[], 4, 0), '… as the counter says');

-- A window in twenty parts: leases of two.
select stint.set_policy('twenty', 10, 1200000, resolution => 20);
select ok(next_sub_window = sub_window + 2 * 60300000 and valid_us = starts_in_us and next_valid_us = starts_in_us + 2 * 60300000 and valid_us between 1 and 60300000
	and not next_is_open and granted = 0 and granted_next = 4, 'one for two sub-windows from the next one on') from test.lease('twenty', 'a', need => 0, next_want => 4);
select row_eq($$ select counts, ahead::int, early, span::int from stint.counter c join stint.policy p using (policy_id) where name = 'twenty' and client_id = 'a' $$,
	row('{4}'::int[], 2, 4, -2), '… as the counter says');
select ok(next_sub_window = sub_window + 60300000 and valid_us = starts_in_us and next_valid_us = starts_in_us + 60300000 and valid_us between 1 and 60300000
	and next_is_open and granted = 1 and granted_next = 2, 'one for two from now on') from test.lease('twenty', 'b', want => 3);

-- Denials.
select is((select granted from test.lease('ten', 'full', need => 10)), 10, 'a limit is used up');
select turn as turn_before, xmin as xmin_before from stint.counter where client_id = 'full' \gset
select results_eq($$ select granted, remaining, retry_us between 1 and 1326600000, reset_us between 1 and 1326600000 from test.lease('ten', 'full') $$,
	'values (0, 0, true, true)', 'a denial says until when');
select is((select turn from stint.counter where client_id = 'full'), :turn_before::bigint, '… and writes nothing');
select is((select granted from test.lease('ten', 'greedy', need => 11)), 0, 'a cost above the limit is denied');
select is((select count(*) from stint.counter where client_id = 'greedy'), 0::bigint, '… and a new client gets no row for it');
select is((select count(*) from test.lease('ten', 'idle', need => 0)), 1::bigint, 'a request for nothing is answered');
select is((select count(*) from stint.counter where client_id = 'idle'), 0::bigint, '… and writes nothing');

-- Returns.
select sub_window as token from test.lease('ten', 'returner', need => 10) \gset
select results_eq(format($$ select granted, remaining from test.lease('ten', 'returner', need => 0, report_sub => %s, unspent => 4) $$, :token),
	'values (0, 4)', 'credits come back');
select is((select counts from stint.counter where client_id = 'returner'), '{6}'::int[], '… and are written');
select next_sub_window as token_1 from test.lease('ten', 'two leases', need => 0, want => 2, span => 8) \gset
select next_sub_window as token_2 from test.lease('ten', 'two leases', need => 0, want => 3, span => 6) \gset
select is((select counts from stint.counter where client_id = 'two leases'), '{2,0,3,0,0,0,0,0,0,0,0,0,0,0,0,0,0,1}'::int[], 'two leases …');
select results_eq(
	format($$ select granted, remaining from stint.take_leases(1, array[%s], '{two leases}', '{0}', '{0}', '{0}', '{0}', '{0}', '{0}', '{0}',
		array[%s], '{1}', '{0}', array[%s], '{1}', '{2}') $$, :ten, :token_1, :token_2),
	'values (0, 6)', '… are reported at once');
select results_eq($$ select counts[:3], ahead::int from stint.counter where client_id = 'two leases' $$, $$ values ('{1,0,0}'::int[], 8) $$, '… what was spent is charged to the present');
-- To the next one, if that begins within the fifth of a second in which a credit may still be admitted.
select is((select sum(c) from stint.counter, unnest(counts[8:9]) c where client_id = 'two leases'), 2::bigint, '… all of it');

-- Bad elements never fail a batch.
select results_eq(
	format($$ select request, granted from stint.take_leases(1, array[%1$s, 999999, null, %1$s, %1$s, %1$s, %1$s, %1$s, %1$s, %1$s, %1$s, %1$s, %1$s],
		array['g1', 'x', 'x', '', null, repeat('x', 256), 'n1', 'n2', 'n3', repeat('ü', 127) || 'x', 'g2', 'n4', 'n5'],
		'{1,1,1,1,1,1,-1,null,1,1,1,1,1}', '{1,1,1,1,1,1,1,1,1,1,1,1,1}', '{1,1,1,1,1,1,1,1,-2147483648,1,1,1,1}', '{0,0,0,0,0,0,0,0,0,0,0,-1,0}', '{0,0,0,0,0,0,0,0,0,0,0,0,null}',
		'{0,0,0,0,0,0,0,0,0,0,0,0,0}', '{0,0,0,0,0,0,0,0,0,0,0,0,0}', '{0,0,0,0,0,0,0,0,0,0,0,0,0}', '{0,0,0,0,0,0,0,0,0,0,0,0,0}',
		'{0,0,0,0,0,0,0,0,0,0,0,0,0}', '{0,0,0,0,0,0,0,0,0,0,0,0,0}', '{0,0,0,0,0,0,0,0,0,0,0,0,0}', '{0,0,0,0,0,0,0,0,0,0,0,0,0}') order by request $$, :ten),
	'values (1, 1), (10, 1), (11, 1)', 'unknown policies, bad clients and bad numbers have no answer, the others have theirs');
select results_eq(
	format($$ select request, granted from stint.take_leases(1, array[%1$s, %1$s, %1$s, %1$s], '{dup,other,dup,dup}', '{1,1,2,3}', '{1,1,2,3}', '{1,1,2,3}',
		'{0,0,0,0}', '{0,0,0,0}', '{0,0,0,0}', '{0,0,0,0}', '{0,0,0,0}', '{0,0,0,0}', '{0,0,0,0}', '{0,0,0,0}', '{0,0,0,0}', '{0,0,0,0}')
		order by request $$, :ten),
	'values (1, 1), (2, 1)', 'of the same client twice, the first counts');
select is((select granted from test.lease('ten', e'it''s "quoted"\n\\ {,} %s')), 1, 'quotes, newlines, braces in a client_id');
select is((select count(*) from test.lease('ten', e'it''s "quoted"\n\\ {,} %s', need => 0) where remaining = 9), 1::bigint, '… are kept');
select is((select granted from test.lease('ten', 'Ab')) + (select granted from test.lease('ten', 'aB')), 2, 'case counts');
select is((select granted from test.lease('ten', 'hosts', host => h)), 1, format('host %s', coalesce(h::text, 'null')))
	from unnest(array[0, -5, null, 2147483647, -2147483648, 62, 63]) h;
select is((select servers from stint.counter where client_id = 'hosts'), 4611686018427387904 + 1 + 32 + 2 + 4,
	'… is one of 63, whatever it is');
select is((select granted from test.lease('ten', 'extreme', need => 2147483647, least_need => 1, want => 2147483647, next_want => 2147483647,
	charge => 2147483647, span => 2147483647, span_least => 2147483647, report_sub => 9223372036854775807, unspent => 2147483647, spent => 2147483647)),
	0, 'extremes do no harm');
select is((select charged from test.lease('ten', 'extreme2', charge => 2147483647)), 10, '… and are counted as far as the limit goes');
select is_empty($$ select * from stint.take_leases(1, '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}') $$, 'an empty batch');
select throws_ok($$ select * from stint.take_leases(1, '{1,2}', '{a}', '{1}', '{1}', '{1}', '{0}', '{0}', '{0}', '{0}', '{0}', '{0}', '{0}', '{0}', '{0}', '{0}') $$,
	'22023', 'stint: the arrays of a batch must have the same length', 'arrays of different lengths');
select throws_ok($$ select * from stint.take_leases(1, '{1}', '{a}', '{1}', '{1}', null, '{0}', '{0}', '{0}', '{0}', '{0}', '{0}', '{0}', '{0}', '{0}', '{0}') $$,
	'22023', 'stint: the arrays of a batch must have the same length', 'an array that is null');

-- Overrides and blocked clients.
select stint.set_override('ten', 'vip', 1000);
select results_eq($$ select granted, max_requests, remaining from test.lease('ten', 'vip', need => 500) $$, 'values (500, 1000, 500)', 'an override holds');
select stint.block_client('ten', 'vip');
select results_eq($$ select granted, max_requests, remaining, retry_us from test.lease('ten', 'vip', charge => 3, next_want => 3) $$,
	'values (0, 0, 0, -1::bigint)', 'a blocked client gets nothing');
select is((select count(*) from test.lease('ten', 'blocked from the start') where granted = 1), 1::bigint, 'others are not blocked');
select stint.clear_override('ten', 'vip');
select results_eq($$ select granted, max_requests from test.lease('ten', 'vip') $$, 'values (0, 10)', 'what was used counts against the limit that holds then');

-- A policy that changes.
select stint.set_policy('ten', 20, 1200000, resolution => 10);
select is((select remaining from test.lease('ten', 'full', need => 0)), 10, 'a raised limit holds at once');
select stint.set_policy('ten', 12, 30000, resolution => 4);
select results_eq($$ select granted, remaining from test.lease('ten', 'full', need => 3, least_need => 1) $$, 'values (2, 0)', 'what was used counts in other windows');
select is((select sub_window_us from stint.counter where client_id = 'full'), 7537500::bigint, 'the length of a sub-window is window / resolution and the slack …');
select stint.set_policy('odd', 10, 1000, resolution => 7);
select ok(valid_us <= 143715, '… both rounded up') from test.lease('odd', 'a');
select is((select sub_window_us from stint.counter c join stint.policy p using (policy_id) where name = 'odd'), 143715::bigint, '… rounded up');
select stint.drop_policy('ten');
select is_empty($$ select * from test.lease('ten', 'full') $$, 'a dropped policy has no answer');

-- A policy that changes while a lease for several sub-windows is out: what is out counts until the end of it.
select stint.set_policy('moves', 10, 60000, resolution => 10);
select clock_timestamp() as leased_at \gset
select valid_us from test.lease('moves', 'a', need => 10, span_least => 9) \gset
select is((select sum(n) from stint.counter c join stint.policy p using (policy_id), unnest(c.counts) n where p.name = 'moves'), 10::bigint, 'a long lease');
select stint.set_policy('moves', 10, 120000, resolution => 6);
select results_eq(format($$ select granted, remaining, retry_us between %s::bigint + 120000000 - (extract(epoch from clock_timestamp() - %L) * 1000000)::bigint
	and %1$s::bigint + 141000000 from test.lease('moves', 'a') $$, :valid_us, :'leased_at'::timestamptz),
	'values (0, 0, true)', '… counts in a longer window until that has passed after its end');
select stint.set_policy('moves', 10, 10000, resolution => 5);
select results_eq($$ select granted, remaining, retry_us between 20000000 and 20100000 + 2010000 from test.lease('moves', 'a') $$, 'values (0, 0, true)',
	'… and in a shorter one to the end of that: agents end what reaches further');

-- Edges differ.
select stint.set_policy('phase', 10, 600000, resolution => 10);
select lives_ok($$ select * from test.lease_all('phase', array(select 'c' || i from generate_series(1, 200) i)) $$, 'a batch of 200');
select cmp_ok((select count(distinct current_us % 60000000 / 6000000) from stint.counter c join stint.policy p using (policy_id) where name = 'phase'), '=', 10::bigint,
	'the clients'' edges are spread');

select * from finish();
rollback;
