-- An app declares the limits that it wants: the last declaration wins, unless an operator has pinned the policy.
--
-- Versions of an app that run side by side, in short-lived processes above all, declare different limits by
-- turns. A deploy and its rollback have to take effect. But after three changes in ten minutes, a change back to
-- limits that were replaced in that time is put off until the ten minutes are over: the limits in force stay, and
-- every client keeps its leases. Limits that weren't in force lately still win at once. The database keeps
-- nothing of what it put off: the agent declares it again now and then, as long as an app means it
-- (agent/word.h).
--
-- Of two declarations at the same time, one waits for the other's commit. What it has read is no longer true
-- then, so it changes nothing, reads again, and is judged by what the other has left: it may win, be put off, or
-- find that its limits are in force.

create function stint.declare_policy(
	name text, max_requests bigint, time_window_ms bigint, fallback_max_requests bigint, fallback_time_window_ms bigint,
	algorithm text, resolution int, mode text, shadow boolean, again boolean
) returns table (status text, policy_id int)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
-- An agent's leases wait behind this call on the same connection, and an operator's open transaction may hold the
-- queue of changes for long. So the call fails soon, and the agent tries again half a second later. Some declarations
-- of other hosts have their turn in this time.
set lock_timeout = '20ms'
as $$
declare
	found stint.policy;
	now timestamptz;
	wanted constant jsonb := jsonb_build_array(
		max_requests, time_window_ms, fallback_max_requests, fallback_time_window_ms, algorithm, resolution, mode, shadow);
	current jsonb;
	lately jsonb; -- at most three
	dropped timestamptz;
begin
	perform stint.check_policy(name, max_requests, time_window_ms, fallback_max_requests, fallback_time_window_ms,
		algorithm, resolution, mode);
	-- The loop runs once more when another session was faster. The second turn is the last: since its first
	-- attempt to write, this transaction holds the queue of changes, and nobody else changes anything.
	loop
		select p.* into found from stint.policy p where p.name = declare_policy.name;
		now := clock_timestamp(); -- later than every time in found.replaced
		policy_id := found.policy_id;
		if policy_id is null then
			insert into stint.policy as p (name, max_requests, time_window_ms, fallback_max_requests, fallback_time_window_ms,
				algorithm, resolution, mode, shadow, dropped_at, dropped_by)
			select declare_policy.name, declare_policy.max_requests, declare_policy.time_window_ms,
				declare_policy.fallback_max_requests, declare_policy.fallback_time_window_ms,
				declare_policy.algorithm, declare_policy.resolution, declare_policy.mode, declare_policy.shadow, d.at, d.changed_by
			from (values (1)) one
			left join lateral (
				select c.at, c.changed_by from stint.change c
				where c.action = 'dropped' and c.policy_name = declare_policy.name
				order by c.change_id desc limit 1
			) d on true
			on conflict do nothing
			returning p.policy_id, p.dropped_at into policy_id, dropped;
			status := case when dropped is null then 'created' else 'brought back' end;
		elsif found.pinned then
			status := 'pinned';
		elsif again then
			status := 'kept';
		else
			current := jsonb_build_array(found.max_requests, found.time_window_ms, found.fallback_max_requests,
				found.fallback_time_window_ms, found.algorithm, found.resolution, found.mode, found.shadow);
			lately := coalesce((
				select jsonb_agg(r.value order by r.place) from jsonb_array_elements(found.replaced) with ordinality r (value, place)
				where (r.value ->> 'at')::timestamptz between now - interval '10 minutes' and now), '[]');
			if current = wanted then
				status := 'unchanged';
			elsif jsonb_array_length(lately) >= 3
				and exists (select from jsonb_array_elements(lately) r where r.value -> 'limits' = wanted) then
				status := 'put off';
			else
				update stint.policy as p
				set max_requests = declare_policy.max_requests, time_window_ms = declare_policy.time_window_ms,
					fallback_max_requests = declare_policy.fallback_max_requests,
					fallback_time_window_ms = declare_policy.fallback_time_window_ms,
					algorithm = declare_policy.algorithm, resolution = declare_policy.resolution, mode = declare_policy.mode,
					shadow = declare_policy.shadow,
					replaced = jsonb_build_array(jsonb_build_object('limits', current, 'at', now)) || (lately - 2)
				where p.policy_id = found.policy_id and not p.pinned and p.replaced = found.replaced
					and jsonb_build_array(p.max_requests, p.time_window_ms, p.fallback_max_requests,
						p.fallback_time_window_ms, p.algorithm, p.resolution, p.mode, p.shadow) = current
				returning p.policy_id into policy_id;
				status := 'changed';
			end if;
		end if;
		if policy_id is not null then
			return next;
			return;
		end if;
	end loop;
end
$$;

comment on function stint.declare_policy(text, bigint, bigint, bigint, bigint, text, int, text, boolean, boolean) is
	'For agents: makes or changes a policy as an app declares it. status: created, brought back (it was dropped within the last year, which is in the history and in stint.policy_limit), changed, unchanged, pinned (an operator''s stays), '
	'put off (these limits were replaced in the last ten minutes, in which there were three changes), kept (again: a declaration repeated after a reconnect leaves an existing policy as it is).';
revoke execute on function stint.declare_policy(text, bigint, bigint, bigint, bigint, text, int, text, boolean, boolean) from public;
grant execute on function stint.declare_policy(text, bigint, bigint, bigint, bigint, text, int, text, boolean, boolean) to stint_agent;
