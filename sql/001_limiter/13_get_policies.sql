-- All policies, for agents.

create function stint.get_policies() returns table (
	policy_id int, name text, max_requests int, time_window_ms bigint, fallback_max_requests bigint, fallback_time_window_ms bigint,
	algorithm text, resolution int, mode text, pinned boolean
)
language sql stable security definer
set search_path = pg_catalog, pg_temp
begin atomic
	select p.policy_id, p.name, p.max_requests, p.time_window_ms, p.fallback_max_requests, p.fallback_time_window_ms,
		p.algorithm, p.resolution::int, p.mode, p.pinned
	from stint.policy p
	order by p.policy_id;
end;

comment on function stint.get_policies() is 'For agents: all policies.';
revoke execute on function stint.get_policies() from public;
grant execute on function stint.get_policies() to stint_agent;
