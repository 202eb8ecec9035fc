-- The first grant of a client, as stint.take() would make it on an empty counter: one that asks for some credits, but not for all
-- of its limit, and for nothing else. Plain SQL, so that the planner puts it into take_leases: a client that is seen for
-- the first time costs no call of a plpgsql function.

create function stint.take_first(
	t_us bigint, phase_us bigint, hosts int, max_requests int, sub_window_us bigint, resolution int, need int, want int
) returns table (
	head_us bigint, counts int[], changed boolean, granted int, granted_next int, charged int, remaining int,
	sub_window bigint, valid_us bigint, retry_us bigint, reset_us bigint
)
language sql immutable parallel safe
as $$
	select f.head_us, array[f.granted], true, f.granted, 0, 0, max_requests - f.granted,
		f.head_us, f.head_us + sub_window_us - t_us, 0::bigint, f.head_us + (resolution + 1) * sub_window_us - t_us
	from (
		select t_us - mod(t_us - phase_us, sub_window_us) as head_us,
			greatest(need, least(want, greatest(max_requests / (4::bigint * hosts), 1)))::int as granted
	) f
$$;

comment on function stint.take_first(bigint, bigint, int, int, bigint, int, int, int) is
	'The first grant of a client that needs 1 to max_requests - 1 credits: what stint.take() gives for it.';
revoke execute on function stint.take_first(bigint, bigint, int, int, bigint, int, int, int) from public;
