-- stint.take(): each rule of the arithmetic on its own. Times are microseconds; a sub-window is 1 s, the window 10 s.

begin;
select plan(84);

-- A new client.
select row_eq($$ select head_us, state, changed, granted, remaining, sub_window, valid_us, retry_us, reset_us
	from test.take(5300000, need => 1) $$,
	row(5000000::bigint, '{1}'::int[], true, 1, 99, 5000000::bigint, 700000::bigint, 0::bigint, 10700000::bigint),
	'a new client starts in the sub-window of now');
select is((select sub_window from test.take(5300000, phase => 400000, need => 1)), 4400000::bigint, 'the phase moves the edges');
select is((select sub_window from test.take(5300000, phase => 300000, need => 1)), 5300000::bigint, 'an edge belongs to the sub-window that it starts');
select is((select valid_us from test.take(5300000, phase => 300000, need => 1)), 1000000::bigint, 'at the edge a whole sub-window is left');
select is((select valid_us from test.take(5299999, phase => 300000, need => 1)), 1::bigint, 'just before the edge 1 us is left');
select row_eq($$ select state, changed, granted, retry_us, remaining, reset_us from test.take(5000000) $$,
	row('{}'::int[], false, 0, 0::bigint, 100, 0::bigint), 'a request for nothing changes nothing');

-- What is granted.
select is((select granted from test.take(5000000, need => 7, want => 3)), 7, 'what is needed is granted, though less is wanted');
select is((select granted from test.take(5000000, need => 1, want => 90)), 25, 'what is only wanted: a quarter of what is left');
select is((select granted from test.take(5000000, need => 1, want => 90, hosts => 5)), 5, '… shared with the other hosts');
select is((select granted from test.take(5000000, need => 1, want => 3, hosts => 1)), 3, '… and no more than is wanted');
select is((select granted from test.take(5000000, want => 3, hosts => 100)), 1, 'a fair share is at least 1');
select is((select granted from test.take(5000000, head => 5000000, counts => '{100}', want => 3)), 0, '… but not of nothing');
select is((select granted from test.take(5000000, head => 5000000, counts => '{95}', need => 10, least_need => 2)), 5,
	'a part of what is needed, if it serves at least one of those who wait');
select row_eq($$ select granted, changed, remaining from test.take(5000000, head => 5000000, counts => '{95}', need => 10, least_need => 6) $$,
	row(0, false, 5), '… and nothing if it serves none');

-- Limits at the edge.
select is((select granted from test.take(5000000, max_requests => 1, need => 1)), 1, 'a limit of 1 admits 1');
select row_eq($$ select granted, retry_us from test.take(15999999, max_requests => 1, head => 5000000, counts => '{1}', need => 1) $$,
	row(0, 1::bigint), '… and no other one until its sub-window has left the window');
select is((select granted from test.take(16000000, max_requests => 1, head => 5000000, counts => '{1}', need => 1)), 1, '… but then');
select row_eq($$ select granted, retry_us, changed from test.take(5000000, need => 101) $$, row(0, -1::bigint, false),
	'a cost above the limit: never');
select is((select granted from test.take(5000000, need => 100)), 100, 'a cost as high as the limit');
select row_eq($$ select granted, charged, retry_us, remaining from test.take(5000000, max_requests => 0, need => 1, charge => 3, next_want => 4) $$,
	row(0, 0, -1::bigint, 0), 'a blocked client gets nothing, ever');
select is((select granted from test.take(5000000, max_requests => 1000000000, need => 1000000000)), 1000000000, 'the largest limit');
select row_eq($$ select granted, charged, remaining from
	test.take(5000000, head => 5000000, counts => '{999999999}', max_requests => 1000000000, need => 1, charge => 2147483647) $$,
	row(0, 1, 0), 'no overflow at the largest limit');
select is((select granted from test.take(2678400000000000, sub => 2678400000000, resolution => 0, need => 1)), 1, 'the longest window');

-- Runs: ten sub-windows before the current one count, the eleventh does not.
select is((select remaining from test.take(20000000, head => 10000000, counts => '{100}')), 0, 'ten sub-windows ago counts');
select is((select remaining from test.take(21000000, head => 10000000, counts => '{100}')), 100, 'eleven sub-windows ago does not');
select is((select remaining from test.take(20500000, head => 20000000, counts => '{1,2,3,4,5,6,7,8,9,10,11}')), 34, 'the whole run counts');
select is((select retry_us from test.take(20500000, head => 20000000, counts => '{0,50,0,0,0,0,0,0,0,0,50}', need => 50)), 500000::bigint,
	'retry: when the oldest leaves');
select is((select retry_us from test.take(20500000, head => 20000000, counts => '{0,50,0,0,0,0,0,0,0,0,50}', need => 51)), 9500000::bigint + 0,
	'retry: when enough has left');
select is((select retry_us from test.take(20500000, head => 20000000, counts => '{100}', need => 1)), 10500000::bigint, 'retry: a whole run away');
select is((select reset_us from test.take(20500000, head => 20000000, counts => '{0,5}')), 9500000::bigint, 'reset: when the newest charge leaves');

-- The next sub-window.
select row_eq($$ select head_us, state, granted, granted_next from test.take(5000000, need => 1, next_want => 10) $$,
	row(6000000::bigint, '{10,1}'::int[], 1, 10), 'a lease ahead is charged to the sub-window after this one');
select is((select granted_next from test.take(20000000, head => 20000000, counts => '{0,0,0,0,0,0,0,0,0,0,80}', next_want => 99)), 25,
	'what leaves before the next one starts is free for it');
select is((select granted from test.take(20000000, head => 21000000, counts => '{60,0,0,0,0,0,0,0,0,0,0,55}', need => 40)), 40,
	'the run that ends with the next one does not hold the oldest …');
select is((select granted from test.take(20000000, head => 21000000, counts => '{60,0,0,0,0,0,0,0,0,0,0,70}', need => 40, least_need => 1)), 30,
	'… and the run that ends with this one holds it, and not what is ahead');
select is((select remaining from test.take(20000000, head => 20000000, counts => '{50}', next_want => 10)), 40, 'what is ahead counts for this one too');
select is((select granted_next from test.take(20000000, head => 20000000, counts => '{50}', need => 50, next_want => 10)), 0, 'this one is served first');

-- Charges for what was admitted without asking.
select row_eq($$ select state, charged, granted from test.take(5000000, charge => 30, need => 1) $$, row('{31}'::int[], 30, 1), 'a charge is counted');
select row_eq($$ select state, charged, granted, remaining from test.take(5000000, charge => 130, need => 1) $$, row('{100}'::int[], 100, 0, 0),
	'a charge is counted as far as the limit goes, and before a grant');

-- Returns.
select row_eq($$ select state, changed, remaining from test.take(5500000, head => 5000000, counts => '{9,4}', return_sub => 5000000, return_first => 2) $$,
	row('{7,4}'::int[], true, 89), 'credits come back to their sub-window');
select is((select state from test.take(5500000, head => 6000000, counts => '{9,4}', return_sub => 5000000, return_first => 3, return_second => 5)),
	'{4,1}'::int[], '… and to the one after it');
select is((select state from test.take(5500000, head => 5000000, counts => '{9,4}', return_sub => 4000000, return_first => 99)), '{9}'::int[],
	'never more than is charged');
select row_eq($$ select state, changed from test.take(5500000, head => 5000000, counts => '{9,4}', return_sub => 5000001, return_first => 2) $$,
	row('{9,4}'::int[], false), 'a token of another grid is ignored');
select is((select changed from test.take(5500000, head => 5000000, counts => '{9,4}', return_sub => 9000000, return_first => 2, return_second => 2)), false,
	'a token of the future is ignored');
select is((select changed from test.take(5500000, head => 5000000, counts => '{9,4}', return_sub => 1000000, return_first => 2, return_second => 2)), false,
	'a return to what holds nothing changes nothing');
select is((select state from test.take(5500000, head => 5000000, counts => '{9}', return_sub => 4000000, return_first => 2, return_second => 3)),
	'{6}'::int[], 'the second part counts though the first finds nothing');
select is((select changed from test.take(5500000, head => 5000000, counts => '{9}', return_sub => 5000000, return_first => -2, return_second => -2)), false,
	'negative amounts are ignored');
select is((select changed from test.take(5500000, head => 5000000, counts => '{9}', return_sub => b, return_first => 1, return_second => 1)), false,
	format('the token %s does no harm', b)) from unnest(array[-9223372036854775808, -1, 9223372036854775807]) b;
select is((select state from test.take(5500000, head => 5000000, counts => '{9}', return_sub => 5000000, return_first => 9)), '{}'::int[], 'zeros at the end go');
select is((select granted from test.take(5500000, head => 5000000, counts => '{100}', return_sub => 5000000, return_first => 5, need => 5)), 5,
	'what comes back can be granted at once');

-- Fixed windows: each for itself.
select row_eq($$ select granted, sub_window, valid_us, reset_us from test.take(25000000, phase => 3000000, sub => 10000000, resolution => 0, need => 100) $$,
	row(100, 23000000::bigint, 8000000::bigint, 8000000::bigint), 'a fixed window');
select row_eq($$ select granted, retry_us from test.take(25000000, head => 23000000, old_sub => 10000000, counts => '{100}', sub => 10000000, resolution => 0, need => 1) $$,
	row(0, 8000000::bigint), 'is full until it ends');
select is((select granted from test.take(33000000, head => 23000000, old_sub => 10000000, counts => '{100}', sub => 10000000, resolution => 0, need => 100)), 100,
	'and the next one is empty');
select row_eq($$ select granted, granted_next, head_us, state from
	test.take(25000000, head => 23000000, old_sub => 10000000, counts => '{90}', sub => 10000000, resolution => 0, need => 10, next_want => 80) $$,
	row(10, 25, 33000000::bigint, '{25,100}'::int[]), 'the next one''s limit is its own');
select row_eq($$ select granted, retry_us from
	test.take(25000000, head => 33000000, old_sub => 10000000, counts => '{90,100}', sub => 10000000, resolution => 0, need => 20) $$,
	row(0, 18000000::bigint), 'retry: past the next one, if that is full too');

-- Stale times: the row's time holds.
select row_eq($$ select sub_window, valid_us, granted, state from test.take(18500001, head => 20000000, counts => '{10}', need => 1) $$,
	row(19000000::bigint, 1000000::bigint, 1, '{10,1}'::int[]), 'a time before the row''s is taken for the earliest that it can be');
select is((select sub_window from test.take(17000000, head => 20000000, counts => '{10}', need => 1)), 19000000::bigint, '… by up to 2 s');
select is((select sub_window from test.take(19999999, head => 20000000, counts => '{10}', need => 1)), 19000000::bigint, 'one sub-window back is no stale time');

-- The clock was set back.
select row_eq($$ select sub_window, valid_us, head_us, state, changed from test.take(16999999, head => 20000000, counts => '{10,20}') $$,
	row(16999999::bigint, 1000000::bigint, 17999999::bigint, '{10,20}'::int[], true), 'more than 2 s: counts stay, the current sub-window starts now');
select row_eq($$ select granted, retry_us, changed from test.take(3600000000, head => 7200000000, counts => '{100}', need => 1) $$,
	row(0, 12000000::bigint, true), 'an hour: what was used stays used, and the row remembers, even if nothing is granted');
select is((select granted from test.take(3612000000, head => 3601000000, counts => '{100}', need => 1)), 1, '… and no longer than a window and two sub-windows');
select is((select changed from test.take(3600500000, head => 3601000000, counts => '{100}', return_sub => 3600000000 - 5000000, return_first => 5, return_second => 5)), false,
	'… and a return of older credits finds nothing');

-- A policy with other sub-windows, or another number of them.
select row_eq($$ select head_us, state, remaining from test.take(20500000, head => 20000000, counts => '{1,2,3,4}', sub => 500000) $$,
	row(20500000::bigint, '{1,0,2,0,3,0,4}'::int[], 90), 'shorter: each count goes where the last of it may have been spent, not past now');
select is((select state from test.take(20500000, head => 20000000, counts => '{1,2,3,4}', sub => 2000000, charge => 1)), '{2,5,4}'::int[],
	'longer: counts that fall together are added');
select is((select state from test.take(20500000, head => 21000000, counts => '{5,1}', sub => 500000, charge => 1)), '{7}'::int[],
	'what was charged ahead is charged now');
select is((select remaining from test.take(20500000, head => 21000000, counts => '{90,90}', sub => 500000)), 0, 'more than the limit: nothing is left');
select is((select state from test.take(20500000, head => 20000000, counts => '{2000000000,2000000000}', sub => 100000000, resolution => 1, charge => 1)),
	'{2147483647}'::int[], 'sums don''t overflow');
select row_eq($$ select state, granted from test.take(20500000, head => 20000000, counts => '{1,2,3,4}', resolution => 1, need => 5) $$,
	row('{6,2,3}'::int[], 5), 'fewer sub-windows: the older ones go');
select is((select remaining from test.take(20500000, head => 20000000, counts => '{1,2,3,4,5,6,7,8,9,10,11,12}', resolution => 60)), 22,
	'more sub-windows: all that is still known counts');
select is((select remaining from test.take(20500000, head => 20000000, counts => '{1,2,3}', sub => 10000000, resolution => 0)), 99,
	'from sliding to fixed: what was used in this window counts');
select is((select sub_window from test.take(18500000, head => 20000000, counts => '{10}', sub => 500000, need => 1)), 19000000::bigint,
	'a stale time holds the row''s, also with other sub-windows');
select row_eq($$ select changed, state from test.take(10000000, head => 20000000, counts => '{10,5}', sub => 500000) $$,
	row(true, '{15}'::int[]), 'a clock set back, also');
select is((select granted from test.take(20000000, head => 20000000, counts => '{50}', max_requests => 40, need => 1)), 0, 'a lowered limit holds at once');
select is((select retry_us from test.take(20000000, head => 20000000, counts => '{10,50}', max_requests => 40, need => 1)), 10000000::bigint,
	'… until enough has left');
select is((select granted from test.take(20000000, head => 20000000, counts => '{100}', max_requests => 140, need => 40)), 40, 'a raised limit, too');

-- Any resolution.
select is((select remaining from test.take(20000000, head => 10000000, counts => '{100}', resolution => r)), case when r < 10 then 100 else 0 end,
	format('resolution %s: %s sub-windows count', r, r + 1)) from unnest(array[1, 2, 9, 10, 59, 60]) r;

-- The short way for new clients does what the long one does: blocked ones, costs above the limit, several that wait.
select is_empty($$
	with case_ as (
		select i, 1700000000000000 + (hashint4(i)::bigint & 1048575) * 1000003 as t_us, (hashint4(-i)::bigint & 65535) * 1000 as phase_us,
			1 + i % 7 as hosts, (hashint4(i + 100000)::bigint & (case i % 3 when 0 then 3 else 1023 end))::int as max_requests,
			10000 * (1 + i % 100)::bigint as sub_window_us, i % 61 as resolution, (hashint4(i + 200000)::bigint & 255)::int as want,
			(hashint4(i + 300000)::bigint & 65535)::int as random
		from generate_series(1, 6000) i
	), request as (
		select c.*, mod(phase_us, sub_window_us) as phase, 1 + random % (max_requests + 3) as need from case_ c
	), asked as (
		select r.*, 1 + random / 7 % need as least_need from request r
	)
	select i from asked r, lateral (
		select head_us, array_remove(array[granted], 0), granted > 0, granted, 0, 0, f.*
		from stint.first_grant(t_us, phase, hosts, max_requests, sub_window_us, need, least_need, want),
			lateral stint.first_answer(t_us, head_us, max_requests, sub_window_us, resolution, granted) f
		except
		select head_us, counts, changed, granted, granted_next, charged, remaining, sub_window, valid_us, retry_us, reset_us
		from stint.take(null, null, null, t_us, phase, hosts, max_requests, sub_window_us, resolution, need, least_need, want, 0, 0, 0, 0, 0)
	) t
	$$, 'first_grant() and first_answer() give what take() gives, in 6000 cases');
select is((select count(*) from generate_series(1, 10) i, stint.first_grant(1700000000000000, 0, 1, 100, 1000000, 1, 1, i) g,
	stint.first_answer(1700000000000000, g.head_us, 100, 1000000, 10, g.granted)), 10::bigint, '… and one row each');

select * from finish();
rollback;
