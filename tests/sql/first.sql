-- stint.take_first_leases(): clients that an agent knows nothing of, whether the database knows them or not.

begin;
select plan(48);

select stint.set_policy('ten', 10, 1200000, resolution => 10) as ten \gset
select stint.set_policy('sixty', 10, 1200000, resolution => 60) as sixty \gset
select stint.set_policy('fixed', 100, 1200000, algorithm => 'fixed_window') as fixed \gset

-- Clients that nobody knows.
select results_eq(
	format($$ select request, granted, granted_next, next_is_open, charged, remaining, retry_us > 0, max_requests
		from stint.take_first_leases(1, array[%1$s, %2$s, %1$s, %3$s], '{b,b,a,b}', '{3,1,10,3}', '{3,1,1,3}', '{5,60,10,5}', '{4,2,20,4}', '{2,1,0,2}')
		order by request $$, :ten, :fixed, :sixty),
	'values (1, 5, 0, false, 0, 5, false, 10), (2, 60, 0, false, 0, 40, false, 100), (3, 10, 0, false, 0, 0, true, 10), (4, 3, 2, true, 0, 5, false, 10)',
	'each request has its own policy and its own answer');
select results_eq($$ select name, client_id, counts, ahead::int, span::int, early, servers, servers_before, c.resolution::int, sub_window_us
	from stint.counter c join stint.policy using (policy_id) order by 1, 2 $$,
	$$ values ('fixed', 'b' collate "C", '{60}'::int[], 0, -1, 0, 2::bigint, 0::bigint, 0, 1200000000::bigint), ('sixty', 'b', '{2,0,0,3}', 5, 5, 0, 2, 0, 60, 20100000),
		('ten', 'a', '{10}', 0, -1, 0, 2, 0, 10, 120600000), ('ten', 'b', '{5}', 2, -3, 0, 2, 0, 10, 120600000) $$,
	'the counters hold it');
select ok(valid_us = starts_in_us and next_valid_us = valid_us + 120600000 and valid_us between 1 and 120600000 and reset_us = valid_us + 1206000000
	and sub_window + 120600000 - valid_us between (extract(epoch from now()) * 1000000)::bigint and (extract(epoch from clock_timestamp()) * 1000000)::bigint,
	'durations are counted from now') from test.first_lease('ten', 'c');
select is((select sub_window from test.lease('ten', 'c', need => 0)), (select current_us from stint.counter where client_id = 'c'), 'sub-windows are where take_leases() has them');
select ok(granted = 1 and granted_next = 2 and next_is_open and next_sub_window = sub_window + 4 * 20100000 and valid_us between 20100000 + 1 and 2 * 20100000
	and starts_in_us = valid_us - 20100000 and next_valid_us = valid_us + 4 * 20100000 and reset_us = next_valid_us + 1206000000,
	'a short lease of what is needed, and a long one') from test.first_lease('sixty', 'long', want => 3, span => 3, span_least => 1);
select test.make_known('ten', 'long', 9);
select ok(granted = 1 and granted_next = 2 and next_is_open and next_sub_window = sub_window + 2 * 120600000 and valid_us between 120600000 + 1 and 2 * 120600000
	and starts_in_us = valid_us - 120600000 and next_valid_us = valid_us + 2 * 120600000 and reset_us = next_valid_us + 1206000000, '… also of a client that is known')
	from test.first_lease('ten', 'long', want => 3, span => 3, span_least => 1);
select ok(granted = 1 and granted_next = 1 and next_is_open and next_sub_window = sub_window + 2 * 120600000 and valid_us between 1 and 120600000 and starts_in_us = valid_us
	and next_valid_us = valid_us + 2 * 120600000 and reset_us = next_valid_us + 11 * 120600000, '… and then reset_us knows of the first one')
	from test.first_lease('ten', 'long', want => 2, span => 2);
select ok(granted = 2 and granted_next = 0 and not next_is_open and next_sub_window = sub_window + 120600000 and valid_us between 2 * 120600000 + 1 and 3 * 120600000
	and next_valid_us = valid_us + 120600000, 'the longest may be the shortest') from test.first_lease('ten', 'short', want => 2, span => 1, span_least => 2);
select row_eq($$ select granted, granted_next, retry_us - starts_in_us, reset_us - starts_in_us from test.first_lease('sixty', 'all', want => 10, span => 3) $$,
	row(1, 9, 1206000000::bigint, 1306500000::bigint), 'all of it: retry when the short one leaves, reset when the long one does');

-- Clients that another host has made known.
select is((select granted from test.lease('ten', 'known', need => 4)), 4, 'a client of another host');
select results_eq($$ select granted, remaining, retry_us, max_requests from test.first_lease('ten', 'known', need => 5) $$, 'values (5, 1, 0::bigint, 10)',
	'… gets what is left of its limit');
select results_eq($$ select granted, remaining, retry_us between 1 and 1326600000 from test.first_lease('ten', 'known', need => 2) $$, 'values (0, 1, true)',
	'… and no more');
select results_eq($$ select granted, remaining, retry_us between 1 and 1326600000 from test.first_lease('ten', 'known', need => 2, least_need => 1) $$, 'values (1, 0, true)',
	'… but for those who wait for less');
select results_eq($$ select granted, remaining, retry_us between 1 and 1326600000, reset_us between 1 and 1326600000 from test.first_lease('ten', 'known') $$,
	'values (0, 0, true, true)', 'a denial says until when');
select is((select counts from stint.counter where client_id = 'known'), '{10}'::int[], 'the counter holds what was granted, no more and no less');
update stint.counter set current_us = current_us - 12 * sub_window_us where client_id = 'known';
select results_eq($$ select granted, remaining from test.first_lease('ten', 'known', need => 7) $$, 'values (7, 3)', 'after a window all is free again');
select is((select counts from stint.counter where client_id = 'known'), '{7}'::int[], '… and forgotten');
select is((select granted_next from test.lease('ten', 'ahead', next_want => 3)), 3, 'a client with credits in the next sub-window');
select results_eq($$ select granted, remaining from test.first_lease('ten', 'ahead', need => 6) $$, 'values (6, 0)', '… keeps those');

-- Whatever is asked for, the answer and the counter are as take() has them: of new clients, and then of the same, some sub-windows later.
create temp table client as
select p.policy_id, p.name, p.sub_window_us, 'same ' || i as client_id, 1 + (hashint4(i) & 65535) % case i % 3 when 0 then p.max_requests + 2 else 1 + p.max_requests / 40 end as need,
	(hashint4(i + 1000) & 255) / case i % 4 when 0 then 1 else 64 end as want, (hashint4(i + 2000) & 65535) % 70 as span, (hashint4(i + 3000) & 65535) % (case when i % 2 = 0 then 1 else 70 end) as span_least,
	p.resolution as k, p.max_requests
from (
	select stint.set_policy('k' || k, 5 + k * 3, 1200000, resolution => k) as policy_id, 'k' || k as name, 5 + k * 3 as max_requests, k as resolution,
		stint.sub_window_us('sliding_window', 1200000, k) as sub_window_us
	from unnest(array[1, 2, 10, 11, 20, 21, 60]) k
	union all
	select :fixed, 'fixed', 100, 0, 1200000000
) p, generate_series(1, 100) i;
create function pg_temp.differences(of text) returns bigint language plpgsql as $$
declare
	wrong bigint;
begin
	create temp table before as select c.* from stint.counter c join client using (policy_id, client_id);
	create temp table answer as
	select n.*, l.* from (select policy_id, array_agg(client_id) as clients, array_agg(need) as needs, array_agg(1 + need / 3) as leasts, array_agg(want) as wants,
		array_agg(span) as spans, array_agg(span_least) as span_leasts from client where name = of group by policy_id) n,
		lateral stint.take_first_leases(3, array_fill(policy_id, array[100]), clients, needs, leasts, wants, spans, span_leasts) l;
	with expected as (
		select a.client_id, r.*, c.sub_window_us, greatest(least(a.span_least, k), 0) as shortest
		from client a
		join stint.counter c using (policy_id, client_id)
		join (select clients[request] as client_id, starts_in_us as until_us from answer) w using (client_id)
		left join before b using (policy_id, client_id),
		lateral stint.take(b.current_us, b.sub_window_us, b.ahead, b.early, b.servers, b.servers_before, b.counts, c.current_us + c.sub_window_us - until_us,
			stint.phase_us(a.policy_id, a.client_id, a.sub_window_us), 3, a.max_requests, a.sub_window_us, k, need, 1 + need / 3, want, a.span, span_least, 0, 0,
			0, 0, 0, 0, 0, 0) r
		where name = of
	)
	select count(*) into wrong from (
		(select client_id, granted, current_us + shortest * sub_window_us, starts_in_us + shortest * sub_window_us, granted_next, starts_in_us,
			current_us + abs(span) * sub_window_us, starts_in_us + abs(span) * sub_window_us, remaining, retry_us, reset_us, charged, span > 0, recallable, current_us, counts,
			ahead, early, servers, servers_before, span from expected)
		except
		select client_id, a.granted, sub_window, valid_us, a.granted_next, starts_in_us, next_sub_window, next_valid_us, remaining, retry_us, reset_us, a.charged,
			next_is_open, a.recallable, c.current_us, c.counts, c.ahead, c.early, c.servers, c.servers_before, c.span
		from answer a join stint.counter c on c.policy_id = a.policy_id and c.client_id = clients[a.request]) x;
	wrong := wrong + 100 - (select count(*) from answer);
	drop table before, answer;
	update stint.counter c set current_us = current_us - 4 * c.sub_window_us from client where c.policy_id = client.policy_id and c.client_id = client.client_id
		and name = of;
	return wrong;
end
$$;
select is(array[pg_temp.differences(of), pg_temp.differences(of), pg_temp.differences(of)], '{0,0,0}'::bigint[], format('%s: as take() has it', of))
from (select distinct name from client order by 1) n (of);
select cmp_ok((select count(*) from stint.counter c join client using (policy_id, client_id) where c.span > (k - 1) / 10 and c.granted_next > 0), '>', 20::bigint,
	'… some of it in leases that last');

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
select is((select granted from test.first_lease('ten', 'least of all', least_need => 0)), 1, 'who waits for nothing is granted what is needed as well');
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

-- Credits of two sub-windows: the lesser need is met when those of the earlier one come back.
select test.make_known('ten', 'tired', 9);
select is((select l.granted_next from test.lease('ten', 'tired', need => 0, want => 5, span => 8) l), 5, 'a lease that lasts');
select is((select row(w.granted, o.granted, f.granted, abs(f.retry_us - o.retry_us) < 120600000)::text
	from test.lease('ten', 'tired', need => 4) w, lateral test.lease('ten', 'tired', need => 7 + 0 * w.granted, least_need => 2) o,
		lateral test.first_lease('ten', 'tired', need => 7 + 0 * o.granted, least_need => 2) f),
	'(4,0,0,t)', 'what is refused may be asked again when the least of it is free, whoever asks');

select * from finish();
rollback;
