-- stint.take(): each rule of the arithmetic on its own. Times are microseconds; a sub-window is 1 s, the window 10 s.

begin;
select plan(266);

-- A new client.
select row_eq($$ select current_us, state, changed, granted, remaining, starts_in_us, retry_us, reset_us
	from test.take(5300000, need => 1) $$,
	row(5000000::bigint, '{1}'::int[], true, 1, 99, 700000::bigint, 0::bigint, 10700000::bigint),
	'a new client starts in the sub-window of now');
select is((select current_us from test.take(5300000, phase => 400000, need => 1)), 4400000::bigint, 'the phase moves the edges');
select is((select current_us from test.take(5300000, phase => 300000, need => 1)), 5300000::bigint, 'an edge belongs to the sub-window that it starts');
select is((select starts_in_us from test.take(5300000, phase => 300000, need => 1)), 1000000::bigint, 'at the edge a whole sub-window is left');
select is((select starts_in_us from test.take(5299999, phase => 300000, need => 1)), 1::bigint, 'just before the edge 1 us is left');
select row_eq($$ select state, changed, granted, retry_us, remaining, reset_us, served from test.take(5000000) $$,
	row('{}'::int[], false, 0, 0::bigint, 100, 0::bigint, 0::bigint), 'a request for nothing changes nothing');

-- What is granted.
select is((select granted from test.take(5000000, need => 7, want => 3)), 7, 'what is needed is granted, though less is wanted');
select is((select granted from test.take(5000000, need => 1, want => 90)), 90, 'what is wanted, if there is nobody else');
select is((select granted from test.take(5000000, need => 1, want => 190)), 100, '… as far as the limit goes');
select is((select granted from test.take(5000000, need => 1, want => 3)), 3, '… and no more than is wanted');
select is((select granted from test.take(5000000, current => 5000000, counts => '{98}', servers => 7, want => 3)), 1, 'a fair share is at least 1');
select is((select granted from test.take(5000000, current => 5000000, counts => '{100}', want => 3)), 0, '… but not of nothing');
select is((select granted from test.take(5000000, current => 5000000, counts => '{95}', need => 10, least_need => 2)), 5,
	'a part of what is needed, if it serves at least one of those who wait');
select row_eq($$ select granted, changed, remaining from test.take(5000000, current => 5000000, counts => '{95}', need => 10, least_need => 6) $$,
	row(0, false, 5), '… and nothing if it serves none');

-- Shares: among those who were granted something lately.
select is((select granted from test.take(5000000, current => 5000000, servers => 1, want => 90, host => 0)), 90, 'the same host again: there is nobody else');
select is((select granted from test.take(5000000, current => 5000000, servers => 1, want => 90, host => 1)), 62, 'with a second host: half of what is left, and a quarter more');
select is((select granted from test.take(5000000, current => 5000000, servers => 1, need => 70, want => 90, host => 1)), 70, '… or what is needed');
select is((select granted from test.take(5000000, current => 5000000, servers => 3, servers_before => 29, want => 90, host => 1)), 25,
	'what counts are those of this stretch and of the one before, each once');
select is((select granted from test.take(5000000, current => 5000000, servers => 9223372036854775807, want => 90, host => 62)), 1, 'as many as there are');
select is((select granted_next from test.take(5000000, current => 5000000, servers => 1, next_want => 90, host => 1)), 62, 'the same for the next sub-window');
select is((select granted from test.take(5000000, current => 5000000, counts => '{90}', servers => 3, want => 9, host => 2)), 4, 'it is rounded once');
select is((select granted_next from test.take(5000000, current => 5000000, counts => '{90}', servers => 3, next_want => 9, host => 2)), 4, '… also for the next');
select row_eq($$ select granted, granted_next from test.take(5000000, current => 5000000, known_for => 10, max_requests => 101, servers => 1, need => 1, want => 90,
	span => 10, host => 1) $$, row(1, 61), 'of a lease that lasts, what is needed is a part');
select is((select served from test.take(5000000, need => 1, host => h)), 1::bigint << h, format('who is granted something is written down: %s', h)) from unnest(array[0, 1, 62]) h;
select is((select served from test.take(5000000, current => 5000000, servers => 2, next_want => 1, host => 3)), 10::bigint, '… also for a lease ahead');
select is((select served from test.take(5000000, current => 5000000, counts => '{100}', servers => 2, need => 1, charge => 1, host => 3)), 2::bigint,
	'who is denied is not');
select row_eq(format($$ select served, served_before from test.take(%s, current => 15000000, servers => 5, servers_before => 8) $$, t), row(s, b), format('at %s s', t / 1000000))
from (values (19999999, 5::bigint, 8::bigint), (20000000, 0, 5), (29999999, 0, 5), (30000000, 0, 0), (90000000, 0, 0)) v (t, s, b);
select row_eq($$ select served, served_before from test.take(21000000, current => 20000000, servers => 5, servers_before => 8, resolution => 0) $$,
	row(0::bigint, 5::bigint), 'in a fixed window a stretch is the window');
select row_eq($$ select served, served_before from test.take(5000000, current => 15000000, servers => 5, servers_before => 8) $$, row(0::bigint, 0::bigint),
	'a clock that was set back: nobody is known');

-- Limits at the edge.
select is((select granted from test.take(5000000, max_requests => 1, need => 1)), 1, 'a limit of 1 admits 1');
select row_eq($$ select granted, retry_us from test.take(15999999, max_requests => 1, current => 5000000, counts => '{1}', need => 1) $$,
	row(0, 1::bigint), '… and no other one until its sub-window has left the window');
select is((select granted from test.take(16000000, max_requests => 1, current => 5000000, counts => '{1}', need => 1)), 1, '… but then');
select row_eq($$ select granted, retry_us, changed from test.take(5000000, need => 101) $$, row(0, -1::bigint, false),
	'a cost above the limit: never');
select is((select granted from test.take(5000000, need => 100)), 100, 'a cost as high as the limit');
select row_eq($$ select granted, charged, retry_us, remaining, spans from test.take(5000000, max_requests => 0, need => 1, charge => 3, next_want => 4, span => 10) $$,
	row(0, 0, -1::bigint, 0, -1), 'a blocked client gets nothing, ever');
select is((select granted from test.take(5000000, max_requests => 1000000000, need => 1000000000, span => 60, resolution => 60)), 1000000000, 'the largest limit');
select row_eq($$ select granted, charged, remaining from
	test.take(5000000, current => 5000000, counts => '{999999999}', max_requests => 1000000000, need => 1, want => 2147483647, charge => 2147483647) $$,
	row(0, 1, 0), 'no overflow at the largest limit');
select is((select granted from test.take(2678400000000000, sub => 2678400000000, resolution => 0, need => 1)), 1, 'the longest window');

-- Runs: ten sub-windows before the current one count, the eleventh does not.
select is((select remaining from test.take(20000000, current => 10000000, counts => '{100}')), 0, 'ten sub-windows ago counts');
select is((select remaining from test.take(21000000, current => 10000000, counts => '{100}')), 100, 'eleven sub-windows ago does not');
select is((select remaining from test.take(20500000, current => 20000000, counts => '{1,2,3,4,5,6,7,8,9,10,11}')), 34, 'the whole run counts');
select is((select remaining from test.take(20500000, current => 20000000, counts => '{1,2,3,4,5,6,7,8,9,10,11,12}', ahead => 1)), 22,
	'… and all that is charged to later ones');
select is((select remaining from test.take(20500000, current => 20000000, counts => '{20,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,30}', ahead => 10)), 50,
	'… as far as leases reach');
select is((select retry_us from test.take(20500000, current => 20000000, counts => '{0,50,0,0,0,0,0,0,0,0,50}', need => 50)), 500000::bigint,
	'retry: when the oldest leaves');
select is((select retry_us from test.take(20500000, current => 20000000, counts => '{0,50,0,0,0,0,0,0,0,0,50}', need => 51)), 9500000::bigint,
	'retry: when enough has left');
select is((select retry_us from test.take(20500000, current => 20000000, counts => '{100}', need => 1)), 10500000::bigint, 'retry: a whole run away');
select is((select retry_us from test.take(20500000, current => 20000000, counts => '{60,0,0,40}', ahead => 4, need => 61)), 14500000::bigint,
	'retry: a whole run after the sub-window that a lease is charged to');
select is((select retry_us from test.take(20500000, current => 20000000, counts => '{60,0,0,40}', ahead => 4, need => 40)), 11500000::bigint,
	'… for less, when an earlier one has left');
select is((select reset_us from test.take(20500000, current => 20000000, counts => '{0,5}')), 9500000::bigint, 'reset: when the newest charge leaves');
select is((select reset_us from test.take(20500000, current => 20000000, counts => '{5}', ahead => 7)), 17500000::bigint, '… which may be of a lease that lasts');

-- Leases for several sub-windows, of a client that is known for a window. What is needed is spent at once, and charged to the shortest
-- lease; the rest is charged to the end of the longest.
select row_eq($$ select current_us, state, is_ahead, is_early, spans, starts_in_us, remaining, granted, granted_next, reset_us
	from test.take(5300000, current => 5000000, known_for => 10, need => 3, want => 10, span => 4) $$,
	row(5000000::bigint, '{7,0,0,0,3,0,0,0,0,0,0,0,0,0,1}'::int[], 4, 0, 4, 700000::bigint, 89, 3, 7, 14700000::bigint),
	'a lease is charged to the last sub-window in which it is good, and what is needed to this one');
select row_eq($$ select state, is_ahead, spans, granted, granted_next, reset_us
	from test.take(5300000, current => 5000000, known_for => 10, need => 3, want => 10, span => 4, span_least => 2) $$,
	row('{7,0,3,0,0,0,0,0,0,0,0,0,0,0,1}'::int[], 4, 4, 3, 7, 14700000::bigint), '… or to the end of the shortest lease there may be');
select row_eq($$ select state, is_ahead, spans, granted, granted_next
	from test.take(5300000, current => 5000000, known_for => 10, need => 3, want => 10, span => 4, span_least => 4) $$,
	row('{10,0,0,0,0,0,0,0,0,0,0,0,0,0,1}'::int[], 4, -5, 10, 0), 'if the longest is the shortest, it is one lease');
select row_eq($$ select state, is_ahead, spans, granted, granted_next
	from test.take(5300000, current => 5000000, known_for => 10, need => 3, want => 10, span => 2, span_least => 4) $$,
	row('{10,0,0,0,0,0,0,0,0,0,0,0,0,0,1}'::int[], 4, -5, 10, 0), '… also if the longest is to be shorter than the shortest');
select row_eq($$ select state, is_ahead, granted, granted_next from test.take(5300000, current => 5000000, known_for => 10, need => 3, span => 4) $$,
	row('{3,0,0,0,0,0,0,0,0,0,1}'::int[], 0, 3, 0), 'nothing but need');
select row_eq($$ select state, is_ahead, granted, granted_next from test.take(5300000, current => 5000000, known_for => 10, want => 3, span => 4) $$,
	row('{3,0,0,0,0,0,0,0,0,0,0,0,0,0,1}'::int[], 4, 0, 3), 'nothing but wants');
select row_eq($$ select state, is_ahead, granted, granted_next from test.take(5300000, current => 5000000, known_for => 10, want => 3, span_least => 4) $$,
	row('{3,0,0,0,0,0,0,0,0,0,0,0,0,0,1}'::int[], 4, 3, 0), '… in the shortest lease');
select is((select spans from test.take(5000000, current => 5000000, known_for => 10, want => 1, span => 99)), 10, 'no longer than a window');
select row_eq($$ select is_ahead, spans from test.take(5000000, current => 5000000, known_for => 10, want => 1, span_least => 99) $$, row(10, -10), '… neither is the shortest');
select is((select spans from test.take(5000000, current => 5000000, known_for => 60, want => 1, span => 99, resolution => 60)), 60, '… of sixty sub-windows');
select row_eq($$ select is_ahead, spans from test.take(5000000, current => 5000000, known_for => 10, want => 1, span => -3, span_least => -3) $$, row(0, -1),
	'no shorter than the present sub-window');
select row_eq($$ select spans, state, is_ahead, granted from test.take(5000000, need => 1, want => 2, span => 5, span_least => 3, resolution => 0) $$,
	row(-1, '{2}'::int[], 0, 2), 'in a fixed window: for the window');
select is((select spans from test.take(5000000, current => 5000000, known_for => 10, counts => array[used - 1], want => 1, span => 10)), s,
	format('with %s of 100 left: %s', 100 - used, case when s < 0 then 'for this one' else s || ' sub-windows more' end))
from (values (1, 10), (49, 10), (50, 10), (51, 9), (60, 6), (72, 1), (73, -1), (75, -1), (99, -1)) v (used, s);
select row_eq(format($$ select spans, is_ahead from test.take(5000000, current => 5000000, known_for => 10, counts => array[%s], want => 1, span => 10, span_least => 2) $$, used - 1),
	row(s, a), format('… with at least two, and %s left: %s', 100 - used, a))
from (values (65, 4, 4), (72, -3, 2), (99, -3, 2), (100, -3, 0)) v (used, s, a);
select is((select spans from test.take(5000000, current => 5000000, known_for => 10, charge => 59, want => 1, span => 10)), 6, 'what is charged before counts for that');
select row_eq($$ select granted, granted_next from test.take(5000000, current => 5000000, known_for => 10, counts => '{59}', need => 2, want => 12, span => 10) $$,
	row(2, 7), 'a shorter lease is a smaller one: so much of what is more than needed');
select row_eq($$ select granted, granted_next from test.take(5000000, current => 5000000, known_for => 10, counts => '{59}', need => 2, want => 3, span => 10) $$,
	row(2, 1), '… rounded up');
select row_eq($$ select granted, granted_next from test.take(5000000, current => 5000000, known_for => 10, servers => 2, need => 62, want => 90, span => 10) $$,
	row(62, 0), 'need beyond a fair share: nothing more');
select row_eq($$ select granted, granted_next, remaining from test.take(5000000, current => 5000000, known_for => 10, need => 90, want => 200, span => 10) $$,
	row(90, 9, 0), 'both together are within the limit');
select row_eq($$ select granted, granted_next, retry_us
	from test.take(5000000, current => 5000000, known_for => 10, need => 101, least_need => 101, want => 200, span => 10) $$, row(0, 0, -1::bigint),
	'who is denied gets neither');
select row_eq($$ select granted, granted_next, state
	from test.take(5000000, current => 5000000, known_for => 10, need => 150, least_need => 50, want => 200, span => 10) $$,
	row(99, 0, '{99,0,0,0,0,0,0,0,0,0,1}'::int[]), 'less than is needed: all of it at once');
select row_eq($$ select state, is_ahead, remaining
	from test.take(5000000, current => 5000000, known_for => 10, counts => '{4,0,0,1}', ahead => 6, want => 2, span => 3) $$,
	row('{4,0,0,3,0,0,0,0,0,0,0,0,0,0,0,0,1}'::int[], 6, 92), 'what is charged to the same sub-window is added');
select row_eq($$ select state, is_ahead from test.take(5000000, current => 5000000, counts => '{4}', ahead => 6, charge => 2) $$,
	row('{4,0,0,0,0,0,2}'::int[], 6), 'a charge is of now, also when leases reach further');
select row_eq($$ select state, is_ahead from test.take(7000000, current => 5000000, counts => '{4}', ahead => 6, charge => 2) $$,
	row('{4,0,0,0,2}'::int[], 4), 'time goes on: what was ahead comes nearer');
select row_eq($$ select state, is_ahead, remaining from test.take(15000000, current => 5000000, counts => '{4,0,0,0,0,0,9}', ahead => 6, charge => 2) $$,
	row('{2,0,0,0,4,0,0,0,0,0,9}'::int[], 0, 85), '… and is the past');
select is((select remaining from test.take(16000000, current => 5000000, counts => '{4,0,0,0,0,0,9}', ahead => 6)), 96, '… and is forgotten');
select is((select remaining from test.take(t, current => 5000000, counts => '{4}', ahead => 6)), r, format('a lease counts for a window after its end: at %s us', t))
from (values (21999999, 96), (22000000, 100)) v (t, r);
select row_eq($$ select state, is_ahead, changed, remaining from test.take(1000000000000, current => 5000000, counts => '{4}', ahead => 6) $$,
	row('{}'::int[], 0, false, 100), 'a long silence');

-- No lease lasts for longer than the client has been coming, as far as the counter knows. A new one gets a brief lease.
select row_eq($$ select state, is_ahead, is_early, spans, granted, granted_next, remaining from test.take(5300000, need => 3, want => 10, span => 4) $$,
	row('{10}'::int[], 0, 0, -1, 10, 0, 90), 'a new client gets a brief lease, and all that is wanted in it');
select row_eq($$ select state, is_ahead, is_early, spans, granted, granted_next, remaining from test.take(5300000, need => 3, want => 23, span => 9, resolution => 20) $$,
	row('{20,3}'::int[], 1, 0, 1, 3, 20, 77), '… of two sub-windows, if the window is cut into twenty');
select row_eq($$ select state, is_ahead, spans, granted from test.take(5300000, need => 3, want => 9, span => 5, span_least => 2) $$,
	row('{9}'::int[], 2, -3, 9), '… or the shortest lease there may be');
select row_eq(format('select spans, granted, granted_next from test.take(5000000, current => 5000000, known_for => %s, need => 1, want => 12, span => 10)', n),
	row(s, now, later), format('known for %s sub-windows', n))
from (values (0, -1, 12, 0), (1, 1, 1, 11), (2, 2, 1, 11), (9, 9, 1, 11), (10, 10, 1, 11)) v (n, s, now, later);
select is((select spans from test.take(5000000, current => 5000000, known_for => k, counts => array[used - 1], want => 1, span => 10)), s,
	format('known for %s sub-windows, in which %s of 100 were used: as if it had gone on for a window: %s', k, used, s))
from (values (4, 25, 4), (4, 33, 3), (4, 35, 2), (4, 37, -1), (4, 99, -1), (6, 25, 6), (6, 49, 2), (8, 25, 8), (8, 55, 5), (9, 55, 8), (9, 65, 4), (10, 65, 4)) v (k, used, s);
select is((select spans from test.take(5000000, current => 5000000, max_requests => 0, known_for => 4, want => 1, span => 10)), -1, '… blocked meanwhile: no lease');
select is((select spans from test.take(5000000, current => 5000000, known_for => n, want => 1, span => 20, resolution => 20)), s,
	format('known for %s sub-windows of twenty', n)) from (values (0, 1), (1, 1), (2, 2), (20, 20)) v (n, s);
select is((select spans from test.take(5000000, current => 5000000, counts => '{7}', ahead => 4, known_for => 3, want => 1, span => 10)), 3,
	'what is charged to later ones says nothing of that');
select is((select spans from test.take(5000000, current => 5000000, counts => '{7,0,5}', ahead => 4, want => 1, span => 10)), -1, '… if there is nothing else, either');
select is((select spans from test.take(t, current => 10000000, counts => '{1}', want => 1, span => 10)), s, format('one who was here %s sub-windows ago', t / 1000000 - 10))
from (values (20000000, 10), (21000000, -1)) v (t, s);
select is((select spans from test.take(5000000, current => 5000000, counts => '{0,0,1}', known_for => 4, report_sub => 1000000, unspent => 1, want => 1, span => 10)), 2,
	'what has come back is forgotten');
select is((select spans from test.take(20000000, current => 20000000, counts => '{1}', ahead => 1, known_for => 4, want => 1, span => 10, sub => 2000000)), 2,
	'of other sub-windows, so many as there are since');
select is((select spans from test.take(5000000, charge => 50, want => 1, span => 10)), -1, 'a charge is of now');

-- How brief a lease is: a tenth of the window.
select row_eq(format('select spans, is_ahead from test.take(5000000, want => 1, span => 60, resolution => %s)', k), row(s, greatest(s, 0)),
	format('a brief lease, resolution %s', k))
from (values (0, -1), (1, -1), (2, -1), (10, -1), (11, 1), (20, 1), (21, 2), (59, 5), (60, 5)) v (k, s);
select row_eq(format('select spans, is_ahead, is_early from test.take(5000000, next_want => 1, span => 60, resolution => %s)', k), row(-a, a, 1),
	format('a lease ahead, resolution %s', k))
from (values (0, 1), (1, 1), (2, 1), (10, 1), (11, 2), (20, 2), (21, 3), (59, 6), (60, 6)) v (k, a);
select row_eq(format('select spans, is_ahead, is_early from test.take(5000000, next_want => 1, span => 60, span_least => %s, resolution => %s)', l, k), row(-a, a, 1),
	format('… with %s at least, resolution %s', l, k))
from (values (1, 0, 1), (1, 1, 1), (1, 2, 2), (2, 2, 2), (3, 10, 4), (1, 20, 2), (3, 20, 4), (19, 20, 20), (20, 20, 20), (99, 60, 60)) v (l, k, a);
select row_eq($$ select state, is_ahead, is_early, spans, granted, granted_next, remaining
	from test.take(5000000, current => 5000000, counts => '{89}', known_for => 20, need => 2, want => 8, span => 10, resolution => 20) $$,
	row('{2,91,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,1}'::int[], 1, 0, 1, 2, 2, 6),
	'near the limit, from now on: what is needed is charged to this one, the rest to the next, and none of it is early');
select row_eq($$ select state, is_ahead, is_early, spans, granted, granted_next from test.take(5000000, need => 1, want => 5, next_want => 10, resolution => 20) $$,
	row('{4,1}'::int[], 1, 0, 1, 1, 4), '… instead of a lease ahead, for one who waits');
select row_eq($$ select state, is_ahead, is_early, spans, granted, granted_next
	from test.take(5000000, current => 5000000, known_for => 20, want => 9, span => 1, next_want => 10, resolution => 20) $$,
	row('{10,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,1}'::int[], 2, 10, -2, 0, 10), 'if nobody waits, a lease ahead instead of a brief one');
select row_eq($$ select is_ahead, is_early, spans, granted, granted_next
	from test.take(5000000, current => 5000000, known_for => 20, want => 9, span => 2, next_want => 10, resolution => 20) $$,
	row(2, 0, 2, 0, 9), '… and not instead of a longer one');
select row_eq($$ select state, is_ahead, is_early, spans, granted, granted_next
	from test.take(5000000, need => 1, want => 3, span_least => 1, next_want => 10, resolution => 20) $$,
	row('{10,3}'::int[], 2, 10, -2, 3, 10), 'if the brief lease is the shortest, one ahead beside it');

-- The next sub-window.
select row_eq($$ select current_us, state, is_ahead, is_early, granted, granted_next, spans from test.take(5000000, need => 1, next_want => 10) $$,
	row(5000000::bigint, '{10,1}'::int[], 1, 10, 1, 10, -1), 'a lease ahead is charged to the sub-window after this one, as early');
select row_eq($$ select state, is_ahead, is_early, remaining from test.take(6000000, current => 5000000, counts => '{10,1}', ahead => 1, early => 10, charge => 1) $$,
	row('{11,1}'::int[], 0, 0, 88), '… until that has come');
select is((select granted_next from test.take(20000000, current => 20000000, counts => '{0,0,0,0,0,0,0,0,0,0,80}', next_want => 199)), 100,
	'what leaves before the next one starts is free for it');
select is((select granted from test.take(20000000, current => 20000000, ahead => 1, early => 60, counts => '{60,0,0,0,0,0,0,0,0,0,0,55}', need => 40)), 40,
	'the run that ends with the next one does not hold the oldest …');
select is((select granted from test.take(20000000, current => 20000000, ahead => 1, early => 60, counts => '{60,0,0,0,0,0,0,0,0,0,0,70}', need => 40, least_need => 1)), 30,
	'… and the run that ends with this one holds it, and not what is early');
select is((select granted from test.take(20000000, current => 20000000, ahead => 1, early => 50, counts => '{60,0,0,0,0,0,0,0,0,0,0,70}', need => 40, least_need => 1)), 20,
	'… but what is charged ahead and can be spent now');
select is((select granted from test.take(20000000, current => 20000000, ahead => 1, counts => '{60,0,0,0,0,0,0,0,0,0,0,55}', need => 40, least_need => 1)), 0,
	'… all of it, if none is early');
select is((select remaining from test.take(20000000, current => 20000000, counts => '{50}', next_want => 10)), 40, 'what is ahead counts for this one too');
select is((select granted_next from test.take(20000000, current => 20000000, counts => '{50}', need => 50, next_want => 10)), 0, 'this one is served first');
select row_eq($$ select granted, spans, granted_next, is_early
	from test.take(5000000, current => 5000000, known_for => 10, need => 1, want => 3, span => 3, next_want => 10) $$, row(1, 3, 2, 0),
	'a lease that lasts for longer makes one for the next sub-window needless');
select row_eq($$ select granted, spans, granted_next, is_early
	from test.take(5000000, current => 5000000, known_for => 10, counts => '{89}', need => 1, want => 3, span => 3, next_want => 6) $$,
	row(2, -1, 6, 6), '… but near the limit it doesn''t last');
select row_eq($$ select state, is_ahead, is_early, granted, granted_next from test.take(5000000, need => 1, want => 3, span_least => 3, next_want => 10) $$,
	row('{10,3}'::int[], 4, 10, 3, 10), '… and beside the shortest one there can be one that begins with the next sub-window, as long');
select row_eq($$ select granted, spans, granted_next from test.take(5000000, want => 9, next_want => 10) $$, row(0, -1, 10),
	'nobody waits: what is wanted for the next sub-window comes in the stead of what is wanted for this one');
select row_eq($$ select granted, spans, granted_next from test.take(5000000, current => 5000000, known_for => 10, want => 9, span => 2, next_want => 10) $$,
	row(0, 2, 9), '… unless there is a longer lease');

-- Two sub-windows from the next one on: all of it is early, until the next one has come.
select row_eq($$ select current_us, state, is_ahead, is_early, granted, granted_next, spans, remaining, reset_us
	from test.take(5300000, next_want => 10, resolution => 20) $$,
	row(5000000::bigint, '{10}'::int[], 2, 10, 0, 10, -2, 90, 22700000::bigint), 'a lease ahead for two sub-windows is charged to the second, as early');
select is((select granted from test.take(30000000, current => 30000000, ahead => 2, early => e, counts => '{60}' || array_fill(0, array[21]) || 55, resolution => 20,
	need => 40, least_need => 1)), g, format('with %s of it early, %s are free before', e, g))
from (values (60, 40), (50, 35), (15, 0), (0, 0)) v (e, g);
select row_eq($$ select granted, is_early, state[:2], is_ahead from test.take(31000000, current => 30000000, ahead => 2, early => 60,
	counts => '{60}' || array_fill(0, array[20]) || 35, resolution => 20, need => 40, least_need => 1) $$,
	row(5, 0, '{60,5}'::int[], 1), '… and none of it is early when the next one has come');
select is((select granted_next from test.take(30000000, current => 30000000, counts => array_fill(0, array[n]) || 80, next_want => 199, resolution => 20)), g,
	format('what leaves before it begins is free for it, and nothing else: %s', n)) from (values (20, 100), (19, 20)) v (n, g);
select row_eq($$ select is_early, state, is_ahead from test.take(5500000, current => 5000000, counts => '{9,0,30}', ahead => 2, early => 4, next_want => 3, resolution => 20) $$,
	row(7, '{12,0,30}'::int[], 2), 'a second one is early, too');

-- Charges for what was admitted without asking.
select row_eq($$ select state, charged, granted from test.take(5000000, charge => 30, need => 1) $$, row('{31}'::int[], 30, 1), 'a charge is counted');
select row_eq($$ select state, charged, granted, remaining from test.take(5000000, charge => 130, need => 1) $$, row('{100}'::int[], 100, 0, 0),
	'a charge is counted as far as the limit goes, and before a grant');
select is((select charged from test.take(5000000, charge => -5)), 0, 'a negative one counts for nothing');

-- Returns.
select row_eq($$ select state, changed, remaining from test.take(5500000, current => 5000000, counts => '{9,4}', report_sub => 5000000, unspent => 2) $$,
	row('{7,4}'::int[], true, 89), 'credits come back to their sub-window');
select is((select state from test.take(5500000, current => 5000000, ahead => 1, counts => '{9,4}', report_sub => 5000000, unspent => 3, report_sub_2 => 6000000, unspent_2 => 5)),
	'{4,1}'::int[], '… two at once');
select is((select state from test.take(5500000, current => 5000000, counts => '{9,4}', report_sub => 4000000, unspent => 99)), '{9}'::int[],
	'never more than is charged');
select is((select state from test.take(5500000, current => 5000000, counts => '{9,4}', report_sub => 5000000, unspent => 5, report_sub_2 => 5000000, unspent_2 => 5)), '{0,4}'::int[],
	'… nor twice');
select row_eq($$ select state, is_ahead, changed from test.take(5500000, current => 5000000, counts => '{9,0,0,4}', ahead => 6, report_sub => 11000000, unspent => 9) $$,
	row('{4}'::int[], 3, true), 'a lease that lasts comes back');
select row_eq($$ select state, is_ahead, is_early, remaining from
	test.take(5500000, current => 5000000, counts => '{9,90}', ahead => 1, early => 5, report_sub => 6000000, unspent => 3) $$,
	row('{6,90}'::int[], 1, 2, 4), 'an early one that comes back is early no more');
select is((select is_early from test.take(5500000, current => 5000000, counts => '{9,90}', ahead => 1, early => 5, report_sub => 6000000, unspent => 7)), 0,
	'… as far as there are any');
select row_eq($$ select state, changed from test.take(5500000, current => 5000000, counts => '{9,4}', report_sub => 5000001, unspent => 2, spent => 2) $$,
	row('{9,4}'::int[], false), 'a token of another grid is ignored');
select is((select changed from test.take(5500000, current => 5000000, counts => '{9,4}', report_sub => 9000000, unspent => 2, spent => 2)), false,
	'a token of the future is ignored');
select is((select changed from test.take(5500000, current => 5000000, counts => '{9,4}', report_sub => 1000000, unspent => 2, spent => 2)), false,
	'a return to what holds nothing changes nothing');
select is((select changed from test.take(5500000, current => 5000000, counts => '{9,0,9}', ahead => 2, report_sub => 6000000, unspent => 2, spent => 2)), false,
	'… nor to a sub-window in between');
select is((select changed from test.take(5500000, current => 5000000, counts => '{9}', ahead => 2, report_sub => 7000000, unspent => -2, spent => -2)), false,
	'negative amounts are ignored');
select is((select changed from test.take(5500000, current => 5000000, counts => '{9}', report_sub => b, unspent => 1, spent => 1, report_sub_2 => b)), false,
	format('the token %s does no harm', b)) from unnest(array[-9223372036854775808, -1, 9223372036854775807]) b;
select is((select state from test.take(5500000, current => 5000000, counts => '{9}', report_sub => 5000000, unspent => 9)), '{}'::int[], 'zeros at the end go');
select is((select granted from test.take(5500000, current => 5000000, counts => '{100}', report_sub => 5000000, unspent => 5, need => 5)), 5,
	'what comes back can be granted at once');
select is((select state from test.take(16500000, current => 5000000, counts => '{9}', ahead => 2, report_sub => 7000000, unspent => 3)), '{0,0,0,0,0,0,0,0,0,6}'::int[],
	'what comes back late goes to where it was charged');

-- What is spent by now need not count for longer.
select row_eq($$ select state, is_ahead, changed, remaining, reset_us from test.take(5500000, current => 5000000, counts => '{9}', ahead => 6, report_sub => 11000000, spent => 4) $$,
	row('{5,0,0,0,0,0,4}'::int[], 6, true, 91, 16500000::bigint), 'what is spent moves to the present sub-window');
select row_eq($$ select state, is_ahead, reset_us from test.take(5500000, current => 5000000, counts => '{9}', ahead => 6, report_sub => 11000000, unspent => 5, spent => 4) $$,
	row('{4}'::int[], 0, 10500000::bigint), '… and the rest comes back');
select row_eq($$ select state, is_ahead from test.take(5500000, current => 5000000, counts => '{9}', ahead => 6, report_sub => 11000000, unspent => 5, spent => 9) $$,
	row('{4}'::int[], 0), '… never more than is charged');
select row_eq($$ select state, is_ahead from test.take(5500000, current => 5000000, counts => '{9,0,0,7}', ahead => 6, report_sub => 11000000, spent => 9, report_sub_2 => 8000000, spent_2 => 6) $$,
	row('{1,0,0,15}'::int[], 3), '… of two leases');
select row_eq($$ select state, is_ahead from test.take(5980000, current => 5000000, counts => '{9}', ahead => 6, report_sub => 11000000, spent => 4) $$,
	row('{5,0,0,0,0,4}'::int[], 6), 'it may be some milliseconds later than the report: close to its end, the next one');
select row_eq($$ select state, changed from test.take(5980000, current => 5000000, counts => '{9}', ahead => 1, report_sub => 6000000, spent => 4) $$,
	row('{9}'::int[], false), '… where it may be already');
select is((select changed from test.take(5500000, current => 5000000, counts => '{9,9}', report_sub => b, spent => 4)), false,
	format('what is charged to now or before stays: %s', b)) from unnest(array[5000000, 4000000]) b;
select row_eq($$ select state, is_early, remaining from test.take(5500000, current => 5000000, counts => '{9,80}', ahead => 1, early => 7, report_sub => 6000000, spent => 4) $$,
	row('{5,84}'::int[], 3, 11), 'what was spent may have been early');
select is((select is_early from test.take(5500000, current => 5000000, counts => '{9,80}', ahead => 1, early => 3, report_sub => 6000000, spent => 4)), 0,
	'… as far as there are any');
select is((select is_early from test.take(5500000, current => 5000000, counts => '{9,8,40}', ahead => 2, early => 7, report_sub => r, unspent => u, spent => s)), e,
	format('reported for %s: %s unspent, %s spent', r / 1000000 - 5, u, s))
from (values (7000000, 3, 0, 4), (7000000, 0, 3, 4), (7000000, 3, 2, 2), (7000000, 9, 0, 0), (7000000, 2, 7, 0), (6000000, 3, 2, 2), (5000000, 3, 3, 7)) v (r, u, s, e);
select is((select is_early from test.take(5500000, current => 5000000, counts => '{9}', ahead => 7, early => 7, report_sub => 12000000, unspent => 3, spent => 1)), 3,
	'… of a lease however long');
select is((select is_early from test.take(5980000, current => 5000000, counts => '{9,40}', ahead => 1, early => 7, report_sub => 6000000, spent => 4)), 7,
	'what stays where it is stays early');
select row_eq($$ select granted, is_early from test.take(30000000, current => 30000000, ahead => 2, early => 60, counts => '{60}' || array_fill(0, array[21]) || 55,
	resolution => 20, report_sub => 32000000, unspent => 10, need => 60, least_need => 1) $$,
	row(45, 50), 'what has come back of a lease ahead can be granted, and was early');
select row_eq($$ select granted, remaining, retry_us from
	test.take(5500000, current => 5000000, counts => '{100}', ahead => 8, report_sub => 13000000, spent => 60, unspent => 40, need => 40) $$,
	row(40, 0, 10500000::bigint), 'a client at its limit goes on with what came back');

-- Fixed windows: each for itself.
select row_eq($$ select granted, current_us, starts_in_us, reset_us from test.take(25000000, phase => 3000000, sub => 10000000, resolution => 0, need => 100) $$,
	row(100, 23000000::bigint, 8000000::bigint, 8000000::bigint), 'a fixed window');
select row_eq($$ select granted, retry_us from test.take(25000000, current => 23000000, old_sub => 10000000, counts => '{100}', sub => 10000000, resolution => 0, need => 1) $$,
	row(0, 8000000::bigint), 'is full until it ends');
select is((select granted from test.take(33000000, current => 23000000, old_sub => 10000000, counts => '{100}', sub => 10000000, resolution => 0, need => 100)), 100,
	'and the next one is empty');
select row_eq($$ select granted, granted_next, current_us, state, is_early, remaining from
	test.take(25000000, current => 23000000, old_sub => 10000000, counts => '{90}', sub => 10000000, resolution => 0, need => 5, next_want => 80) $$,
	row(5, 80, 23000000::bigint, '{80,95}'::int[], 80, 5), 'the next one''s limit is its own');
select row_eq($$ select granted, retry_us from
	test.take(25000000, current => 23000000, ahead => 1, early => 90, old_sub => 10000000, counts => '{90,100}', sub => 10000000, resolution => 0, need => 20) $$,
	row(0, 18000000::bigint), 'retry: past the next one, if that is full too');
select row_eq($$ select granted, state, is_early from
	test.take(33000000, current => 23000000, ahead => 1, early => 90, old_sub => 10000000, counts => '{90,100}', sub => 10000000, resolution => 0, need => 10) $$,
	row(10, '{100}'::int[], 0), 'what was leased ahead counts when it has come');

-- Stale times: the row's time holds.
select row_eq($$ select current_us, starts_in_us, granted, state from test.take(18500001, current => 20000000, counts => '{10}', need => 1) $$,
	row(20000000::bigint, 1000000::bigint, 1, '{11}'::int[]), 'a time before the row''s is taken for the earliest that it can be');
select is((select current_us from test.take(18000000, current => 20000000, counts => '{10}', need => 1)), 20000000::bigint, '… by up to 2 s');
select row_eq($$ select state, is_early, changed from test.take(18000000, current => 20000000, counts => '{10,5}', ahead => 1, early => 3) $$,
	row('{10,5}'::int[], 3, false), '… and nothing moves');

-- The clock was set back.
select row_eq($$ select starts_in_us, current_us, state, is_ahead, is_early, changed from test.take(17999999, current => 20000000, counts => '{10,20}', ahead => 1, early => 4) $$,
	row(1000000::bigint, 17999999::bigint, '{10,20}'::int[], 1, 0, true),
	'more than 2 s: counts stay, the current sub-window starts now, and nothing is early');
select row_eq($$ select granted, retry_us, changed from test.take(3600000000, current => 7200000000, counts => '{100}', ahead => 3, need => 1) $$,
	row(0, 14000000::bigint, true), 'an hour: what was used stays used, and the row remembers, even if nothing is granted');
select is((select granted from test.take(3614000000, current => 3600000000, counts => '{100}', ahead => 3, need => 1)), 1, '… for as long as if it were used now');
select is((select changed from test.take(3600500000, current => 3600000001, counts => '{100}', report_sub => 3600000000 - 5000000, unspent => 5, spent => 5)), false,
	'… and a return of older credits finds nothing');

-- A policy with other sub-windows, or another number of them.
select row_eq($$ select current_us, state, remaining from test.take(20500000, current => 20000000, counts => '{1,2,3,4}', sub => 500000) $$,
	row(20500000::bigint, '{1,0,2,0,3,0,4}'::int[], 90), 'shorter: each count goes where the last of it may be spent');
select row_eq($$ select current_us, state, is_ahead from test.take(20400000, current => 20000000, counts => '{1,2,3,4}', sub => 500000) $$,
	row(20000000::bigint, '{1,0,2,0,3,0,4}'::int[], 1), '… also if that is after now');
select is((select state from test.take(20500000, current => 20000000, counts => '{1,2,3,4}', sub => 2000000, charge => 1)), '{2,5,4}'::int[],
	'longer: counts that fall together are added');
select row_eq($$ select state, is_ahead, is_early from test.take(20500000, current => 20000000, counts => '{5,1}', ahead => 1, early => 5, sub => 500000, charge => 1) $$,
	row('{5,0,2}'::int[], 2, 0), 'what was charged ahead is charged ahead, and not early any more');
select row_eq($$ select state, is_ahead from test.take(20500000, current => 20000000, counts => '{5,0,0,0,0,0,0,0,0,1}', ahead => 10, sub => 2000000) $$,
	row('{5,0,0,0,0,1}'::int[], 5), 'leases that last: each to its end, in longer sub-windows');
select row_eq($$ select state, is_ahead from test.take(20500000, current => 20000000, counts => '{5,3,0,0,0,0,0,0,0,1}', ahead => 10, sub => 100000, phase => 50000) $$,
	row('{9}'::int[], 10), '… in shorter ones, too, but no later than a new window from now');
select row_eq($$ select state, is_ahead, reset_us from test.take(20500000, current => 20000000, counts => '{5}', ahead => 10, sub => 10000000, resolution => 0) $$,
	row('{5}'::int[], 0, 9500000::bigint), '… in a fixed window not after it');
select is((select remaining from test.take(20500000, current => 20000000, counts => '{90,90}', ahead => 1, sub => 500000)), 0, 'more than the limit: nothing is left');
select row_eq($$ select state, is_ahead from test.take(20500000, current => 20000000, counts => '{2000000000,2000000000}', ahead => 1, sub => 100000000, resolution => 1, charge => 1) $$,
	row('{2147483647}'::int[], 0), 'sums don''t overflow');
select row_eq($$ select state, granted from test.take(20500000, current => 20000000, counts => '{1,2,3,4}', resolution => 1, need => 5) $$,
	row('{6,2}'::int[], 5), 'fewer sub-windows: the older ones go');
select row_eq($$ select state, is_ahead, remaining from test.take(20500000, current => 20000000, counts => '{1,2,3,4,5,6,7}', ahead => 4, resolution => 1, need => 5) $$,
	row('{1,2,3,4,10,6}'::int[], 4, 74), '… what is charged ahead stays, however far');
select is((select remaining from test.take(20500000, current => 20000000, counts => '{1,2,3,4,5,6,7,8,9,10,11,12}', resolution => 60)), 22,
	'more sub-windows: all that is still known counts');
select is((select remaining from test.take(20500000, current => 20000000, counts => '{1,2,3}', sub => 10000000, resolution => 0)), 99,
	'from sliding to fixed: what was used in this window counts');
select is((select current_us from test.take(18500000, current => 20000000, counts => '{10}', sub => 500000, need => 1)), 20000000::bigint,
	'a stale time holds the row''s, also with other sub-windows');
select row_eq($$ select changed, state, is_ahead from test.take(10000000, current => 20000000, counts => '{10,5}', sub => 500000) $$,
	row(true, '{10,0,5}'::int[], 1), 'a clock set back, also');
select is((select granted from test.take(20000000, current => 20000000, counts => '{50}', max_requests => 40, need => 1)), 0, 'a lowered limit holds at once');
select is((select retry_us from test.take(20000000, current => 20000000, counts => '{10,50}', max_requests => 40, need => 1)), 10000000::bigint,
	'… until enough has left');
select is((select granted from test.take(20000000, current => 20000000, counts => '{100}', max_requests => 140, need => 40)), 40, 'a raised limit, too');

-- Any resolution.
select is((select remaining from test.take(20000000, current => 10000000, counts => '{100}', resolution => r)), case when r < 10 then 100 else 0 end,
	format('resolution %s: %s sub-windows count', r, r + 1)) from unnest(array[1, 2, 9, 10, 59, 60]) r;

-- The short way for new clients does what the long one does: blocked ones, costs above the limit, several that wait.
select is_empty($$
	with case_ as (
		select i, 1700000000000000 + (hashint4(i)::bigint & 1048575) * 1000003 as t_us, (hashint4(-i)::bigint & 65535) * 1000 as phase_us,
			i % 63 as host, (hashint4(i + 100000)::bigint & (case i % 3 when 0 then 3 else 1023 end))::int as max_requests,
			10000 * (1 + i % 100)::bigint as sub_window_us, i % 61 as resolution, (hashint4(i + 200000)::bigint & 255)::int as want,
			(hashint4(i + 300000)::bigint & 65535)::int as random
		from generate_series(1, 6000) i
	), request as (
		select c.*, mod(phase_us, sub_window_us) as phase, 1 + random % (max_requests + 3) as need, random / 11 % 70 as span_most, random / 13 % 70 as span_least
		from case_ c
	), asked as (
		select r.*, 1 + random / 7 % need as least_need from request r
	)
	select i from asked r, lateral (
		select current_us, ahead, 0, case granted when 0 then 0 else 1::bigint << host end, 0::bigint, counts, granted > 0, granted, granted_next, 0, span, f.*, 0
		from stint.first_grant(t_us, phase, max_requests, sub_window_us, resolution, need, least_need, want, span_most, span_least),
			lateral stint.first_answer(t_us, current_us, max_requests, sub_window_us, resolution, granted + granted_next, shortest, ahead) f
		except
		select current_us, ahead, early, servers, servers_before, counts, changed, granted, granted_next, charged, span, remaining, starts_in_us, retry_us, reset_us,
			recallable
		from stint.take(null, null, null, null, null, null, null, t_us, phase, host, max_requests, sub_window_us, resolution, need, least_need, want, span_most,
			span_least, 0, 0, 0, 0, 0, 0, 0, 0)
	) t
	$$, 'first_grant() and first_answer() give what take() gives, in 6000 cases');
select is((select count(*) from generate_series(1, 10) i, stint.first_grant(1700000000000000, 0, 100, 1000000, 10, 1, 1, i, 3, i % 2) g,
	stint.first_answer(1700000000000000, g.current_us, 100, 1000000, 10, g.granted + g.granted_next, g.shortest, g.ahead)), 10::bigint, '… and one row each');

-- The last moment of the old sub-window is the first one of the new present.
select is(stint.rewindow(0, 1000000, 0, '{5}', 999999, 333333, 3), '{0,0,0,5,0,0,0}', 'a credit counts where it may have been spent last');

select * from finish();
rollback;
