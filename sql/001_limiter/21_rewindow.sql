-- When a policy has got sub-windows of another length: moves the counts to the new sub-windows.

create function stint.rewindow(
	head_us bigint, old_sub_window_us bigint, counts int[], new_head_us bigint, t_us bigint, sub_window_us bigint, keep int
) returns int[]
language plpgsql immutable parallel safe
as $$
declare
	moved int[] := array_fill(0, array[keep]);
	spent_us bigint;
	place bigint;
begin
	-- A credit may have been spent at the very end of its sub-window, so it counts there: to count it later than
	-- it was spent is safe, to count it earlier is not.
	-- (Leases that end after now are the agents' part: agents drop them when they hear of the change.)
	for i in 1 .. cardinality(counts) loop
		spent_us := least(head_us - (i - 1) * old_sub_window_us + old_sub_window_us - 1, t_us);
		place := case when spent_us >= new_head_us then 1 else 2 + (new_head_us - 1 - spent_us) / sub_window_us end;
		if place <= keep then
			moved[place] := least(moved[place]::bigint + counts[i], 2147483647);
		end if;
	end loop;
	return moved;
end
$$;

comment on function stint.rewindow(bigint, bigint, int[], bigint, bigint, bigint, int) is
	'Counts of sub-windows of one length as counts of sub-windows of another, none earlier than it may have been spent.';
revoke execute on function stint.rewindow(bigint, bigint, int[], bigint, bigint, bigint, int) from public;
