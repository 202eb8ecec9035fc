-- The arithmetic of a grant. It is pure: the time is an argument. The agent's grant.c does the same in C.
--
-- A window of a sliding policy is cut into `resolution` sub-windows, and a counter holds what was charged to
-- each. A credit is charged to one sub-window and can be spent only in it. Any interval of the window's length
-- touches at most resolution + 1 sub-windows. So it is enough that every run of resolution + 1 sub-windows sums
-- to at most the limit, and a grant for a sub-window looks at the runs that contain it. Charges exist up to the
-- sub-window after the current one, so for the current sub-window two runs matter, with K = resolution:
--
--      cur-K   cur-K+1 ....... cur   cur+1
--      [       first run          ]
--              [      second run          ]
--      oldest   middle               ahead
--
-- and for the next sub-window only the second. In a fixed window K is 0: each sub-window stands for itself,
-- middle is empty, and ahead doesn't matter to the current one.
--
-- Time. The caller reads the clock before it waits for the row, so t_us may lie before the time that the row has
-- seen. Then the row's time is used, which can only make a grant smaller. A t_us so early that no waiting
-- explains it (take_leases gives up after the same 2 s) means that the clock was set back. Then no count is lost:
-- the newest count becomes that of the sub-window after the current one, and the current one starts now. So
-- credits that are out end no later than the sub-window in which they count; and since no older sub-window starts
-- at such a time, a return of older credits finds no count to lower.

create function stint.take(
	inout head_us bigint, old_sub_window_us bigint, inout counts int[],
	t_us bigint, phase_us bigint, hosts int,
	max_requests int, sub_window_us bigint, resolution int,
	need int, least_need int, want int, next_want int, charge int,
	return_sub_window bigint, return_first int, return_second int,
	out changed boolean, out granted int, out granted_next int, out charged int, out remaining int,
	out sub_window bigint, out valid_us bigint, out retry_us bigint, out reset_us bigint
) returns record
language plpgsql immutable parallel safe
as $$
declare
	clock_tolerance_us constant bigint := 2000000; -- as in take_leases
	keep constant int := resolution + 2;
	sliding constant boolean := resolution > 0;
	current_us bigint;
	place int;  -- of the current sub-window in counts: 1, or 2 after the next one
	gap bigint;
	middle bigint := 0;
	oldest bigint;
	ahead bigint;
	available int;
begin
	changed := false;

	-- Bring the row's counts to the sub-windows of now.
	if head_us is null then
		head_us := t_us - mod(t_us - phase_us, sub_window_us);
		counts := '{}';
	else
		if t_us >= head_us - old_sub_window_us - clock_tolerance_us then
			t_us := greatest(t_us, head_us - old_sub_window_us);
		else
			head_us := t_us + old_sub_window_us;
			changed := true; -- the new head must be written, or the counts would never grow old
		end if;
		if old_sub_window_us <> sub_window_us then
			current_us := t_us - mod(t_us - phase_us, sub_window_us);
			counts := stint.rewindow(head_us, old_sub_window_us, counts, current_us, t_us, sub_window_us, keep);
			head_us := current_us;
		end if;
	end if;
	current_us := t_us - mod(t_us - head_us + sub_window_us, sub_window_us);
	if current_us > head_us then
		gap := (current_us - head_us) / sub_window_us;
		counts := case when gap >= keep then '{}' else array_fill(0, array[gap::int]) || counts end;
		head_us := current_us;
	end if;
	if cardinality(counts) > keep then
		counts := counts[:keep];
	end if;
	place := case when head_us > current_us then 2 else 1 end;
	if cardinality(counts) < place then
		counts := counts || array_fill(0, array[place - cardinality(counts)]);
	end if;

	-- Take off the credits that come back unused.
	if return_sub_window > 0 and mod(head_us - return_sub_window, sub_window_us) = 0 then
		gap := (head_us - return_sub_window) / sub_window_us + 1; -- place of the first; the second's is before it
		if return_first > 0 and gap between 1 and cardinality(counts) and counts[gap::int] > 0 then
			counts[gap::int] := greatest(counts[gap::int] - return_first, 0);
			changed := true;
		end if;
		if return_second > 0 and gap - 1 between 1 and cardinality(counts) and counts[gap::int - 1] > 0 then
			counts[gap::int - 1] := greatest(counts[gap::int - 1] - return_second, 0);
			changed := true;
		end if;
	end if;

	-- Sum what is charged already.
	for i in place .. least(place + resolution - 1, cardinality(counts)) loop
		middle := middle + counts[i];
	end loop;
	oldest := coalesce(counts[place + resolution], 0);
	ahead := case when place = 2 then counts[1] else 0 end;

	-- Charge what was admitted without asking; then grant the lease for now, then the one for the next sub-window.
	available := greatest(max_requests - middle - case when sliding then greatest(oldest, ahead) else oldest end, 0);
	charged := least(charge, available);
	available := available - charged;
	granted := case
		when need > 0 and available < least_need then 0
		when need > 0 then least(available, greatest(need, least(want, greatest(available / (4::bigint * hosts), 1))))
		else least(available, want, greatest(available / (4::bigint * hosts), 1))
	end;
	remaining := available - granted;
	counts[place] := counts[place] + charged + granted;
	if sliding then
		middle := middle + charged + granted;
	end if;

	available := greatest(max_requests - middle - ahead, 0);
	granted_next := least(available, next_want, greatest(available / (4::bigint * hosts), 1));
	if granted_next > 0 then
		if place = 1 then
			counts := granted_next || counts[:keep - 1];
			head_us := head_us + sub_window_us;
			place := 2;
		else
			counts[1] := counts[1] + granted_next;
		end if;
		if sliding then
			remaining := greatest(least(remaining, max_requests - middle - ahead - granted_next), 0);
		end if;
	end if;
	changed := changed or charged > 0 or granted > 0 or granted_next > 0;

	-- Work out the rest of the answer.
	gap := cardinality(counts);
	while gap > 0 and counts[gap::int] = 0 loop
		gap := gap - 1;
	end loop;
	counts := counts[:gap::int];
	sub_window := current_us;
	valid_us := current_us + sub_window_us - t_us;
	retry_us := case
		when need > 0 and granted < least_need
			then stint.retry_after(head_us, counts, t_us, current_us, sub_window_us, resolution, max_requests, least_need)
		when remaining = 0 then stint.retry_after(head_us, counts, t_us, current_us, sub_window_us, resolution, max_requests, 1)
		else 0
	end;
	reset_us := 0;
	for i in 1 .. cardinality(counts) loop
		if counts[i] > 0 then
			reset_us := greatest(head_us + (resolution + 2 - i) * sub_window_us - t_us, 0);
			exit;
		end if;
	end loop;
end
$$;

comment on function stint.take(bigint, bigint, int[], bigint, bigint, int, int, bigint, int, int, int, int, int, int, bigint, int, int) is
	'One grant: a counter''s state (null: a new client), the time, the limit and a request give the new state and the answer. '
	'changed is false when nothing needs to be written. resolution 0: fixed_window.';
revoke execute on function stint.take(bigint, bigint, int[], bigint, bigint, int, int, bigint, int, int, int, int, int, int, bigint, int, int)
	from public;
