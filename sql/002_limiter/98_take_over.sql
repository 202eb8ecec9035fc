-- What the schema of 0.1.0 held, if it was there: policies, overrides, the history of both, that of the fallbacks, and
-- what is charged to each client. Hosts register anew.

do $$
declare
	now_us constant bigint := extract(epoch from clock_timestamp()) * 1000000;
begin
	if not exists (select from pg_catalog.pg_namespace n where n.nspname = 'stint_before' and n.nspowner = 'stint_owner'::regrole) then
		return;
	end if;

	-- As they are: neither stamped as changed now, nor recorded as such.
	alter table stint.policy disable trigger user;
	alter table stint.client_override disable trigger user;
	insert into stint.policy (policy_id, name, max_requests, time_window_ms, fallback_max_requests, fallback_time_window_ms, algorithm,
			resolution, mode, pinned, changed_at, changed_by)
		overriding system value
		select p.policy_id, p.name, p.max_requests, p.time_window_ms, p.fallback_max_requests, p.fallback_time_window_ms, p.algorithm,
			p.resolution, p.mode, p.pinned, p.changed_at, p.changed_by
		from stint_before.policy p;
	insert into stint.client_override (policy_id, client_id, max_requests, blocked, note, changed_at, changed_by)
		select o.policy_id, o.client_id, o.max_requests, o.blocked,
			case when octet_length(o.note) > 1000 then left(o.note, 250) else o.note end, o.changed_at, o.changed_by
		from stint_before.client_override o;
	alter table stint.policy enable trigger user;
	alter table stint.client_override enable trigger user;
	insert into stint.change (change_id, at, changed_by, action, policy_id, policy_name, client_id, old, new)
		overriding system value
		select c.change_id, c.at, c.changed_by, c.action, c.policy_id, c.policy_name, c.client_id, c.old, c.new
		from stint_before.change c;
	insert into stint.host_fallback select f.* from stint_before.host_fallback f;
	insert into stint.migration select m.* from stint_before.migration m;

	-- The newest count may be of the sub-window after the present one.
	insert into stint.counter (policy_id, client_id, current_us, sub_window_us, turn, servers, servers_before, max_requests, request, granted,
			granted_next, charged, early, ahead, resolution, span, counts)
		select c.policy_id, c.client_id, c.head_us - a.ahead * c.sub_window_us, c.sub_window_us, c.turn, 0, 0, c.max_requests, 0, 0,
			0, 0, 0, a.ahead, c.resolution, 0, c.counts
		from stint_before.counter c cross join lateral (select (c.head_us > now_us)::int as ahead) a;

	-- Numbers that were given are not given again, also where they were replicated without their sequences.
	perform setval(pg_get_serial_sequence('stint.policy', 'policy_id'),
		greatest(s.last_value, (select max(p.policy_id) from stint.policy p))) from stint_before.policy_policy_id_seq s;
	perform setval(pg_get_serial_sequence('stint.change', 'change_id'),
		greatest(s.last_value, (select max(c.change_id) from stint.change c))) from stint_before.change_change_id_seq s;
	perform setval(pg_get_serial_sequence('stint.agent_host', 'host_id'),
		greatest(s.last_value, (select max(h.host_id) from stint_before.agent_host h))) from stint_before.agent_host_host_id_seq s;
	drop schema stint_before cascade;
end
$$;
