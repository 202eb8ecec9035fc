-- stint.take() on random histories, against a model that knows no rings: a list of what was charged to which
-- sub-window, and every run counted one by one. And the promise itself: credits are spent at random moments of the time
-- in which their lease is good, and no interval of the window's length may hold more than the limit.

begin;
select plan(44);
select setseed(0.20240229);

create temp table charge (start_us bigint primary key, count bigint not null);
create temp table spent (at_us bigint not null, count bigint not null);

create function pg_temp.dice(low bigint, high bigint) returns bigint
language sql volatile as 'select low + floor(random() * (high - low + 1))::bigint';

-- Sum of the run of k + 1 sub-windows that ends with the one that starts at last_us.
create function pg_temp.run(last_us bigint, s bigint, k int) returns bigint
language sql volatile as 'select coalesce(sum(count), 0)::bigint from charge where start_us between last_us - k * s and last_us';

-- What may still be charged to the sub-window at start_us: all runs that contain it.
create function pg_temp.left_in(start_us bigint, s bigint, k int, l bigint) returns bigint
language sql volatile as 'select greatest(l - max(pg_temp.run(start_us + j * s, s, k)), 0) from generate_series(0, k) j';

create function pg_temp.put(start_us bigint, count bigint) returns void
language sql volatile as $$
	insert into charge values (start_us, count) on conflict (start_us) do update set count = charge.count + excluded.count $$;

create function pg_temp.fair(available bigint, hosts int) returns bigint
language sql immutable as 'select greatest(available / (4 * hosts), 1)';

-- One history; returns the first difference, or null.
create function pg_temp.play(k int, s bigint, l int, hosts int, steps int) returns text
language plpgsql volatile as $$
declare
	state record;
	got record;
	t bigint := 1000000000000 + pg_temp.dice(0, s);
	phase bigint := pg_temp.dice(0, s - 1);
	te bigint; cur bigint; left_now bigint; back bigint;
	need int; least_need int; want int; next_want int; charge int;
	return_sub bigint; return_first int; return_second int;
	m_charged bigint; m_granted bigint; m_next bigint; m_retry bigint; m_short bigint; m_reset bigint;
	newest bigint;
	row_head bigint; row_counts int[];
	leases jsonb := '[]';
begin
	truncate charge, spent;
	for step in 1 .. steps loop
		-- Mostly little steps, now and then a long pause, now and then a stale time.
		t := t + case when random() < 0.05 then pg_temp.dice(0, s * (k + 3)) else pg_temp.dice(0, s / 2) end;
		te := case when random() < 0.15 then t - pg_temp.dice(0, 2000000) else t end;
		need := case when random() < 0.7 then pg_temp.dice(1, greatest(l / 5, 1) + 1) else 0 end;
		least_need := greatest(pg_temp.dice(1, greatest(need, 1)), 1);
		want := pg_temp.dice(0, l);
		next_want := case when random() < 0.5 then pg_temp.dice(0, l) else 0 end;
		charge := case when random() < 0.2 then pg_temp.dice(0, l) else 0 end;
		-- An earlier lease comes back, in part.
		return_sub := 0; return_first := 0; return_second := 0;
		if jsonb_array_length(leases) > 0 and random() < 0.4 then
			return_sub := leases -> -1 ->> 0;
			return_first := pg_temp.dice(0, (leases -> -1 ->> 1)::bigint);
			return_second := pg_temp.dice(0, (leases -> -1 ->> 2)::bigint);
			insert into spent
			select least(return_sub + pg_temp.dice(0, s - 1), 9e18), (leases -> -1 ->> 1)::bigint - return_first
			union all select return_sub + s + pg_temp.dice(0, s - 1), (leases -> -1 ->> 2)::bigint - return_second;
			leases := leases - -1;
		end if;

		select * into got from stint.take(row_head, s, row_counts, te, phase, hosts, l, s, k, need, least_need, want, next_want,
			charge, return_sub, return_first, return_second);

		-- The model. The row's time: never before what was charged.
		if newest is not null then
			te := greatest(te, newest - s);
		end if;
		cur := phase + (te - phase) / s * s;
		newest := greatest(newest, cur);
		update pg_temp.charge c set count = greatest(c.count - return_first, 0)
		where c.start_us = return_sub and c.start_us > newest - (k + 2) * s;
		update pg_temp.charge c set count = greatest(c.count - return_second, 0)
		where c.start_us = return_sub + s and c.start_us > newest - (k + 2) * s;

		left_now := pg_temp.left_in(cur, s, k, l);
		m_charged := least(charge, left_now);
		perform pg_temp.put(cur, m_charged);
		left_now := left_now - m_charged;
		m_granted := case
			when need = 0 then least(left_now, want, pg_temp.fair(left_now, hosts))
			when left_now < least_need then 0
			else least(left_now, greatest(need, least(want, pg_temp.fair(left_now, hosts)))) end;
		perform pg_temp.put(cur, m_granted);
		m_next := least(pg_temp.left_in(cur + s, s, k, l), next_want);
		m_next := least(m_next, pg_temp.fair(pg_temp.left_in(cur + s, s, k, l), hosts));
		perform pg_temp.put(cur + s, m_next);

		m_retry := 0;
		m_short := case when need > 0 and m_granted < least_need then least_need when pg_temp.left_in(cur, s, k, l) = 0 then 1 end;
		if m_short is not null then
			m_retry := case when m_short > l then -1 else (
				select min(cur + n * s - te) from generate_series(1, k + 2) n
				where pg_temp.left_in(cur + n * s, s, k, l) >= m_short) end;
		end if;
		m_reset := coalesce((select greatest(max(c.start_us) + (k + 1) * s - te, 0) from pg_temp.charge c where c.count > 0), 0);

		if row(got.granted, got.granted_next, got.charged, got.sub_window, got.valid_us, got.remaining, got.retry_us, got.reset_us)
			is distinct from row(m_granted::int, m_next::int, m_charged::int, cur, cur + s - te, pg_temp.left_in(cur, s, k, l)::int, m_retry, m_reset)
		then
			return format('step %s, k %s: got %s, the model says %s', step, k, got,
				row(m_granted, m_next, m_charged, cur, cur + s - te, pg_temp.left_in(cur, s, k, l), m_retry, m_reset));
		end if;
		-- As take_leases does: what changes nothing is not written, and then the row's time stays, too.
		if got.changed then
			row_head := got.head_us;
			row_counts := got.counts;
		end if;
		newest := row_head;
		if row_counts[cardinality(row_counts)] = 0 or cardinality(row_counts) > k + 2 then
			return format('step %s, k %s: the ring is not trimmed: %s', step, k, row_counts);
		end if;
		insert into spent values (te + pg_temp.dice(0, cur + s - te - 1), got.charged);
		leases := leases || jsonb_build_array(jsonb_build_array(cur, got.granted, got.granted_next));
		-- Old charges can't come back into any run.
		delete from pg_temp.charge c where c.start_us < t - 4000000 - (2 * k + 6) * s;
	end loop;
	insert into spent
	select (x ->> 0)::bigint + pg_temp.dice(0, s - 1), (x ->> 1)::bigint from jsonb_array_elements(leases) x
	union all select (x ->> 0)::bigint + s + pg_temp.dice(0, s - 1), (x ->> 2)::bigint from jsonb_array_elements(leases) x;
	return null;
end
$$;

-- The most that any interval as long as the window held. (Of a fixed window, any aligned one: not asked here.)
create function pg_temp.worst(window_us bigint) returns bigint
language sql volatile as $$
	select coalesce(max(total), 0)::bigint
	from (select sum(count) over (order by at_us range between current row and window_us following) as total from spent) x $$;

-- The clock is set back now and then. What counts is real time, and when in it a lease is good: now from its grant until its
-- sub-window ends, the next one for a sub-window from there. Credits are spent at one of the two edges, or between.
create function pg_temp.set_back(k int, s bigint, l int, steps int) returns bigint
language plpgsql volatile as $$
declare
	got record;
	real_us bigint := 0;
	clock bigint := 1000000000000;
	pause bigint;
	row_head bigint; row_counts int[];
begin
	truncate spent;
	for step in 1 .. steps loop
		pause := pg_temp.dice(0, s / 3);
		real_us := real_us + pause;
		clock := clock + pause - case when random() < 0.15 / (k + 1) then pg_temp.dice(0, 30 * s + 5000000) else 0 end;
		select * into got from stint.take(row_head, s, row_counts, clock, 0, 1, l, s, k,
			1, 1, pg_temp.dice(0, l)::int, case when random() < 0.5 then pg_temp.dice(0, l) else 0 end::int, 0, 0, 0, 0);
		if got.changed then
			row_head := got.head_us;
			row_counts := got.counts;
		end if;
		insert into spent values
			(real_us + case pg_temp.dice(0, 3) when 0 then got.valid_us - 1 when 1 then pg_temp.dice(0, got.valid_us - 1) else 0 end, got.granted),
			(real_us + got.valid_us + case pg_temp.dice(0, 3) when 0 then 0 when 1 then pg_temp.dice(0, s - 1) else s - 1 end, got.granted_next);
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
	(0, 1000000, 100, 1), (0, 10000000, 5, 3), (0, 100000, 1, 1), (10, 6000000, 100000, 16)) as c (k, s, l, hosts);

select cmp_ok(pg_temp.set_back(k, s, l, 500), '<=', l::bigint, format('a clock that is set back, resolution %s, sub-windows of %s us, limit %s', k, s, l))
from (values (10, 1000000, 100), (10, 10000, 30), (1, 1000000, 10), (3, 5000000, 20), (60, 1000000, 500)) as c (k, s, l), generate_series(1, 3);

select * from finish();
rollback;
