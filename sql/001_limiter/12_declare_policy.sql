-- An app says what it wants: the last declaration wins, unless an operator has pinned the policy.

create function stint.declare_policy(
	name text, max_requests bigint, time_window_ms bigint, fallback_max_requests bigint, fallback_time_window_ms bigint,
	algorithm text, resolution int, mode text, again boolean
) returns table (status text, policy_id int)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
-- An agent's leases wait behind this on the same connection, and an operator's open transaction may hold the queue of
-- changes for long: rather fail soon, the agent tries again.
set lock_timeout = '100ms'
as $$
declare
	found stint.policy;
begin
	perform stint.check_policy(name, max_requests, time_window_ms, fallback_max_requests, fallback_time_window_ms,
		algorithm, resolution, mode);
	-- Once more when somebody else was faster: each turn finds what the one before it could not see.
	loop
		select p.* into found from stint.policy p where p.name = declare_policy.name;
		policy_id := found.policy_id;
		if policy_id is null then
			insert into stint.policy as p (name, max_requests, time_window_ms, fallback_max_requests, fallback_time_window_ms,
				algorithm, resolution, mode)
			values (declare_policy.name, declare_policy.max_requests, declare_policy.time_window_ms,
				declare_policy.fallback_max_requests, declare_policy.fallback_time_window_ms,
				declare_policy.algorithm, declare_policy.resolution, declare_policy.mode)
			on conflict do nothing
			returning p.policy_id into policy_id;
			status := 'created';
		elsif found.pinned then
			status := 'pinned';
		elsif again then
			status := 'kept';
		elsif (found.max_requests, found.time_window_ms, found.fallback_max_requests, found.fallback_time_window_ms,
				found.algorithm, found.resolution, found.mode)
			= (max_requests, time_window_ms, fallback_max_requests, fallback_time_window_ms, algorithm, resolution, mode) then
			status := 'unchanged';
		else
			update stint.policy as p
			set max_requests = declare_policy.max_requests, time_window_ms = declare_policy.time_window_ms,
				fallback_max_requests = declare_policy.fallback_max_requests,
				fallback_time_window_ms = declare_policy.fallback_time_window_ms,
				algorithm = declare_policy.algorithm, resolution = declare_policy.resolution, mode = declare_policy.mode
			where p.policy_id = found.policy_id and not p.pinned
			returning p.policy_id into policy_id;
			status := 'changed';
		end if;
		if policy_id is not null then
			return next;
			return;
		end if;
	end loop;
end
$$;

comment on function stint.declare_policy(text, bigint, bigint, bigint, bigint, text, int, text, boolean) is
	'For agents: makes or changes a policy as an app declares it. status: created, changed, unchanged, pinned (an operator''s stays), '
	'kept (again: a declaration repeated after a reconnect leaves an existing policy as it is).';
revoke execute on function stint.declare_policy(text, bigint, bigint, bigint, bigint, text, int, text, boolean) from public;
grant execute on function stint.declare_policy(text, bigint, bigint, bigint, bigint, text, int, text, boolean) to stint_agent;
