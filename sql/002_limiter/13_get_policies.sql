-- For agents: reads the policies that an agent's apps use.

create function stint.get_policies(names text[]) returns table (
	place int, policy_id int, name text, max_requests int, time_window_ms bigint, fallback_max_requests bigint,
	fallback_time_window_ms bigint, algorithm text, resolution int, mode text, pinned boolean, shadow boolean
)
language sql stable security definer
set search_path = pg_catalog, pg_temp
begin atomic
	select n.place::int, p.policy_id, p.name, p.max_requests, p.time_window_ms, p.fallback_max_requests, p.fallback_time_window_ms,
		p.algorithm, p.resolution::int, p.mode, p.pinned, p.shadow
	from unnest(names) with ordinality as n (name, place)
	join stint.policy p on p.name = n.name
	order by n.place;
end;

comment on function stint.get_policies(text[]) is 'For agents: the policies of these names, each with its place among them, from 1; no row for a name that there is not.';
revoke execute on function stint.get_policies(text[]) from public;
grant execute on function stint.get_policies(text[]) to stint_agent;
