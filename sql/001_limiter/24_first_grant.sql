-- The first grant of a client, as stint.take() would make it on an empty counter for a request of credits for now
-- alone. The functions are plain SQL, so that the planner inlines them into take_first_leases(): a client's first
-- grant costs no call of a plpgsql function.

create function stint.first_grant(
	t_us bigint, phase_us bigint, hosts int, max_requests int, sub_window_us bigint, need int, least_need int, want int
) returns table (head_us bigint, granted int)
language sql immutable parallel safe
as $$
	select t_us - mod(t_us - phase_us, sub_window_us),
		case
			when max_requests < least_need then 0
			else least(max_requests, greatest(need, least(want, greatest(max_requests / (4::bigint * hosts), 1))))::int
		end
$$;

comment on function stint.first_grant(bigint, bigint, int, int, bigint, int, int, int) is
	'What stint.take() grants a new client that needs credits and nothing else.';
revoke execute on function stint.first_grant(bigint, bigint, int, int, bigint, int, int, int) from public;

create function stint.first_answer(
	t_us bigint, head_us bigint, max_requests int, sub_window_us bigint, resolution int, granted int
) returns table (remaining int, sub_window bigint, valid_us bigint, retry_us bigint, reset_us bigint)
language sql immutable parallel safe
as $$
	select max_requests - granted, head_us, head_us + sub_window_us - t_us,
		case
			when granted = 0 then -1 -- more was asked for than there ever is
			when granted < max_requests then 0
			else head_us + (resolution + 1) * sub_window_us - t_us
		end,
		case granted when 0 then 0 else head_us + (resolution + 1) * sub_window_us - t_us end
$$;

comment on function stint.first_answer(bigint, bigint, int, bigint, int, int) is 'What stint.take() says about that grant.';
revoke execute on function stint.first_answer(bigint, bigint, int, bigint, int, int) from public;

create function stint.first_turn(client_id text, t_us bigint) returns bigint
language sql immutable parallel safe
as $$
	select hashtextextended(client_id collate "C", t_us) & 4611686018427387903
$$;

comment on function stint.first_turn(text, bigint) is 'The turn of a counter that is made at this time. No two counters that a client has, or had, begin with the same turn.';
revoke execute on function stint.first_turn(text, bigint) from public;
