-- The first grant of a client, as stint.take() would make it on an empty counter for a request of credits for now
-- alone. The functions are plain SQL, so that the planner inlines them into take_first_leases(): a client's first
-- grant costs no call of a plpgsql function.

create function stint.first_grant(
	t_us bigint, phase_us bigint, max_requests int, sub_window_us bigint, resolution int, need int, least_need int, want int,
	span_most int, span_least int
) returns table (current_us bigint, granted int, granted_next int, ahead int, shortest int, span int, counts int[])
language sql immutable parallel safe
as $$
	select t_us - mod(t_us - phase_us, sub_window_us), g.granted, g.granted_next,
		case when g.granted_next > 0 then g.span when g.granted > 0 then g.shortest else 0 end, g.shortest,
		case when max_requests > 0 and g.span > g.shortest then g.span else -1 - greatest(least(g.span, resolution - 1), 0) end,
		case
			when g.granted_next > 0 then g.granted_next || array_fill(0, array[g.span - g.shortest - 1]) || g.granted
			when g.granted > 0 then array[g.granted]
			else '{}'
		end
	from (
		select f.shortest, f.span, f.total - f.later as granted, f.later as granted_next
		from (
			select s.*, case when s.span > s.shortest then greatest(s.total - need, 0) else 0 end as later
			from (
				select greatest(least(span_least, resolution), 0) as shortest,
					greatest(least(span_least, resolution), (resolution - 1) / 10, 0) as span,
					case when max_requests < least_need then 0 else least(max_requests, greatest(need, want)) end as total
			) s
		) f
	) g
$$;

comment on function stint.first_grant(bigint, bigint, int, bigint, int, int, int, int, int, int) is
	'What stint.take() grants a new client that needs credits and nothing else.';
revoke execute on function stint.first_grant(bigint, bigint, int, bigint, int, int, int, int, int, int) from public;

create function stint.first_answer(
	t_us bigint, current_us bigint, max_requests int, sub_window_us bigint, resolution int, granted int, shortest int, ahead int
) returns table (remaining int, starts_in_us bigint, retry_us bigint, reset_us bigint)
language sql immutable parallel safe
as $$
	select max_requests - granted, current_us + sub_window_us - t_us,
		case
			when granted = 0 then -1 -- more was asked for than there ever is
			when granted < max_requests then 0
			else current_us + (shortest + resolution + 1) * sub_window_us - t_us
		end,
		case granted when 0 then 0 else current_us + (ahead + resolution + 1) * sub_window_us - t_us end
$$;

comment on function stint.first_answer(bigint, bigint, int, bigint, int, int, int, int) is
	'What stint.take() says about that grant. granted: both parts together; there is always something in the one for now.';
revoke execute on function stint.first_answer(bigint, bigint, int, bigint, int, int, int, int) from public;

create function stint.first_turn(client_id text, t_us bigint) returns bigint
language sql immutable parallel safe
as $$
	select hashtextextended(client_id collate "C", t_us) & 4611686018427387903
$$;

comment on function stint.first_turn(text, bigint) is 'The turn of a counter that is made at this time. No two counters that a client has, or had, begin with the same turn.';
revoke execute on function stint.first_turn(text, bigint) from public;
