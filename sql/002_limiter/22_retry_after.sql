-- Computes when a client that was refused may get what it needs.

create function stint.retry_after(
	ahead int, counts int[], until_next_us bigint, sub_window_us bigint, resolution int, max_requests int, least_need int
) returns bigint
language plpgsql immutable parallel safe
as $$
declare
	place int := ahead + resolution; -- of the oldest count that matters in the next sub-window
	steps int := 0;
	missing bigint := least_need::bigint - max_requests;
begin
	if missing > 0 then
		return -1;
	end if;
	-- First looks at the run that ends with the next sub-window; then moves the run by one sub-window at a time,
	-- until enough has left it.
	for i in 1 .. least(place, cardinality(counts)) loop
		missing := missing + counts[i];
	end loop;
	while missing > 0 loop
		missing := missing - coalesce(counts[place - steps], 0);
		steps := steps + 1;
	end loop;
	return until_next_us + steps * sub_window_us;
end
$$;

comment on function stint.retry_after(int, int[], bigint, bigint, int, int, int) is
	'Microseconds until least_need could be granted if nothing else is charged until then; -1: never.';
revoke execute on function stint.retry_after(int, int[], bigint, bigint, int, int, int) from public;
