-- The arithmetic of a grant. It is pure: the time is an argument. The agent's grant.c does the same in C.
--
-- A window of a sliding policy is cut into K = `resolution` sub-windows. A lease is good from now to the end of some
-- sub-window, and its credits are charged to that one, the last in which they can be spent. A counter keeps how much
-- is charged to each, also to those to come. A grant looks at two sums:
--
--      cur-K   cur-K+1 ....... cur   cur+1 ....... cur+K
--      [       first run                               ]    less the early ones, which can't be spent before cur+1
--              [       second run                      ]
--      oldest  beyond
--
-- and neither may exceed the limit with what is granted. A lease ahead is good from cur+1 on, and looks at the second
-- run alone.
--
-- Why that is enough. An interval as long as the window touches at most K + 1 sub-windows, a to a + K. What is
-- admitted in it was granted to be spent from a + K at the latest, and is charged to a or later. Consider the last of
-- these grants, and the sub-window s from which on it can be spent, which is a + K at most. All of them were in the
-- sum that was looked at, since that goes back to s - K, which is a at the latest. So all of them are within the limit.
--
-- A fixed window is one sub-window, with K = 0: each counts for itself.
--
-- Time. The caller reads the clock before it waits for the row, so t_us may lie before the time that the row has
-- seen. Then the row's time is used, which can only make a grant smaller. A t_us so early that no waiting
-- explains it (take_leases gives up after the same 2 s) means that the clock was set back. Then no count is lost:
-- the current sub-window starts now. So credits that are out end no later than the sub-window in which they count;
-- and since no older sub-window starts at such a time, a return of older credits finds no count to lower.

create function stint.apply_report(
	inout ahead int, inout early int, inout counts int[], current_us bigint, t_us bigint, sub_window_us bigint,
	report_sub bigint, unspent int, spent int, out changed boolean
) returns record
language plpgsql immutable parallel safe
as $$
declare
	spend_lag_us constant bigint := 220000; -- what is reported as spent may have been admitted so much later
	distance bigint := (report_sub - current_us) / sub_window_us;
	place bigint := ahead - distance + 1;
	spent_in bigint := (t_us + spend_lag_us - current_us) / sub_window_us;
	credits int;
begin
	changed := false;
	if mod(report_sub - current_us, sub_window_us) <> 0 or place not between 1 and cardinality(counts) then
		return;
	end if;
	credits := least(greatest(unspent, 0), counts[place]);
	if credits > 0 then
		counts[place] := counts[place] - credits;
		-- They may be the early ones, or others that are charged to the same. Taken for early ones wrongly, others count as
		-- early no more, and a grant is smaller than it could be.
		if distance > 0 then
			early := greatest(early - credits, 0);
		end if;
		changed := true;
	end if;

	-- What was spent by now need not count in a later sub-window.
	credits := least(greatest(spent, 0), counts[place]);
	if credits > 0 and distance > spent_in then
		counts[place] := counts[place] - credits;
		early := greatest(early - credits, 0);
		place := ahead - spent_in + 1;
		if cardinality(counts) < place then
			counts := counts || array_fill(0, array[place::int - cardinality(counts)]);
		end if;
		counts[place] := least(counts[place]::bigint + credits, 2147483647);
		changed := true;
	end if;
end
$$;

comment on function stint.apply_report(int, int, int[], bigint, bigint, bigint, bigint, int, int) is
	'A counter''s state after a host has told what has become of the credits that were charged to the sub-window that started at report_sub: '
	'what is unspent is subtracted, and what is spent moves to the present.';
revoke execute on function stint.apply_report(int, int, int[], bigint, bigint, bigint, bigint, int, int) from public;

create function stint.take(
	inout current_us bigint, old_sub_window_us bigint, inout ahead int, inout early int, inout servers bigint,
	inout servers_before bigint, inout counts int[],
	t_us bigint, phase_us bigint, host int,
	max_requests int, sub_window_us bigint, resolution int,
	need int, least_need int, want int, span_most int, span_least int, next_want int, charge int,
	report_sub_1 bigint, unspent_1 int, spent_1 int, report_sub_2 bigint, unspent_2 int, spent_2 int,
	out changed boolean, out granted int, out granted_next int, out charged int, out remaining int, out span int,
	out starts_in_us bigint, out retry_us bigint, out reset_us bigint, out recallable int
) returns record
language plpgsql immutable parallel safe
as $$
declare
	clock_tolerance_us constant bigint := 2000000; -- as in take_leases
	before_us constant bigint := current_us;
	most constant int := greatest(least(span_most, resolution), 0);
	shortest constant int := greatest(least(span_least, resolution), 0);
	-- Near the limit leases are brief: for a tenth of the window or so.
	brief constant int := greatest(shortest, (resolution - 1) / 10);
	is_open boolean; -- what is granted beyond the need can be spent from now on
	stretch_us bigint;
	steps bigint;
	report record;
	n int;
	place int;
	total bigint := 0; -- the first run
	beyond bigint;     -- the second
	available bigint;
	known int;         -- the sub-windows before the present one in which the client is known to have come
	expected bigint;   -- what would be left if it had come for a window
	more bigint;
	shares bigint;
begin
	changed := false;

	-- Bring the row to the sub-window of now.
	if current_us is null then
		current_us := t_us - mod(t_us - phase_us, sub_window_us);
		ahead := 0;
		early := 0;
		servers := 0;
		servers_before := 0;
		counts := '{}';
	else
		if t_us < current_us - clock_tolerance_us then
			current_us := t_us;
			early := 0;
			changed := true; -- the new start must be written, or the counts would never grow old
		end if;
		t_us := greatest(t_us, current_us);
		if old_sub_window_us <> sub_window_us then
			steps := t_us - mod(t_us - phase_us, sub_window_us);
			counts := stint.rewindow(current_us, old_sub_window_us, ahead, counts, steps, sub_window_us, resolution);
			current_us := steps;
			ahead := resolution;
			early := 0;
		else
			steps := (t_us - current_us) / sub_window_us;
			if steps > 0 then
				current_us := current_us + steps * sub_window_us;
				ahead := greatest(ahead - steps, -2 * resolution - 1);
				early := 0;
			end if;
			if cardinality(counts) > ahead + resolution + 1 then
				counts := counts[:ahead + resolution + 1];
			end if;
			if ahead < 0 then
				if cardinality(counts) > 0 then
					counts := array_fill(0, array[-ahead]) || counts;
				end if;
				ahead := 0;
			end if;
		end if;
		if current_us <> before_us then
			stretch_us := greatest(resolution, 1) * sub_window_us;
			steps := current_us / stretch_us - before_us / stretch_us;
			if steps <> 0 then
				servers_before := case when steps = 1 then servers else 0 end;
				servers := 0;
			end if;
		end if;
	end if;

	if report_sub_1 > 0 then
		report := stint.apply_report(ahead, early, counts, current_us, t_us, sub_window_us, report_sub_1, unspent_1, spent_1);
		if report.changed then
			early := report.early;
			counts := report.counts;
			changed := true;
		end if;
	end if;
	if report_sub_2 > 0 then
		report := stint.apply_report(ahead, early, counts, current_us, t_us, sub_window_us, report_sub_2, unspent_2, spent_2);
		if report.changed then
			early := report.early;
			counts := report.counts;
			changed := true;
		end if;
	end if;

	-- Sum what is charged already.
	foreach n in array counts loop
		total := total + n;
	end loop;
	beyond := total - coalesce(counts[ahead + resolution + 1], 0);
	total := total - early;

	-- Charge what was admitted without asking, then grant: from now on, and for the next sub-window.
	available := greatest(max_requests - case when resolution > 0 then greatest(total, beyond) else total end, 0);
	charged := greatest(least(charge, available), 0);
	available := available - charged;
	-- For how many sub-windows the lease is good. What is charged to a later sub-window counts for longer. So the less
	-- there is left, the fewer: all of `most` while half of the limit is left, a brief lease with a quarter. Of what is
	-- wanted beyond the need it holds as much as is used until then.
	span := case when max_requests = 0 then 0
		else greatest(least(most * (4 * available - max_requests) / max_requests, most), brief) end;
	more := greatest(want::bigint - need, 0);
	if span < most then
		more := (more * (span + 1) + most) / (most + 1);
	end if;
	-- And a client isn't given leases for longer than it has been coming, as far as the counter knows, nor for longer
	-- than if it had gone on like that for a window: until then what is left says little of how much it uses. Such a
	-- lease holds no less: the client has just begun, and may send faster than it did.
	place := cardinality(counts);
	while place > ahead + 1 and counts[place] = 0 loop
		place := place - 1;
	end loop;
	known := greatest(place - ahead - 1, 0);
	if known + 1 < resolution and max_requests > 0 then
		expected := greatest(max_requests - (max_requests - available) * resolution / (known + 1), 0);
		span := least(span, greatest(most * (4 * expected - max_requests) / max_requests, brief));
	end if;
	span := least(span, greatest(known, brief));
	is_open := span > shortest and not (need = 0 and next_want > 0 and span <= brief);
	if need = 0 and next_want > 0 and span <= brief then
		more := 0;
	end if;
	-- No host takes more than a part of what is left, so that the first doesn't starve the others that serve the client.
	-- It is a quarter more than its share, since seldom do all of them want theirs at the same time.
	shares := bit_count((servers | servers_before | (1::bigint << host))::bit(64));
	granted := case
		when need > 0 and available < least_need then 0
		else least(available, greatest(need, least(need + more, greatest(5 * available / (4 * shares), 1))))
	end;
	remaining := available - granted;
	granted_next := 0;
	if is_open then
		-- What is needed is spent at once, so it is charged to the shortest lease there is.
		granted_next := greatest(granted - need, 0);
		granted := granted - granted_next;
	else
		span := -1 - greatest(least(brief, resolution - 1), 0);
		if next_want > 0 then
			if resolution > 0 then
				beyond := beyond + charged + granted;
			end if;
			available := greatest(max_requests - beyond, 0);
			granted_next := least(available, next_want, greatest(5 * available / (4 * shares), 1));
			if resolution > 0 then
				remaining := least(remaining, available - granted_next);
			end if;
		end if;
	end if;

	if charged > 0 or granted > 0 or granted_next > 0 then
		changed := true;
		n := greatest(case when granted > 0 then shortest else 0 end, case when granted_next > 0 then abs(span) else 0 end);
		if n > ahead then
			counts := array_fill(0, array[n - ahead]) || counts;
			ahead := n;
		end if;
		place := ahead + 1; -- of the current sub-window
		if cardinality(counts) < place then
			counts := counts || array_fill(0, array[place - cardinality(counts)]);
		end if;
		if charged > 0 then
			counts[place] := counts[place] + charged;
		end if;
		if granted > 0 then
			counts[place - shortest] := counts[place - shortest] + granted;
		end if;
		if granted_next > 0 then
			counts[place - abs(span)] := counts[place - abs(span)] + granted_next;
			if not is_open then
				early := early + granted_next;
			end if;
		end if;
		if granted > 0 or granted_next > 0 then
			servers := servers | (1::bigint << host);
		end if;
	end if;

	-- Work out the rest of the answer, and take off the zeros at both ends.
	starts_in_us := current_us + sub_window_us - t_us;
	retry_us := case
		when need > 0 and granted < least_need
			then stint.retry_after(ahead, counts, starts_in_us, sub_window_us, resolution, max_requests, least_need)
		when remaining = 0 then stint.retry_after(ahead, counts, starts_in_us, sub_window_us, resolution, max_requests, 1)
		else 0
	end;
	-- Where the limit is used up, some of it may lie unspent in long leases, which reach further than brief ones.
	more := 0;
	if remaining = 0 or granted < need then
		for i in 1 .. least(ahead - 1 - greatest(least(brief, resolution - 1), 0), cardinality(counts)) loop
			more := more + counts[i];
		end loop;
	end if;
	recallable := least(more, 2147483647);
	n := cardinality(counts);
	while n > 0 and counts[n] = 0 loop
		n := n - 1;
	end loop;
	if n = 0 then
		reset_us := 0;
		ahead := 0;
		counts := '{}';
	else
		place := 1;
		while counts[place] = 0 loop
			place := place + 1;
		end loop;
		reset_us := starts_in_us + (ahead + 1 - place + resolution) * sub_window_us;
		place := least(place, ahead + 1);
		if place > 1 or n < cardinality(counts) then
			counts := counts[place:n];
			ahead := ahead + 1 - place;
		end if;
	end if;
end
$$;

comment on function stint.take(bigint, bigint, int, int, bigint, bigint, int[], bigint, bigint, int, int, bigint, int, int, int, int, int, int, int, int,
	bigint, int, int, bigint, int, int) is
	'One grant: a counter''s state (null: a new client), the time, the host (0 to 62), the limit and a request give the new state and the answer. '
	'span: of the longer lease, or, if negative, of the one ahead. changed is false when nothing needs to be written. recallable: if nothing is left, what is '
	'charged to sub-windows that only long leases reach. resolution 0: fixed_window.';
revoke execute on function stint.take(bigint, bigint, int, int, bigint, bigint, int[], bigint, bigint, int, int, bigint, int, int, int, int, int, int, int, int,
	bigint, int, int, bigint, int, int) from public;
