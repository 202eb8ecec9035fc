-- How long a sub-window is. A fixed window is one sub-window. A sliding window's sub-windows are together longer
-- than the window by half a percent. An interval of the window's length then still touches at most resolution + 1
-- of them when credits are spent too early or too late by up to half of that slack: a host knows the edges only
-- to within a round trip and its clock's drift. The agent's grant.c computes the same.

create function stint.sub_window_us(algorithm text, time_window_ms bigint, resolution int) returns bigint
language sql immutable parallel safe
as $$
	select case algorithm
		when 'fixed_window' then time_window_ms * 1000
		else (time_window_ms + resolution - 1) / resolution * 1000
			+ (time_window_ms * 5 + resolution - 1) / resolution
	end
$$;

comment on function stint.sub_window_us(text, bigint, int) is
	'The length of a policy''s sub-windows in microseconds: its part of the window, and a slack for the time that hosts need to hear of an edge, and for their clocks.';
revoke execute on function stint.sub_window_us(text, bigint, int) from public;
