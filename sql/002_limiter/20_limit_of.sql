-- The limit of one client at some time: its policy's, or its own. Gives one row; none for an unknown policy. The function is
-- plain SQL, so that the planner inlines it into the statements that grant. There, `offset 0` keeps both lookups
-- by key, whatever the planner believes of the tables' sizes.

create function stint.limit_of(policy_id int, client_id text, at timestamptz) returns table (max_requests int, resolution int, sub_window_us bigint)
language sql stable parallel safe
as $$
	select case
			when o.blocked and (o.blocked_until <= at) is not true then 0
			when (o.limited_until <= at) is not true then coalesce(o.max_requests, p.max_requests)
			else p.max_requests
		end,
		case p.algorithm when 'fixed_window' then 0 else p.resolution end,
		stint.sub_window_us(p.algorithm, p.time_window_ms, p.resolution)
	from (
		select q.* from stint.policy q where q.policy_id = limit_of.policy_id offset 0
	) p
	left join lateral (
		select q.* from stint.client_override q
		where q.policy_id = limit_of.policy_id and q.client_id = limit_of.client_id collate "C" offset 0
	) o on true
$$;

comment on function stint.limit_of(int, text, timestamptz) is 'The limit of a client at a time, as the arithmetic wants it: 0 if blocked, resolution 0 for fixed_window.';
revoke execute on function stint.limit_of(int, text, timestamptz) from public;

-- Called for clients that are blocked alone: an answer that is nobody's limit says until when.
create function stint.block_left_us(policy_id int, client_id text, at timestamptz) returns bigint
language sql stable parallel safe
as $$
	select greatest(least(extract(epoch from o.blocked_until - at) * 1000000, 31536000000000), 1)::bigint
	from stint.client_override o
	where o.policy_id = block_left_us.policy_id and o.client_id = block_left_us.client_id collate "C"
		and o.blocked and isfinite(o.blocked_until)
$$;

comment on function stint.block_left_us(int, text, timestamptz) is 'Microseconds until a client''s block ends, a year at most; null: it doesn''t end by itself.';
revoke execute on function stint.block_left_us(int, text, timestamptz) from public;
