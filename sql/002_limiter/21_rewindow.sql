-- When a policy has got sub-windows of another length: moves the counts to the new sub-windows.

create function stint.rewindow(
	old_current_us bigint, old_sub_window_us bigint, ahead int, counts int[], current_us bigint, sub_window_us bigint, resolution int
) returns int[]
language plpgsql immutable parallel safe
as $$
declare
	moved int[] := array_fill(0, array[2 * resolution + 1]);
	since_us bigint;
	distance bigint;
	place int;
begin
	-- A credit can be spent until the very end of its sub-window, so it counts there: to count it later than it was
	-- spent is safe, to count it earlier is not. Leases that reach further than the new window does are the agents'
	-- part: agents drop them when they hear of the change.
	for i in 1 .. cardinality(counts) loop
		since_us := old_current_us + (ahead - i + 2) * old_sub_window_us - 1 - current_us;
		distance := case when since_us >= 0 then since_us / sub_window_us else (since_us + 1) / sub_window_us - 1 end;
		distance := least(distance, resolution);
		if distance >= -resolution then
			place := resolution + 1 - distance;
			moved[place] := least(moved[place]::bigint + counts[i], 2147483647);
		end if;
	end loop;
	return moved;
end
$$;

comment on function stint.rewindow(bigint, bigint, int, int[], bigint, bigint, int) is
	'Counts of sub-windows of one length as counts of sub-windows of another, none earlier than it may have been spent. '
	'The first is of the sub-window that is `resolution` ahead of the current one.';
revoke execute on function stint.rewindow(bigint, bigint, int, int[], bigint, bigint, int) from public;
