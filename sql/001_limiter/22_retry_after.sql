-- Computes when a client that was refused may get what it needs.

create function stint.retry_after(
	head_us bigint, counts int[], t_us bigint, current_us bigint, sub_window_us bigint, resolution int,
	max_requests int, least_need int
) returns bigint
language plpgsql immutable parallel safe
as $$
declare
	place int := 1 + ((head_us - current_us) / sub_window_us)::int; -- of the current sub-window in counts
	total bigint := 0;
begin
	if least_need > max_requests then
		return -1;
	end if;
	-- First looks at the run that ends with the next sub-window; then moves the run by one sub-window at a time,
	-- until enough has left it.
	for i in greatest(place - 1, 1) .. place - 1 + resolution loop
		total := total + coalesce(counts[i], 0);
	end loop;
	for k in 1 .. resolution + 1 loop
		if max_requests - total >= least_need then
			return current_us + k * sub_window_us - t_us;
		end if;
		total := total - coalesce(counts[place + resolution - k], 0);
	end loop;
	return current_us + (resolution + 2) * sub_window_us - t_us;
end
$$;

comment on function stint.retry_after(bigint, int[], bigint, bigint, bigint, int, int, int) is
	'Microseconds until least_need could be granted if nothing else is charged until then; -1: never.';
revoke execute on function stint.retry_after(bigint, int[], bigint, bigint, bigint, int, int, int) from public;
