-- stint.take() on random histories, against a model that knows no rings: a list of what is charged to which
-- sub-window, and every run counted one by one. And the promise itself: credits are spent at random moments of the time
-- in which their lease is good, some come back, and no interval of the window's length may hold more than the limit.

begin;
select plan(55);
select setseed(0.20240229);

create temp table charge (start_us bigint primary key, count bigint not null);
create temp table waiting (since_us bigint primary key, count bigint not null); -- of what is charged: what can't be spent before
create temp table served (who int, since bigint);
create temp table lease (
	id int generated always as identity, token bigint, from_us bigint, end_us bigint, unspent bigint, spent bigint, seen_us bigint);
create temp table spent (at_us bigint not null, count bigint not null);

create function pg_temp.dice(low bigint, high bigint) returns bigint
language sql volatile as 'select low + floor(random() * (high - low + 1))::bigint';

-- What is charged to the sub-window at since_us and to all later ones.
create function pg_temp.run(since_us bigint) returns bigint
language sql volatile as 'select coalesce(sum(count), 0)::bigint from charge where start_us >= since_us';

-- What is charged and can't be spent before the sub-window at cur has ended.
create function pg_temp.early(cur bigint) returns bigint
language sql volatile as 'select coalesce(sum(count), 0)::bigint from waiting where since_us > cur';

-- How many sub-windows before the one at cur the first was in which the client came, as far as what counts still shows.
create function pg_temp.known_for(cur bigint, s bigint, k int) returns bigint
language sql volatile as $$
	select coalesce((cur - min(start_us)) / s, 0) from charge where count > 0 and start_us between cur - k * s and cur $$;

-- What may be granted from now on: looks at both runs.
create function pg_temp.left_now(cur bigint, s bigint, k int, l bigint) returns bigint
language sql volatile as $$
	select greatest(l - greatest(pg_temp.run(cur - k * s) - pg_temp.early(cur),
		case when k > 0 then pg_temp.run(cur + s - k * s) end), 0) $$;

create function pg_temp.put(start_us bigint, count bigint) returns void
language sql volatile as $$
	insert into charge values (start_us, count)
	on conflict (start_us) do update set count = charge.count + excluded.count $$;

-- What has become of a lease: some of it comes back, and some moves to the sub-window at spent_us. Nobody knows whether it
-- was of those that are charged to later sub-windows and couldn't be spent yet: so it was, as far as there are any.
create function pg_temp.report(token bigint, back bigint, gone bigint, cur bigint, spent_us bigint) returns void
language plpgsql volatile as $$
begin
	gone := case when token > spent_us then gone else 0 end;
	update charge c set count = c.count - back - gone where c.start_us = token;
	if gone > 0 then
		perform pg_temp.put(spent_us, gone);
	end if;
	if token > cur then
		update waiting w set count = greatest(w.count - back - gone, 0) where w.since_us > cur;
	end if;
end
$$;

-- Leases are spent up to now, at the last moment there is or at any.
create function pg_temp.spend(now_us bigint) returns void
language plpgsql volatile as $$
declare
	a lease;
	n bigint;
	at bigint;
begin
	for a in select * from lease where unspent > 0 loop
		at := least(now_us, a.end_us - 1);
		continue when at < greatest(a.from_us, a.seen_us) or random() < 0.4;
		if random() < 0.5 then
			at := pg_temp.dice(greatest(a.from_us, a.seen_us), at);
		end if;
		n := pg_temp.dice(1, a.unspent);
		insert into spent values (at, n);
		update lease set unspent = unspent - n, spent = lease.spent + n, seen_us = at where id = a.id;
	end loop;
end
$$;

-- One history; returns the first difference, or null.
create function pg_temp.play(k int, s bigint, l int, hosts int, steps int) returns text
language plpgsql volatile as $$
declare
	r record; -- the row
	got record;
	t bigint := 1000000000000 + pg_temp.dice(0, s);
	phase bigint := pg_temp.dice(0, s - 1);
	te bigint; cur bigint; left_now bigint; shares bigint; stretch bigint;
	host int; need int; least_need int; want int; span int; span_least int; next_want int; charge int;
	token bigint[]; back int[]; gone int[];
	m_charged bigint; m_granted bigint; m_next bigint; m_retry bigint; m_short bigint; m_reset bigint; m_recallable int; m_span bigint; m_most bigint; m_least bigint; m_more bigint; m_may bigint; m_known bigint; m_expected numeric;
	m_brief bigint; m_ahead bigint; m_instead boolean; m_open boolean;
	a lease;
begin
	truncate charge, waiting, spent, lease, served;
	select null::bigint as current_us, null::int as ahead, null::int as early, null::bigint as servers, null::bigint as servers_before, null::int[] as counts
	into r;
	for step in 1 .. steps loop
		-- Mostly little steps, now and then a long pause, now and then a stale time.
		t := t + case when random() < 0.05 then pg_temp.dice(0, s * (k + 3)) else pg_temp.dice(0, s / 2) end;
		te := case when random() < 0.15 then t - pg_temp.dice(0, 2000000) else t end;
		host := pg_temp.dice(0, hosts - 1);
		need := case when random() < 0.7 then pg_temp.dice(1, greatest(l / 5, 1) + 1) else 0 end;
		least_need := greatest(pg_temp.dice(1, greatest(need, 1)), 1);
		want := pg_temp.dice(0, l);
		span := case when random() < 0.7 then pg_temp.dice(0, k + 1) else 0 end;
		span_least := case when random() < 0.2 then pg_temp.dice(0, k + 1) else 0 end;
		next_want := case when random() < 0.5 then pg_temp.dice(0, l) else 0 end;
		charge := case when random() < 0.1 then pg_temp.dice(0, l) else 0 end;
		-- What has become of two leases: a part comes back, and of what is spent it is said that it is. It may have been spent
		-- some milliseconds later than that, but not by a request of later than that, which got the row before this one.
		perform pg_temp.spend(te + 19999);
		token := '{0,0}'; back := '{0,0}'; gone := '{0,0}';
		for a in select * from lease where seen_us < te + 220000 and random() < 0.3 order by random() limit 2 loop
			token := a.token || token;
			back := case when random() < 0.4 then pg_temp.dice(0, a.unspent) else 0 end::int || back;
			gone := a.spent::int || gone;
			update lease set unspent = unspent - back[1], spent = 0 where id = a.id;
		end loop;

		select * into got from stint.take(r.current_us, s, r.ahead, r.early, r.servers, r.servers_before, r.counts, te, phase, host, l, s, k, need, least_need,
			want, span, span_least, next_want, charge, token[1], back[1], gone[1], token[2], back[2], gone[2]);

		-- The model. The row's time: never before what it has seen.
		te := greatest(te, r.current_us);
		cur := phase + (te - phase) / s * s;
		stretch := cur / (s * greatest(k, 1));
		for i in 1 .. 2 loop
			if token[i] >= cur - k * s then
				perform pg_temp.report(token[i], back[i], gone[i], cur, phase + (te + 220000 - phase) / s * s);
			end if;
		end loop;

		m_charged := least(charge, pg_temp.left_now(cur, s, k, l));
		perform pg_temp.put(cur, m_charged);
		left_now := pg_temp.left_now(cur, s, k, l);
		-- From half of the limit to a quarter, leases get shorter, and smaller: down to a tenth of the window, all in all. None lasts
		-- longer than the client is known for, nor than if it had gone on like that for a window, but for such a brief one.
		m_most := least(span, k);
		m_least := least(span_least, k);
		m_brief := greatest(ceil(k / 10.0) - 1, m_least, 0);
		m_may := greatest(least(trunc(m_most * (4.0 * left_now - l) / l), m_most), m_brief);
		m_known := pg_temp.known_for(cur, s, k);
		m_expected := case when m_known + 1 < k then greatest(l - trunc((l - left_now) * k / (m_known + 1.0)), 0) else left_now end;
		m_span := least(m_may, greatest(trunc(m_most * (4.0 * m_expected - l) / l), m_brief), greatest(m_known, m_brief));
		m_ahead := 1 + case when k = 0 then 0 else least(m_brief, k - 1) end;
		m_instead := need = 0 and next_want > 0 and m_span = m_brief;
		m_open := m_span > m_least and not m_instead;
		shares := (select count(distinct v.who) from served v where v.who <> host and v.since >= stretch - 1) + 1;
		m_more := ceil(greatest(want - need, 0) * least(m_may + 1, m_most + 1)::numeric / (m_most + 1));
		m_granted := case
			when m_instead then 0
			when need = 0 then least(left_now, m_more, greatest(trunc(1.25 * left_now / shares), 1))
			when left_now < least_need then 0
			else least(left_now, greatest(need, least(need + m_more, greatest(trunc(1.25 * left_now / shares), 1)))) end;
		-- What is needed is for now, and the rest for longer. Or all is for now, and there may be some from the next sub-window on.
		m_next := 0;
		if m_open then
			m_next := greatest(m_granted - need, 0);
			m_granted := m_granted - m_next;
			perform pg_temp.put(cur + m_span * s, m_next);
		end if;
		perform pg_temp.put(cur + m_least * s, m_granted);
		if not m_open then
			left_now := greatest(l - pg_temp.run(cur + s - k * s), 0);
			m_next := least(left_now, next_want, greatest(trunc(1.25 * left_now / shares), 1));
			perform pg_temp.put(cur + m_ahead * s, m_next);
			insert into waiting values (cur + s, m_next) on conflict (since_us) do update set count = waiting.count + excluded.count;
		end if;
		if m_granted > 0 or m_next > 0 then
			insert into served values (host, stretch);
		end if;

		m_retry := 0;
		m_short := case when need > 0 and m_granted < least_need then least_need when pg_temp.left_now(cur, s, k, l) = 0 then 1 end;
		if m_short is not null then
			m_retry := case when m_short > l then -1 else (
				select min(cur + n * s - te) from generate_series(1, 2 * k + 2) n where l - pg_temp.run(cur + (n - k) * s) >= m_short) end;
		end if;
		m_reset := coalesce((select max(c.start_us) + (k + 1) * s - te from pg_temp.charge c where c.count > 0 and c.start_us >= cur - k * s), 0);

		m_recallable := case when m_short is null then 0
			else coalesce((select sum(c.count) from pg_temp.charge c where c.start_us >= cur + (m_ahead + 1) * s), 0) end;

		if row(got.granted, got.granted_next, got.charged, got.span, got.current_us, got.starts_in_us, got.remaining, got.retry_us, got.reset_us, got.recallable)
			is distinct from row(m_granted::int, m_next::int, m_charged::int, case when m_open then m_span else -m_ahead end::int, cur, cur + s - te, pg_temp.left_now(cur, s, k, l)::int, m_retry, m_reset, m_recallable)
		then
			return format('step %s, k %s: got %s, the model says %s', step, k, got,
				row(m_granted, m_next, m_charged, case when m_open then m_span else -m_ahead end, cur, cur + s - te, pg_temp.left_now(cur, s, k, l), m_retry, m_reset, m_recallable));
		end if;
		-- As take_leases does: what changes nothing is not written, and then the row's time stays, too.
		if got.changed then
			r := got;
		end if;
		if r.counts[cardinality(r.counts)] = 0 or r.ahead > 0 and r.counts[1] = 0 or cardinality(r.counts) > r.ahead + k + 1 then
			return format('step %s, k %s: the ring is not trimmed: %s', step, k, r);
		end if;
		insert into spent values (te, got.charged);
		insert into lease (token, from_us, end_us, unspent, spent, seen_us)
		select x.* from (values
			(cur + m_least * s, te, cur + (m_least + 1) * s, got.granted, 0, te),
			(cur + m_span * s, te, cur + (m_span + 1) * s, case when m_open then got.granted_next end, 0, te),
			(cur + m_ahead * s, cur + s, cur + (m_ahead + 1) * s, case when not m_open then got.granted_next end, 0, cur + s))
			x (token, from_us, end_us, unspent, spent, seen_us)
		where x.unspent > 0;
		-- Old charges can't come back into any run.
		delete from lease where end_us < t - 4000000 - (2 * k + 6) * s;
		delete from pg_temp.charge c where c.start_us < t - 4000000 - (2 * k + 6) * s;
		delete from waiting w where w.since_us < t - 4000000 - 6 * s;
	end loop;
	for i in 1 .. 5 loop
		perform pg_temp.spend(t + (k + 2) * s);
	end loop;
	insert into spent select end_us - 1, unspent from lease where unspent > 0;
	return null;
end
$$;

-- The most that any interval as long as the window held. (Of a fixed window, any aligned one: not asked here.)
create function pg_temp.worst(window_us bigint) returns bigint
language sql volatile as $$
	select coalesce(max(total), 0)::bigint
	from (select sum(count) over (order by at_us range between current row and (window_us - 1) following) as total from spent) x $$;

-- The first moment, the last one, or one between.
create function pg_temp.some_time(from_us bigint, end_us bigint) returns bigint
language sql volatile as $$
	select case pg_temp.dice(0, 3) when 0 then from_us when 1 then pg_temp.dice(from_us, end_us - 1) else end_us - 1 end $$;

-- The clock is set back now and then. What counts is real time, and when in it a lease is good: now from its grant until the
-- end of its last sub-window, or, if it is ahead, from the end of the present one. Credits are spent at one of the two edges, or between.
create function pg_temp.set_back(k int, s bigint, l int, steps int) returns bigint
language plpgsql volatile as $$
declare
	r record;
	got record;
	real_us bigint := 0;
	clock bigint := 1000000000000;
	pause bigint;
	span_least int;
begin
	truncate spent;
	select null::bigint as current_us, null::int as ahead, null::int as early, null::int[] as counts into r;
	for step in 1 .. steps loop
		pause := pg_temp.dice(0, s / 3);
		real_us := real_us + pause;
		clock := clock + pause - case when random() < 0.15 / (k + 1) then pg_temp.dice(0, 30 * s + 5000000) else 0 end;
		span_least := greatest(pg_temp.dice(-k, k), 0);
		select * into got from stint.take(r.current_us, s, r.ahead, r.early, 0, 0, r.counts, clock, 0, 0, l, s, k, pg_temp.dice(0, 1)::int, 1, pg_temp.dice(0, l)::int,
			pg_temp.dice(-k, k)::int, span_least, case when random() < 0.5 then pg_temp.dice(0, l) else 0 end::int, 0, 0, 0, 0, 0, 0, 0);
		if got.changed then
			r := got;
		end if;
		insert into spent values
			(pg_temp.some_time(real_us, real_us + got.starts_in_us + span_least * s), got.granted),
			(pg_temp.some_time(real_us + case when got.span > 0 then 0 else got.starts_in_us end, real_us + got.starts_in_us + abs(got.span) * s),
				got.granted_next);
	end loop;
	return pg_temp.worst(k * s);
end
$$;

select unnest(array[
	is(pg_temp.play(k, s, l, hosts, 70), null, format('resolution %s, sub-windows of %s us, limit %s, %s hosts: as the model says', k, s, l, hosts)),
	case when k > 0 then cmp_ok(pg_temp.worst(k * s), '<=', l::bigint, '… and no interval holds more than the limit') end])
from (values
	(10, 1000000, 100, 1), (10, 1000000, 100, 8), (10, 100000, 7, 3), (10, 1000000, 1, 2), (1, 1000000, 10, 1), (1, 10000, 100, 2),
	(2, 500000, 20, 4), (3, 3000000, 1000000000, 2), (5, 60000000, 1000, 50), (60, 1000000, 300, 4), (59, 16000, 60, 2), (20, 50000, 5, 1),
	(20, 1000000, 100, 3), (11, 200000, 40, 2), (30, 20000, 1000, 4), (20, 3000000, 60, 1),
	(0, 1000000, 100, 1), (0, 10000000, 5, 3), (0, 100000, 1, 1), (10, 6000000, 100000, 16)) as c (k, s, l, hosts);

select cmp_ok(pg_temp.set_back(k, s, l, 500), '<=', l::bigint, format('a clock that is set back, resolution %s, sub-windows of %s us, limit %s', k, s, l))
from (values (10, 1000000, 100), (10, 10000, 30), (1, 1000000, 10), (3, 5000000, 20), (60, 1000000, 500), (20, 1000000, 100)) as c (k, s, l), generate_series(1, 3);

select * from finish();
rollback;
